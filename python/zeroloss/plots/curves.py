"""Curves over runs, and matrices with a common colour bar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .pictures import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import SubFigure
    from matplotlib.image import AxesImage


def draw_runs(
    axes: Axes, x: ArrayLike, runs: ArrayLike, colour: str, label: str, faint_label: str | None = None
) -> None:
    """Draw the curve of each run, faint, and their mean, opaque.

    Parameters
    ----------
    axes : Axes
        The axes to draw in.
    x : array_like, (points,)
        The common abscissa.
    runs : array_like, (runs, points)
        The curves.
    colour : str
        The colour of all curves.
    label : str
        The label of the mean.
    faint_label : str, optional
        The label of the single curves. By default they have none.
    """
    curves = np.asarray(runs)
    for index, curve in enumerate(curves):
        axes.plot(x, curve, color=colour, alpha=0.35, linewidth=0.8, label=faint_label if index == 0 else None)
    axes.plot(x, curves.mean(axis=0), color=colour, label=label)


def shade_span(axes: Axes, first: float, last: float, text: str) -> None:
    """Shade an interval of the abscissa, and write its name above the axes.

    Parameters
    ----------
    axes : Axes
        The axes to draw in.
    first : float
        The start of the interval.
    last : float
        The end of the interval.
    text : str
        The name.
    """
    axes.axvspan(first, last, color=COLOURS["grey"], alpha=0.16, linewidth=0, zorder=0)
    middle = np.sqrt(first * last) if axes.get_xscale() == "log" else (first + last) / 2
    at_end = last >= axes.get_xlim()[1]
    place: Any = {"transform": axes.get_xaxis_transform(), "ha": "right" if at_end else "center", "va": "bottom"}
    axes.text(last if at_end else middle, 1.01, text, fontsize=8, color=COLOURS["grey"], **place)


def add_time_axis(axes: Axes, step_size: float, label: str) -> None:
    """Add an upper axis that shows the time step_size · step.

    Parameters
    ----------
    axes : Axes
        The axes to draw in.
    step_size : float
        The time of one step.
    label : str
        The label of the axis.
    """
    upper = axes.secondary_xaxis(
        "top", functions=(lambda step: np.multiply(step, step_size), lambda time: np.divide(time, step_size))
    )
    upper.set_xlabel(label)
    upper.spines["top"].set_visible(True)


def draw_matrix(
    axes: Axes, values: ArrayLike, limits: tuple[float, float], colours: str, groups: ArrayLike
) -> AxesImage:
    """Draw a square matrix whose rows and columns belong to numbered groups. Ticks show the numbers of the groups.

    Parameters
    ----------
    axes : Axes
        The axes to draw in.
    values : array_like, (m, m)
        The matrix.
    limits : (float, float)
        The values at the two ends of the colour map.
    colours : str
        The name of a colour map.
    groups : array_like, (m,)
        The group of each row, in ascending order.

    Returns
    -------
    AxesImage
        The image, for `add_colour_bar`.
    """
    image = axes.imshow(np.asarray(values), vmin=limits[0], vmax=limits[1], cmap=colours, interpolation="nearest")
    names, first, size = np.unique(np.asarray(groups), return_index=True, return_counts=True)
    every = max(1, round(len(names) / 6))
    shown = np.arange(every - 1, len(names), every)
    centres = (first + (size - 1) / 2)[shown]
    axes.set_xticks(centres, [str(name) for name in names[shown]])
    axes.set_yticks(centres, [str(name) for name in names[shown]])
    axes.grid(visible=False)
    axes.spines[["top", "right"]].set_visible(True)
    return image


def add_colour_bar(place: SubFigure, image: AxesImage, axes: Sequence[Axes], label: str, ticks: ArrayLike) -> Colorbar:
    """Add one colour bar for several matrices. Its arrows show at which ends values exceed the colour map.

    Parameters
    ----------
    place : SubFigure
        The part of the figure that gets the bar.
    image : AxesImage
        One of the matrices, which all have the same limits.
    axes : sequence of Axes
        The axes of the matrices.
    label : str
        The label of the bar.
    ticks : array_like
        The values at the ticks.

    Returns
    -------
    Colorbar
        The bar.
    """
    low, high = image.get_clim()
    values = [np.asarray(part.get_array()) for panel in axes for part in panel.images]
    slack = 1e-6 * (high - low)
    below, above = (any(np.nanmin(v) < low - slack for v in values), any(np.nanmax(v) > high + slack for v in values))
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")
    return place.colorbar(image, ax=axes, label=label, ticks=ticks, extend=extend, shrink=0.74, aspect=20, pad=0.03)
