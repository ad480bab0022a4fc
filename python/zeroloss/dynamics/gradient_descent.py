"""Gradient descent with weight decay and momentum on both layers (Eq. 13, Sec. 7.1 of arXiv 2511.01938)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _checks
from .._kernels import kernels
from ..datasets import Dataset
from ..networks import Network
from .decay import DecayWatch, plain_decay
from .descent import DescentStepper, check_common, descent_cost, layer_decays
from .stepper import Cost, State


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
    decay_layers : {"both", "E", "W"}
        The layers that decay.
    loss : {"mse", "cross_entropy"}
        Squared error, or softmax cross-entropy with the targets as probabilities.
    reduction : {"mean", "sum"}
        Over all n·d_out entries, cross-entropy over the n samples (the frameworks' defaults); or the paper's sum.
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
    decay_layers: str = "both"

    def __post_init__(self) -> None:
        check_common(self)
        _checks.convert(self, momentum=_checks.below_one("momentum", self.momentum))
        _checks.instance("compensated", self.compensated, bool)

    def start(self, data: Dataset, network: Network, state: State | None = None, threads: int = 1) -> DescentStepper:
        """Return the descent at the network, or at a state it left."""
        return DescentStepper(self, data, network, state, threads)

    def fixed_step(self) -> float:
        """Return the time of a step."""
        return self.lr

    def cost(self, data: Dataset, network: Network) -> Cost:
        """Return what a step takes."""
        return descent_cost(self, data, network)

    def optimizer(self) -> kernels.Optimizer:
        """Return the kernel's settings."""
        return kernels.Optimizer(
            "sgd", self.lr, *layer_decays(self), momentum=self.momentum, compensated=self.compensated
        )

    def decay_watch(self, dtype: np.dtype[Any]) -> DecayWatch:
        """Return what watches the weight decay in a precision; a compensated one needs no watch."""
        rates = [0.0 if self.compensated else self.lr * decay for decay in layer_decays(self)]
        return DecayWatch(rates, dtype, plain_decay, "compensated=True or float64 keeps it")

    def carried(self) -> tuple[str, ...]:
        """Name what is carried along for each parameter."""
        return ("velocity",) * (self.momentum != 0) + ("compensation",) * self.compensated

    def times(self, step: int) -> Mapping[str, float]:
        """Return the time lr · steps, and slow time."""
        time = self.lr * step
        return {"time": time, "slow_time": self.weight_decay * time / (1 - self.momentum)}
