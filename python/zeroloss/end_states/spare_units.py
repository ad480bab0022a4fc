"""Units that φ does not need: parallel units, which are equivalent to one unit, and units that rounding hides."""

from __future__ import annotations

import numpy as np

from .corner_model import Problem, State, remove_units

_PARALLEL = 1e-8  # 1 − cos of the angle between parallel vectors
_ROUNDING = 1e-13  # ‖(E_u, W_u)‖² relative to φ that rounding hides


def merge_parallel_units(problem: Problem, state: State) -> State | None:
    """Merge units with the same directions of E_u and W_u, or return None if there are none.

    Stationary units have ‖E_u‖ = ‖W_u‖, so neither the outputs nor ‖θ‖ change. Shares of parallel units are flat
    directions.
    """
    E, W, pinned = state.E.copy(), state.W.copy(), state.corner.pinned.copy()
    lengths = np.linalg.norm(E, axis=0), np.linalg.norm(state.W_of_units, axis=1)
    alive = np.flatnonzero((lengths[0] > 0) & (lengths[1] > 0))
    if not alive.size:
        return None
    alive = alive[np.argsort(-lengths[0][alive])]
    e, w = E[:, alive] / lengths[0][alive], W[alive] / lengths[1][alive, None]
    parallel = (e.T @ e > 1 - _PARALLEL) & (w @ w.T > 1 - _PARALLEL)
    first = alive[parallel.argmax(axis=1)]  # the largest unit in the same direction
    if np.array_equal(first, alive):
        return None
    for to in np.unique(first):
        group = alive[first == to]
        E[:, to] *= np.linalg.norm(lengths[0][group]) / lengths[0][to]
        W[to] *= np.linalg.norm(lengths[1][group]) / lengths[1][to]
    gone = np.setdiff1d(alive, first)
    E[:, gone], W[gone], pinned[:, gone] = 0.0, 0.0, True
    return problem.pin(E, W, pinned)


def remove_hidden_units(problem: Problem, state: State) -> State | None:
    """Set units to 0 whose share of φ is rounding, or return None if that does not decrease the residual.

    Such units die slowly if they would have almost a gain.
    """
    squares = np.sum(state.E**2, axis=0) + np.sum(state.W_of_units**2, axis=1)
    hidden = (squares > 0) & (squares <= _ROUNDING * state.value)
    if not hidden.any():
        return None
    without = problem.pin(*remove_units(state.E, state.W, hidden), state.corner.pinned | hidden)
    return without if without.residual() < state.residual() else None
