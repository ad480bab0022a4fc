"""What the pictures share: style, curves over runs, matrices, panel letters and the mark of a quick run.

Matplotlib is imported with the first picture. Figures are objects of their own (no pyplot, no display).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage

__all__ = [
    "COLOURS",
    "colour_bar",
    "mark_quick",
    "matrix",
    "new_figure",
    "panel",
    "runs_and_mean",
    "save",
    "style",
    "time_axis",
]

#: Okabe and Ito's colours, which stay apart for every kind of colour vision.
COLOURS = {"blue": "#0072B2", "orange": "#E69F00", "green": "#009E73", "vermilion": "#D55E00", "grey": "#6E6E6E"}

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


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, sizes in inches, that arranges its panels itself."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    return Figure(figsize=(width, height), layout="constrained")


def panel(place: Figure | SubFigure, letter: str, title: str) -> None:
    """Head a part of a figure with its letter and what it shows."""
    place.suptitle(rf"$\bf{{{letter}}}$   {title}", x=0.01, ha="left", fontsize=10)


def runs_and_mean(axes: Axes, x: ArrayLike, runs: ArrayLike, colour: str, label: str) -> None:
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
    """
    curves = np.asarray(runs)
    for index, curve in enumerate(curves):
        axes.plot(x, curve, color=colour, alpha=0.35, linewidth=0.8, label=f"single {label}s" if index == 0 else None)
    axes.plot(x, curves.mean(axis=0), color=colour, label=f"mean of {len(curves)} {label}s")


def time_axis(axes: Axes, step_size: float, label: str) -> None:
    """Add an upper axis that shows the time step_size · step."""
    upper = axes.secondary_xaxis(
        "top", functions=(lambda step: np.multiply(step, step_size), lambda time: np.divide(time, step_size))
    )
    upper.set_xlabel(label)
    upper.spines["top"].set_visible(True)


def matrix(axes: Axes, values: ArrayLike, limits: tuple[float, float], colours: str, groups: ArrayLike) -> AxesImage:
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


def colour_bar(place: SubFigure, image: AxesImage, axes: Sequence[Axes], label: str, ticks: ArrayLike) -> Colorbar:
    """Add the one colour bar of several matrices; arrows say at which ends values go beyond the colours."""
    low, high = image.get_clim()
    values = [np.asarray(part.get_array()) for one in axes for part in one.images]
    slack = 1e-6 * (high - low)
    below, above = (any(np.nanmin(v) < low - slack for v in values), any(np.nanmax(v) > high + slack for v in values))
    extend = {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")
    return place.colorbar(image, ax=axes, label=label, ticks=ticks, extend=extend, shrink=0.74, aspect=20, pad=0.03)


def mark_quick(figure: Figure, text: str) -> None:
    """Mark a picture of a quick run, so that nobody takes it for the real one."""
    box = {"boxstyle": "round,pad=0.35", "facecolor": "#FFF3E6", "edgecolor": COLOURS["vermilion"], "linewidth": 0.8}
    figure.text(
        0.99, 0.99, f"QUICK RUN  {text}", color=COLOURS["vermilion"], ha="right", va="top", fontsize=8, bbox=box
    )


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, without the program's version in it: the same numbers give the same file."""
    figure.savefig(path, dpi=160, format="png", metadata={"Software": None})
