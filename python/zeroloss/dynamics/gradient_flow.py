"""The gradient flow at finite weight decay, beyond the paper: its theorems are about this flow and its limit."""

from __future__ import annotations

from dataclasses import dataclass

from .. import _checks
from .._checks import ArgumentValueError
from .._choices import GradientFlowMethod, Layers, Loss, NotNegative, Positive, Reduction
from ..datasets import Dataset
from ..geometry.solver import require_float64
from ..networks import Network, check_fits, has_kink
from .chebyshev import ChebyshevStepper
from .descent import LAYERS, LOSSES, REDUCTIONS
from .gradient import GradientAtPoint
from .proximal import proximal_cost
from .runge_kutta import Tolerances
from .softened_proximal import SoftenedProximalStepper
from .stepper import Cost

#: The default of rtol. With kinks, smaller tolerances make the steps short.
_RTOL, _RTOL_KINKED = 1e-4, 1e-2
METHODS = ("chebyshev", "proximal")
#: Below this weight decay, for losses with reduction "mean", implicit steps are cheaper. The number of stages of
#: explicit steps grows with its inverse square root. At p = 11 and h = 128 both cost the same.
_SMALL_DECAY = 2.5e-7


@dataclass(frozen=True)
class GradientFlow:
    """The gradient flow dθ/dt = −∇loss(θ) − weight_decay · θ, in adaptive steps.

    Gradient descent with a small learning rate follows this flow: lr · steps is its time t. Every step uses the full
    batch.

    Parameters
    ----------
    weight_decay : float
        The weight decay. At least 0, by default 0.
    rtol : float, optional
        The relative tolerance of a step, above 0; by default 1e-4, and 1e-2 for ReLU and leaky ReLU.
    atol : float, optional
        The absolute tolerance of a step, above 0; rtol/10 by default.
    method : {"chebyshev", "proximal"}, optional
        The integrator; by default the cheaper one, see `choose_method`.
    loss : {"mse", "cross_entropy"}
        Squared error, or softmax cross-entropy with the targets as probabilities.
    reduction : {"mean", "sum"}
        The mean or the sum of the losses, as for `zeroloss.GradientDescent`.
    temperature : float
        The number T > 0 that divides the outputs in the cross-entropy, F/T. By default 1.
    train_layers : {"both", "E", "W"}
        The layers that move, by default both. A layer that does not move does not decay. One layer needs the method
        "chebyshev".

    Notes
    -----
    The network must be float64. In a history, ``time`` is t, and ``slow_time`` is s = weight_decay · t, the time of the
    norm flow. ``evaluations`` counts evaluations of the gradient or, for "proximal", solutions of implicit steps.

    "chebyshev" takes stabilised explicit steps of second order (RKC). The number of stages of a step follows from the
    sharpness, which is recorded as ``spectral_radius``, and grows with the square root of the step size. "proximal"
    takes implicit steps of second order, which slide along the kinks of ReLU. It needs squared error, ReLU or leaky
    ReLU, and weight_decay above 0. Its cost hardly depends on weight_decay. The outcome of a run names its method.

    For ReLU the flow branches where several units reach a kink at the same time: from there on a method, a tolerance or
    a learning rate decides which branch is followed. Tolerances far below 1e-2 make steps small at kinks.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(11, test_count=7)
    >>> net = zl.networks.uniform_fan_in(data, hidden=128, seed=1, activation="softplus(5)", dtype="float64")
    >>> run = zl.simulate(zl.GradientFlow(weight_decay=1e-4), data, net, duration=1000)
    >>> float(run.history.train_loss[-1]) < 1e-3
    True
    """

    weight_decay: NotNegative = 0.0
    rtol: Positive | None = None
    atol: Positive | None = None
    method: GradientFlowMethod | None = None
    loss: Loss = "mse"
    reduction: Reduction = "mean"
    temperature: Positive = 1.0
    train_layers: Layers = "both"

    def __post_init__(self) -> None:
        _checks.set_fields(
            self,
            weight_decay=_checks.not_negative("weight_decay", self.weight_decay),
            **{
                name: _checks.positive(name, value)
                for name, value in (("rtol", self.rtol), ("atol", self.atol))
                if value is not None
            },
        )
        _checks.choice("loss", self.loss, LOSSES)
        _checks.choice("reduction", self.reduction, REDUCTIONS)
        _checks.choice("train_layers", self.train_layers, LAYERS)
        if self.method is not None:
            _checks.choice("method", self.method, METHODS)
        _checks.set_fields(self, temperature=_checks.temperature(self.temperature, self.loss))
        if self.method == "proximal" and self.loss != "mse":
            raise ArgumentValueError("method", f"'proximal' needs loss 'mse', got {self.loss!r}; use 'chebyshev'")
        if self.method == "proximal" and self.train_layers != "both":
            raise ArgumentValueError(
                "method", f"'proximal' needs train_layers 'both', got {self.train_layers!r}; use 'chebyshev'"
            )
        if self.method == "proximal" and self.weight_decay == 0:
            raise ArgumentValueError("method", "'proximal' needs weight_decay above 0; use 'chebyshev'")

    def start(self, data: Dataset, network: Network, threads: int = 1) -> ChebyshevStepper | SoftenedProximalStepper:
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
        gradient = self._gradient(data, network, threads)
        rtol = self.rtol or (_RTOL_KINKED if has_kink(network) else _RTOL)
        tolerances = Tolerances(rtol, self.atol or rtol / 10)
        if self.choose_method(data, network) == "chebyshev":
            return ChebyshevStepper(gradient, tolerances, data, network)
        scale = 1.0 if self.reduction == "sum" else 1 / data.Y_train.size
        return SoftenedProximalStepper(gradient, tolerances, data, network, scale)

    def choose_method(self, data: Dataset, network: Network) -> GradientFlowMethod:
        """Return the method that steps from a network use.

        Parameters
        ----------
        data : Dataset
            The samples.
        network : Network
            The start.

        Returns
        -------
        {"chebyshev", "proximal"}
            ``method`` if it is given. Otherwise "proximal" if it can be used and weight_decay is below 2.5·10⁻⁷ (with
            reduction "sum", n·d_out times this number), and "chebyshev" if not.

        Raises
        ------
        ValueError, TypeError
            If the network is not float64, or "proximal" does not fit its activation.
        """
        require_float64(network, data)
        kinked = has_kink(network)
        if self.method == "proximal" and not kinked:
            raise ArgumentValueError(
                "method", f"'proximal' is for relu and leaky_relu, got {network.activation}; use 'chebyshev'"
            )
        if self.method is not None:
            return self.method
        small_decay = _SMALL_DECAY * (data.Y_train.size if self.reduction == "sum" else 1)
        can_be_proximal = kinked and self.loss == "mse" and self.weight_decay > 0 and self.train_layers == "both"
        return "proximal" if can_be_proximal and self.weight_decay < small_decay else "chebyshev"

    def fixed_step(self) -> float | None:
        """Return the time that one step covers.

        Returns
        -------
        float or None
            None: steps are adaptive.
        """
        return None

    def cost(self, data: Dataset, network: Network) -> Cost:
        """Return the cost of a step: evaluations of the gradient, or the products of an implicit step.

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
        if self.choose_method(data, network) == "proximal":
            return proximal_cost(data, network)
        (n, d_out), h, d_in = data.Y_train.shape, network.hidden, data.d_in
        copies = 60 + 14  # vectors of the Lanczos iteration, and copies of θ
        floats = copies * h * (d_in + d_out) + 5 * n * d_out + 8 * n * h
        return Cost(6.0 * n * h * d_out, 8 * floats)

    def _gradient(self, data: Dataset, network: Network, threads: int) -> GradientAtPoint:
        return GradientAtPoint(
            data,
            network,
            self.weight_decay,
            self.loss,
            self.reduction,
            threads,
            self.temperature,
            self.train_layers,
        )
