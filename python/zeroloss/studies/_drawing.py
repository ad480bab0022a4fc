"""Drawing that several studies share: curves, points with intervals, shades, and the labels of axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .. import plots

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LOG_LOG", "choose_colour", "choose_shades", "draw_curves", "draw_intervals", "finish_axes"]

#: Options of `finish_axes` for two logarithmic axes.
LOG_LOG: Any = {"xscale": "log", "yscale": "log"}

_ACTIVATION_COLOURS = {
    "softplus": "green",
    "relu": "vermilion",
    "leaky_relu": "orange",
    "tanh": "blue",
    "gelu": "purple",
    "square": "grey",
    "identity": "sky",
}


def choose_colour(activation: str) -> str:
    """Return the colour of an activation. Its parameter, as in softplus(5), does not matter."""
    return _ACTIVATION_COLOURS[activation.partition("(")[0]]


def draw_curves(
    axes: Axes, x: ArrayLike, curves: ArrayLike, colour: Any, label: str | None = None, style: str = "-", **options: Any
) -> None:
    """Draw one curve (points,) or several (curves, points) in one colour; the first one has the label.

    ``colour`` is a name of `zeroloss.plots.COLOURS` or a colour of Matplotlib; ``style`` and ``options`` are those of
    Matplotlib's ``plot``.
    """
    colour = plots.COLOURS.get(colour, colour) if isinstance(colour, str) else colour
    for number, curve in enumerate(np.atleast_2d(np.asarray(curves))):
        axes.plot(x, curve, style, color=colour, label=None if number else label, **options)


def draw_intervals(axes: Axes, x: ArrayLike, middle: Any, low: Any, high: Any, colour: Any, **options: Any) -> None:
    """Draw points with intervals, which end at ``low`` and ``high``, as error bars."""
    colour = plots.COLOURS.get(colour, colour) if isinstance(colour, str) else colour
    axes.errorbar(x, middle, yerr=(middle - low, high - middle), fmt="o", color=colour, **options)


def choose_shades(count: int, first: float, last: float) -> list[Any]:
    """Return colours of an ordered parameter, from one share of the colour map viridis to another."""
    import matplotlib as mpl  # noqa: PLC0415 — Matplotlib is loaded with the first picture.

    return list(mpl.colormaps["viridis"](np.linspace(first, last, count)))


def finish_axes(axes: Axes, legend: Any = None, **options: Any) -> None:
    """Set labels, scales and limits of axes, and add the legend at a place such as ``"lower right"``."""
    axes.set(**options)
    if legend is not None:
        axes.legend(loc=legend)
