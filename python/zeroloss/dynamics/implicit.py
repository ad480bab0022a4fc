"""Implicit steps along a flow dθ/dt = −decay · θ + force(θ), by backward differences of second order.

A step of size h from θ_n solves θ = c + (h/q) force(θ) with

    c = [(1 + r) θ_n − r²/(1 + r) θ_{n−1}] / q,   q = (1 + 2r)/(1 + r) + decay · h,   r = h/h_prev.

The first step is a step of the backward Euler method: c = θ_n/q with q = 1 + decay · h. A dynamics solves the equation.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np

from ..networks import Network
from .flow import FlowStepper, ProximalError
from .runge_kutta import GREATEST, StepSizeTooSmallError, Tolerances, Vector
from .stepper import State

#: The safety factor of a new step size, and the smallest and greatest factor of its change.
_SAFETY, _LEAST, _MOST = 0.9, 0.2, 1.5
#: A factor of the error estimate. With it, rtol = 10⁻² is a distance of about 0.04 in the setting of figure 5.
_STRICTNESS = 3.5
#: A flow ends if it needs a step below this size.
_SMALLEST = 1e-9
#: The factor of the step size after a step whose equations were not solved.
_QUARTER = 0.25


@dataclass(frozen=True)
class ImplicitEquation:
    """The equation θ = c + (size/q) · force(θ) of a step."""

    size: float
    q: float
    c_E: Vector
    c_W: Vector


class ImplicitStepper(FlowStepper):
    """A stepper with implicit steps. In addition to the state of every flow, its state holds θ before the last step.

    A step that does not meet the tolerances is repeated with a smaller size. So is a step of variable size whose
    equation was not solved.
    """

    def __init__(self, network: Network, step: float | Tolerances, decay: float) -> None:
        super().__init__(network, step)
        self._decay = decay
        self.state |= {"earlier_E": self.state["E"].copy(), "earlier_W": self.state["W"].copy()}

    @abstractmethod
    def _solve(self, equation: ImplicitEquation) -> State:
        """Return the state after a step: E, W and what else it changes. Raises ProximalError if it fails."""

    def _explain(self, error: ProximalError) -> None:
        """Raise the error that caused a step to fail, if it is known."""

    def _predict_first(self, size: float) -> Vector | None:
        """Return an explicit prediction of (E, W) after the first step, to check it; None for no check."""
        del size
        return None

    def _take_step(self, room: float) -> None:
        size = self._next_size()
        while True:
            taken = min(size, room)
            try:
                self.state["evaluations"] = self.state["evaluations"] + 1
                after = self._solve(self._equation(taken))
            except ProximalError as error:
                if not isinstance(self._step, Tolerances) or taken * _QUARTER < _SMALLEST:
                    self._explain(error)
                    raise
                size = taken * _QUARTER
            else:
                if not isinstance(self._step, Tolerances):
                    break
                ratio = self._error_ratio(after, taken, self._step)
                change = _MOST if ratio == 0 else min(_MOST, max(_LEAST, _SAFETY / np.sqrt(ratio)))
                if ratio <= 1:
                    self.state["next_size"] = np.array(size if taken < size else min(taken * change, GREATEST))
                    break
                size = taken * (change if np.isfinite(ratio) else _LEAST)
                if size < _SMALLEST:
                    raise StepSizeTooSmallError(
                        f"no implicit step above {_SMALLEST:g} meets rtol = {self._step.rtol:g}"
                    ) from None
            self.state["rejected_steps"] = self.state["rejected_steps"] + 1
        self.state["earlier_E"], self.state["earlier_W"] = self.state["E"], self.state["W"]
        self.state |= after
        self._count_step(taken)

    def _equation(self, size: float) -> ImplicitEquation:
        return backward_difference(self.state, float(self.state["step_size"]), size, self._decay)

    def _error_ratio(self, after: State, size: float, tolerances: Tolerances) -> float:
        """Return the distance of a step from linear extrapolation, in units of the tolerance.

        The first step has nothing to extrapolate. It is compared with an explicit prediction, if there is one.
        """
        before = float(self.state["step_size"])
        if before > 0:
            return extrapolation_error(self.state, after, before, size, tolerances)
        predicted = self._predict_first(size)
        if predicted is None:
            return 1.0
        here, there = _position(self.state), _position(after)
        return _STRICTNESS * tolerances.ratio(there - predicted, here, there)


def backward_difference(state: State, before: float, size: float, decay: float) -> ImplicitEquation:
    """Return the equation of a step of a size from a state. ``before`` is h_prev, or 0 for the first step."""
    r = size / before if before > 0 else 0.0
    q = (1 + 2 * r) / (1 + r) + decay * size
    c_E, c_W = (((1 + r) * state[layer] - r**2 / (1 + r) * state[f"earlier_{layer}"]) / q for layer in ("E", "W"))
    return ImplicitEquation(size, q, c_E, c_W)


def extrapolation_error(state: State, after: State, before: float, size: float, tolerances: Tolerances) -> float:
    """Return the distance of a step from linear extrapolation, in units of the tolerance."""
    here, there, earlier = _position(state), _position(after), _position(state, "earlier_")
    return _STRICTNESS * tolerances.ratio(there - here - size / before * (here - earlier), here, there)


def _position(state: State, prefix: str = "") -> Vector:
    """Return E and W of a state as one vector."""
    return np.concatenate([state[prefix + layer].ravel() for layer in ("E", "W")])
