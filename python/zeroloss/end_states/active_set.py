"""An active-set Newton method for Φ of networks with kinks: which pairs are pinned, and where the others are.

An iteration minimises the quadratic model of φ = Φ/weight_decay on the directions that keep pinned pairs pinned, in a
trust region. Then pairs may have crossed their kinks. The kink attracts a pair with b g_iu < 0 from both sides; such a
pair is pinned if that decreases φ more than letting it cross. A correction brings the outputs to what the model
predicts. A pinned pair is released if its best side is at a bound, its unit still has a force across the kink,
and the step moves it to this side. φ decreases in every iteration.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from .corner_model import CornerModel, Problem, State, Vector
from .release import choose_step, is_refused, leave_corner
from .spare_units import merge_parallel_units, remove_hidden_units
from .trust_region import Step, solve_step

_FIRST_RADIUS, _GREATEST_RADIUS = 0.1, 0.3  # in units of ‖θ‖
_ACCEPTED, _POOR, _GOOD, _CLOSE = 1e-4, 0.25, 0.75, 0.9  # ratios of the decrease to its prediction
_SHRINK, _GROW = 1 / 3, 2.0
_ROUNDING = 1e-13  # a predicted decrease relative to φ that rounding hides
_PATIENCE, _WORSE = 3, 10.0  # steps with a hidden decrease that may increase the residual, by this factor at most
_LEAST_FORCING = 1e-4


def minimise(problem: Problem, state: State, tolerance: float, most_iterations: int) -> tuple[State, str]:
    """Minimise φ from a state until the KKT residual is at most ``tolerance``.

    Returns the last state, and an empty string or the reason for which the tolerance was not reached. The trace of the
    problem records the residual after each iteration.
    """
    trace, radius = problem.trace, _FIRST_RADIUS * state.length
    model: CornerModel | None = None
    tries = 0  # steps whose progress rounding hides, and that did not decrease the residual
    residual = best = state.residual()
    for _ in range(most_iterations):
        if residual <= tolerance or state.length == 0:
            return state, ""
        forcing = max(_LEAST_FORCING, min(0.1, math.sqrt(residual)))
        try:
            if model is None:
                solve = functools.partial(_solve, radius=radius, forcing=forcing)
                model, step = choose_step(problem, CornerModel(problem, state), solve, always=tries > _PATIENCE)
                if model.state is state and (beyond := _leave_if_refused(problem, model, tolerance)):
                    state, residual, model = beyond, beyond.residual(), None
                    trace.iterations += 1
                    trace.record(residual)
                    continue
            else:
                step = _solve(model, radius, forcing)
            predicted = -float(_gradient(model) @ step.p + step.p @ step.image / 2)
            trial = _land(problem, model, step.p, model.state.value - _CLOSE * predicted)
        except np.linalg.LinAlgError as error:
            return state, str(error)
        trace.iterations += 1
        if predicted <= _ROUNDING * state.value:  # only the residual shows progress
            advanced = _advance_unseen(problem, model, state, trial, best, tries, tolerance)
            if advanced is None:
                return state, f"rounding hides further progress at a KKT residual of {best:.1e}"
            state, tries = advanced
            residual = state.residual()
            best, model = min(best, residual), None
        else:
            ratio = (model.state.value - trial.value) / predicted
            radius = _adapt(radius, ratio, step, model)
            if ratio > _ACCEPTED:
                state, residual, model, tries = trial, trial.residual(), None, 0
                best = residual
        radius = min(radius, _GREATEST_RADIUS * state.length)
        trace.record(residual)
    if residual <= tolerance:
        return state, ""
    return state, f"the KKT residual is {residual:.1e} after {trace.iterations} iterations of Newton's method"


def _leave_if_refused(problem: Problem, model: CornerModel, tolerance: float) -> State | None:
    """Leave a corner if only a release makes progress, but no set of pairs can be released."""
    return leave_corner(problem, model, tolerance)[0] if is_refused(model) else None


def _advance_unseen(
    problem: Problem, model: CornerModel, state: State, trial: State, best: float, tries: int, tolerance: float
) -> tuple[State, int] | None:
    """Return the next state if rounding hides the decrease of φ, and the number of tries without a smaller residual.

    First a few steps are taken even if the residual grows a little, then more pairs may be released, and then parallel
    units are merged, hidden units are removed, or a corner is left. Returns None if nothing helps.
    """
    after = trial.residual()
    if after < best:
        return trial, 0
    if tries < _PATIENCE and after < _WORSE * best:
        return trial, tries + 1
    if tries <= _PATIENCE:
        return state, _PATIENCE + 1
    beyond = merge_parallel_units(problem, state) or remove_hidden_units(problem, state)
    beyond = beyond or leave_corner(problem, model, tolerance)[0]
    return None if beyond is None else (beyond, 0)


def _adapt(radius: float, ratio: float, step: Step, model: CornerModel) -> float:
    """Return the next radius."""
    if not ratio >= _POOR:
        return _SHRINK * min(radius, math.sqrt(max(float(step.p @ model.multiply_metric(step.p)), 0.0)))
    return _GROW * radius if ratio > _GOOD and step.at_boundary else radius


def _gradient(model: CornerModel) -> Vector:
    return model.gradient(model.state.multiplier)


def _solve(model: CornerModel, radius: float, forcing: float) -> Step:
    return solve_step(model, model, _gradient(model), radius, forcing)


def _land(problem: Problem, model: CornerModel, p: Vector, expected: float) -> State:
    """Return the state with the smallest φ after a step: pairs that crossed are pinned or not, with a correction."""
    state = model.state
    V, U = model.split(p)
    E, W = state.E + V, state.W + U
    pinned = state.corner.pinned
    crossed = ~pinned & ((state.corner.X @ E > 0) != state.corner.on)
    attracted = crossed & (problem.b * (model.balanced @ state.W_of_units.T) < 0)
    outputs = state.R + model.image(p)
    best = state
    best_value = math.inf
    for pins in [pinned, pinned | attracted] if attracted.any() else [pinned]:
        landed = problem.pin(E, W, pins)
        trials = [landed]
        if not landed.value <= expected and math.isfinite(landed.value):
            local = model if pins is pinned else CornerModel(problem, landed)
            dE, dW = local.split(local.pull_back(landed.R - outputs))
            trials.append(problem.pin(landed.E - dE, landed.W - dW, landed.corner.pinned))
        for trial in trials:
            if trial.value < best_value:
                best, best_value = trial, trial.value
    return best
