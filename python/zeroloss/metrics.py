"""Numbers read from a history: when a curve crosses a level, for once or for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import _checks

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["crossing_step"]


def crossing_step(series: xr.DataArray, level: float, sustained: int = 1) -> int | None:
    """Return the first recorded step at which a curve is at ``level`` or above.

    Parameters
    ----------
    series : DataArray over "step"
        A curve of the history, such as ``run.history.test_accuracy``.
    level : float
        The level; NaN records are below every level.
    sustained : int
        The number of records in a row, the crossing included, that must be at the level or above.

    Returns
    -------
    int or None
        The step; None where the curve never crosses.

    Raises
    ------
    ValueError, TypeError
        For a level that is not finite, sustained < 1, or a series without exactly the dimension "step".
    """
    level, sustained = _checks.real("level", level), _checks.integer("sustained", sustained, 1)
    if getattr(series, "dims", None) != ("step",) or "step" not in series.coords:
        raise ValueError(f'series: expected a DataArray over "step", got dimensions {getattr(series, "dims", None)}')
    above = np.asarray(series.values >= level)
    if len(above) < sustained:
        return None
    windows = np.lib.stride_tricks.sliding_window_view(above, sustained).all(axis=1)
    return int(series.step.values[np.argmax(windows)]) if windows.any() else None
