"""The gain of a new hidden unit at a stationary point of a network with kinks.

A new unit with E_u = √ε e and W_u = √ε w, of unit length, changes Φ/weight_decay by ε (1 − w · Λᵀσ(X e)), because σ is
homogeneous. So no small new unit decreases Φ if ‖Λᵀσ(X e)‖ ≤ 1 for all unit vectors e. For active units it is 1.
"""

from __future__ import annotations

import math

import numpy as np

from .corner_model import Mask, Matrix, Problem, State

#: The gain of a new unit that is rounding.
GAIN = 1e-6

_STARTS = 500  # random ones, in addition to the directions of all units
_STEPS = 300
_FIRST = 2.0  # length of the first step; step k has this length over k
_ALIKE = 0.9  # the cosine of the angle between directions above which only the better one is used


def search_units(problem: Problem, state: State, most: int = 1) -> tuple[float, Matrix]:
    """Search max_e ‖Λᵀσ(X e)‖ − 1 by subgradient ascents from many starts.

    A maximum is usually at kinks, so the steps decrease as the inverse of their number.

    Returns
    -------
    float
        A lower bound of the maximum.
    ndarray, (d_in, r)
        Its direction e, and at most ``most`` − 1 other directions with a gain, the best first.
    """
    X, a, b = state.corner.X, problem.a, problem.b
    random = np.random.default_rng(0).standard_normal((X.shape[1], _STARTS))
    e = _normalise(np.concatenate([state.E[:, np.linalg.norm(state.E, axis=0) > 0], random], axis=1))
    best, best_e = np.zeros(e.shape[1]), e
    for step in range(_STEPS):
        Z = X @ e
        S = a + b * (Z > 0)
        w = state.multiplier.T @ (S * Z)
        sizes = np.linalg.norm(w, axis=0)
        best, best_e = np.maximum(sizes, best), np.where(sizes > best, e, best_e)
        ascent = _normalise(X.T @ (S * (state.multiplier @ _normalise(w))))
        e = _normalise(e + _FIRST / (1 + step) * ascent)
    order = np.argsort(-best, kind="stable")
    found = order[:1]
    for at in order[best[order] > 1 + GAIN]:
        if len(found) == most:
            break
        if (best_e[:, at] @ best_e[:, found]).max() < _ALIKE:
            found = np.append(found, at)
    return float(best[order[0]]) - 1, best_e[:, found]


def start_unit(problem: Problem, state: State) -> State | None:
    """Return a state with one unit and a smaller φ than θ = 0, or None if no new unit has a gain.

    Along √ε (e, w), φ changes by −ε gain + ε² ‖σ(X e) wᵀ‖²/(2δ), so the best ε is known.
    """
    gain, e = search_units(problem, state)
    if not gain > GAIN:
        return None
    H = problem.activate(e)
    after = place_units(problem, state, e, math.sqrt(gain * problem.delta / float(np.sum(H**2))))
    return after if after.value < state.value else None


def place_units(problem: Problem, state: State, e: Matrix, size: float) -> State:
    """Return the state in which the first dead units have the directions ``e``, (d_in, r), and this size."""
    units = np.flatnonzero(find_dead_units(state))[: e.shape[1]]
    E, W, pinned = state.E.copy(), state.W.copy(), state.corner.pinned.copy()
    E[:, units] = size * e
    W[units] = size * _normalise(state.multiplier.T @ problem.activate(e)).T
    pinned[:, units] = False
    return problem.pin(E, W, pinned)


def find_dead_units(state: State) -> Mask:
    """Find the units with E_u = 0 and W_u = 0, (h,)."""
    return np.asarray(~(state.E.any(axis=0) | state.W_of_units.any(axis=1)))


def _normalise(columns: Matrix) -> Matrix:
    """Return columns of length 1; a column of zeros stays."""
    lengths = np.linalg.norm(columns, axis=0)
    return np.asarray(columns / np.where(lengths > 0, lengths, 1))
