"""AdamW on both layers (Loshchilov and Hutter, arXiv 1711.05101), with PyTorch's conventions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _checks
from .._checks import ArgumentTypeError
from .._choices import AtLeastOne, BelowOne, Count, Layers, Loss, NormConstraint, NotNegative, Positive, Reduction
from .._deprecated import accept_old_names
from .._kernels import kernels
from .decay import DecayWatch, decay_by_factor
from .descent import DescentSettings
from .learning_rate import Rate


@accept_old_names("dynamics")
@dataclass(frozen=True)
class AdamW(DescentSettings):
    """AdamW on both layers: θ ← (1 − lr · weight_decay) θ − lr · m̂/(√v̂ + eps).

    ``torch.optim.AdamW`` has the same equations. m and v are running means of ∇loss and of its squares, with
    weights β₁ and β₂. At step t, m̂ = m/(1 − β₁ᵗ) and v̂ = v/(1 − β₂ᵗ). By default every step uses the
    full batch: ∇loss is the gradient of the loss over all training samples.

    Parameters
    ----------
    lr : float or LearningRate
        Learning rate, above 0, or a schedule, also as a mapping: see `zeroloss.learning_rate`.
    weight_decay : float
        The coefficient that multiplies θ in the update, separate from the adaptive step. At least 0.
    betas : (float, float)
        The weights β₁ and β₂ of the running means, in [0, 1).
    eps : float
        The constant that is added to √v̂, above 0.
    decay_layers : {"both", "E", "W"}
        The layers that decay, with their biases.
    loss : {"mse", "cross_entropy"}
        Squared error, or softmax cross-entropy with the targets as probabilities.
    reduction : {"mean", "sum"}
        The mean, as in PyTorch, or the sum of the losses. The mean of the squared error is over all n·d_out entries,
        the mean of the cross-entropy over the n samples.
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
    In a history, ``time`` is the sum of the learning rates of the earlier steps. AdamW does not follow the
    norm-minimising flow, so there is no slow time.

    With a ``norm_constraint``, θ is scaled after a step, so that its norm is the target: ``norm_ratio`` times the norm
    at step ``norm_from_step``. "fixed" scales after every later step, "at_most" after each later step that leaves a
    greater norm, and "once" only after the first later step. m and v are not scaled. Biases belong to their layer: they
    count in its norm and are scaled with it. A norm of 0 stays 0.

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
    >>> run = zl.simulate(zl.AdamW(lr=1e-3, weight_decay=0.1), data, net, steps=1000)
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
        if not isinstance(self.betas, tuple | list) or len(self.betas) != 2:
            raise ArgumentTypeError("betas", f"expected two numbers, got {self.betas!r}")
        betas = tuple(_checks.below_one(f"betas[{place}]", beta) for place, beta in enumerate(self.betas))
        _checks.set_fields(self, betas=betas, eps=_checks.positive("eps", self.eps))

    def _kernel_optimizer(self) -> kernels.Optimizer:
        """Return the optimizer as the kernel takes it."""
        first, second = self.betas
        return kernels.Optimizer(
            "adamw",
            self._base_lr,
            *self._layer_decays(),
            momentum=first,
            second_momentum=second,
            epsilon=self.eps,
            **self._kernel_layers(),
            decay_biases=self.decay_biases,
        )

    def _decay_watch(self, dtype: np.dtype[Any]) -> DecayWatch:
        """Return the check of the decay after rounding, for parameters of a dtype."""
        return DecayWatch(self._decay_rates(), dtype, decay_by_factor, "use float64")

    def _optimizer_state_names(self) -> tuple[str, ...]:
        """Return the names of the arrays that the optimizer stores for each layer."""
        return ("velocity", "squares")

    def _times_at(self, time: float) -> Mapping[str, float]:
        """Return the time coordinates of a record: the time alone."""
        return {"time": time}
