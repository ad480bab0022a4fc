"""Departures from stationary points that are no minima: along a negative curvature, and with new units.

A departure moves the parameters, and then Gauss–Newton steps return the outputs. So the norm alone determines how long
it may be, and for δ = 0 it stays on the zero-loss set.
"""

from __future__ import annotations

import math

import numpy as np

from .corner_model import CornerModel, Matrix, Problem, State, Vector
from .new_unit import GAIN, find_dead_units, place_units, search_units

_LONGEST = 0.3  # of a departure along a negative curvature, in units of √(2φ)
_LARGEST = 0.1  # ‖E_u‖ of a new unit, in units of √(2φ)
_SIZES, _SHRINK = 20, 1 / 3  # that are tried
_CORRECTIONS = 6  # Gauss–Newton steps on the zero-loss set
_FEASIBLE = 1e-9  # the error of F after them, relative to the largest target


def leave_saddle(problem: Problem, model: CornerModel, direction: Vector) -> State | None:
    """Return a state with a smaller φ along a direction of negative curvature or against it, or None.

    ``direction`` has length 1 in the metric.
    """
    state, size = model.state, _LONGEST * math.sqrt(2 * model.state.value)
    for _ in range(_SIZES):
        trials = []
        for step in (size * direction, -size * direction):
            V, U = model.split(step)
            moved = problem.pin(state.E + V, state.W + U, state.corner.pinned)
            trials.append(return_outputs(problem, moved, state.R + model.image(step)))
        best = min((trial for trial in trials if trial is not None), key=lambda trial: trial.value, default=state)
        if best.value < state.value:
            return best
        size *= _SHRINK
    return None


def add_units(problem: Problem, state: State) -> State | None:
    """Return a state with a smaller φ in which dead units have become new units with a gain, or None.

    First as many units as possible are tried at once, and then the best one alone.
    """
    dead = int(find_dead_units(state).sum())
    if not dead:
        return None
    gain, e = search_units(problem, state, dead)
    if not gain > GAIN:
        return None
    for directions in [e, e[:, :1]] if e.shape[1] > 1 else [e]:
        size = _LARGEST * math.sqrt(2 * state.value / directions.shape[1])
        for _ in range(_SIZES):
            trial = return_outputs(problem, place_units(problem, state, directions, size), state.R)
            if trial is not None and trial.value < state.value:
                return trial
            size *= _SHRINK
    return None


def return_outputs(problem: Problem, state: State, R: Matrix) -> State | None:
    """Return the state after Gauss–Newton steps to F − Y = R. For δ = 0 it is None if they do not converge."""
    scale = float(np.abs(problem.data.Y_train).max()) or 1.0
    for _ in range(1 if problem.delta > 0 else _CORRECTIONS):
        try:
            dE, dW = (model := CornerModel(problem, state)).split(model.pull_back(state.R - R))
        except np.linalg.LinAlgError:
            return None
        state = problem.pin(state.E - dE, state.W - dW, state.corner.pinned)
    return state if problem.delta > 0 or np.abs(state.R - R).max() <= _FEASIBLE * scale else None
