"""The gain of a new hidden unit at a stationary point of a network with kinks.

A new unit with E_u = √ε e and W_u = √ε w, of unit length, changes Φ/weight_decay by ε (1 − w · Λᵀσ(X e)), because σ is
homogeneous. So no small new unit decreases Φ if ‖Λᵀσ(X e)‖ ≤ 1 for all unit vectors e. For active units it is 1.
"""

from __future__ import annotations

import math

import numpy as np

from .corner_model import Matrix, Problem, State

#: The gain of a new unit that is rounding.
GAIN = 1e-8

_STARTS = 500  # random ones, in addition to the directions of all units
_STEPS = 300
_FIRST = 2.0  # length of the first step; step k has this length over k


def search_unit(problem: Problem, state: State) -> tuple[float, Matrix]:
    """Search max_e ‖Λᵀσ(X e)‖ − 1 by subgradient ascents from many starts. Returns a lower bound of it, and its e.

    A maximum is usually at kinks, so the steps decrease as the inverse of their number.
    """
    X, a, b = state.corner.X, problem.a, problem.b
    random = np.random.default_rng(0).standard_normal((X.shape[1], _STARTS))
    e = _normalise(np.concatenate([state.E[:, np.linalg.norm(state.E, axis=0) > 0], random], axis=1))
    best, best_e = 0.0, e[:, 0]
    for step in range(_STEPS):
        Z = X @ e
        S = a + b * (Z > 0)
        w = state.multiplier.T @ (S * Z)
        sizes = np.linalg.norm(w, axis=0)
        at = int(sizes.argmax())
        if sizes[at] > best:
            best, best_e = float(sizes[at]), e[:, at]
        ascent = _normalise(X.T @ (S * (state.multiplier @ _normalise(w))))
        e = _normalise(e + _FIRST / (1 + step) * ascent)
    return best - 1, best_e


def start_unit(problem: Problem, state: State) -> State | None:
    """Return a state with one unit and a smaller φ than θ = 0, or None if no new unit has a gain.

    Along √ε (e, w), φ changes by −ε gain + ε² ‖σ(X e) wᵀ‖²/(2δ), so the best ε is known.
    """
    gain, e = search_unit(problem, state)
    if not gain > GAIN:
        return None
    Z = problem.data.X_train @ e
    H = (problem.a + problem.b * (Z > 0)) * Z
    w = _normalise((state.multiplier.T @ H)[:, None])[:, 0]
    size = math.sqrt(gain * problem.delta / float(H @ H))
    E, W, pinned = np.zeros_like(state.E), np.zeros_like(state.W), np.ones_like(state.corner.pinned)
    E[:, 0], W[0], pinned[:, 0] = size * e, size * w, False
    after = problem.pin(E, W, pinned)
    return after if after.value < state.value else None


def _normalise(columns: Matrix) -> Matrix:
    """Return columns of length 1; a column of zeros stays."""
    lengths = np.linalg.norm(columns, axis=0)
    return np.asarray(columns / np.where(lengths > 0, lengths, 1))
