"""Figures and their axes.

A figure is an object that is passed around. It needs neither pyplot nor a display.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .._checks import ArgumentValueError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4


def make_figure(width: float, height: float) -> Figure:
    """Make an empty figure that arranges its panels automatically, and that notebooks show.

    Parameters
    ----------
    width : float
        The width in inches.
    height : float
        The height in inches.

    Returns
    -------
    Figure
        The figure.
    """
    from .notebook_figure import NotebookFigure  # noqa: PLC0415 — It loads Matplotlib.

    return NotebookFigure(figsize=(width, height), layout="constrained")


def take_axes(axes: Axes | Sequence[Axes] | None, count: int, *, width: float, height: float) -> list[Axes]:
    """Return the axes that the user gives, or the axes of a new figure with at most four side by side.

    Parameters
    ----------
    axes : Axes or sequence of Axes, optional
        The user's axes.
    count : int
        The number of axes that are needed, at least 1.
    width : float
        The width of new axes in inches.
    height : float
        The height of new axes in inches.

    Returns
    -------
    list of Axes
        The axes.

    Raises
    ------
    ValueError
        If the user gives another number of axes.
    """
    if axes is None:
        columns, rows = min(count, _COLUMNS), math.ceil(count / _COLUMNS)
        grid: Any = make_figure(width * columns, height * rows).subplots(rows, columns, squeeze=False).ravel()
        for spare in grid[count:]:
            spare.set_axis_off()
        return list(grid[:count])
    given: list[Any] = [axes] if hasattr(axes, "get_figure") else list(axes)
    if len(given) != count:
        raise ArgumentValueError("axes", f"expected {count}, got {len(given)}")
    return given


def find_figure(axes: Axes) -> Figure:
    """Return the figure of axes, which may be in a part of it.

    Parameters
    ----------
    axes : Axes
        The axes.

    Returns
    -------
    Figure
        The figure.
    """
    return axes.figure.figure
