"""Study: whether generalisation needs the optimal direction on the zero-loss set, or only a decrease of the norm.

From the same memorised network, rules (`_direction_paths`) follow tangent directions other than the norm-minimising
one, with the same decrease of the norm per unit of slow time: the slow time s of a point is that at which the norm flow
from the same start has its ‖θ‖². (a–c) Test accuracy and Fourier structure against s. (d) When they generalise, or
where they end earlier. (e) Test loss against the norm at the ends of the paths. (f) Test accuracy against the length of
the path, with controls that move at random and do not change norms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ... import _checks, survival
from ...dynamics import NormFlow
from .. import Cube, Grid, Layout, Study, label_numbers
from .._memorised import AdditionSettings, memorise
from .._words import count_seeds, format_table
from ._direction_paths import CONTROLS, MEASURED, OPTIMAL, RULES, PathEnding, Random, follow, measure
from ._direction_picture import panels

if TYPE_CHECKING:
    import xarray as xr

LEVELS = (0.5, 0.95)  # Of test accuracy: half, and all but one of twenty.


@dataclass(frozen=True)
class Settings(AdditionSettings):
    """Settings of the study.

    The start is descent without weight decay for ``memorising_steps``, projected. The norm flow is followed for
    ``duration``, the other rules until they reach its norm. They end earlier if −d ln‖θ‖²/dt, in the path's own time t,
    falls below ``least_rate``. Random vectors are redrawn every ``redraw_every`` of t, the random directions are
    ``span`` vectors, and the controls move for ``kept_time``.
    """

    activation: str = "softplus(5)"
    test_count: int = 13
    memorising_steps: int = 1000
    rules: tuple[str, ...] = tuple(RULES)
    duration: float = 8.0
    marks: int = 161
    rtol: float = 3e-4
    least_rate: float = 1e-4
    most_time: float = 100.0
    redraw_every: float = 0.1
    span: int = 200
    kept_time: float = 3.0


def simulate_grids(s: Settings, run_grids: Callable[[Sequence[Grid]], list[Cube]]) -> list[Cube]:
    """Follow the optimal path of every seed, and then the others, which are measured at its norms."""
    names, seeds = _list_rules(s), range(s.seeds)
    common = {name: value for name, value in asdict(s).items() if name not in {"rules", "seeds", "quick"}}

    def arguments(seed: int, rule: str) -> dict[str, Any]:
        return {"settings": common, "seed": seed, "rule": rule}

    (optimal,) = run_grids([Grid(follow_rule, {"seed": seeds, "rule": [OPTIMAL]}, arguments)])

    def norms(seed: int, rule: str) -> dict[str, Any]:
        return {"levels": optimal[seed]["norm_E_squared"] + optimal[seed]["norm_W_squared"]}

    others = (names[1:], [*CONTROLS])
    grids = [Grid(follow_rule, {"seed": seeds, "rule": rules}, arguments, also=norms) for rules in others]
    return [optimal, *run_grids(grids)]


def _list_rules(s: Settings) -> list[str]:
    return [OPTIMAL, *(name for name in s.rules if name != OPTIMAL)]


def check(s: Settings) -> None:
    """Raise ValueError for settings without paths."""
    for name in s.rules:
        _checks.choice("rules", name, RULES)
    _checks.check_distinct("rules", s.rules, at_least=0)
    for name in ("duration", "most_time", "redraw_every", "kept_time"):
        _checks.positive(name, getattr(s, name))
    _checks.integer("span", s.span, at_least=1)
    _checks.integer("marks", s.marks, at_least=2)


def follow_rule(
    settings: Mapping[str, Any], seed: int, rule: str, levels: NDArray[np.float64] | None = None
) -> dict[str, Any]:
    """Follow one rule of one seed, and measure it where its ‖θ‖² is at some levels, or by default at equal times."""
    s = Settings(**settings)
    data, start = memorise(
        s.p, s.hidden, s.activation, seed, steps=s.memorising_steps, weight_decay=0.0, test_count=s.test_count
    )
    random = Random(seed, start.E.size + start.W.size, s.span, s.redraw_every)
    flow, slow_times = NormFlow(rtol=s.rtol), _slow_times(s)
    if levels is None or rule in CONTROLS:
        duration = s.duration if levels is None else s.kept_time
        path = follow(rule, random, data, start, flow, most_time=duration)
        times = slow_times if levels is None else np.linspace(0, duration, s.marks)
        times = np.where(times <= path.times[-1], times, np.nan)
        last = min(path.times[-1], duration) if levels is None else 0.0
    else:
        ends: Any = {"norm_squared": float(np.nanmin(levels)), "least_rate": s.least_rate}
        path = follow(rule, random, data, start, flow, most_time=s.most_time, **ends)
        times = path.times_of_norms(levels)
        known = np.isfinite(levels)
        last = float(np.interp(-path.norms_squared[-1], -levels[known], slow_times[known]))
    end = times[-1] if np.isfinite(times[-1]) else path.times[-1]
    final = measure(path, [end], data, start)
    return {
        **measure(path, times, data, start),
        **{f"final_{key}": value[0] for key, value in final.items()},
        "last_slow_time": last,
        "ending": int(path.ending),
        "steps": len(path.times) - 1,
    }


def _slow_times(s: Settings) -> NDArray[np.float64]:
    """Return the slow times at which paths are measured. They are closer together where the norm falls fast."""
    return np.asarray(s.duration * np.linspace(0, 1, s.marks) ** 2)


def analyse(s: Settings, optimal: Cube, others: Cube, controls: Cube) -> xr.Dataset:
    """Return the measured numbers of the paths, and the times from which on they generalise."""
    slow_time = _slow_times(s)

    def over_rules(key: str) -> NDArray[Any]:
        return np.concatenate([optimal[key], others[key]], axis=1) if len(others) else np.asarray(optimal[key])

    variables: dict[str, Any] = {}
    rules, kept = ("seed", "rule"), ("seed", "control", "kept_time")
    for key, meaning in MEASURED.items():
        variables[key] = ((*rules, "slow_time"), over_rules(key), meaning)
        variables[f"final_{key}"] = (rules, over_rules(f"final_{key}"), f"{meaning}, at the path's end")
        variables[f"kept_{key}"] = (kept, controls[key], f"{meaning}, where the norm is kept")
    about_endings = ", ".join(f"{ending.value}: {ending.name.lower()}" for ending in PathEnding)
    variables["last_slow_time"] = (rules, over_rules("last_slow_time"), "slow time of the path's end")
    variables["ending"] = (rules, over_rules("ending"), about_endings)
    variables["steps"] = (rules, over_rules("steps"), "steps taken")
    times = np.array([find_generalisation(over_rules("test_accuracy"), slow_time, level) for level in LEVELS])
    meaning = "slow time from which on test accuracy is at the level, as far as the path goes; NaN if it is not"
    variables["generalised"] = (("level", *rules), times, meaning)
    return label_numbers(
        variables,
        {
            "seed": (np.arange(s.seeds), "seed index"),
            "rule": (_list_rules(s), "direction"),
            "slow_time": (slow_time, "slow time at which the norm flow has the same norm"),
            "control": ([*CONTROLS], "random motion that keeps norms"),
            "kept_time": (np.linspace(0, s.kept_time, s.marks), "the controls' own time"),
            "level": (LEVELS, "test accuracy"),
        },
    )


def find_generalisation(
    accuracy: NDArray[np.float64], slow_time: NDArray[np.float64], level: float
) -> NDArray[np.float64]:
    """Return the slow times from which on accuracies (…, times) are at a level up to their end. NaN if they are not.

    Entries of the accuracies beyond the end of a path are NaN.
    """
    below = accuracy < level
    ends = np.isfinite(accuracy).sum(axis=-1)
    first = np.where(below.any(axis=-1), below.shape[-1] - np.argmax(below[..., ::-1], axis=-1), 0)
    return np.asarray(np.where(first < ends, slow_time[np.minimum(first, len(slow_time) - 1)], np.nan))


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return the numbers of every rule and control, over the seeds."""
    optimal = numbers.sel(rule=OPTIMAL)
    summary = {name: _summarise_rule(numbers.sel(rule=name), optimal) for name in _list_rules(s)}
    for name in CONTROLS:
        last = numbers.sel(control=name).isel(kept_time=-1)
        summary[name] = {f"final_{key}": _spread(last[f"kept_{key}"]) for key in MEASURED}
        summary[name]["final_norm_squared"] = _spread(last.kept_norm_E_squared + last.kept_norm_W_squared)
    return summary


def _spread(values: xr.DataArray) -> list[float]:
    """Return the least value over the seeds, the median and the greatest."""
    return [float(values.min()), float(values.median()), float(values.max())]


def _summarise_rule(part: xr.Dataset, optimal: xr.Dataset) -> dict[str, Any]:
    """Return the numbers of one rule over the seeds, and the number of seeds in which it generalises sooner."""
    generalised = {}
    for level in LEVELS:
        times = part.generalised.sel(level=level)
        known = times.dropna("seed")
        median = survival.median(times, np.inf)
        generalised[f"{level:g}"] = {
            "seeds": known.size,
            "median": median if np.isfinite(median) else None,
            "range": [float(known.min()), float(known.max())] if known.size else None,
            "sooner_than_optimal": int((times < optimal.generalised.sel(level=level)).sum()),
        }
    endings = [PathEnding(int(value)).name.lower() for value in part.ending.values]
    return {
        "generalised_at": generalised,
        "endings": {name: endings.count(name) for name in sorted(set(endings))},
        "last_slow_time": _spread(part.last_slow_time),
        "final_norm_squared": _spread(part.final_norm_E_squared + part.final_norm_W_squared),
        **{f"final_{name}": _spread(part[f"final_{name}"]) for name in MEASURED},
    }


def _format_times(generalised: Mapping[str, Any], seeds: int) -> str:
    if generalised["seeds"] == 0:
        return "never"
    low, high = generalised["range"]
    text = f"{low:.2f}–{high:.2f}" if high > low else f"{low:.2f}"
    return text if generalised["seeds"] == seeds else f"{text} ({generalised['seeds']} of {seeds})"


def list_rows(summary: Mapping[str, Any]) -> list[list[str]]:
    """Return the rows of the table: a rule or control, and its medians over the seeds."""
    rows = []
    for name, values in summary.items():
        medians = {key: values[f"final_{key}"][1] for key in (*MEASURED, "norm_squared")}
        ends, times = ["", ""], ["", ""]
        if name not in CONTROLS:
            seeds = sum(values["endings"].values())
            ends = [", ".join(values["endings"]), f"{values['last_slow_time'][1]:.2f}"]
            times = [_format_times(generalised, seeds) for generalised in values["generalised_at"].values()]
        row = [name, *ends, f"{medians['norm_squared']:.1f}", f"{medians['length']:.1f}", *times]
        row += [f"{medians['test_accuracy']:.2f}", f"{medians['test_loss']:.4f}"]
        rows.append([*row, f"{medians['strongest_share']:.2f}", f"{medians['cosine_gap']:.2f}"])
    return rows


def _format_table(s: Settings, numbers: xr.Dataset, summary: Mapping[str, Any]) -> str:
    head = ["direction", "ends", "at s", "‖θ‖²", "length", "accuracy ½ at s", "0.95 at s"]
    return format_table([*head, "accuracy", "test loss", "strongest share", "cosine gap"], list_rows(summary))


def _format_line(s: Settings, summary: Mapping[str, Any]) -> str:
    level = f"{LEVELS[-1]:g}"
    times = [f"{name} {_format_times(summary[name]['generalised_at'][level], s.seeds)}" for name in _list_rules(s)]
    kept = [f"{name} {{0:.2f}}–{{2:.2f}}".format(*summary[name]["final_test_accuracy"]) for name in CONTROLS]
    return (
        f"{count_seeds(s.seeds)}; test accuracy {level} from s = {'; '.join(times)}; "
        f"test accuracy without a decrease: {'; '.join(kept)}"
    )


STUDY = Study(
    name="direction",
    title="Directions on the zero-loss set, with the same decrease of the norm",
    description="whether generalisation needs the optimal direction, or only a decrease of the norm",
    expected_time="5 min",
    full=Settings(),
    quick=replace(
        Settings(),
        hidden=80,
        rules=tuple(name for name in RULES if name not in {"80° off", "units balanced", "metric of entries"}),
        duration=3.0,
        marks=31,
        rtol=3e-3,
        least_rate=1e-3,
        most_time=15.0,
        span=50,
        kept_time=1.0,
        seeds=1,
        quick=True,
    ),
    check=check,
    simulate=simulate_grids,
    analyse=analyse,
    summarise=summarise,
    table=_format_table,
    line=_format_line,
    layout=Layout("abc def", 13.0, 9.0, {"wspace": 0.03, "hspace": 0.03}),
    panels=panels,
    mark=lambda s: f"to s = {s.duration:g}",
    stores=True,
    processes=True,
)
