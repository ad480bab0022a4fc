"""Pictures of an embedding over a cyclic group: the circles of its frequencies, and the phases of its units."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .. import fourier
from ..datasets import Dataset
from ..networks import Network
from .figures import find_figure, take_axes
from .pictures import COLOURS, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CIRCLES = 4
_FEW = 24  # elements whose names have room
_MOST_LABELS = 64  # elements whose names are written
#: A unit is strong if its power is above this share of the power of the strongest unit.
STRONG = 0.01


def plot_circles(
    E: ArrayLike,
    data: Dataset | None = None,
    frequencies: int | Sequence[int] | None = None,
    *,
    operand: int | None = None,
    axes: Axes | Sequence[Axes] | None = None,
) -> Figure:
    """Plot the group's elements in the planes of some frequencies, see `zeroloss.fourier.circle`.

    Each point has the name of its element, a number modulo p. A line joins neighbouring angles 2πjk/n.

    Parameters
    ----------
    E : array_like, (d_in, h)
        The embedding, such as ``run.network.E`` or ``run.snapshots.E[0]``.
    data : Dataset, optional
        The task, which needs a cyclic group. Without it, row j of E belongs to the number j.
    frequencies : int or sequence of int, optional
        The frequencies, from 1 to ⌊n/2⌋. By default the four with the greatest power.
    operand : int, optional
        The operand whose rows are used, from 0 on. Required if the inputs are concatenated.
    axes : Axes or sequence of Axes, optional
        The axes to draw in, one for each frequency. By default a new figure is made.

    Returns
    -------
    Figure
        The figure with the axes.

    Raises
    ------
    ValueError, TypeError
        If the task has no cyclic group, the embedding does not fit it, a frequency does not exist, or the number of
        axes is another one.
    """
    if frequencies is None:
        shown = find_strongest(E, data, operand)
    else:
        shown = [int(k) for k in np.atleast_1d(np.asarray(frequencies))]
    circles = {k: fourier.circle(E, k, data, operand) for k in shown}
    elements = np.arange(len(next(iter(circles.values())))) if data is None else fourier.group_rows(data)[0]
    with style():
        panels = take_axes(axes, len(shown), width=2.3, height=2.4)
        for panel, (k, points) in zip(panels, circles.items(), strict=True):
            draw_circle(panel, points, k, elements.tolist())
            panel.set_title(f"k = {k}", fontsize=9)
        return find_figure(panels[0])


def find_strongest(E: ArrayLike, data: Dataset | None, operand: int | None = None, most: int = _CIRCLES) -> list[int]:
    """Return the frequencies with the greatest power over all units, in ascending order."""
    power = (np.abs(fourier.features(E, data, operand)) ** 2).sum(axis=1)
    return sorted((np.argsort(-power, kind="stable")[:most] + 1).tolist())


def draw_circle(axes: Axes, points: ArrayLike, frequency: int, names: Sequence[object], colour: str = "blue") -> None:
    """Draw points in the plane of a frequency, with their names.

    Parameters
    ----------
    axes : Axes
        The axes to draw in.
    points : array_like, (n, 2)
        The coordinates of the elements, see `zeroloss.fourier.circle`.
    frequency : int
        The frequency.
    names : sequence
        The names of the elements. With more than 64 elements they are not written.
    colour : str
        A name of `COLOURS`.
    """
    places = np.asarray(points)
    n = len(places)
    order = sorted(range(n), key=lambda j: (j * frequency % n, j))
    around = places[[*order, order[0]]]
    axes.plot(*around.T, color=COLOURS[colour], linewidth=0.6, alpha=0.5, zorder=2)
    axes.plot(*places.T, "o", color=COLOURS[colour], markersize=3, zorder=3)
    radius = math.sqrt((places**2).sum(axis=1).mean())
    turn = np.linspace(0, 2 * np.pi, 200)
    axes.plot(radius * np.cos(turn), radius * np.sin(turn), color=COLOURS["grey"], linewidth=0.6, linestyle=":")
    reach = 1.3 * (np.abs(places).max() or 1.0)
    if n <= _MOST_LABELS:
        for (x, y), name in zip(places, names, strict=True):
            aside = np.array([x, y]) / (math.hypot(x, y) or 1.0)
            size, distance = (6, 7) if n <= _FEW else (5, 5.5)
            label: Any = {"ha": "center", "va": "center", "fontsize": size, "textcoords": "offset points"}
            axes.annotate(str(name), (x, y), xytext=tuple(distance * aside), zorder=4, **label)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")
    axes.spines[:].set_visible(False)
    axes.axhline(0, color="#E6E6E6", linewidth=0.6, zorder=0)
    axes.axvline(0, color="#E6E6E6", linewidth=0.6, zorder=0)


def plot_phases(net: Network, data: Dataset, *, axes: Axes | None = None) -> Figure:
    """Plot the phase of each unit's outputs against the phase of its inputs, see `zeroloss.fourier.unit_phases`.

    The abscissa is the sum of the phases of all operands, with a minus before the second one of differences and
    quotients. Units whose products of cosines give the right output lie on the diagonal. The colour of a unit is its
    strongest frequency; the area is proportional to the share of that frequency in its power. Units with less than 1 %
    of the greatest unit's power are left out.

    Parameters
    ----------
    net : Network
        The network.
    data : Dataset
        A task with a cyclic group.
    axes : Axes, optional
        The axes to draw in. By default a new figure is made.

    Returns
    -------
    Figure
        The figure with the axes.

    Raises
    ------
    ValueError, TypeError
        If the task has no cyclic group, or the network does not fit the data.
    """
    import matplotlib as mpl  # noqa: PLC0415 — Matplotlib is loaded with the first picture.

    phases = fourier.unit_phases(net, data)
    strong = phases.power > STRONG * phases.power.max()
    highest = len(fourier.group_rows(data)[0]) // 2
    with style():
        (panel,) = take_axes(axes, 1, width=4.6, height=3.8)
        figure = find_figure(panel)
        for turn in (-2 * np.pi, 0, 2 * np.pi):
            panel.plot([-4, 4], [turn - 4, turn + 4], color=COLOURS["grey"], linewidth=0.8, linestyle=":", zorder=1)
        points = panel.scatter(
            phases.combined[strong],
            phases.output[strong],
            s=22 * phases.share[strong],
            c=phases.frequency[strong],
            cmap="viridis",
            vmin=1,
            vmax=max(highest, 2),
            linewidths=0,
            zorder=2,
        )
        ticks, texts = [-np.pi, -np.pi / 2, 0, np.pi / 2, np.pi], ["−π", "−π/2", "0", "π/2", "π"]
        panel.set_xticks(ticks, texts)
        panel.set_yticks(ticks, texts)
        panel.set(xlim=(-3.3, 3.3), ylim=(-3.3, 3.3), aspect="equal")
        operands = "the operands' input phases"
        panel.set(xlabel=f"sum of {operands}" if not _has_inverse(data) else f"difference of {operands}")
        panel.set_ylabel("output phase")
        bar = figure.colorbar(points, ax=panel, label="strongest frequency", shrink=0.85)
        bar.locator = mpl.ticker.MaxNLocator(integer=True)
        bar.update_ticks()
    return figure


def _has_inverse(data: Dataset) -> bool:
    return data.settings["task"] in {"modular_subtraction", "modular_division"}
