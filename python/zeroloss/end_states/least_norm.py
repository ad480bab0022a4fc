"""The point of least norm on the zero-loss set of a network with kinks, by sequential quadratic programming.

A step minimises the quadratic model of the Lagrangian ½‖θ‖² − Λ · (F − Y) on the tangent space, and adds the shortest
step that makes F = Y to first order. Pinned pairs are fixed, and change as in `active_set`.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from .corner_model import CornerModel, Matrix, Problem, State, Vector
from .release import choose_step, leave_corner
from .trust_region import Step, solve_step

_MOST_STEP = 0.1  # ‖p‖ relative to ‖θ‖
_STALLED = 1e-6  # the relative decrease of a residual below which the step does not change anything
_FEASIBLE = 1e-11  # max|F − Y| at the end, relative to the largest target


class _Lagrangian:
    """Products with the Hessian of the Lagrangian."""

    def __init__(self, model: CornerModel) -> None:
        self._model = model

    def multiply(self, v: Vector) -> Vector:
        return self._model.multiply(v, self._model.balanced)


def minimise(problem: Problem, state: State, tolerance: float, most_iterations: int) -> tuple[State, str]:
    """Minimise ‖θ‖ with F = Y from a state, for δ = 0, until the KKT residual is at most ``tolerance``.

    Returns the last state with its multiplier, and an empty string or the reason for which the tolerance was not
    reached.
    """
    scale = float(np.abs(problem.data.Y_train).max()) or 1.0
    residual = before = math.inf
    for _ in range(most_iterations + 1):
        try:
            model = CornerModel(problem, state)
        except np.linalg.LinAlgError:
            return state, "J is singular on the directions that keep pinned pairs pinned"
        here = model.state.with_multiplier(model.balanced)
        residual, error = here.residual(), float(np.abs(here.R).max())
        problem.trace.record(residual)
        if residual <= tolerance and error <= _FEASIBLE * scale:
            return here, ""
        if not (math.isfinite(residual) and error < scale):
            break
        if residual >= (1 - _STALLED) * before:
            beyond, _ = leave_corner(problem, model, tolerance)
            if beyond is None:
                break
            state, before = beyond, math.inf
            problem.trace.iterations += 1
            continue
        before = residual
        model, step = choose_step(problem, model, functools.partial(_solve, residual=residual), always=True)
        p = step.p - model.pull_back(here.R)
        length = float(np.linalg.norm(p))
        p *= min(1.0, _MOST_STEP * here.length / length) if length > 0 else 1.0
        state = _move(problem, model, p)
        problem.trace.iterations += 1
    return here, f"the KKT residual is {residual:.1e} after {problem.trace.iterations} iterations of Newton's method"


def _solve(model: CornerModel, residual: float) -> Step:
    gradient = model.gradient(model.balanced)
    radius, forcing = _MOST_STEP * model.state.length, max(1e-6, min(0.1, math.sqrt(residual)))
    return solve_step(_Lagrangian(model), model, gradient, radius, forcing)


def _move(problem: Problem, model: CornerModel, p: Vector) -> State:
    """Return the state after a step. Pairs that crossed an attracting kink are pinned."""
    state = model.state
    V, U = model.split(p)
    E: Matrix = state.E + V
    W: Matrix = state.W + U
    crossed = ~state.corner.pinned & ((state.corner.X @ E > 0) != state.corner.on)
    attracted = crossed & (problem.b * (model.balanced @ state.W_of_units.T) < 0)
    return problem.pin(E, W, state.corner.pinned | attracted)
