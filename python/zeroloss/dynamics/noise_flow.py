"""The flow of label noise on the zero-loss set, beyond the paper: it lowers the trace of the Hessian.

Blanc, Gupta, Valiant and Valiant, "Implicit regularization for deep neural networks driven by an Ornstein–Uhlenbeck
like process", COLT 2020; Damian, Ma and Lee, "Label noise SGD provably prefers flat global minimizers", NeurIPS 2021;
Li, Wang and Arora, "What happens after SGD reaches zero loss?", ICLR 2022.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._checks import ArgumentValueError, format_value
from .._choices import ExplicitMethod, Positive
from .._kernels import kernels
from ..datasets import Dataset, kernel_samples
from ..geometry.solver import singular_error
from ..networks import Network, check_fits, has_kink, kernel_activation
from .flow import convert_step_settings
from .gradient_descent import GradientDescent
from .learning_rate import Constant
from .on_set import Layers, OnSetStepper, explicit_cost
from .stepper import Cost, Record

METHODS = ("euler", "bogacki_shampine")

#: The settings of a descent that the flow describes. All others must have their defaults.
_DESCRIBED = (
    *("lr", "momentum", "reduction", "label_noise_std"),
    *("compensated", "noise_seed", "decay_layers", "decay_biases"),  # They do not matter here.
)


@dataclass(frozen=True)
class NoiseFlow:
    """The flow of label noise, dθ/dt = −P ∇tr H(θ), on the zero-loss set 𝒵 = {θ : F(θ) = Y}.

    H is the Hessian of the mean squared error. P = I − J⁺J projects on the tangent space, with J = ∂F/∂θ. After every
    step, Gauss–Newton retracts θ onto 𝒵.

    Gradient descent with fresh noise on the targets at every step (``label_noise_std``), with the full batch and
    without weight decay, follows this flow after memorisation if its learning rate is small. A step of the descent
    covers the time `time_per_step` of the flow.

    Parameters
    ----------
    step_size : float, optional
        The size of fixed steps in the time of the flow, above 0. Give either ``step_size`` or ``rtol``.
    rtol : float, optional
        The relative tolerance of adaptive steps, above 0. Every accepted step is a step of the simulation.
    atol : float, optional
        The absolute tolerance of adaptive steps, above 0; rtol/10 by default.
    method : {"euler", "bogacki_shampine"}, optional
        The integrator; by default "euler" for fixed and "bogacki_shampine" for adaptive steps. "euler" takes fixed
        steps only.
    retraction_tolerance : float
        The largest max|F − Y| after a step, above 0, by default 1e-10.

    Notes
    -----
    The network must be float64 and on the set, max|F − Y| ≤ 10⁻⁶: see `zeroloss.geometry.project`. On the set H is the
    Gauss–Newton matrix (2/N) JᵀJ with N = n·d_out. The history records its trace as ``hessian_trace``, which falls
    along the flow. If it rises, a fixed ``step_size`` is too large. If J loses rank, the run ends as singular.

    The activation must be smooth. With ReLU and leaky ReLU, tr H jumps if a pre-activation changes its sign. The flow
    is not defined there: these jumps act on descent with noise, and the gradient between them does not contain them.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    >>> net = zl.networks.uniform_fan_in(data, hidden=24, seed=1, activation="softplus(5)", dtype="float64")
    >>> net = zl.geometry.project(net, data).network
    >>> run = zl.simulate(zl.NoiseFlow(rtol=1e-4), data, net, duration=0.1)
    >>> bool(run.history.hessian_trace[-1] < run.history.hessian_trace[0])
    True
    """

    step_size: Positive | None = None
    rtol: Positive | None = None
    atol: Positive | None = None
    method: ExplicitMethod | None = None
    retraction_tolerance: Positive = 1e-10

    def __post_init__(self) -> None:
        _checks.set_fields(
            self,
            retraction_tolerance=_checks.positive("retraction_tolerance", self.retraction_tolerance),
            **convert_step_settings(self.step_size, self.rtol, self.atol),
        )
        if self.method is not None:
            _checks.choice("method", self.method, METHODS)
        if self.rtol is not None and self.method == "euler":
            raise ArgumentValueError("method", "'euler' has no error estimate for rtol; use bogacki_shampine")

    @staticmethod
    def time_per_step(descent: GradientDescent, data: Dataset) -> float:
        """Return the time of the flow that one step of gradient descent with label noise covers.

        Parameters
        ----------
        descent : GradientDescent
            The descent: squared error on the full batch, with a constant lr and ``label_noise_std``. It may have
            momentum.
        data : Dataset
            The samples.

        Returns
        -------
        float
            The time lr² s²/(2N (1 − momentum)²) with s = label_noise_std and N = n·d_out. With reduction "sum", whose
            loss is N times as large, the time is N² times as large.

        Raises
        ------
        ValueError, TypeError
            If the descent has settings that the flow does not describe, such as weight decay or minibatches.
        """
        _checks.check_instance("descent", descent, GradientDescent)
        _checks.check_instance("data", data, Dataset)
        for field in dataclasses.fields(descent):
            value = getattr(descent, field.name)
            if field.name not in _DESCRIBED and value != field.default:
                raise ArgumentValueError(
                    "descent",
                    f"expected {field.name}={field.default!r}, which the flow assumes, got {format_value(value)}",
                )
        lr = descent.lr.lr if isinstance(descent.lr, Constant) else descent.lr
        if not isinstance(lr, float):
            raise ArgumentValueError("descent", f"expected a constant lr, got {format_value(lr)}")
        N = data.Y_train.size
        lr = lr / (1 - descent.momentum) * (N if descent.reduction == "sum" else 1)
        return float((lr * descent.label_noise_std) ** 2 / (2 * N))

    def start(self, data: Dataset, network: Network, threads: int = 1) -> NoiseFlowStepper:
        """Return a stepper that starts at a network.

        `zeroloss.simulate` calls this method.

        Parameters
        ----------
        data : Dataset
            The samples.
        network : Network
            The start.
        threads : int
            Threads for one step.

        Returns
        -------
        Stepper
            The stepper.
        """
        check_fits(network, data)
        if has_kink(network):
            raise ArgumentValueError(
                "network",
                f"expected a smooth activation, got {network.activation}: the trace of the Hessian jumps at kinks; use "
                "for example softplus(5)",
            )
        return NoiseFlowStepper(self, data, network, threads)

    def fixed_step(self) -> float | None:
        """Return the time that one step covers.

        Returns
        -------
        float or None
            ``step_size``; None if steps are adaptive.
        """
        return self.step_size

    def cost(self, data: Dataset, network: Network) -> Cost:
        """Return the cost of a step: a factorisation of J Jᵀ.

        Parameters
        ----------
        data : Dataset
            The samples.
        network : Network
            The start.

        Returns
        -------
        Cost
            Operations and bytes.
        """
        return explicit_cost(data, network)


class NoiseFlowStepper(OnSetStepper):
    """A stepper of the flow of label noise with explicit steps."""

    def __init__(self, settings: NoiseFlow, data: Dataset, network: Network, threads: int = 1) -> None:
        s = settings
        super().__init__(s.step_size, s.rtol, s.atol, s.method, s.retraction_tolerance, data, network, threads)
        self._samples = kernel_samples(data, "train", np.dtype("float64"), network.bias_hidden is not None)
        self._activation, self._loss = kernel_activation(network), kernels.Loss("mse", "mean")
        self._threads = threads

    def tangent_direction(self, E: NDArray[np.float64], W: NDArray[np.float64]) -> Layers:
        """Return −P ∇tr H."""
        _, gE, gW = self._trace(E, W)
        direction = self._zero_loss.set.tangent_part(E, W, -gE, -gW)
        if direction is None:
            raise singular_error(self._like.with_layers(E, W), self._data)
        return direction

    def record(self) -> Record:
        """Return the record of the state, with tr H."""
        return {**super().record(), "hessian_trace": self._trace(self.state["E"], self.state["W"])[0]}

    def _trace(
        self, E: NDArray[np.float64], W: NDArray[np.float64]
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Return tr H and its gradient."""
        return kernels.gauss_newton_trace(self._samples, E, W, self._activation, self._loss, self._threads)
