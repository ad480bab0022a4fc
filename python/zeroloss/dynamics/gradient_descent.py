"""Gradient descent with weight decay and momentum on both layers (Eq. 13 and Sec. 7.1 of arXiv 2511.01938)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _checks
from .._choices import AtLeastOne, BelowOne, Count, Layers, Loss, NormConstraint, NotNegative, Positive, Reduction
from .._deprecated import accept_old_names
from .._kernels import kernels
from .decay import DecayWatch, decay_by_difference
from .descent import DescentSettings
from .learning_rate import Rate


@accept_old_names("dynamics")
@dataclass(frozen=True)
class GradientDescent(DescentSettings):
    """Gradient descent on both layers: θ ← θ − lr · v with v ← momentum · v + ∇loss(θ) + weight_decay · θ.

    ``torch.optim.SGD`` has the same equations. By default every step uses the full batch: ∇loss is the
    gradient of the loss over all training samples.

    Parameters
    ----------
    lr : float or LearningRate
        Learning rate, above 0, or a schedule, also as a mapping: see `zeroloss.learning_rate`.
    weight_decay : float
        The coefficient that multiplies θ in the update. At least 0. See the notes for the paper's λ.
    momentum : float
        The factor of v from step to step, in [0, 1).
    loss : {"mse", "cross_entropy"}
        Squared error, or softmax cross-entropy with the targets as probabilities.
    reduction : {"mean", "sum"}
        The mean, as in PyTorch, or the paper's sum of the losses. The mean of the squared error is over all n·d_out
        entries, the mean of the cross-entropy over the n samples.
    compensated : bool
        Whether the rounding error of θ is carried from step to step (Kahan's sum). If lr · weight_decay is not far
        above the rounding unit of the dtype (6·10⁻⁸ in float32), plain sums lose the decay and compensated sums do not.
    decay_layers : {"both", "E", "W"}
        The layers that decay, with their biases.
    norm_constraint : {"fixed", "at_most", "once"}, optional
        How a norm is constrained: to a fixed value, to at most this value, or to it once; by default not at all. See
        the notes.
    norm_layers : {"both", "E", "W"}
        The norm that is constrained: √(‖E‖² + ‖W‖²), with one factor for both layers, or the norm of one layer.
    norm_ratio : float
        The target of the norm, divided by the norm at step ``norm_from_step``. Above 0.
    norm_from_step : int
        The last step without the constraint, whose norm is the reference. At least 0.
    train_layers : {"both", "E", "W"}
        The layers that are trained. A layer that is not trained keeps its values and does not decay.
    lr_W : float, optional
        The learning rate of W, above 0, by default ``lr``. A schedule scales it as it scales the rate of E.
    batch_size : int, optional
        The number of samples in a step, from 1 to n. By default every step uses all n samples. See the notes.
    batch_seed : int
        The seed of the minibatches, from 0 to 2⁶⁴ − 1, by default 0. Without ``batch_size`` it does nothing.
    label_noise_std : float
        The standard deviation of the noise that every step adds to its targets, at least 0. See the notes.
    noise_seed : int
        The seed of the noise, from 0 to 2⁶⁴ − 1, by default 0. Without label noise it does nothing.
    temperature : float
        The number T > 0 that divides the outputs in the cross-entropy, F/T. By default 1.
    decay_biases : bool
        Whether biases decay with their layer. If False, only E and W decay.

    Notes
    -----
    In a history, ``time`` is the sum of the learning rates of the earlier steps (lr · steps without a schedule), and
    ``slow_time`` is s = weight_decay · time / (1 − momentum), the time of the norm-minimising flow.

    The paper adds λ‖θ‖² to the summed loss (Eq. 13). With ``reduction="sum"`` this is weight_decay = 2λ. With the mean
    over N = n·d_out entries, λ = N · weight_decay / 2, and the paper's step is lr/N.

    With a ``norm_constraint``, θ is scaled after a step, so that its norm is the target: ``norm_ratio`` times the norm
    at step ``norm_from_step``. "fixed" scales after every later step, which is descent projected onto a sphere.
    "at_most" scales after each later step that leaves a greater norm, and "once" only after the first later step. v is
    not scaled. Biases belong to their layer: they count in its norm and are scaled with it. The rounding error that
    ``compensated`` carries includes the rounding of the scaling. A norm of 0 stays 0.

    With a ``batch_size`` b, the samples are put into a random order for each epoch, and each of its steps takes the
    next b of them. The last step of an epoch takes the rest if b does not divide n. The mean of the loss is over the
    samples of the step. ``label_noise_std`` multiplies a fresh normal number for every target of every step. Both
    depend only on the seed and on the number of the step; see the page "Choose how to train". Records are over
    all samples, without noise.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(11, test_count=7)
    >>> net = zl.networks.uniform_fan_in(data, hidden=128, seed=1)
    >>> run = zl.simulate(zl.GradientDescent(lr=1.0, weight_decay=1e-4), data, net, steps=1000)
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
    train_layers: Layers = "both"
    lr_W: Positive | None = None
    batch_size: AtLeastOne | None = None
    batch_seed: Count = 0
    label_noise_std: NotNegative = 0.0
    noise_seed: Count = 0
    temperature: Positive = 1.0
    decay_biases: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.set_fields(self, momentum=_checks.below_one("momentum", self.momentum))
        _checks.check_instance("compensated", self.compensated, bool)

    def _kernel_optimizer(self) -> kernels.Optimizer:
        """Return the optimizer as the kernel takes it."""
        return kernels.Optimizer(
            "sgd",
            self._base_lr,
            *self._layer_decays(),
            momentum=self.momentum,
            compensated=self.compensated,
            **self._kernel_layers(),
            decay_biases=self.decay_biases,
        )

    def _decay_watch(self, dtype: np.dtype[Any]) -> DecayWatch:
        """Return the check of the decay after rounding, for parameters of a dtype. A compensated decay needs none."""
        rates = [0.0 if self.compensated else rate for rate in self._decay_rates()]
        return DecayWatch(rates, dtype, decay_by_difference, "use compensated=True or float64")

    def _optimizer_state_names(self) -> tuple[str, ...]:
        """Return the names of the arrays that the optimizer stores for each layer."""
        return ("velocity",) * (self.momentum != 0) + ("compensation",) * self.compensated

    def _times_at(self, time: float) -> Mapping[str, float]:
        """Return the time coordinates of a record: time and slow time."""
        return {"time": time, "slow_time": self.weight_decay * time / (1 - self.momentum)}
