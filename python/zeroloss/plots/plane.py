"""Functions, trajectories and directions in a plane of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .pictures import COLOURS, add_legend, format_numbers, write_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.contour import QuadContourSet


#: The style of the line of a zero-loss set.
ZERO_LOSS: Any = {"color": "#333333", "linewidth": 3.2, "alpha": 0.45, "solid_capstyle": "butt", "zorder": 1.5}


def shade_landscape(
    axes: Axes, x: ArrayLike, y: ArrayLike, values: ArrayLike, levels: ArrayLike, colours: str = "Greys"
) -> QuadContourSet:
    """Shade a part of the plane in steps between levels, with the pale half of a colour map.

    Parameters
    ----------
    axes : Axes
        The axes to draw in.
    x : array_like, (rows, columns)
        The abscissas of the points of a grid, which may be curved.
    y : array_like, (rows, columns)
        The ordinates of the points.
    values : array_like, (rows, columns)
        The function that is shown.
    levels : array_like, (m,)
        The values between the shades, in ascending order.
    colours : str
        The name of a colour map.

    Returns
    -------
    QuadContourSet
        The shades.
    """
    import matplotlib as mpl  # noqa: PLC0415

    edges = np.asarray(levels)
    shades = mpl.colormaps[colours](np.linspace(0, 0.5, len(edges) + 1))
    axes.grid(visible=False)
    return axes.contourf(x, y, values, levels=edges, colors=shades, extend="both", zorder=0)


def make_grid(x: tuple[float, float], y: tuple[float, float]) -> NDArray[np.float64]:
    """Make a fine grid of points over a rectangle.

    Parameters
    ----------
    x : (float, float)
        The range of the abscissas.
    y : (float, float)
        The range of the ordinates.

    Returns
    -------
    ndarray, (241, 241, 2)
        The points.
    """
    return np.stack(np.meshgrid(np.linspace(*x, 241), np.linspace(*y, 241)), axis=-1)


def draw_trajectory(axes: Axes, path: ArrayLike, colour: str, label: str | None = None, order: float = 3) -> None:
    """Draw a trajectory, with a square at its start.

    Parameters
    ----------
    axes : Axes
        The axes to draw in.
    path : array_like, (points, 2)
        The points of the trajectory.
    colour : str
        The colour.
    label : str, optional
        The label.
    order : float
        The place in the order of drawing.
    """
    points = np.asarray(path)
    axes.plot(points[:, 0], points[:, 1], color=colour, linewidth=1.5, label=label, zorder=order)
    axes.plot(*points[0], "s", color=colour, markersize=5, markeredgecolor="white", markeredgewidth=0.6, zorder=order)


_POINT: Any = {"marker": "o", "linestyle": "none", "zorder": 5}

_DOT: Any = {**_POINT, "markersize": 5, "markeredgecolor": "white", "markeredgewidth": 0.6}

_RING: Any = {**_POINT, "markersize": 7.5, "color": "black", "markerfacecolor": "none", "markeredgewidth": 0.9}


def mark_times(axes: Axes, descent: ArrayLike, flow: ArrayLike, colour: str) -> None:
    """Mark the points of descent at some times by dots, and the points of the norm flow by rings.

    Parameters
    ----------
    axes : Axes
        The axes to draw in.
    descent : array_like, (k, 2)
        The points of descent.
    flow : array_like, (k, 2)
        The points of the norm flow at the same times.
    colour : str
        The colour of the dots.
    """
    axes.plot(*np.asarray(descent).T, color=colour, **_DOT)
    axes.plot(*np.asarray(flow).T, **_RING)


def add_time_legend(axes: Axes, slow_times: Sequence[float], **options: Any) -> None:
    """Add a legend that also explains the dots and rings of `mark_times`.

    Parameters
    ----------
    axes : Axes
        The axes to draw in.
    slow_times : sequence of float
        The slow times s of the marks.
    **options
        Further arguments of Matplotlib.
    """
    axes.plot([], [], color=COLOURS["grey"], label=f"descent at s = {format_numbers(slow_times)}", **_DOT)
    axes.plot([], [], label="norm flow at the same s", **_RING)
    add_legend(axes, **options)


def draw_arrow(axes: Axes, tail: ArrayLike, head: ArrayLike, colour: str, label: str) -> None:
    """Draw an arrow between two points, with a label at its head.

    Parameters
    ----------
    axes : Axes
        The axes to draw in.
    tail : array_like, (2,)
        The start of the arrow.
    head : array_like, (2,)
        The end of the arrow.
    colour : str
        The colour.
    label : str
        The label.
    """
    start, end = np.asarray(tail), np.asarray(head)
    shape = {"arrowstyle": "-|>,head_width=0.25,head_length=0.5", "color": colour, "linewidth": 1.8}
    shape |= {"shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (end[0], end[1]), (start[0], start[1]), arrowprops=shape, zorder=4)
    write_label(axes, end + 0.15 * (end - start), label, color=colour)


def draw_angle(axes: Axes, corner: ArrayLike, one: ArrayLike, other: ArrayLike, radius: float, label: str) -> None:
    """Draw the arc between two unit vectors at a corner, with a label outside its middle.

    Parameters
    ----------
    axes : Axes
        The axes to draw in.
    corner : array_like, (2,)
        The corner.
    one : array_like, (2,)
        The first unit vector.
    other : array_like, (2,)
        The second unit vector.
    radius : float
        The radius of the arc.
    label : str
        The label.
    """
    at, first, second = np.asarray(corner), np.asarray(one), np.asarray(other)
    between = np.linspace(0, 1, 60)[:, None]
    rays = (1 - between) * first + between * second
    rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    axes.plot(*(at + radius * rays).T, color="black", linewidth=1.0, zorder=4)
    write_label(axes, at + 1.5 * radius * rays[len(rays) // 2], label)
