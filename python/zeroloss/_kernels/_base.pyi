# One stub for the modules of all instruction-set levels; a test holds it to what they contain.
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

compiler: str
eigen: str

_F32 = NDArray[np.float32]
_F64 = NDArray[np.float64]
_Indices = NDArray[np.int64]
_Any = NDArray[Any]

class Activation:
    def __init__(self, kind: str, parameter: float) -> None: ...

class SquaredError:
    def __init__(self, reduction: str) -> None: ...

class Samples32:
    @overload
    def __init__(self, starts: _Indices, columns: _Indices, values: _F32, d_in: int, Y: _F32) -> None: ...
    @overload
    def __init__(self, X: _F32, Y: _F32) -> None: ...

class Samples64:
    @overload
    def __init__(self, starts: _Indices, columns: _Indices, values: _F64, d_in: int, Y: _F64) -> None: ...
    @overload
    def __init__(self, X: _F64, Y: _F64) -> None: ...

class Descent32:
    def __init__(
        self,
        samples: Samples32,
        activation: Activation,
        loss: SquaredError,
        lr: float,
        weight_decay: float,
        momentum: float,
    ) -> None: ...
    def advance(self, E: _Any, W: _Any, velocity_E: _Any, velocity_W: _Any, steps: int) -> None: ...

class Descent64:
    def __init__(
        self,
        samples: Samples64,
        activation: Activation,
        loss: SquaredError,
        lr: float,
        weight_decay: float,
        momentum: float,
    ) -> None: ...
    def advance(self, E: _Any, W: _Any, velocity_E: _Any, velocity_W: _Any, steps: int) -> None: ...

class PredictedGradient32:
    def __init__(self, samples: Samples32, activation: Activation, ridge: float) -> None: ...
    def evaluate(self, E: _Any) -> tuple[_Any, _Any] | None: ...
    def measure(self, E: _Any) -> tuple[_Any, float, float] | None: ...
    def advance(self, E: _Any, step_size: float, steps: int) -> int: ...

class PredictedGradient64:
    def __init__(self, samples: Samples64, activation: Activation, ridge: float) -> None: ...
    def evaluate(self, E: _Any) -> tuple[_Any, _Any] | None: ...
    def measure(self, E: _Any) -> tuple[_Any, float, float] | None: ...
    def advance(self, E: _Any, step_size: float, steps: int) -> int: ...

def hidden(samples: Samples32 | Samples64, E: _Any, activation: Activation) -> tuple[_Any, _Any]: ...
def loss_and_gradient(
    samples: Samples32 | Samples64, E: _Any, W: _Any, activation: Activation, loss: SquaredError
) -> tuple[float, _Any, _Any]: ...
def evaluate(
    samples: Samples32 | Samples64, E: _Any, W: _Any, activation: Activation, loss: SquaredError
) -> tuple[float, float, float]: ...
def frobenius_norm(A: _Any) -> float: ...
