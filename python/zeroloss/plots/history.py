"""The curves of runs: loss, accuracy, norms and measures against steps or time, with marks at events."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._checks import ArgumentValueError, format_value
from .._choices import Abscissa, TimeScale
from .._display import shorten
from .figures import make_figure
from .pictures import COLOURS, choose_colours, style, write_condition, write_literally
from .time_axis import set_time_axis

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

AGAINST = ("step", "time", "slow_time")
SCALES = ("log", "linear")

_LONGEST = 60  # characters of the name of an event or a run
_MOST_DIFFERENCES = 3  # settings in the name of a run

#: The variables of a panel, with their name in the legend, and their colour if there is one run.
_PANELS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "loss": {"train_loss": ("train", "blue"), "test_loss": ("test", "vermilion")},
    "accuracy": {"train_accuracy": ("train", "blue"), "test_accuracy": ("test", "vermilion")},
    "norms": {"norm_E": ("‖E‖", "green"), "norm_W": ("‖W‖", "orange"), "norm_bias": ("biases", "purple")},
    "cosine of updates": {
        "alignment_cosine": ("with the norm-minimising direction", "purple"),
        "alignment_decay_cosine": ("with −θ", "grey"),
    },
}
_DASHES = ("-", (0, (3, 1.5)), (0, (1, 1.5)))


@dataclass(frozen=True)
class Curves:
    """The history of a run with its events, its name and its colour among others."""

    history: xr.Dataset
    events: Mapping[str, int | None]
    name: str = ""
    colour: Any = None

    def times(self, against: str) -> NDArray[np.float64]:
        """Return the abscissas of the records."""
        return np.asarray(self.history[against].values, np.float64)

    def time_of(self, step: int, against: str) -> float:
        """Return the abscissa of a step, linear between two records."""
        return float(np.interp(step, self.history.step.values, self.times(against)))


def plot_history(
    histories: xr.Dataset | Sequence[xr.Dataset],
    events: Sequence[Mapping[str, int | None]] | None = None,
    *,
    against: Abscissa = "step",
    scale: TimeScale = "log",
    names: Sequence[str] | None = None,
    also: Sequence[str] = (),
) -> Figure:
    """Plot loss, accuracy and norms of one run, or of several runs over each other. `Run.plot` calls this function.

    Parameters
    ----------
    histories : xarray.Dataset or sequence of xarray.Dataset
        The histories of the runs.
    events : sequence of mapping, optional
        The events of each run, as in ``Run.events``. They are marked above the panels.
    against : {"step", "time", "slow_time"}
        The abscissa. All histories need it.
    scale : {"log", "linear"}
        The scale of the abscissa. "log" is linear up to the first record after 0, and logarithmic from there on.
    names : sequence of str, optional
        The name of each run in the legend. By default, the settings in which the runs differ.
    also : sequence of str
        Further variables over "step", such as measures, each with a panel of its own.

    Returns
    -------
    Figure
        The figure. ``figure.savefig("run.svg")`` or ``"run.pdf"`` writes it.

    Raises
    ------
    ValueError, TypeError
        If there is no history, a history does not have the abscissa or a variable of ``also``, or the numbers of
        histories, events and names differ.
    """
    many: list[Any] = [histories] if hasattr(histories, "data_vars") else list(histories)
    _checks.choice("against", against, AGAINST)
    _checks.choice("scale", scale, SCALES)
    if not many:
        raise ArgumentValueError("histories", "expected at least one, got none")
    for argument, given in (("events", events), ("names", names)):
        if given is not None and len(given) != len(many):
            raise ArgumentValueError(argument, f"expected one for each of {len(many)} runs, got {len(given)}")
    for history in many:
        _check_variables(history, against, also)
    all_events = events or [{}] * len(many)
    all_names = list(map(str, names)) if names is not None else name_runs(many)
    colours = choose_colours(len(many))
    runs = [Curves(*each) for each in zip(many, all_events, all_names, colours, strict=True)]
    with style():
        figure = make_figure(7.2, height_of(runs, also))
        draw_panels(figure, runs, against=against, scale=scale, also=also)
        if len(runs) > 1:
            add_names(figure, runs)
    return figure


def _check_variables(history: xr.Dataset, against: str, also: Sequence[str]) -> None:
    if against not in history.variables:
        known = [name for name in AGAINST if name in history.variables]
        raise ArgumentValueError("against", f"expected one of {', '.join(known)}, which the history has, got {against}")
    if isinstance(also, str):
        raise ArgumentValueError("also", f"expected a list of names, got {format_value(also)}")
    for name in also:
        if name not in history.data_vars or history[name].dims != ("step",):
            known = [str(other) for other, values in history.items() if values.dims == ("step",)]
            raise ArgumentValueError("also", f"expected names among {', '.join(known)}, got {format_value(name)}")


def name_runs(histories: Sequence[xr.Dataset]) -> list[str]:
    """Return a name for each run: the settings in which it differs from others, or its number."""
    settings = [_flatten(json.loads(history.attrs.get("settings", "{}"))) for history in histories]
    keys = dict.fromkeys(key for one in settings for key in one)
    differing = [key for key in keys if len({json.dumps(one.get(key)) for one in settings}) > 1]
    short = {key: key[1] if sum(key[1] == other for _, other in keys) == 1 else " ".join(key) for key in differing}
    names = [", ".join(f"{short[key]}={format_value(one[key])}" for key in differing if key in one) for one in settings]
    are_useful = len(set(names)) == len(names) and 0 < len(differing) <= _MOST_DIFFERENCES and all(names)
    return names if are_useful else [f"run {number}" for number in range(len(histories))]


def _flatten(settings: Mapping[str, Any]) -> dict[tuple[str, str], Any]:
    sections = {name: settings.get(name) for name in ("dynamics", "data", "network")}
    return {
        (section, key): value
        for section, values in sections.items()
        if isinstance(values, Mapping)
        for key, value in values.items()
    }


def height_of(runs: Sequence[Curves], also: Sequence[str] = (), extra: int = 0) -> float:
    """Return the height in inches of the panels that `draw_panels` draws."""
    panels = len(_find_panels(runs)) + len(also) + extra
    return 0.8 + 0.17 * max(len(_find_events(runs)), 1) + 2.0 * panels + 0.2 * len(runs) * (len(runs) > 1)


def draw_panels(
    place: Figure | SubFigure,
    runs: Sequence[Curves],
    *,
    against: str = "step",
    scale: str = "log",
    also: Sequence[str] = (),
    extra: int = 0,
) -> list[Axes]:
    """Draw the panels in a part of a figure, and return them, with ``extra`` empty ones at the end."""
    panels = _find_panels(runs)
    heights = [0.17 * max(len(_find_events(runs)), 1), *[2.0] * (len(panels) + len(also) + extra)]
    strip, *axes = place.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    for axis, (title, variables) in zip(axes, panels.items(), strict=False):
        axis.set_title(title, loc="left", fontsize=10)
        _draw_lines(axis, runs, against, variables)
        if title == "loss":
            _draw_range(axis, runs, against)
            if any("train_loss" in run.history and (run.history.train_loss > 0).any() for run in runs):
                axis.set_yscale("log")
        elif title == "accuracy":
            axis.set_ylim(-0.03, 1.05)
    for axis, name in zip(axes[len(panels) :], also, strict=False):
        title = str(runs[0].history[name].attrs.get("long_name", name))
        write_literally(axis.set_title(shorten(title, _LONGEST), loc="left", fontsize=10))
        _draw_lines(axis, runs, against, {name: ("", "blue")})
    values = np.concatenate([run.times(against) for run in runs])
    if not values.size:
        axes[0].text(0.5, 0.5, "no records", transform=axes[0].transAxes, ha="center", va="center")
    axis_name = str(runs[0].history[against].attrs.get("long_name", against))
    axes[-1].set_xlabel(set_time_axis(strip, values, axis_name, scale))
    _mark_events(strip, axes, runs, against)
    return axes


def _find_panels(runs: Sequence[Curves]) -> dict[str, Mapping[str, tuple[str, str]]]:
    """Return loss, norms, accuracies unless none is defined, and the cosines if they are recorded."""

    def is_defined(name: str) -> bool:
        return any(name in run.history and run.history[name].notnull().any() for run in runs)

    def is_drawn(title: str) -> bool:
        has_records = any(run.history.sizes["step"] for run in runs)
        return (
            title in {"loss", "norms"}
            or any(map(is_defined, _PANELS[title]))
            or (title == "accuracy" and not has_records)
        )

    return {title: variables for title, variables in _PANELS.items() if is_drawn(title)}


def _draw_lines(axes: Axes, runs: Sequence[Curves], against: str, variables: Mapping[str, tuple[str, str]]) -> None:
    """Draw variables of all runs: one run in a colour for each variable, several in a colour and dashes for each."""
    variables = {name: variable for name, variable in variables.items() if any(name in run.history for run in runs)}
    styles = dict(zip(variables, _DASHES, strict=False))
    for run in runs:
        marker = "o" if run.history.sizes["step"] == 1 else None  # A line through one point is not visible.
        for name, (label, colour) in variables.items():
            if name in run.history:
                values = run.history[name].values.astype(np.float64)
                alone: Any = {"color": COLOURS[colour], "label": label}
                many: Any = {"color": run.colour, "linestyle": styles[name], "linewidth": 1.2}
                axes.plot(run.times(against), values, marker=marker, **(alone if len(runs) == 1 else many))
    if len(runs) > 1 and len(variables) > 1:
        for name, (label, _) in variables.items():
            axes.plot([], [], color="black", linestyle=styles[name], linewidth=1.2, label=label)
    if axes.get_legend_handles_labels()[1] and len(variables) > 1:
        axes.legend()


def _draw_range(axes: Axes, runs: Sequence[Curves], against: str) -> None:
    """Shade the range of the training loss between records, if it is recorded."""
    for run in runs:
        if {"train_loss_min", "train_loss_max"} <= run.history.keys():
            ends = (run.history.train_loss_min.values, run.history.train_loss_max.values)
            colour = COLOURS["blue"] if len(runs) == 1 else run.colour
            axes.fill_between(run.times(against), *ends, color=colour, alpha=0.25, linewidth=0)


def add_names(figure: Figure, runs: Sequence[Curves]) -> None:
    """Add a legend with the name of each run above the panels."""
    import matplotlib as mpl  # noqa: PLC0415 — Matplotlib is loaded with the first picture.

    handles = [mpl.lines.Line2D([], [], color=run.colour) for run in runs]
    labels = [shorten(run.name, _LONGEST) for run in runs]
    widest = max(map(len, labels))
    columns = max(1, min(len(runs), 90 // (widest + 8)))
    legend = figure.legend(handles, labels, loc="outside upper left", ncols=columns)
    write_literally(*legend.get_texts())


def _find_events(runs: Sequence[Curves]) -> dict[str, list[tuple[Curves, int]]]:
    """Return the events that have occurred, each with the runs and the steps."""
    found: dict[str, list[tuple[Curves, int]]] = {}
    for run in runs:
        for text, step in run.events.items():
            if step is not None and run.history.sizes["step"]:
                found.setdefault(text, []).append((run, step))
    return found


def _mark_events(strip: Axes, axes: Sequence[Axes], runs: Sequence[Curves], against: str) -> None:
    """Draw a line at each event, and write its name in the strip above the panels, on the side with more room.

    Names in the left half are ordered by step from top to bottom, names in the right half from bottom to top. Then no
    line crosses a name. With several runs, each event has a row with a dot for each run instead of lines.
    """
    events = _find_events(runs)
    bottom = max(len(events), 1)
    strip.set_axis_off()
    strip.set_ylim(bottom, 0)
    places = {text: [run.time_of(step, against) for run, step in found] for text, found in events.items()}
    to_axes = strip.transScale + strip.transLimits
    middle = {text: float(np.mean([to_axes.transform((x, 0))[0] for x in places[text]])) for text in events}
    left = {text: middle[text] < 0.5 for text in events}
    order = sorted(events, key=lambda text: (not left[text], middle[text] if left[text] else -middle[text]))
    for row, text in enumerate(order):
        found, at = events[text], places[text]
        words = shorten(write_condition(text), _LONGEST)
        if len(runs) == 1:
            line: Any = {"color": COLOURS["grey"], "linewidth": 0.7, "linestyle": ":", "zorder": 1}
            strip.plot([at[0], at[0]], [row + 0.5, bottom], scalex=False, scaley=False, **line)
            for panel in axes:
                panel.axvline(at[0], **line)
            words = f"{words}: step {found[0][1]}"
        elif len(found) < len(runs):
            words = f"{words} in {len(found)} of {len(runs)} runs"
        for (run, _), x in zip(found, at, strict=True) if len(runs) > 1 else ():
            dot: Any = {"marker": "o", "markersize": 4, "color": run.colour, "linestyle": "none"}
            strip.plot([x], [row + 0.5], scalex=False, scaley=False, clip_on=False, **dot)
        label = strip.annotate(
            words,
            (max(at) if left[text] else min(at), row + 0.5),
            xytext=(5 if left[text] else -5, 0),
            textcoords="offset points",
            ha="left" if left[text] else "right",
            va="center",
            fontsize="x-small",
            color=COLOURS["grey"],
        )
        write_literally(label)
