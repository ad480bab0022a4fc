"""Newton's method for networks with kinks, with departures from saddles and corners, and the curvature at its end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..curvature import SmallestCurvature
from ..curvature.generalised import smallest_in_metric
from . import active_set, least_norm
from .corner_model import CornerModel, Problem, State, Vector
from .departures import add_units, leave_saddle
from .release import leave_corner
from .smooth import classify, is_negative
from .spare_units import merge_parallel_units

_MOST_DEPARTURES = 50  # from stationary points
_CORNER = 1e-6  # the force of a unit, relative to ‖θ‖, with which it leaves a corner
_CURVATURE_ACCURACY = 1e-9


@dataclass(frozen=True)
class Polished:
    """The end of Newton's method.

    Attributes
    ----------
    state : State
        The last state.
    failure : str
        The reason for which it is not stationary, or for which its curvature is unknown; empty otherwise.
    curvature : SmallestCurvature, optional
        The smallest curvature among directions that keep pinned pairs pinned.
    can_leave_corner : bool
        Whether a unit is at a corner and its function decreases on one side of it.
    fallback : Polished, optional
        The stationary point, not a minimum, that was left before a failure.
    departure : State, optional
        The state after it was left, with a smaller φ, and for δ = 0 on the zero-loss set.
    """

    state: State
    failure: str
    curvature: SmallestCurvature | None = None
    can_leave_corner: bool = False
    fallback: Polished | None = None
    departure: State | None = None


def polish(problem: Problem, state: State, tolerance: float, most_iterations: int, *, revive: bool = False) -> Polished:
    """Run Newton's method, leave saddles and corners, merge parallel units, and for δ above 0 revive dead ones."""
    minimise = active_set.minimise if problem.delta > 0 else least_norm.minimise
    last: Polished | None = None
    departure: State | None = None
    for departures in range(_MOST_DEPARTURES + 1):
        state, failure = minimise(problem, state, tolerance, most_iterations)
        if failure:
            return Polished(state, failure, fallback=last, departure=departure)
        try:
            model = CornerModel(problem, state)
            curvature = smallest_in_metric(_Metric(model, problem.delta), model.size, _CURVATURE_ACCURACY)
        except np.linalg.LinAlgError:
            return Polished(state, "the point is stationary, but its curvature is unknown to rounding")
        beyond, can_leave_corner = leave_corner(problem, model, max(_CORNER, 10 * tolerance))
        if beyond is None and is_negative(curvature.value, curvature.residual):
            beyond = leave_saddle(problem, model, curvature.vector)
        elif beyond is None and classify(True, curvature) == "flat":
            beyond = merge_parallel_units(problem, state)
        if beyond is None and revive:
            beyond = add_units(problem, state)
        if beyond is None or departures == _MOST_DEPARTURES:
            break
        last = Polished(state, "", curvature, can_leave_corner)
        state = departure = beyond
        problem.trace.record(state.residual())
    return Polished(state, "", curvature, can_leave_corner)


class _Metric:
    """The metric of a model, and the remainder T = ∇²φ − M, as `smallest_in_metric` uses them."""

    weight_decay = 1.0

    def __init__(self, model: CornerModel, delta: float) -> None:
        self._model, self._delta = model, delta

    def multiply(self, v: Vector) -> Vector:
        return self._model.multiply_metric(v) if self._delta > 0 else v

    def solve(self, v: Vector) -> Vector:
        return self._model.solve(v) if self._delta > 0 else v

    def remainder(self, v: Vector) -> Vector:
        if self._delta > 0:
            return self._product(v)
        return self._model.solve(self._product(self._model.solve(v)))  # on the tangent space

    def _product(self, v: Vector) -> Vector:
        return self._model.multiply(v, self._model.state.multiplier) - v
