"""The picture of a run: curves over the steps, events, and the Fourier frequencies of the hidden units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import fourier, plots
from ..results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_PARTS = {"train": plots.COLOURS["blue"], "test": plots.COLOURS["vermilion"]}
_OPERANDS = [plots.COLOURS[name] for name in ("blue", "orange", "green", "purple")]
_LONGEST_EVENT = 60  # characters
#: A unit is strong if its power is above this share of the power of the strongest unit.
_STRONG = 0.01


def draw(run: Run, name: str) -> Figure:
    """Draw a run. ``name`` stands in the heading."""
    drawings: list[tuple[str, Callable[[Axes, Run], None]]] = [
        ("loss", _loss),
        ("accuracy", _accuracy),
        ("norms", _norms),
    ]
    if "alignment_cosine" in run.history:
        drawings.append(("cosine of updates", _alignment))
    operands = _operands(run)
    if operands and run.snapshots is not None and run.snapshots.sizes["step"] > 1:
        drawings.append(("share of a unit's power in its strongest Fourier frequency", _specialisation))
    heights = [0.17 * max(len(_reached_events(run)), 1), *[2.0] * len(drawings)]
    height_of_units = 2.6 if operands else 0.0
    figure = plots.make_figure(7.2, 0.8 + sum(heights) + height_of_units)
    places: list[Any] = [figure]
    if operands:
        places = list(figure.subfigures(2, 1, squeeze=False, height_ratios=(0.5 + sum(heights), height_of_units)).flat)
    strip, *axes = places[0].subplots(len(heights), 1, sharex=True, height_ratios=heights)
    for place, letter, (title, drawing) in zip(axes, "abcde", drawings, strict=False):
        place.set_title(rf"$\bf{{{letter}}}$   {title}", loc="left", fontsize=10)
        drawing(place, run)
    axes[-1].set_xlabel(_scale(strip, run.history.step.values))
    _mark_events(strip, axes, run)
    if operands:
        _units(places[1], "abcdef"[len(drawings)], run, operands)
    figure.suptitle(f"{name}: {run.outcome}", fontsize="medium", wrap=True)
    return figure


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


def _loss(axes: Axes, run: Run) -> None:
    history = run.history
    if "train_loss_min" in history:
        band = (history.train_loss_min, history.train_loss_max)
        axes.fill_between(history.step, *band, color=_PARTS["train"], alpha=0.25, linewidth=0)
    _lines(axes, run, {f"{part}_loss": (part, colour) for part, colour in _PARTS.items()})
    if (history.train_loss > 0).any():
        axes.set_yscale("log")


def _accuracy(axes: Axes, run: Run) -> None:
    _lines(axes, run, {f"{part}_accuracy": (part, colour) for part, colour in _PARTS.items()})
    axes.set_ylim(-0.03, 1.05)


def _norms(axes: Axes, run: Run) -> None:
    colours = {"E": plots.COLOURS["green"], "W": plots.COLOURS["orange"]}
    _lines(axes, run, {f"norm_{layer}": (f"‖{layer}‖", colour) for layer, colour in colours.items()})


def _alignment(axes: Axes, run: Run) -> None:
    names = {
        "alignment_cosine": ("with the norm-minimising direction", plots.COLOURS["purple"]),
        "alignment_decay_cosine": ("with −θ", plots.COLOURS["grey"]),
    }
    _lines(axes, run, names)


def _lines(axes: Axes, run: Run, names: dict[str, tuple[str, str]]) -> None:
    marker = "o" if run.history.sizes["step"] == 1 else None  # A line through one point is not visible.
    for name, (label, colour) in names.items():
        axes.plot(run.history.step, run.history[name], color=colour, label=label, marker=marker)
    axes.legend()


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
    axes[0].set_title(rf"$\bf{{{letter}}}$   {title}", loc="left", fontsize=10)
    place.colorbar(image, ax=axes, pad=0.01)


def _scale(axes: Axes, steps: NDArray[Any]) -> str:
    """Set the scale of the axis of steps, and return its label.

    The axis is logarithmic from the first record after step 0 on, and linear before it.
    """
    from matplotlib.ticker import FixedLocator  # noqa: PLC0415 — slow to import, and needed only for a picture

    if not (steps > 0).any():
        axes.set_xticks([0])
        return "step"
    first, last = int(steps[steps > 0][0]), int(steps[-1])
    decades = [tick for power in range(20) if first <= (tick := 10**power) <= last]
    axes.set_xscale("symlog", linthresh=first, linscale=0.25)
    axes.set_xlim(-0.05 * first, last * 1.05)
    axes.xaxis.set_major_locator(FixedLocator([0, *(decades or [first])]))
    axes.xaxis.set_minor_locator(FixedLocator([first, *(tick * digit for tick in decades for digit in range(2, 10))]))
    return "step" if first == 1 else f"step (logarithmic from {first} on)"


def _reached_events(run: Run) -> dict[str, int]:
    """Return the events that have occurred, with their steps."""
    return {text: step for text, step in run.events.items() if step is not None}


def _mark_events(strip: Axes, axes: Sequence[Axes], run: Run) -> None:
    """Draw a line at each event, and write its name in the strip above the panels, on the side with more room.

    Names in the left half are ordered by step from top to bottom, names in the right half from bottom to top. Then no
    line crosses a name.
    """
    events = _reached_events(run)
    strip.set_axis_off()
    strip.set_ylim(max(len(events), 1), 0)
    to_axes = strip.transScale + strip.transLimits
    left = {text: to_axes.transform((step, 0))[0] < 0.5 for text, step in events.items()}
    order = sorted(events.items(), key=lambda event: (not left[event[0]], event[1] if left[event[0]] else -event[1]))
    for row, (text, step) in enumerate(order):
        line: Any = {"color": plots.COLOURS["grey"], "linewidth": 0.7, "linestyle": ":", "zorder": 1}
        strip.plot([step, step], [row + 0.5, max(len(events), 1)], scalex=False, scaley=False, **line)
        for place in axes:
            place.axvline(step, **line)
        words = text.replace("_", " ").replace(">=", "≥").replace("<=", "≤")
        words = words if len(words) <= _LONGEST_EVENT else f"{words[: _LONGEST_EVENT - 1]}…"
        strip.annotate(
            f"{words}: step {step}",
            (step, row + 0.5),
            xytext=(4 if left[text] else -4, 0),
            textcoords="offset points",
            ha="left" if left[text] else "right",
            va="center",
            fontsize="x-small",
            color=plots.COLOURS["grey"],
        )
