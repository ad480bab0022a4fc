"""Medians of the times of events, by the estimate of Kaplan and Meier (for intervals, of Turnbull)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import ArgumentValueError

_ROUNDING = 1e-7  # of a share of runs that is to be 1/2
_CHANGE, _MOST_ITERATIONS = 1e-12, 20_000  # of the shares of Turnbull's estimate


#: Numbers, or a DataArray of them; None counts as NaN.
Steps = ArrayLike | Sequence[float | None]


def median(steps: Steps, ends: Steps, dim: str | Sequence[str] | None = None, *, earliest: Steps | None = None) -> Any:
    """Return the median step of an event, with runs that ended before it as censored.

    The median is the first step by which the share of runs without the event, estimated as by Kaplan and Meier, has
    fallen to 1/2. Without censored runs that is the ⌈n/2⌉-th smallest step.

    Parameters
    ----------
    steps : array_like or DataArray
        The step of the event in each run; NaN or infinite if the run ended before it.
    ends : array_like or DataArray
        The last step of each run, which is read where ``steps`` has no number. Infinite for a run in which the event
        can no longer happen, such as one that diverged. NaN for no run, which is left out.
    dim : str or sequence of str, optional
        The dimensions of the DataArrays to take the median over; all of them by default.
    earliest : array_like or DataArray, optional
        The first possible step of each event, if records leave it open (`zeroloss.metrics.Crossing.earliest`): the
        event happened from that step on, and at the latest at the one in ``steps``. By default steps are exact.

    Returns
    -------
    float or DataArray
        Infinite if the median is not reached: more than half of the runs may not have the event. NaN without runs.

    Raises
    ------
    ValueError
        If a run's earliest step is NaN or greater than its step, or dimensions or labels do not fit together.
    """
    import xarray as xr  # noqa: PLC0415 — half of the package's import time, needed only with results

    given = (steps, ends, steps if earliest is None else earliest)
    if not any(isinstance(one, xr.DataArray) for one in given):
        if dim is not None:
            raise ArgumentValueError("dim", f"expected with DataArrays only, got {dim!r}")
        try:
            arrays = np.broadcast_arrays(*(np.asarray(one, np.float64) for one in given))
        except ValueError as error:
            raise ArgumentValueError(("steps", "ends", "earliest"), str(error)) from None
        return _median(*arrays)
    numbers = xr.align(*(xr.DataArray(one).astype(np.float64) for one in given), join="exact")
    labelled = xr.broadcast(*numbers)
    dims = labelled[0].dims if dim is None else (dim,) if isinstance(dim, str) else tuple(dim)
    if unknown := [one for one in dims if one not in labelled[0].dims]:
        expected = ", ".join(map(str, labelled[0].dims)) or "none"
        raise ArgumentValueError("dim", f"expected dimensions of the arrays ({expected}), got {unknown[0]!r}")
    if not dims:
        raise ArgumentValueError("dim", "expected at least one dimension to take the median over, got none")
    found = xr.apply_ufunc(_median, *labelled, input_core_dims=[dims] * 3, vectorize=True)
    return found if found.ndim else float(found)


def _median(steps: NDArray[Any], ends: NDArray[Any], earliest: NDArray[Any]) -> float:
    happened = np.isfinite(steps)
    known = happened | ~np.isnan(ends)
    if not known.any():
        return math.nan
    if not (earliest <= steps)[happened].all():
        raise ValueError("expected an earliest step up to the step of the event")
    # an event is in (after, by]: just below its earliest step, or the last step of a run that ended before it
    after = np.where(happened, np.nextafter(earliest.astype(float), -np.inf), ends)[known]
    by = np.where(happened, steps, np.inf)[known]
    places = _places(after, by)
    share_left = 1 - np.cumsum(_shares(after, by, places))
    reached = share_left <= 0.5 + _ROUNDING
    return float(places[np.argmax(reached)]) if reached.any() else math.inf


def _places(after: NDArray[np.float64], by: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ends of the innermost intervals, in which alone the estimate has a share of runs, in order."""
    ends = np.unique(by[np.isfinite(by)])
    starts = np.unique(after)
    last_start = starts[np.maximum(np.searchsorted(starts, ends) - 1, 0)]  # the greatest start below each end
    innermost = np.concatenate([[True], ends[:-1] <= last_start[1:]])[: len(ends)]
    return np.asarray(ends[innermost])


def _shares(after: NDArray[np.float64], by: NDArray[np.float64], places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of runs with the event at each place; what is left to 1 is beyond all of them."""
    possible = (after[:, None] < places) & (places <= by[:, None])
    censored = np.isinf(by)
    if (possible[~censored].sum(axis=1) == 1).all():  # Kaplan and Meier: no interval holds several places
        events = possible[~censored].sum(axis=0)
        at_risk = (by[~censored, None] >= places).sum(axis=0) + (after[censored, None] >= places).sum(axis=0)
        return -np.diff(np.cumprod(1 - events / at_risk), prepend=1.0)
    open_ended = np.column_stack([possible, censored])
    shares = np.full(open_ended.shape[1], 1 / open_ended.shape[1])
    for _ in range(_MOST_ITERATIONS):  # Turnbull's: each run divided over its places in proportion to their shares
        before, weights = shares, open_ended * shares
        shares = (weights / weights.sum(axis=1, keepdims=True)).mean(axis=0)
        if np.abs(shares - before).max() < _CHANGE:
            break
    return np.asarray(shares[:-1])
