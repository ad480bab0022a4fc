"""Gradient descent with weight decay and momentum on both layers (Eq. 13, Sec. 7.1 of arXiv 2511.01938)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _checks
from .._choices import BelowOne, Count, Layers, Loss, NormControl, NotNegative, Positive, Reduction
from .._kernels import kernels
from .decay import DecayWatch, plain_decay
from .descent import DescentSettings
from .learning_rate import Rate


@dataclass(frozen=True)
class GradientDescent(DescentSettings):
    """θ ← θ − lr · v with v ← momentum · v + ∇loss(θ) + weight_decay · θ, as ``torch.optim.SGD`` defines it.

    Full batch: ∇loss is the gradient of the loss over all training samples. There are no mini-batches.

    Parameters
    ----------
    lr : float or LearningRate
        Learning rate, above 0, or its schedule, also as a mapping: see `zeroloss.learning_rate`.
    weight_decay : float
        The coefficient that multiplies θ in the update. The paper's λ‖θ‖² next to the summed loss is
        ``weight_decay = 2λ``; next to the mean over N = n·d_out entries, λ = N · weight_decay / 2 with step lr/N.
    momentum : float
        The share of v that a step keeps, in [0, 1).
    decay_layers : {"both", "E", "W"}
        The layers that decay.
    loss : {"mse", "cross_entropy"}
        Squared error, or softmax cross-entropy with the targets as probabilities.
    reduction : {"mean", "sum"}
        Over all n·d_out entries, cross-entropy over the n samples (the frameworks' defaults); or the paper's sum.
    compensated : bool
        Whether the rounding error of θ is carried from step to step (Kahan's sum). If lr · weight_decay is not far
        above the rounding unit of the dtype (6·10⁻⁸ in float32), plain sums lose the decay; compensated ones keep it.
    norm_control : {"hold", "cap", "rescale"}, optional
        Whether and how a norm is controlled. The norm of θ at step ``norm_step`` is the reference, and ``norm_ratio``
        times it the target, to which θ is scaled after a step: after every later step ("hold"), after those that leave
        a greater norm ("cap"), or after the first of them alone ("rescale"). See the notes.
    norm_layers : {"both", "E", "W"}
        The norm that is controlled: √(‖E‖² + ‖W‖²), both layers being scaled by one factor, or the norm of one layer.
    norm_ratio : float
        The target in units of the reference, above 0.
    norm_step : int
        The last step that is as without control, at least 0.

    Notes
    -----
    In a history ``time`` is the sum of the learning rates of the steps before, lr · steps without a schedule, and
    ``slow_time`` s = weight_decay · time / (1 − momentum), the time of the norm-minimising flow.

    With a controlled norm the step is that of the gradient and the decay as before, velocity with them, and only θ is
    scaled afterwards: with "hold" this is descent projected on a sphere. The error that "compensated" carries
    along includes the rounding of the scaling. A norm of 0 stays 0.
    """

    lr: Rate
    weight_decay: NotNegative = 0.0
    momentum: BelowOne = 0.0
    loss: Loss = "mse"
    reduction: Reduction = "mean"
    compensated: bool = False
    decay_layers: Layers = "both"
    norm_control: NormControl | None = None
    norm_layers: Layers = "both"
    norm_ratio: Positive = 1.0
    norm_step: Count = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.convert(self, momentum=_checks.below_one("momentum", self.momentum))
        _checks.instance("compensated", self.compensated, bool)

    def optimizer(self) -> kernels.Optimizer:
        """Return the kernel's settings."""
        return kernels.Optimizer(
            "sgd", self.full_rate, *self.layer_decays(), momentum=self.momentum, compensated=self.compensated
        )

    def decay_watch(self, dtype: np.dtype[Any]) -> DecayWatch:
        """Return the watch of the weight decay in a precision; a compensated decay needs none."""
        rates = [0.0 if self.compensated else self.full_rate * decay for decay in self.layer_decays()]
        return DecayWatch(rates, dtype, plain_decay, "compensated=True or float64 keeps it")

    def carried(self) -> tuple[str, ...]:
        """Name the arrays that the optimizer carries along for each layer."""
        return ("velocity",) * (self.momentum != 0) + ("compensation",) * self.compensated

    def times(self, time: float) -> Mapping[str, float]:
        """Return the time, and slow time."""
        return {"time": time, "slow_time": self.weight_decay * time / (1 - self.momentum)}
