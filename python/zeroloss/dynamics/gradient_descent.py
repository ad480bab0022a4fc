"""Gradient descent with weight decay and momentum on both layers (Eq. 13, Sec. 7.1 of arXiv 2511.01938)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .. import _checks
from .._kernels import kernels
from ..datasets import Dataset
from ..networks import Network, from_arrays
from ..results import Ending, Outcome
from .stepper import Cost, Evaluator, State


@dataclass(frozen=True)
class GradientDescent:
    """θ ← θ − lr · v with v ← momentum · v + ∇loss(θ) + weight_decay · θ, as ``torch.optim.SGD`` defines it.

    Parameters
    ----------
    lr : float
        Learning rate, above 0.
    weight_decay : float
        The coefficient that multiplies θ in the update. The paper's λ‖θ‖² beside the summed loss is
        ``weight_decay = 2λ``; beside the mean over N = n·d_out entries, λ = N · weight_decay / 2 with step lr/N.
    momentum : float
        In [0, 1).
    loss : {"mse"}
        Squared error.
    reduction : {"mean", "sum"}
        Over all n·d_out entries (the frameworks' default), or the paper's sum.
    compensated : bool
        Whether the rounding error of θ is carried from step to step (Kahan's sum). Where lr · weight_decay is not far
        above the rounding unit of the dtype (6·10⁻⁸ in float32), plain sums lose the decay; compensated ones keep it.

    Notes
    -----
    In a history ``time`` is lr · steps, and ``slow_time`` s = weight_decay · lr · steps / (1 − momentum), the time
    of the norm-minimising flow.
    """

    lr: float
    weight_decay: float = 0.0
    momentum: float = 0.0
    loss: str = "mse"
    reduction: str = "mean"
    compensated: bool = False

    def __post_init__(self) -> None:
        momentum = _checks.not_negative("momentum", self.momentum)
        if momentum >= 1:
            raise ValueError(f"momentum: expected a number in [0, 1), got {self.momentum}")
        _checks.convert(
            self,
            lr=_checks.positive("lr", self.lr),
            weight_decay=_checks.not_negative("weight_decay", self.weight_decay),
            momentum=momentum,
        )
        _checks.choice("loss", self.loss, ("mse",))
        _checks.choice("reduction", self.reduction, ("mean", "sum"))
        _checks.instance("compensated", self.compensated, bool)

    def start(self, data: Dataset, network: Network, state: State | None = None, threads: int = 1) -> DescentStepper:
        """Return the descent at the network, or at a state it left."""
        return DescentStepper(self, data, network, state, threads)

    def fixed_step(self) -> float:
        """Return the time of a step."""
        return self.lr

    def cost(self, data: Dataset, network: Network) -> Cost:
        """Return what a step takes: three products of n·h·d_out, and a handful of copies of θ."""
        n, h, d_in, d_out = len(data.Y_train), network.hidden, data.d_in, data.d_out
        floats = 8 * h * (d_in + d_out) + 4 * n * d_out + len(data.Y_test) * h + 3 * n * h
        return Cost(6.0 * n * h * d_out, floats * network.dtype.itemsize)


class DescentStepper:
    """Gradient descent under way: E, W, their velocities and, where asked for, compensations."""

    def __init__(
        self, settings: GradientDescent, data: Dataset, network: Network, state: State | None, threads: int
    ) -> None:
        self._settings, self._activation = settings, network.activation
        self._evaluate = Evaluator(data, network, kernels.SquaredError(settings.reduction))
        self._carried = ["velocity"] * (settings.momentum != 0) + ["compensation"] * settings.compensated
        start = {"E": network.E.copy(), "W": network.W.copy()}
        for name in self._carried:
            start |= {f"{name}_E": np.zeros_like(network.E), f"{name}_W": np.zeros_like(network.W)}
        self.state: State = state or start
        descent = kernels.Descent32 if network.dtype == np.float32 else kernels.Descent64
        self._descent = descent(
            self._evaluate.train,
            self._evaluate.activation,
            self._evaluate.loss,
            settings.lr,
            settings.weight_decay,
            settings.momentum,
            settings.compensated,
            network.hidden,
            threads,
        )

    def advance(self, steps: int) -> bool:
        """Take steps; false where a parameter is not finite afterwards."""
        E, W = self.state["E"], self.state["W"]
        velocity, compensation = (
            (self.state[f"{name}_E"], self.state[f"{name}_W"]) if name in self._carried else None
            for name in ("velocity", "compensation")
        )
        return self._descent.advance((E, W), velocity, compensation, steps)

    def record(self) -> Mapping[str, float] | None:
        """Describe the state; None where a loss or norm is not finite."""
        return self._evaluate(self.state["E"], self.state["W"])

    def times(self, step: int) -> Mapping[str, float]:
        """Return the time lr · steps, and slow time."""
        time = self._settings.lr * step
        return {"time": time, "slow_time": self._settings.weight_decay * time / (1 - self._settings.momentum)}

    def network(self) -> Network:
        """Return a copy of the parameters."""
        return from_arrays(self.state["E"], self.state["W"], self._activation)

    def failure(self, step: int) -> Outcome:
        """Say at which step the loss or a weight ceased to be finite."""
        sentence = f"the loss or a weight is not finite at step {step}; lower lr (now {self._settings.lr:g})"
        return Outcome(Ending.DIVERGED, sentence)
