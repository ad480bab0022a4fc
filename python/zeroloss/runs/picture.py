"""The picture of a run: curves over the steps, events, and the Fourier frequencies of the hidden units."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import fourier, plots
from .._checks import to_one_line
from ..results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_OPERANDS = [plots.COLOURS[name] for name in ("blue", "orange", "green", "purple")]
_LETTERS = "abcdefgh"
_CIRCLES = 4
_LINE = 90  # characters of a line of the heading
#: A unit is strong if its power is above this share of the power of the strongest unit.
_STRONG = 0.01


def draw(run: Run, name: str) -> Figure:
    """Draw a run. ``name`` stands in the heading."""
    operands = _operands(run)
    has_shares = bool(operands) and run.snapshots is not None and run.snapshots.sizes["step"] > 1
    curves = [plots.Curves(run.history, run.events)]
    height = plots.height_of(curves, extra=has_shares)
    heights = [height, 2.6, 2.1] if operands else [height]
    figure = plots.make_figure(7.2, sum(heights))
    places: list[Any] = [figure]
    if operands:
        places = list(figure.subfigures(3, 1, squeeze=False, height_ratios=heights).flat)
    axes = plots.draw_panels(places[0], curves, extra=has_shares)
    if has_shares:
        _specialisation(axes[-1], run)
    for place, letter in zip(axes, _LETTERS, strict=False):
        _add_letter(place, letter, place.get_title(loc="left"))
    if operands:
        _units(places[1], _LETTERS[len(axes)], run, operands)
        _circles(places[2], _LETTERS[len(axes) + 1], run, operands)
    heading = textwrap.fill(to_one_line(f"{name}: {run.outcome}"), _LINE)  # Matplotlib's own wrapping reads dollars.
    figure.suptitle(heading, fontsize="medium", parse_math=False)
    return figure


def _add_letter(axes: Axes, letter: str, title: str) -> None:
    axes.set_title(rf"$\bf{{{letter}}}$   {title}", loc="left", fontsize=10)


def strongest_shares(run: Run) -> dict[str, tuple[float, float]]:
    """Return the share of the units' power in their strongest frequency, at the first snapshot and at the end.

    Returns
    -------
    dict of str to (float, float)
        The two values for each operand, see `zeroloss.fourier.FourierSummary.strongest_share`. Without snapshots both
        are the value at the end. The dictionary is empty if the data have no cyclic group.
    """
    first = run.network.E if run.snapshots is None else run.snapshots.E[0].values
    return {
        word: (
            fourier.summary(first, run.data, operand).strongest_share,
            fourier.summary(run.network.E, run.data, operand).strongest_share,
        )
        for word, operand in _operands(run).items()
    }


def _operands(run: Run) -> dict[str, int]:
    """Return the indices of the operands by name; an empty dictionary if the data have no cyclic group."""
    try:
        blocks = len(fourier.group_rows(run.data))
    except ValueError:
        return {}
    return {f"operand {place + 1}" if blocks > 1 else "": place for place in range(blocks)}


def _specialisation(axes: Axes, run: Run) -> None:
    """Draw the mean over the units, weighted by their power, and a band with 80 % of the strong units."""
    assert run.snapshots is not None
    for (word, operand), colour in zip(_operands(run).items(), _OPERANDS, strict=False):
        curves = []
        for snapshot in run.snapshots.E:
            power = np.abs(fourier.features(snapshot.values, run.data, operand)) ** 2
            units, strongest = power.sum(axis=0), power.max(axis=0)
            strong = units > _STRONG * units.max()
            shares = strongest[strong] / units[strong] if strong.any() else np.full(1, np.nan)
            mean_share = strongest.sum() / units.sum() if strong.any() else np.nan
            curves.append((mean_share, *np.quantile(shares, (0.1, 0.9))))
        mean, low, high = np.transpose(curves)
        axes.fill_between(run.snapshots.step, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(
            run.snapshots.step, mean, color=colour, label=f"{word}{', ' * bool(word)}mean; band: 80 % of the units"
        )
    axes.set_ylim(0, 1.03)
    axes.set_title("share of a unit's power in its strongest Fourier frequency", loc="left")
    axes.legend()


def _units(place: SubFigure, letter: str, run: Run, operands: dict[str, int]) -> None:
    """Draw the share of each frequency in the power of each unit at the end, units sorted by strongest frequency."""
    shares = [fourier.unit_shares(run.network.E, run.data, operand) for operand in operands.values()]
    shares = [np.nan_to_num(values) for values in shares]
    order = np.lexsort((-shares[0].max(axis=0), shares[0].argmax(axis=0)))
    axes = place.subplots(1, len(shares), squeeze=False, sharey=True)[0]
    for panel, values, word in zip(axes, shares, operands, strict=True):
        options: Any = {"extent": (0.5, values.shape[1] + 0.5, 0.5, len(values) + 0.5), "cmap": "cividis"}
        image = panel.imshow(values[:, order], aspect="auto", origin="lower", vmin=0, vmax=1, **options)
        panel.set_xlabel(f"unit{', ' * bool(word)}{word}")
        panel.grid(visible=False)
    axes[0].set_ylabel("frequency")
    axes[0].yaxis.get_major_locator().set_params(integer=True)
    title = f"share of each frequency in a unit's power at step {run.step}, units by their strongest"
    _add_letter(axes[0], letter, title)
    place.colorbar(image, ax=axes, pad=0.01)


def _circles(place: SubFigure, letter: str, run: Run, operands: dict[str, int]) -> None:
    """Draw the elements of the group at the end, in the planes of the frequencies with the greatest power."""
    shown = list(operands.items())[:_CIRCLES]
    each = _CIRCLES // len(shown)
    columns = [(word, operand, k) for word, operand in shown for k in _strongest(run, operand, each)]
    axes = list(place.subplots(1, len(columns), squeeze=False)[0])
    for panel, (word, operand, k) in zip(axes, columns, strict=True):
        plots.plot_circles(run.network.E, run.data, k, operand=operand, axes=panel)
        panel.set_title(f"k = {k}{', ' * bool(word)}{word}", fontsize=8)
    plots.add_title(place, letter, f"embedding in the planes of its strongest frequencies k at step {run.step}")


def _strongest(run: Run, operand: int, most: int) -> list[int]:
    return plots.find_strongest(run.network.E, run.data, operand, most)
