"""What gradient descent and AdamW share: a stepper around the kernel, and checks of what both are told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._kernels import kernels
from ..datasets import Dataset
from ..networks import Network, from_arrays
from ..results import Ending, Outcome
from .decay import DecayWatch
from .stepper import Cost, Evaluator, State

RECORD_SIZE = 8  # numbers of a record by the kernel
LOSSES = ("mse", "cross_entropy")
REDUCTIONS = ("mean", "sum")
DECAY_LAYERS = ("both", "E", "W")


class DescentSettings(Protocol):
    """What the stepper asks of the settings."""

    @property
    def lr(self) -> float:
        """The learning rate."""

    @property
    def loss(self) -> str:
        """One of LOSSES."""

    @property
    def reduction(self) -> str:
        """One of REDUCTIONS."""

    def optimizer(self) -> kernels.Optimizer:
        """Return the kernel's settings."""

    def carried(self) -> tuple[str, ...]:
        """Name what is carried along for each parameter."""

    def decay_watch(self, dtype: np.dtype[Any]) -> DecayWatch:
        """Return what watches the weight decay in a precision."""

    def times(self, step: int) -> Mapping[str, float]:
        """Return the time coordinates at a step."""


def check_common(settings: Any) -> None:
    """Check and convert what gradient descent and AdamW are both told."""
    _checks.convert(
        settings,
        lr=_checks.positive("lr", settings.lr),
        weight_decay=_checks.not_negative("weight_decay", settings.weight_decay),
    )
    _checks.choice("decay_layers", settings.decay_layers, DECAY_LAYERS)
    _checks.choice("loss", settings.loss, LOSSES)
    _checks.choice("reduction", settings.reduction, REDUCTIONS)


def layer_decays(settings: Any) -> tuple[float, float]:
    """Return the weight decay of E and of W."""
    first, second = (settings.weight_decay * (settings.decay_layers in {"both", layer}) for layer in ("E", "W"))
    return first, second


def descent_cost(settings: DescentSettings, data: Dataset, network: Network) -> Cost:
    """Return what a step takes: three products of n·h·d_out, and a handful of copies of θ."""
    n, h, d_in, d_out = len(data.Y_train), network.hidden, data.d_in, data.d_out
    copies = 4 + 2 * (1 + len(settings.carried()))
    floats = copies * h * (d_in + d_out) + 4 * n * d_out + len(data.Y_test) * h + 3 * n * h
    return Cost(6.0 * n * h * d_out, floats * network.dtype.itemsize)


class DescentStepper:
    """Descent under way: E, W, what the optimizer carries along for each, and the number of steps taken."""

    def __init__(
        self, settings: DescentSettings, data: Dataset, network: Network, state: State | None, threads: int
    ) -> None:
        self._settings, self._activation = settings, network.activation
        self._evaluate = Evaluator(data, network, kernels.Loss(settings.loss, settings.reduction))
        start = {"E": network.E.copy(), "W": network.W.copy(), "steps": np.zeros((), np.int64)}
        for name in settings.carried():
            start |= {f"{name}_E": np.zeros_like(network.E), f"{name}_W": np.zeros_like(network.W)}
        self.state: State = state or start
        self._decay = settings.decay_watch(network.dtype)
        descent = kernels.Descent32 if network.dtype == np.float32 else kernels.Descent64
        self._descent = descent(
            self._evaluate.train,
            self._evaluate.test,
            self._evaluate.activation,
            self._evaluate.loss,
            settings.optimizer(),
            network.hidden,
            threads,
        )

    knows_losses = True

    @property
    def records_many(self) -> bool:
        """Whether ``advance`` can make records on its way: all but those that look at the parameters in Python."""
        return not self._decay.needed

    def advance(
        self,
        steps: int,
        losses: NDArray[np.float64] | None = None,
        record_at: NDArray[np.int64] | None = None,
        records: NDArray[np.float64] | None = None,
    ) -> bool:
        """Take steps; false where a parameter is not finite afterwards.

        ``losses`` gets the loss before each step, ``records`` (count, RECORD_SIZE) what a record says before those of
        ``record_at``; see `described`.
        """
        state, taken = self.state, int(self.state["steps"])
        self.state["steps"] += steps
        velocity, compensation, squares = (
            (state[f"{name}_E"], state[f"{name}_W"]) if f"{name}_E" in state else None
            for name in ("velocity", "compensation", "squares")
        )
        return self._descent.advance(
            steps,
            (state["E"], state["W"]),
            velocity=velocity,
            compensation=compensation,
            squares=squares,
            taken=taken,
            losses=losses,
            record_at=record_at,
            records=records,
        )

    def record(self) -> Mapping[str, float] | None:
        """Describe the state; None where a loss or norm is not finite."""
        theta = self.state["E"], self.state["W"]
        common = self.described(self._descent.record(theta).tolist())
        return None if common is None else {**common, **self._decay.record(theta)}

    def described(self, numbers: Sequence[float]) -> dict[str, float] | None:
        """Return a record from the numbers of the kernel; None where the training loss or a norm is not finite."""
        loss, accuracy, residual, test_loss, test_accuracy, _, norm_E, norm_W = numbers
        if not math.isfinite(loss + norm_E + norm_W):
            return None
        if not self._evaluate.accuracy_defined:
            accuracy = test_accuracy = math.nan
        return {
            "train_loss": loss,
            "test_loss": test_loss,
            "train_accuracy": accuracy,
            "test_accuracy": test_accuracy,
            "norm_E": norm_E,
            "norm_W": norm_W,
            "residual": residual,
        }

    def gradient_norm(self) -> float:
        """Return ‖∇loss + weight_decay · θ‖."""
        evaluate, theta = self._evaluate, (self.state["E"], self.state["W"])
        gradients = kernels.loss_and_gradient(evaluate.train, *theta, evaluate.activation, evaluate.loss)[1:]
        parts = (g + decay * A for g, decay, A in zip(gradients, layer_decays(self._settings), theta, strict=True))
        return math.hypot(*(kernels.frobenius_norm(part.astype(A.dtype)) for part, A in zip(parts, theta, strict=True)))

    def times(self, step: int) -> Mapping[str, float]:
        """Return the time coordinates at a step."""
        return self._settings.times(step)

    def network(self) -> Network:
        """Return a copy of the parameters."""
        return from_arrays(self.state["E"], self.state["W"], self._activation)

    def failure(self, step: int) -> Outcome:
        """Say at which step the loss or a weight ceased to be finite."""
        sentence = f"the loss or a weight is not finite at step {step}; lower lr (now {self._settings.lr:g})"
        return Outcome(Ending.DIVERGED, sentence)
