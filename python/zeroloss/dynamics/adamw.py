"""AdamW on both layers (Loshchilov and Hutter, arXiv 1711.05101), with PyTorch's conventions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _checks
from .._checks import ArgumentTypeError
from .._choices import BelowOne, Count, Layers, Loss, NormConstraint, NotNegative, Positive, Reduction
from .._deprecated import accept_old_names
from .._kernels import kernels
from .decay import DecayWatch, decay_by_factor
from .descent import DescentSettings
from .learning_rate import Rate


@accept_old_names("dynamics")
@dataclass(frozen=True)
class AdamW(DescentSettings):
    """θ ← (1 − lr · weight_decay) θ − lr · m̂/(√v̂ + eps), as ``torch.optim.AdamW`` defines it.

    Full batch: ∇loss is the gradient of the loss over all training samples. There are no mini-batches.

    m and v are running means of ∇loss and of its squares with weights β₁ and β₂; m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ) at
    step t.

    Parameters
    ----------
    lr : float or LearningRate
        Learning rate, above 0, or its schedule, also as a mapping: see `zeroloss.learning_rate`.
    weight_decay : float
        The coefficient that multiplies θ in the update, apart from the adaptive step.
    betas : (float, float)
        β₁ and β₂, in [0, 1).
    eps : float
        A constant above 0, which is added to √v̂.
    decay_layers : {"both", "E", "W"}
        The layers that decay.
    loss : {"mse", "cross_entropy"}
        Squared error, or softmax cross-entropy with the targets as probabilities.
    reduction : {"mean", "sum"}
        Over all n·d_out entries, cross-entropy over the n samples (the frameworks' defaults); or the sum.
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
    In a history ``time`` is the sum of the learning rates of the steps before. AdamW does not follow the
    norm-minimising flow, so there is no slow time.

    If the norm is constrained, θ is scaled after the step; m and v are not scaled. A norm of 0 stays 0.
    """

    lr: Rate = 1e-3
    weight_decay: NotNegative = 1e-2
    betas: tuple[BelowOne, BelowOne] = (0.9, 0.999)
    eps: Positive = 1e-8
    decay_layers: Layers = "both"
    loss: Loss = "mse"
    reduction: Reduction = "mean"
    norm_constraint: NormConstraint | None = None
    norm_layers: Layers = "both"
    norm_ratio: Positive = 1.0
    norm_from_step: Count = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.betas, tuple | list) or len(self.betas) != 2:
            raise ArgumentTypeError("betas", f"expected two numbers, got {self.betas!r}")
        betas = tuple(_checks.below_one(f"betas[{place}]", beta) for place, beta in enumerate(self.betas))
        _checks.convert(self, betas=betas, eps=_checks.positive("eps", self.eps))

    def _kernel_optimizer(self) -> kernels.Optimizer:
        """Return the kernel's settings."""
        first, second = self.betas
        return kernels.Optimizer(
            "adamw", self._base_lr, *self._layer_decays(), momentum=first, second_momentum=second, epsilon=self.eps
        )

    def _decay_watch(self, dtype: np.dtype[Any]) -> DecayWatch:
        """Return the watch of the weight decay in a precision."""
        return DecayWatch(
            [self._base_lr * decay for decay in self._layer_decays()], dtype, decay_by_factor, "float64 keeps it"
        )

    def _optimizer_state_names(self) -> tuple[str, ...]:
        """Name the arrays that the optimizer carries along for each layer."""
        return ("velocity", "squares")

    def _times_at(self, time: float) -> Mapping[str, float]:
        """Return the time."""
        return {"time": time}
