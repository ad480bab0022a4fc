"""The norm-minimising flow on the zero-loss set (Sec. 4, Eqs. 28, 29 of arXiv 2511.01938)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .. import _checks
from .._checks import ArgumentValueError
from .._choices import FlowMethod, Positive
from ..datasets import Dataset
from ..geometry import memory_needed
from ..geometry.solver import require_float64, singular_error
from ..networks import Network
from .flow import ExplicitStepper, checked_step, convert_step_settings
from .proximal import FLOPS_FOR_THREADS, ProximalStepper, proximal_cost
from .runge_kutta import Tolerances, Vector
from .stepper import Cost, Record
from .zero_loss import ZeroLossConstraint

METHODS = ("euler", "bogacki_shampine", "proximal")


@dataclass(frozen=True)
class NormFlow:
    """dθ/ds = g(θ) = −(I − J⁺J) θ on 𝒵 = {θ : F(θ) = Y}, retracted onto 𝒵 by Gauss–Newton after every step.

    X and Y are all training samples (full batch).

    Gradient descent with vanishing weight decay follows this flow after memorisation, in slow time
    s = weight_decay · lr · steps / (1 − momentum).

    Parameters
    ----------
    step_size : float, optional
        A fixed step in slow time, of Euler's method unless ``method`` says otherwise.
    rtol, atol : float, optional
        Instead of it, the tolerances of adaptive steps, Bogacki and Shampine's unless ``method`` says otherwise;
        atol is rtol/10 by default. An accepted step is a step of the simulation.
    method : {"euler", "bogacki_shampine", "proximal"}, optional
        "euler" takes fixed steps only. "proximal" takes implicit ones, fixed or adaptive, which slide along the
        corners of the set: for ReLU and leaky ReLU many times fewer.
    retraction_tolerance : float
        max|F − Y| after every step.

    Notes
    -----
    The network must be float64 and on the set, max|F − Y| ≤ 10⁻⁶: see `zeroloss.geometry.project`. For ReLU the set
    has corners, along which explicit steps chatter: adaptive ones become small. Implicit steps are second-order
    backward differences; `zeroloss.dynamics.proximal` gives their equations and tolerances. Beyond
    about s = 1.5 the flow of ReLU branches, so that only norms, losses and accuracies can be compared.
    """

    step_size: Positive | None = None
    rtol: Positive | None = None
    atol: Positive | None = None
    method: FlowMethod | None = None
    retraction_tolerance: Positive = 1e-10

    def __post_init__(self) -> None:
        _checks.convert(
            self,
            retraction_tolerance=_checks.positive("retraction_tolerance", self.retraction_tolerance),
            **convert_step_settings(self.step_size, self.rtol, self.atol),
        )
        if self.method is not None:
            _checks.choice("method", self.method, METHODS)
        if self.rtol is not None and self.method == "euler":
            raise ArgumentValueError(
                "method", "expected bogacki_shampine or proximal with rtol, got 'euler', which has no error estimate"
            )

    def start(self, data: Dataset, network: Network, threads: int = 1) -> NormFlowStepper | ProximalStepper:
        """Return the flow at the network."""
        if self.method == "proximal":
            step = checked_step(self.step_size, self.rtol, self.atol)
            return ProximalStepper(step, self.retraction_tolerance, data, network, threads)
        return NormFlowStepper(self, data, network, threads)

    def fixed_step(self) -> float | None:
        """Return the slow time of a step; None if steps are adaptive."""
        return self.step_size

    def cost(self, data: Dataset, network: Network) -> Cost:
        """Return the cost of a step: a factorisation of J Jᵀ and less, or products with it."""
        require_float64(network, data)
        if self.method == "proximal":
            return proximal_cost(data, network)
        return Cost(data.Y_train.size**3 / 3, memory_needed(network, data), flops_for_threads=FLOPS_FOR_THREADS)


class NormFlowStepper(ExplicitStepper):
    """The norm flow under way in explicit steps; y is E and W in one vector."""

    def __init__(self, settings: NormFlow, data: Dataset, network: Network, threads: int = 1) -> None:
        step = checked_step(settings.step_size, settings.rtol, settings.atol)
        default = "bogacki_shampine" if isinstance(step, Tolerances) else "euler"
        super().__init__(network, step, settings.method or default)
        self._tolerance, self._data = settings.retraction_tolerance, data
        self._zero_loss = ZeroLossConstraint(data, network, "auto", threads)
        self._zero_loss.check(self.state)

    def position(self) -> Vector:
        """Return θ."""
        return np.concatenate([self.state["E"].ravel(), self.state["W"].ravel()])

    def slope(self, y: Vector) -> Vector:
        """Return g(θ)."""
        E, W = self._parts(y)
        found = self._zero_loss.set.direction(E, W)
        if found is None:
            raise singular_error(Network(E, W, self._activation), self._data)
        return np.concatenate([part.ravel() for part in found])

    def move(self, y: Vector) -> None:
        """Retract θ onto the set."""
        E, W = (part.copy() for part in self._parts(y))
        self._zero_loss.retract(E, W, self._tolerance)
        self.state["E"], self.state["W"] = E, W

    def record(self) -> Record:
        """Describe the state. The flow's time is slow time."""
        steps = self.step_record()
        return {**self._zero_loss.record(self.state), **steps, "slow_time": steps["time"]}

    def _parts(self, y: Vector) -> tuple[Vector, Vector]:
        E, W = np.split(y, [self.state["E"].size])
        return E.reshape(self.state["E"].shape), W.reshape(self.state["W"].shape)
