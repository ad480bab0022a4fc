"""The existence of a maximum of the likelihood of a law, decided by linear programmes.

With γ = b/scale and τ = 1/scale, the log-likelihood of log delays y = x·b + scale · noise is concave in (γ, τ), τ > 0,
for every noise with a log-concave density, which the normal, logistic and Gumbel distributions have. Such a function
has a maximum unless it does not decrease along some direction (g, t) ≠ 0, t ≥ 0. Along this direction the standardised
bounds of a run move at the rates t · y − x·g, so its term does not decrease exactly if

    t · log earliest ≤ x·g ≤ t · log latest.

Both bounds are equal for a known delay, and a bound that the run does not have is left out. For t = 1, g is a law that
agrees with all runs: the scale goes to 0. For t = 0, g separates the runs with one bound from the others: a coefficient
goes to infinity. (At τ = 0 the likelihood is 0 if any run has two bounds, so the maximum is not there.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

_ROUNDING = 1e-9  # the rounding of logarithms of delays, and of covariates with standard deviation 1


def explain_no_maximum(low: Vector, high: Vector, columns: Sequence[str], values: NDArray[np.float64]) -> str | None:
    """Return the cause if no maximum of the likelihood determines all coefficients and the scale, and None otherwise.

    Parameters
    ----------
    low, high : ndarray, (runs,)
        The logarithms of the bounds, −inf and inf if there is none.
    columns : sequence of str
        The names of the covariates.
    values : ndarray, (runs, covariates)
        Their columns in the linear model for log delays.
    """
    bounded = np.isfinite(low) | np.isfinite(high)
    low, high, values = low[bounded], high[bounded], values[bounded]
    return _too_few(low, high, columns, values) or _direction(low, high, columns, values)


def _too_few(low: Vector, high: Vector, columns: Sequence[str], values: NDArray[np.float64]) -> str | None:
    """Return the cause if there are too few runs, or too few different covariates, for any noise."""
    coefficients = len(columns) + 1
    why = None
    if len(low) < coefficients:
        why = f"{coefficients} coefficients need at least as many runs, got {len(low)}"
    elif constant := [name for name, spread in zip(columns, np.ptp(values, axis=0), strict=True) if spread == 0]:
        why = f"{constant[0]} has the same value in every run; leave it out, or add runs with other values"
    elif np.linalg.matrix_rank(_design(values), tol=_ROUNDING * len(low)) < coefficients:
        why = f"{' and '.join(columns)} are linearly dependent; leave one of them out"
    elif np.isinf(high).all():
        why = "every run is censored, so the likelihood has no maximum; simulate for more steps"
    elif not np.isfinite(high - low).any():
        why = "no delay has both a lower bound above 0 and an upper bound, which determine the scale; record more often"
    return why


def _direction(low: Vector, high: Vector, columns: Sequence[str], values: NDArray[np.float64]) -> str | None:
    """Return the cause if the likelihood grows without bound along some direction."""
    design = _design(values)
    separating = _find_separating(low, high, design)
    if separating is not None:
        named = [name for name, weight in zip(columns, separating, strict=False) if abs(weight) > _ROUNDING]
        return (
            f"{' and '.join(named)} separates the censored runs from the others, so the likelihood has no "
            "maximum: it grows with the coefficient; simulate for more steps, or add runs"
        )
    if _fits(low, high, design):
        exact = (low == high).any()
        what = "every known delay exactly" if exact else "every run within its interval"
        return (
            f"a law fits {what}, so the likelihood has no maximum: it grows while the scale goes to 0; "
            f"{'add runs' if exact else 'record more often, or add runs'}"
        )
    return None


def _design(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale the columns to mean 0 and standard deviation 1, and add a column of ones."""
    return np.column_stack([(values - values.mean(axis=0)) / values.std(axis=0), np.ones(len(values))])


def _find_separating(low: Vector, high: Vector, design: NDArray[np.float64]) -> Vector | None:
    """Find g ≠ 0 that separates the runs with one bound from the others.

    x·g is 0 for runs with two bounds, at least 0 for runs with a lower bound only, at most 0 for runs with an upper
    bound only, and not 0 for all.
    """
    sides = np.where(np.isinf(high), 1.0, 0.0) - np.where(np.isneginf(low), 1.0, 0.0)
    one_sided, two_sided = sides[:, None] * design, design[sides == 0]
    least, g = _least(
        -one_sided.sum(axis=0),
        A_ub=-one_sided,
        b_ub=np.zeros(len(low)),
        A_eq=two_sided,
        b_eq=np.zeros(len(two_sided)),
        bounds=(-1, 1),
    )
    return g if least < -_ROUNDING * len(low) else None


def _fits(low: Vector, high: Vector, design: NDArray[np.float64]) -> bool:
    """Return whether some g has low ≤ x·g ≤ high for every run, to rounding."""
    below, above = np.isfinite(low), np.isfinite(high)
    rows = np.concatenate([-design[below], design[above]])
    beyond, _ = _least(
        np.append(np.zeros(design.shape[1]), 1.0),  # the greatest distance beyond a bound
        A_ub=np.column_stack([rows, -np.ones(len(rows))]),
        b_ub=np.concatenate([-low[below], high[above]]),
        bounds=[*[(None, None)] * design.shape[1], (0, None)],
    )
    return beyond <= _ROUNDING


def _least(objective: Vector, **problem: Any) -> tuple[float, Vector]:
    """Return the least value of a linear programme, and its place."""
    import scipy.optimize  # noqa: PLC0415 — slow to import

    solution = scipy.optimize.linprog(objective, **problem, options={"primal_feasibility_tolerance": 1e-10})
    if solution.fun is None:
        raise ArithmeticError(f"fit_law: {solution.message}")
    return float(solution.fun), np.asarray(solution.x)
