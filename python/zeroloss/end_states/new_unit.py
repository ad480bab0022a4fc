"""The gain of a new hidden unit at a stationary point of a network with kinks.

A new unit with E_u = √ε e and W_u = √ε w, of unit length, changes Φ/weight_decay by ε (1 − w · Λᵀσ(X e)), because σ is
homogeneous. So no small new unit decreases Φ if ‖Λᵀσ(X e)‖ ≤ 1 for all unit vectors e. For active units it is 1.
"""

from __future__ import annotations

import numpy as np

from .corner_model import Matrix, Problem, State

_STARTS = 500  # random ones, in addition to the directions of all units
_STEPS = 300
_FIRST = 2.0  # length of the first step; step k has this length over k


def largest_gain(problem: Problem, state: State) -> float:
    """Search max_e ‖Λᵀσ(X e)‖ − 1 by subgradient ascents from many starts. It is a lower bound of the maximum.

    A maximum is usually at kinks, so the steps decrease as the inverse of their number.
    """
    X, a, b = state.corner.X, problem.a, problem.b
    random = np.random.default_rng(0).standard_normal((X.shape[1], _STARTS))
    e = _normalise(np.concatenate([state.E[:, np.linalg.norm(state.E, axis=0) > 0], random], axis=1))
    best = 0.0
    for step in range(_STEPS):
        Z = X @ e
        S = a + b * (Z > 0)
        w = state.multiplier.T @ (S * Z)
        best = max(best, float(np.linalg.norm(w, axis=0).max()))
        ascent = _normalise(X.T @ (S * (state.multiplier @ _normalise(w))))
        e = _normalise(e + _FIRST / (1 + step) * ascent)
    return best - 1


def _normalise(columns: Matrix) -> Matrix:
    """Return columns of length 1; a column of zeros stays."""
    lengths = np.linalg.norm(columns, axis=0)
    return np.asarray(columns / np.where(lengths > 0, lengths, 1))
