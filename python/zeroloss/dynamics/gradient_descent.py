"""Gradient descent with weight decay and momentum on both layers (Eq. 13, Sec. 7.1 of arXiv 2511.01938)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _checks
from .._choices import BelowOne, Count, Layers, Loss, NormConstraint, NotNegative, Positive, Reduction
from .._deprecated import accept_old_names
from .._kernels import kernels
from .decay import DecayWatch, decay_by_difference
from .descent import DescentSettings
from .learning_rate import Rate


@accept_old_names("dynamics")
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
    norm_constraint : {"fixed", "at_most", "once"}, optional
        How a norm is constrained; by default it is not. The target is ``norm_ratio`` times the norm at step
        ``norm_from_step``. θ is scaled to the target after every later step ("fixed"), after each later step that
        leaves a greater norm ("at_most"), or only after the first later step ("once"). See the notes.
    norm_layers : {"both", "E", "W"}
        The norm that is constrained: √(‖E‖² + ‖W‖²), with one factor for both layers, or the norm of one layer.
    norm_ratio : float
        The target divided by the norm at step ``norm_from_step``, above 0. Default: 1.
    norm_from_step : int
        The norm is constrained from step ``norm_from_step + 1`` on. At least 0, the default.

    Notes
    -----
    In a history ``time`` is the sum of the learning rates of the steps before, lr · steps without a schedule, and
    ``slow_time`` s = weight_decay · time / (1 − momentum), the time of the norm-minimising flow.

    If the norm is constrained, gradient, decay and velocity make the same step, and then only θ is scaled. With "fixed"
    this is descent projected onto a sphere. The rounding error that ``compensated`` carries includes the rounding
    of the scaling. A norm of 0 stays 0.
    """

    lr: Rate
    weight_decay: NotNegative = 0.0
    momentum: BelowOne = 0.0
    loss: Loss = "mse"
    reduction: Reduction = "mean"
    compensated: bool = False
    decay_layers: Layers = "both"
    norm_constraint: NormConstraint | None = None
    norm_layers: Layers = "both"
    norm_ratio: Positive = 1.0
    norm_from_step: Count = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.convert(self, momentum=_checks.below_one("momentum", self.momentum))
        _checks.instance("compensated", self.compensated, bool)

    def _kernel_optimizer(self) -> kernels.Optimizer:
        """Return the kernel's settings."""
        return kernels.Optimizer(
            "sgd", self._base_lr, *self._layer_decays(), momentum=self.momentum, compensated=self.compensated
        )

    def _decay_watch(self, dtype: np.dtype[Any]) -> DecayWatch:
        """Return the watch of the weight decay in a precision; a compensated decay needs none."""
        rates = [0.0 if self.compensated else self._base_lr * decay for decay in self._layer_decays()]
        return DecayWatch(rates, dtype, decay_by_difference, "compensated=True or float64 keeps it")

    def _optimizer_state_names(self) -> tuple[str, ...]:
        """Name the arrays that the optimizer carries along for each layer."""
        return ("velocity",) * (self.momentum != 0) + ("compensation",) * self.compensated

    def _times_at(self, time: float) -> Mapping[str, float]:
        """Return the time, and slow time."""
        return {"time": time, "slow_time": self.weight_decay * time / (1 - self.momentum)}
