"""Medians of the times of events, by the estimator of Kaplan and Meier, and of Turnbull for intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import ArgumentValueError

_ROUNDING = 1e-7  # the rounding of a share of runs, for its comparison with 1/2
_CHANGE, _MOST_ITERATIONS = 1e-12, 20_000  # Turnbull's estimate ends at this change of the shares


#: Numbers, or a DataArray of them; None counts as NaN.
Steps = ArrayLike | Sequence[float | None]


def median(steps: Steps, ends: Steps, dim: str | Sequence[str] | None = None, *, earliest: Steps | None = None) -> Any:
    """Estimate the median step of an event. Runs that ended before it are treated as censored.

    The median is the first step at which the share of runs without the event, estimated as by Kaplan and Meier, is at
    most 1/2. Without censored runs it is the ⌈n/2⌉-th smallest step.

    Parameters
    ----------
    steps : array_like or DataArray
        The step of the event in each run. NaN or infinite if the run ended before it.
    ends : array_like or DataArray
        The last step of each run, which is read if ``steps`` has no number. Infinite for a run in which the event can
        no longer happen, such as a run that diverged. NaN for a missing run, which is left out.
    dim : str or sequence of str, optional
        The dimensions of the DataArrays over which the median is taken. By default all of them.
    earliest : array_like or DataArray, optional
        The first possible step of each event, if the records do not determine it
        (`zeroloss.metrics.Crossing.earliest`): the event happened between this step and the one in ``steps``. By
        default steps are exact.

    Returns
    -------
    float or DataArray
        The median. It is infinite if the share does not fall to 1/2, that is, if more than half of the runs may not
        have the event, and NaN without runs.

    Raises
    ------
    ValueError
        If the earliest step of a run is NaN or greater than its step, or dimensions or labels do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> import zeroloss as zl
    >>> zl.survival.median([300, 100, np.nan], [1000, 1000, 1000])
    300.0
    """
    import xarray as xr  # noqa: PLC0415 — half of the package's import time, needed only with results

    values = (steps, ends, steps if earliest is None else earliest)
    if not any(isinstance(array, xr.DataArray) for array in values):
        if dim is not None:
            raise ArgumentValueError("dim", f"expected only with DataArrays, got {dim!r}")
        try:
            arrays = np.broadcast_arrays(*(np.asarray(array, np.float64) for array in values))
        except ValueError as error:
            raise ArgumentValueError(("steps", "ends", "earliest"), str(error)) from None
        return _median(*arrays)
    numbers = xr.align(*(xr.DataArray(array).astype(np.float64) for array in values), join="exact")
    labelled = xr.broadcast(*numbers)
    dims = labelled[0].dims if dim is None else (dim,) if isinstance(dim, str) else tuple(dim)
    if unknown := [name for name in dims if name not in labelled[0].dims]:
        expected = ", ".join(map(str, labelled[0].dims)) or "none"
        raise ArgumentValueError("dim", f"expected dimensions of the arrays ({expected}), got {unknown[0]!r}")
    if not dims:
        raise ArgumentValueError("dim", "expected at least one dimension to take the median over, got none")
    medians = xr.apply_ufunc(_median, *labelled, input_core_dims=[dims] * 3, vectorize=True)
    return medians if medians.ndim else float(medians)


def _median(steps: NDArray[Any], ends: NDArray[Any], earliest: NDArray[Any]) -> float:
    """Estimate the median of runs in vectors."""
    happened = np.isfinite(steps)
    known = happened | ~np.isnan(ends)
    if not known.any():
        return math.nan
    if not (earliest <= steps)[happened].all():
        raise ValueError("expected an earliest step of at most the step of the event")
    # An event is in (after, by]. ``after`` is just below its earliest step, or the last step of a run that ended.
    after = np.where(happened, np.nextafter(earliest.astype(float), -np.inf), ends)[known]
    by = np.where(happened, steps, np.inf)[known]
    places = _places(after, by)
    share_left = 1 - np.cumsum(_shares(after, by, places))
    reached = share_left <= 0.5 + _ROUNDING
    return float(places[np.argmax(reached)]) if reached.any() else math.inf


def _places(after: NDArray[np.float64], by: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find the upper ends of the innermost intervals, the only places with a share of runs, in ascending order."""
    ends = np.unique(by[np.isfinite(by)])
    starts = np.unique(after)
    last_start = starts[np.maximum(np.searchsorted(starts, ends) - 1, 0)]  # the greatest start below each end
    innermost = np.concatenate([[True], ends[:-1] <= last_start[1:]])[: len(ends)]
    return np.asarray(ends[innermost])


def _shares(after: NDArray[np.float64], by: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Estimate the share of runs with the event at each place. The rest, up to 1, is beyond all places."""
    # The event of a run is at one of the places [first, last), of which the last one, number m, is beyond all places.
    m, censored = len(places), np.isinf(by)
    first = np.searchsorted(places, after, side="right")
    last = np.where(censored, m + 1, np.searchsorted(places, by, side="right"))
    if (last - first == 1)[~censored].all():  # Kaplan and Meier: each interval contains one place
        events = np.bincount(first[~censored], minlength=m)
        at_risk = len(by) - np.cumsum(np.bincount(np.where(censored, first, last), minlength=m))[:m]
        return -np.diff(np.cumprod(1 - events / at_risk), prepend=1.0)
    shares = np.full(m + 1, 1 / (m + 1))
    for _ in range(_MOST_ITERATIONS):  # Turnbull: divide each run over its places, in proportion to their shares
        before, up_to = shares, np.concatenate([[0.0], np.cumsum(shares)])
        weights = 1 / (up_to[last] - up_to[first])
        changes = np.bincount(first, weights, minlength=m + 2) - np.bincount(last, weights, minlength=m + 2)
        shares = shares * np.maximum(np.cumsum(changes)[: m + 1], 0.0) / len(by)
        if np.abs(shares - before).max() < _CHANGE:
            break
    return np.asarray(shares[:-1])
