"""The pinned pairs that leave their kinks in a step.

A pinned pair leaves its kink if its best side is at a bound, and its unit still has a force across the kink. The kink
repels a pair with b g_iu > 0, which is at it only because other pins leave it no other place. Then every choice of on
and off for these pairs gives a convex problem, and the unit is at a minimum only if all of them have sides in [0, 1]
that balance its forces.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from ..geometry.corners import at_bounds, solve_sides
from .corner_model import CornerModel, Mask, Matrix, Problem, State
from .trust_region import Step

_ACROSS = 0.3  # the force across kinks relative to the force along them from which pairs are released
_DOMINANT = 10.0  # the force across kinks relative to the force along them from which only a release makes progress
_SHARE = 1e-2  # the force on a pair that is released, relative to the greatest
_ROUNDS = 8  # of choosing the pairs that are released together
_UNITS = 6  # that are tried one by one after that
_MOST_REPELLED = 8  # pairs of a unit whose sides are all tried; of more, all on, all off, and one differing from these
_REPELLED = 1e-9  # b g of a repelled pair, relative to the largest abs(b g)


def choose_step(
    problem: Problem, model: CornerModel, solve: Callable[[CornerModel], Step], always: bool
) -> tuple[CornerModel, Step]:
    """Choose the pinned pairs that leave their kinks. Returns the model without them, and its step.

    Pairs are released only if the step moves them to their sides. Unless ``always``, none is released while the force
    along the kinks is larger than the force across them.
    """
    state = model.state
    for released, sides in _candidates(model, always):
        left = released
        for _ in range(_ROUNDS):
            if not left.any():
                break
            on = np.where(left, sides > 0.5, state.corner.on)
            opened = CornerModel(problem, problem.state(state.E, state.W, state.corner.pinned & ~left, on))
            opened.balanced = model.balanced
            opened.state = opened.state if problem.delta > 0 else opened.state.with_multiplier(model.balanced)
            step = solve(opened)
            wrong = left & ((state.corner.X @ opened.split(step.p)[0] > 0) != on)
            if not wrong.any():
                return opened, step
            left = left & ~wrong
    return model, solve(model)


def _candidates(model: CornerModel, always: bool) -> Iterator[tuple[Mask, Matrix]]:
    """Yield sets of pairs that may be released, with all sides: first for all units at once, then unit by unit."""
    state = model.state
    rE, rW, sides = state.rest(model.balanced)
    along = model.project(rE)
    across = rE - along
    size = float(np.linalg.norm(across))
    if size == 0 or not (always or size > _ACROSS * math.hypot(np.linalg.norm(along), np.linalg.norm(rW))):
        return
    forces = np.abs(state.corner.X @ across) * state.corner.pinned
    bounds = at_bounds(state.corner, sides)
    yield bounds & (forces > _SHARE * forces.max()), sides
    for u in np.argsort(np.linalg.norm(across, axis=0))[::-1][:_UNITS]:
        single = np.zeros_like(bounds)
        single[:, u] = bounds[:, u] & (forces[:, u] > _SHARE * forces[:, u].max())
        yield single, sides


def is_refused(model: CornerModel) -> bool:
    """Return whether the forces across the kinks dominate, so that a step without a release makes no progress."""
    rE, rW, _ = model.state.rest(model.balanced)
    along = model.project(rE)
    return bool(np.linalg.norm(rE - along) > _DOMINANT * math.hypot(np.linalg.norm(along), np.linalg.norm(rW)))


def leave_corner(problem: Problem, model: CornerModel, tolerance: float) -> tuple[State | None, bool]:
    """Leave a corner at which repelled pairs are.

    Returns a state with a smaller φ, or None, and whether there is a unit whose function decreases on one side.
    ``tolerance`` is the force of a unit, relative to ‖θ‖, that counts.
    """
    state = model.state
    found = _worst_sides(problem, model)
    violated = [(size, u, column) for size, u, column in found if size > tolerance * state.length]
    for _, u, column in sorted(violated, key=lambda entry: -entry[0])[:_UNITS]:
        sides = state.corner.middle_sides()
        sides[:, u] = column
        slopes = state.corner.slopes(sides)[:, u]
        rest = state.E[:, u] - state.corner.X.T @ (slopes * (model.balanced @ state.W[u]))
        size = 0.1 * float(np.linalg.norm(state.E[:, u])) / float(np.linalg.norm(rest))
        pinned = state.corner.pinned.copy()
        pinned[:, u] &= np.abs(state.corner.X @ rest) <= _SHARE * np.abs(state.corner.X @ rest).max()
        for _ in range(40):
            E = state.E.copy()
            E[:, u] -= size * rest
            moved = problem.pin(E, state.W, pinned)
            try:
                dE, dW = model.split(CornerModel(problem, moved).pull_back(moved.R - state.R))
            except np.linalg.LinAlgError:
                break
            trial = problem.pin(moved.E - dE, moved.W - dW, moved.corner.pinned)
            if trial.value < state.value and np.abs(trial.R).max() < 2 * np.abs(state.R).max() + 1e-3:
                return trial, True
            size /= 4
    return None, bool(violated)


def _worst_sides(problem: Problem, model: CornerModel) -> list[tuple[float, int, Matrix]]:
    """Return, for each unit with repelled pairs, the greatest force over choices of their sides, and these sides."""
    state, corner = model.state, model.state.corner
    g = model.balanced @ state.W_of_units.T
    pull = problem.b * g
    repelled = corner.pinned & (pull > _REPELLED * np.abs(pull).max())
    result = []
    for u in np.flatnonzero((corner.pinned & (pull != 0)).any(axis=0)):
        rows = np.flatnonzero(repelled[:, u])
        worst: tuple[float, int, Matrix] = (0.0, int(u), np.zeros(0))
        for choice in _choices(len(rows)):
            on, pinned = corner.on[:, [u]].copy(), corner.pinned[:, [u]].copy()
            on[rows, 0], pinned[rows, 0] = choice, False
            single = replace(corner, on=on, pinned=pinned)
            column = solve_sides(single, state.E[:, [u]], g[:, [u]])
            rest = state.E[:, u] - corner.X.T @ (corner.slopes(column[:, 0]) * g[:, u])
            size = float(np.linalg.norm(rest))
            if size > worst[0]:
                worst = size, int(u), column[:, 0]
        result.append(worst)
    return result


def _choices(count: int) -> Iterator[tuple[bool, ...]]:
    """Yield choices of sides for a number of pairs."""
    if count <= _MOST_REPELLED:
        yield from itertools.product((False, True), repeat=count)
        return
    for common in (False, True):
        yield (common,) * count
        for at in range(count):
            yield tuple(common != (other == at) for other in range(count))
