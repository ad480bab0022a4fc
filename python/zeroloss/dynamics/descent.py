"""The common part of gradient descent and AdamW: checks of their settings, and a stepper that calls the kernel.

A constraint on the norm is four plain settings of the dynamics, not an object. Configurations, sweeps and saved runs
store it like all other settings.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._checks import ArgumentTypeError, ArgumentValueError
from .._choices import ABSENT, Layers, Loss, NormConstraint, Reduction
from .._kernels import kernels
from ..datasets import Dataset
from ..networks import Network
from ..results import Ending, Outcome
from . import learning_rate
from .decay import DecayWatch
from .learning_rate import LearningRate
from .stepper import Chunk, ChunkStepper, Cost, Evaluator, Record, State, copy_network

LOSSES = ("mse", "cross_entropy")
REDUCTIONS = ("mean", "sum")
LAYERS = ("both", "E", "W")
NORM_CONSTRAINTS = ("fixed", "at_most", "once")
_LAST_STEP = 2**53
_GREATEST_SEED = 2**64 - 1
#: The defaults of the settings that need a norm_constraint.
_UNCONSTRAINED = {"norm_layers": "both", "norm_ratio": 1.0, "norm_from_step": 0}
#: The constraints by the names of the kernel.
_KERNEL_CONSTRAINTS = {"fixed": "hold", "at_most": "cap", "once": "rescale"}


class DescentSettings(ABC):
    """The settings that gradient descent and AdamW share. Their dataclasses define these fields, and further ones."""

    lr: float | LearningRate | Mapping[str, Any]
    weight_decay: float
    decay_layers: Layers
    loss: Loss
    reduction: Reduction
    norm_constraint: NormConstraint | None
    norm_layers: Layers
    norm_ratio: float
    norm_from_step: int
    train_layers: Layers
    lr_W: float | None
    batch_size: int | None
    batch_seed: int
    label_noise_std: float
    noise_seed: int
    temperature: float
    decay_biases: bool

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        """Raise TypeError, with the name to use instead, for an argument that other packages have."""
        for name in ABSENT.keys() & options.keys() - cls.__dataclass_fields__.keys():  # type: ignore[attr-defined]
            raise ArgumentTypeError(name, f"there is no such argument; {ABSENT[name]}")
        return super().__new__(cls)

    def __post_init__(self) -> None:
        scheduled = isinstance(self.lr, LearningRate | Mapping)
        _checks.set_fields(
            self,
            lr=learning_rate.from_settings("lr", self.lr) if scheduled else _checks.positive("lr", self.lr),
            weight_decay=_checks.not_negative("weight_decay", self.weight_decay),
        )
        _checks.choice("decay_layers", self.decay_layers, LAYERS)
        _checks.check_instance("decay_biases", self.decay_biases, bool)
        _checks.choice("loss", self.loss, LOSSES)
        _checks.choice("reduction", self.reduction, REDUCTIONS)
        self._check_norm_constraint()
        _checks.set_fields(self, temperature=_checks.temperature(self.temperature, self.loss))
        self._check_layers()
        self._check_sampling()

    def _check_layers(self) -> None:
        trained = _checks.choice("train_layers", self.train_layers, LAYERS)
        if self.lr_W is not None:
            _checks.set_fields(self, lr_W=_checks.positive("lr_W", self.lr_W))
        if trained == "both":
            return
        if self.lr_W is not None:
            raise ArgumentValueError("lr_W", f'needs train_layers="both", got {trained!r}; the rate is lr')
        if self.decay_layers not in ("both", trained):
            raise ArgumentValueError(
                "decay_layers", f"expected {trained!r}, the layer that is trained, got {self.decay_layers!r}"
            )
        if self.norm_constraint is not None and self.norm_layers != trained:
            raise ArgumentValueError(
                "norm_layers", f"expected {trained!r}, the layer that is trained, got {self.norm_layers!r}"
            )

    def _check_sampling(self) -> None:
        if self.batch_size is not None:
            _checks.set_fields(self, batch_size=_checks.integer("batch_size", self.batch_size, 1))
        for name in ("batch_seed", "noise_seed"):
            seed = _checks.integer(name, getattr(self, name), 0)
            if seed > _GREATEST_SEED:
                raise ArgumentValueError(name, f"expected an integer below 2^64, got {_checks.format_value(seed)}")
            _checks.set_fields(self, **{name: seed})
        _checks.set_fields(self, label_noise_std=_checks.not_negative("label_noise_std", self.label_noise_std))

    def _check_norm_constraint(self) -> None:
        _checks.choice("norm_layers", self.norm_layers, LAYERS)
        _checks.set_fields(
            self,
            norm_ratio=_checks.positive("norm_ratio", self.norm_ratio),
            norm_from_step=_checks.integer("norm_from_step", self.norm_from_step, 0),
        )
        if self.norm_from_step > _LAST_STEP:
            raise ArgumentValueError(
                "norm_from_step", f"expected an integer of at most 2^53, got {self.norm_from_step}"
            )
        if self.norm_constraint is not None:
            _checks.choice("norm_constraint", self.norm_constraint, NORM_CONSTRAINTS)
            return
        for name, default in _UNCONSTRAINED.items():
            if getattr(self, name) != default:
                raise ArgumentValueError(name, f"needs norm_constraint ({', '.join(NORM_CONSTRAINTS)})")

    @abstractmethod
    def _kernel_optimizer(self) -> kernels.Optimizer:
        """Return the optimizer as the kernel takes it."""

    @abstractmethod
    def _optimizer_state_names(self) -> tuple[str, ...]:
        """Return the names of the arrays that the optimizer stores for each layer."""

    @abstractmethod
    def _decay_watch(self, dtype: np.dtype[Any]) -> DecayWatch:
        """Return the check of the decay after rounding, for parameters of a dtype."""

    @abstractmethod
    def _times_at(self, time: float) -> Mapping[str, float]:
        """Return the time coordinates of a record at ``time``, the sum of the learning rates of the earlier steps."""

    @property
    def _schedule(self) -> LearningRate | None:
        """The schedule of the learning rate; None if it is constant."""
        return self.lr if isinstance(self.lr, LearningRate) else None

    @property
    def _base_lr(self) -> float:
        """The learning rate, or with a schedule the rate that it scales."""
        rate = self.lr.lr if isinstance(self.lr, LearningRate) else self.lr
        assert isinstance(rate, float)
        return rate

    def _layer_decays(self) -> tuple[float, float]:
        """Return the weight decays of E and of W."""
        trained = zip(("E", "W"), self._trained_layers(), strict=True)
        first, second = (
            self.weight_decay * (is_trained and self.decay_layers in {"both", layer}) for layer, is_trained in trained
        )
        return first, second

    def _trained_layers(self) -> tuple[bool, bool]:
        """Return whether E and W are trained."""
        return self.train_layers != "W", self.train_layers != "E"

    def _decay_rates(self) -> list[float]:
        """Return the decays lr · weight_decay of E and of W in one step."""
        rates = (self._base_lr, self._base_lr if self.lr_W is None else self.lr_W)
        return [rate * decay for rate, decay in zip(rates, self._layer_decays(), strict=True)]

    def _kernel_layers(self) -> dict[str, Any]:
        """Return the arguments of the kernel's optimizer about layers."""
        trains_E, trains_W = self._trained_layers()
        return {"lr_W": self.lr_W, "trains_E": trains_E, "trains_W": trains_W}

    def _kernel_sampling(self, n: int) -> kernels.Sampling | None:
        """Return minibatches and label noise as the kernel takes them; None if a step is over all n samples."""
        if self.batch_size is not None and self.batch_size > n:
            raise ArgumentValueError(
                "batch_size", f"expected at most {n}, the number of training samples, got {self.batch_size}"
            )
        size = 0 if self.batch_size in (None, n) else self.batch_size
        if not size and not self.label_noise_std:
            return None
        return kernels.Sampling(size or 0, self.batch_seed, self.label_noise_std, self.noise_seed)

    def _decays_like(self, network: Network) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the weight decay of each row of the layers of a network, (rows, 1)."""
        decays = [np.full((len(A), 1), decay) for A, decay in zip(network.layers, self._layer_decays(), strict=True)]
        for decay, biases in zip(decays, (network.bias_hidden, network.bias_output), strict=True):
            if biases is not None and not self.decay_biases:
                decay[-1] = 0
        return decays[0], decays[1]

    def _kernel_constraint(self) -> kernels.NormControl | None:
        """Return the constraint on the norm as the kernel takes it; None if there is none."""
        if self.norm_constraint is None:
            return None
        kind = _KERNEL_CONSTRAINTS[self.norm_constraint]
        first, second = (self.norm_layers in {"both", layer} for layer in ("E", "W"))
        return kernels.NormControl(kind, first, second, self.norm_ratio, self.norm_from_step)

    def start(self, data: Dataset, network: Network, threads: int = 1) -> DescentStepper:
        """Return a stepper that starts at the network."""
        return DescentStepper(self, data, network, threads)

    def fixed_step(self) -> float | None:
        """Return the time that one step covers, lr; None with a schedule."""
        return None if self._schedule else self._base_lr

    def cost(self, data: Dataset, network: Network) -> Cost:
        """Return the cost of a step: three products of n·h·d_out multiplications, and a few copies of θ."""
        n, h, d_in, d_out = len(data.Y_train), network.hidden, data.d_in, data.d_out
        copies = 5 + 2 * (1 + len(self._optimizer_state_names()))
        floats = copies * h * (d_in + d_out) + 4 * n * d_out + len(data.Y_test) * h + 3 * n * h
        is_sampled = self.batch_size is not None or self.label_noise_std > 0
        size = min(n, self.batch_size or n)
        floats += is_sampled * size * (d_in + 3 * d_out + 4 * h)
        return Cost(6.0 * size * h * d_out, floats * network.dtype.itemsize)


class DescentStepper(ChunkStepper):
    """A stepper of gradient descent or AdamW.

    Its state is E and W with their biases (see `Network.layers`), the arrays that the optimizer stores for each, and
    the number of steps. The kernel works in place on the arrays of ``state``, which are therefore never replaced.
    """

    def __init__(self, settings: DescentSettings, data: Dataset, network: Network, threads: int) -> None:
        self._settings, self._like = settings, network
        self._evaluator = Evaluator(
            data, network, kernels.Loss(settings.loss, settings.reduction, settings.temperature)
        )
        sampling = settings._kernel_sampling(data.train_count)
        self.knows_losses = sampling is None  # The loss of all samples is computed in records only.
        E, W = network.layers
        self.state = {"E": E.copy(), "W": W.copy(), "steps": np.zeros((), np.int64)}
        for name in settings._optimizer_state_names():
            self.state |= {f"{name}_E": np.zeros_like(E), f"{name}_W": np.zeros_like(W)}
        if settings._schedule:
            self.state["time"] = np.zeros(())
        constraint = settings._kernel_constraint()
        if constraint is not None:
            self.state["reference_norm"] = np.full((), np.nan)  # NaN until norm_from_step
        self._decays = settings._decays_like(network)
        self._decay = settings._decay_watch(network.dtype)
        descent = kernels.Descent32 if network.dtype == np.float32 else kernels.Descent64
        self._descent = descent(
            self._evaluator.train,
            self._evaluator.test,
            self._evaluator.activation,
            self._evaluator.loss,
            settings._kernel_optimizer(),
            network.hidden,
            threads,
            constraint,
            sampling,
            network.bias_output is not None,
        )
        self._bound: Any = self._descent.bind(**{name: self.state[name] for name in self.state.keys() - {"time"}})

    @property
    def makes_records(self) -> bool:  # type: ignore[override]
        """Whether ``advance`` can make records within a chunk. A record with ``effective_decay`` needs θ in Python."""
        return not self._decay.is_needed

    def advance(self, steps: int, losses: bool = False, record_at: Sequence[int] = ()) -> Chunk:
        """Take steps; see `ChunkStepper.advance`."""
        begin, schedule = int(self.state["steps"]), self._settings._schedule
        rates = None if schedule is None else schedule.rates(begin, steps)
        at = np.array(record_at, np.int64) if record_at else None
        answer = self._descent.advance(
            self._bound, kernels.DescentChunk(steps, rates=rates, losses=losses, record_at=at)
        )
        step_times = None
        if rates is not None:
            step_times = _accumulate_times(float(self.state["time"]), rates)
            self.state["time"][...] = step_times[-1]
        if at is None or answer.records is None:
            return Chunk(answer.finite, answer.losses)
        times = (step_times[at] if step_times is not None else self._settings._base_lr * (begin + at)).tolist()
        rows = zip(self._evaluator.records_from_kernel(answer.records), times, strict=True)
        records = [{**values, **self._settings._times_at(time)} for values, time in rows]
        return Chunk(answer.finite, answer.losses, records)

    def record(self) -> Record:
        """Return the record of the state."""
        (common,) = self._evaluator.records_from_kernel(self._descent.record(self._bound))
        time = float(self.state["time"]) if "time" in self.state else self._settings._base_lr * int(self.state["steps"])
        network = self.network()
        decay = self._decay.record((network.E, network.W))
        return {**common, **decay, **self._settings._times_at(time)}

    def restore(self, state: State) -> None:
        """Copy a saved state into the arrays of this stepper."""
        if {name: array.shape for name, array in state.items()} != {name: a.shape for name, a in self.state.items()}:
            raise ArgumentValueError("state", f"expected {_format_shapes(self.state)}, got {_format_shapes(state)}")
        for name, array in self.state.items():
            array[...] = state[name]

    def gradient_norm(self) -> float:
        """Return ‖∇loss + weight_decay · θ‖ of the layers that are trained."""
        evaluator, theta = self._evaluator, (self.state["E"], self.state["W"])
        gradients = kernels.loss_and_gradient(evaluator.train, *theta, evaluator.activation, evaluator.loss)[1:]
        trained = self._settings._trained_layers()
        parts = (g * t + decay * A for g, t, decay, A in zip(gradients, trained, self._decays, theta, strict=True))
        return math.hypot(*(kernels.frobenius_norm(part.astype(A.dtype)) for part, A in zip(parts, theta, strict=True)))

    def network(self) -> Network:
        """Return a copy of the parameters."""
        return copy_network(self._like, self.state)

    def failure(self, step: int, error: Exception | None) -> Outcome:
        """Return the outcome of a step that left a loss, a weight or an array of the optimizer that is not finite."""
        finite = all(np.isfinite(self.state[layer]).all() for layer in ("E", "W"))
        finite = finite and math.isfinite(self.record()["train_loss"])
        what = "the optimizer's state" if finite else "the loss or a weight"
        sentence = f"{what} is not finite at step {step}; lower lr (now {self._settings._base_lr:g})"
        return Outcome(Ending.DIVERGED, sentence)


def _format_shapes(state: State) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in state.items())


def _accumulate_times(time: float, rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the times before the first step and after each step.

    Rates are added in the order of the steps, so the bits do not depend on how steps are divided into chunks.
    """
    return np.add.accumulate(np.concatenate([[time], rates]))
