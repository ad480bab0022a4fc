"""What the pictures share: style, curves over runs, matrices, panel letters and the mark of a quick run.

Matplotlib is imported with the first picture. Figures are objects of their own (no pyplot, no display).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.contour import QuadContourSet
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage

__all__ = [
    "COLOURS",
    "FORMS",
    "ZERO_LOSS",
    "add_colour_bar",
    "add_legend",
    "add_time_axis",
    "add_time_legend",
    "add_title",
    "draw_angle",
    "draw_arrow",
    "draw_matrix",
    "draw_runs",
    "draw_trajectory",
    "format_numbers",
    "is_ours",
    "make_figure",
    "make_grid",
    "mark_quick",
    "mark_times",
    "save",
    "shade_landscape",
    "shade_span",
    "style",
    "write_label",
]

#: Okabe and Ito's colours, which stay apart for every kind of colour vision.
COLOURS = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "grey": "#6E6E6E",
}

#: The line of a zero-loss set.
ZERO_LOSS: Any = {"color": "#333333", "linewidth": 3.2, "alpha": 0.45, "solid_capstyle": "butt", "zorder": 1.5}

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#333333",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "figure.facecolor": "white",
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw in the style of the package's pictures; the user's own settings are back afterwards."""
    import matplotlib as mpl  # noqa: PLC0415 — slow, and needed only for pictures

    with mpl.rc_context(_STYLE):
        yield


def make_figure(width: float, height: float) -> Figure:
    """Return an empty figure, sizes in inches, that arranges its panels itself."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    return Figure(figsize=(width, height), layout="constrained")


def add_title(place: Figure | SubFigure, letter: str, title: str) -> None:
    """Head a part of a figure with its letter and what it shows."""
    place.suptitle(rf"$\bf{{{letter}}}$   {title}", x=0.01, ha="left", fontsize=10)


def draw_runs(
    axes: Axes, x: ArrayLike, runs: ArrayLike, colour: str, label: str, faint_label: str | None = None
) -> None:
    """Draw curves (run, x), each faint, and their mean, opaque.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    x : array_like, (points,)
        The common abscissa.
    runs : array_like, (runs, points)
        The curves.
    colour, label : str
        Of the mean.
    faint_label : str, optional
        Of the single curves.
    """
    curves = np.asarray(runs)
    for index, curve in enumerate(curves):
        axes.plot(x, curve, color=colour, alpha=0.35, linewidth=0.8, label=faint_label if index == 0 else None)
    axes.plot(x, curves.mean(axis=0), color=colour, label=label)


def shade_span(axes: Axes, first: float, last: float, text: str) -> None:
    """Shade a part of the abscissa, with its name above the axes."""
    axes.axvspan(first, last, color=COLOURS["grey"], alpha=0.16, linewidth=0, zorder=0)
    middle = np.sqrt(first * last) if axes.get_xscale() == "log" else (first + last) / 2
    at_end = last >= axes.get_xlim()[1]
    place: Any = {"transform": axes.get_xaxis_transform(), "ha": "right" if at_end else "center", "va": "bottom"}
    axes.text(last if at_end else middle, 1.01, text, fontsize=8, color=COLOURS["grey"], **place)


def add_time_axis(axes: Axes, step_size: float, label: str) -> None:
    """Add an upper axis that shows the time step_size · step."""
    upper = axes.secondary_xaxis(
        "top", functions=(lambda step: np.multiply(step, step_size), lambda time: np.divide(time, step_size))
    )
    upper.set_xlabel(label)
    upper.spines["top"].set_visible(True)


def draw_matrix(
    axes: Axes, values: ArrayLike, limits: tuple[float, float], colours: str, groups: ArrayLike
) -> AxesImage:
    """Draw a square matrix whose rows and columns belong to numbered groups; ticks name the groups.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    values : array_like, (m, m)
        The matrix.
    limits : (float, float)
        The values at the two ends of the colours.
    colours : str
        The name of a colour map.
    groups : array_like, (m,)
        The group of each row, in order.
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
    """Add the one colour bar of several matrices; arrows say at which ends values go beyond the colours."""
    low, high = image.get_clim()
    values = [np.asarray(part.get_array()) for one in axes for part in one.images]
    slack = 1e-6 * (high - low)
    below, above = (any(np.nanmin(v) < low - slack for v in values), any(np.nanmax(v) > high + slack for v in values))
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")
    return place.colorbar(image, ax=axes, label=label, ticks=ticks, extend=extend, shrink=0.74, aspect=20, pad=0.03)


def shade_landscape(
    axes: Axes, x: ArrayLike, y: ArrayLike, values: ArrayLike, levels: ArrayLike, colours: str = "Greys"
) -> QuadContourSet:
    """Shade a part of the plane, in the pale half of a colour map, in steps between levels.

    Parameters
    ----------
    axes : Axes
        Where to draw.
    x, y : array_like, (rows, columns)
        Places on a grid, which may be a curved one.
    values : array_like, (rows, columns)
        The function shown.
    levels : array_like, (m,)
        Where one shade ends and the next begins.
    colours : str
        The name of a colour map.
    """
    import matplotlib as mpl  # noqa: PLC0415

    edges = np.asarray(levels)
    shades = mpl.colormaps[colours](np.linspace(0, 0.5, len(edges) + 1))
    axes.grid(visible=False)
    return axes.contourf(x, y, values, levels=edges, colors=shades, extend="both", zorder=0)


def make_grid(x: tuple[float, float], y: tuple[float, float]) -> NDArray[np.float64]:
    """Return the points (rows, columns, 2) of a fine grid over a rectangle."""
    return np.stack(np.meshgrid(np.linspace(*x, 241), np.linspace(*y, 241)), axis=-1)


def draw_trajectory(axes: Axes, path: ArrayLike, colour: str, label: str | None = None, order: float = 3) -> None:
    """Draw a trajectory (points, 2) with a square at its start, at a place in the order of drawing."""
    points = np.asarray(path)
    axes.plot(points[:, 0], points[:, 1], color=colour, linewidth=1.5, label=label, zorder=order)
    axes.plot(*points[0], "s", color=colour, markersize=5, markeredgecolor="white", markeredgewidth=0.6, zorder=order)


_POINT: Any = {"marker": "o", "linestyle": "none", "zorder": 5}
_DOT: Any = {**_POINT, "markersize": 5, "markeredgecolor": "white", "markeredgewidth": 0.6}
_RING: Any = {**_POINT, "markersize": 7.5, "color": "black", "markerfacecolor": "none", "markeredgewidth": 0.9}


def mark_times(axes: Axes, descent: ArrayLike, flow: ArrayLike, colour: str) -> None:
    """Mark where descent is at some times (a dot for each point of (k, 2)), and where the norm flow is (rings)."""
    axes.plot(*np.asarray(descent).T, color=colour, **_DOT)
    axes.plot(*np.asarray(flow).T, **_RING)


def add_time_legend(axes: Axes, slow_times: Sequence[float], **options: Any) -> None:
    """Add the legend of an axes with what the dots and rings of `mark_times` are."""
    axes.plot([], [], color=COLOURS["grey"], label=f"descent at s = {format_numbers(slow_times)}", **_DOT)
    axes.plot([], [], label="norm flow at the same s", **_RING)
    add_legend(axes, **options)


def draw_arrow(axes: Axes, tail: ArrayLike, head: ArrayLike, colour: str, label: str) -> None:
    """Draw an arrow between two points, with a label before its head."""
    start, end = np.asarray(tail), np.asarray(head)
    shape = {"arrowstyle": "-|>,head_width=0.25,head_length=0.5", "color": colour, "linewidth": 1.8}
    shape |= {"shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (end[0], end[1]), (start[0], start[1]), arrowprops=shape, zorder=4)
    write_label(axes, end + 0.15 * (end - start), label, color=colour)


def draw_angle(axes: Axes, corner: ArrayLike, one: ArrayLike, other: ArrayLike, radius: float, label: str) -> None:
    """Draw the arc between two unit vectors at a corner, with a label outside its middle."""
    at, first, second = np.asarray(corner), np.asarray(one), np.asarray(other)
    between = np.linspace(0, 1, 60)[:, None]
    rays = (1 - between) * first + between * second
    rays = rays / np.linalg.norm(rays, axis=1, keepdims=True)
    axes.plot(*(at + radius * rays).T, color="black", linewidth=1.0, zorder=4)
    write_label(axes, at + 1.5 * radius * rays[len(rays) // 2], label)


def write_label(axes: Axes, place: ArrayLike, text: str, **options: Any) -> None:
    """Write a word or two centred on a point (2,)."""
    x, y = np.asarray(place)
    axes.text(x, y, text, **{"ha": "center", "va": "center", "zorder": 6, **options})


def add_legend(axes: Axes, **options: Any) -> None:
    """Add a legend in which each label stands once."""
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axes.legend(once.values(), once.keys(), **options)


def format_numbers(numbers: Iterable[float]) -> str:
    """Return numbers with commas between them, as they stand in labels."""
    return ", ".join(f"{number:g}".replace("-", "−") for number in numbers)


def mark_quick(figure: Figure, text: str) -> None:
    """Mark a picture of a quick run, so that nobody takes it for the real one."""
    box = {"boxstyle": "round,pad=0.35", "facecolor": "#FFF3E6", "edgecolor": COLOURS["vermilion"], "linewidth": 0.8}
    figure.suptitle(f"QUICK RUN  {text}", x=0.99, ha="right", color=COLOURS["vermilion"], fontsize=8, bbox=box)


#: What a picture says about itself in each form: that it is ours, without a version and a date.
FORMS: Mapping[str, Mapping[str, str | None]] = {
    "png": {"Software": "zeroloss"},
    "svg": {"Creator": "zeroloss", "Date": None},
    "pdf": {"Creator": "zeroloss", "Producer": None, "CreationDate": None},
}


def save(figure: Figure, file: Path | BinaryIO, form: str = "png") -> None:
    """Write a figure as PNG, SVG or PDF, marked as ours: the same numbers give the same file."""
    import matplotlib as mpl  # noqa: PLC0415

    with mpl.rc_context({"svg.hashsalt": "zeroloss"}):  # else the names in an SVG file are random
        figure.savefig(file, dpi=160, format=form, metadata=dict(FORMS[form]))


def is_ours(path: Path) -> bool:
    """Whether a file is a picture that `save` wrote."""
    with path.open("rb") as file:
        return b"tEXtSoftware\0zeroloss" in file.read(200)
