# The stub of the modules of all instruction-set levels. A test compares it with the modules.
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

compiler: str
register_bytes: int
register_count: int
eigen: str

_F32 = NDArray[np.float32]
_F64 = NDArray[np.float64]
_Indices = NDArray[np.int64]
_Any = NDArray[Any]
_Records = NDArray[np.void]  # of record_dtype

#: A record as a structured dtype: train_loss, test_loss, train_accuracy, test_accuracy, norm_E, norm_W, residual,
#: norm_bias.
record_dtype: np.dtype[np.void]

class Activation:
    def __init__(self, kind: str, parameter: float) -> None: ...

class Loss:
    def __init__(self, kind: str, reduction: str, temperature: float = 1.0) -> None: ...

class Optimizer:
    def __init__(
        self,
        rule: str,
        lr: float,
        weight_decay_E: float,
        weight_decay_W: float,
        momentum: float,
        second_momentum: float = 0.0,
        epsilon: float = 0.0,
        compensated: bool = False,
        lr_W: float | None = None,
        trains_E: bool = True,
        trains_W: bool = True,
        decay_biases: bool = True,
    ) -> None: ...

class Sampling:
    def __init__(self, batch_size: int, batch_seed: int, noise_std: float, noise_seed: int) -> None: ...

def label_noise(seed: int, step: int, count: int) -> _F32: ...
def epoch_order(seed: int, epoch: int, n: int) -> _Indices: ...

class NormControl:
    def __init__(self, kind: str, E: bool, W: bool, ratio: float, step: int) -> None: ...

class Samples32:
    @overload
    def __init__(
        self, starts: _Indices, columns: _Indices, values: _F32, d_in: int, Y: _F32, has_constant: bool = False
    ) -> None: ...
    @overload
    def __init__(self, X: _F32, Y: _F32, has_constant: bool = False) -> None: ...

class Samples64:
    @overload
    def __init__(
        self, starts: _Indices, columns: _Indices, values: _F64, d_in: int, Y: _F64, has_constant: bool = False
    ) -> None: ...
    @overload
    def __init__(self, X: _F64, Y: _F64, has_constant: bool = False) -> None: ...

class DescentChunk:
    def __init__(
        self, steps: int, *, rates: _F64 | None = None, losses: bool = False, record_at: _Indices | None = None
    ) -> None: ...

class DescentAnswer:
    @property
    def finite(self) -> bool: ...
    @property
    def losses(self) -> _F64 | None: ...
    @property
    def records(self) -> _Records | None: ...

class DescentState32: ...

class Descent32:
    def __init__(
        self,
        samples: Samples32,
        test: Samples32,
        activation: Activation,
        loss: Loss,
        optimizer: Optimizer,
        hidden: int,
        threads: int,
        control: NormControl | None = None,
        sampling: Sampling | None = None,
        output_biases: bool = False,
    ) -> None: ...
    def bind(
        self,
        E: _F32,
        W: _F32,
        *,
        steps: _Indices,
        velocity_E: _F32 | None = None,
        velocity_W: _F32 | None = None,
        compensation_E: _F32 | None = None,
        compensation_W: _F32 | None = None,
        squares_E: _F32 | None = None,
        squares_W: _F32 | None = None,
        reference_norm: _F64 | None = None,
    ) -> DescentState32: ...
    def advance(self, state: DescentState32, chunk: DescentChunk) -> DescentAnswer: ...
    def record(self, state: DescentState32) -> _Records: ...

class DescentState64: ...

class Descent64:
    def __init__(
        self,
        samples: Samples64,
        test: Samples64,
        activation: Activation,
        loss: Loss,
        optimizer: Optimizer,
        hidden: int,
        threads: int,
        control: NormControl | None = None,
        sampling: Sampling | None = None,
        output_biases: bool = False,
    ) -> None: ...
    def bind(
        self,
        E: _F64,
        W: _F64,
        *,
        steps: _Indices,
        velocity_E: _F64 | None = None,
        velocity_W: _F64 | None = None,
        compensation_E: _F64 | None = None,
        compensation_W: _F64 | None = None,
        squares_E: _F64 | None = None,
        squares_W: _F64 | None = None,
        reference_norm: _F64 | None = None,
    ) -> DescentState64: ...
    def advance(self, state: DescentState64, chunk: DescentChunk) -> DescentAnswer: ...
    def record(self, state: DescentState64) -> _Records: ...

class PredictedGradient32:
    def __init__(
        self,
        samples: Samples32,
        activation: Activation,
        ridge: float,
        hidden: int,
        threads: int,
        constant_unit: bool = False,
    ) -> None: ...
    def evaluate(self, E: _Any) -> tuple[_Any, _Any] | None: ...
    def cost(self) -> float: ...
    def condition(self) -> float: ...
    def advance(self, E: _Any, step_size: float, steps: int) -> int: ...

class PredictedGradient64:
    def __init__(
        self,
        samples: Samples64,
        activation: Activation,
        ridge: float,
        hidden: int,
        threads: int,
        constant_unit: bool = False,
    ) -> None: ...
    def evaluate(self, E: _Any) -> tuple[_Any, _Any] | None: ...
    def cost(self) -> float: ...
    def condition(self) -> float: ...
    def advance(self, E: _Any, step_size: float, steps: int) -> int: ...

def hidden(samples: Samples32 | Samples64, E: _Any, activation: Activation) -> tuple[_Any, _Any]: ...
@overload
def outputs(samples: Samples32, E: _F32, W: _F32, activation: Activation) -> _F32: ...
@overload
def outputs(samples: Samples64, E: _F64, W: _F64, activation: Activation) -> _F64: ...
def loss_and_gradient(
    samples: Samples32 | Samples64, E: _Any, W: _Any, activation: Activation, loss: Loss
) -> tuple[float, _Any, _Any]: ...
@overload
def describe(train: Samples32, test: Samples32, E: _F32, W: _F32, activation: Activation, loss: Loss) -> _Records: ...
@overload
def describe(train: Samples64, test: Samples64, E: _F64, W: _F64, activation: Activation, loss: Loss) -> _Records: ...
def frobenius_norm(A: _Any) -> float: ...
def fma_peak32(seconds: float) -> float: ...
def fma_peak64(seconds: float) -> float: ...
def operation_costs32(seconds: float) -> dict[str, float]: ...
def operation_costs64(seconds: float) -> dict[str, float]: ...

class ZeroLossSet:
    def __init__(
        self,
        samples: Samples64,
        activation: Activation,
        kind: str,
        tolerance: float,
        most_iterations: int,
        threads: int = 1,
        trains_E: bool = True,
        trains_W: bool = True,
    ) -> None: ...
    def gram(self, E: _F64, W: _F64) -> _F64: ...
    def residual(self, E: _F64, W: _F64) -> _F64: ...
    def multiply(self, E: _F64, W: _F64, vE: _F64, vW: _F64) -> _F64: ...
    def multiply_transposed(self, E: _F64, W: _F64, R: _F64) -> tuple[_F64, _F64]: ...
    def direction(self, E: _F64, W: _F64) -> tuple[_F64, _F64] | None: ...
    def tangent_part(self, E: _F64, W: _F64, vE: _F64, vW: _F64) -> tuple[_F64, _F64] | None: ...
    def pinned_direction(self, E: _F64, W: _F64, pinned: _F64) -> tuple[_F64, _F64, int] | None: ...
    def retract(
        self, E: _F64, W: _F64, tolerance: float, most_iterations: int, reuse_factor: bool
    ) -> tuple[str, list[float], int]: ...
    def solve_softened(
        self,
        c_E: _F64,
        c_W: _F64,
        E: _F64,
        W: _F64,
        multiplier: _F64,
        softening: float,
        tolerance: float,
        accuracy: float,
        most_iterations: int,
    ) -> tuple[str, float, float, int]: ...
    def extremes(self, E: _F64, W: _F64, accuracy: float, most: int) -> tuple[float, float, float] | None: ...
    def alignment(
        self,
        E: _F64,
        W: _F64,
        earlier_E: _F64,
        earlier_W: _F64,
        projected_E: _F64,
        projected_W: _F64,
        retracted: bool,
        accuracy: float,
        most: int,
    ) -> tuple[float, float, float, float, float, bool, bool] | None: ...

def gauss_newton_trace(
    samples: Samples64, E: _F64, W: _F64, activation: Activation, loss: Loss, threads: int = 1
) -> tuple[float, _F64, _F64]: ...

class Curvature:
    def __init__(
        self, samples: Samples64, activation: Activation, loss: Loss, E: _F64, W: _F64, threads: int = 1
    ) -> None: ...
    def move(self, E: _F64, W: _F64) -> None: ...
    def multiply(self, v: _F64, part: str, weight_decay: float) -> _F64: ...
    def multiply_jacobian(self, v: _F64) -> _F64: ...
    def multiply_jacobian_transposed(self, R: _F64) -> _F64: ...
    def trace(self, part: str) -> float: ...
    def largest_eigenvalue(
        self, part: str, weight_decay: float, accuracy: float, most_iterations: int
    ) -> tuple[float, float]: ...

class RungeKuttaChebyshev:
    def __init__(
        self,
        samples: Samples64,
        activation: Activation,
        loss: Loss,
        weight_decay: float,
        hidden: int,
        threads: int,
        trains_E: bool = True,
        trains_W: bool = True,
        output_biases: bool = False,
    ) -> None: ...
    def step(
        self,
        E: _F64,
        W: _F64,
        slope_E: _F64,
        slope_W: _F64,
        *,
        size: float,
        stages: int,
        rtol: float,
        atol: float,
    ) -> float: ...

class Proximal:
    def __init__(
        self, samples: Samples64, activation: Activation, most_linear_iterations: int, threads: int = 1
    ) -> None: ...
    def solve(
        self,
        c_E: _F64,
        c_W: _F64,
        E: _F64,
        W: _F64,
        T: _F64,
        multiplier: _F64,
        tolerance: float,
        unit_tolerance: float,
        most_iterations: int,
        forcing: float,
        softening: float = 0.0,
    ) -> tuple[str, float, int, int, int]: ...
    def retract(
        self, E: _F64, W: _F64, T: _F64, tolerance: float, most_iterations: int, forcing: float
    ) -> tuple[str, float, int, int, int]: ...
