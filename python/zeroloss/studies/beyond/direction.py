"""Study: whether generalisation needs the optimal direction on the zero-loss set, or only a decrease of the norm.

From the same memorised network, rules (`direction_paths`) follow other tangent directions than the norm-minimising one,
with the same decrease of the norm per unit of slow time: s of a point is the slow time at which the norm flow from the
same start has its ‖θ‖². (a–c) Test accuracy and Fourier structure against s. (d) When they generalise, or where they
end before. (e) Test loss against the norm at the paths' ends. (f) Test accuracy against the length of the path, with
controls that move at random and keep norms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ... import _checks, survival
from ...dynamics import NormFlow
from ...sweeps.engine import Cube, Grid
from .._layout import Layout
from .._memorised import memorised
from .._study import Study, labelled
from .._words import rows_of_text
from ._direction_paths import CONTROLS, MEASURED, OPTIMAL, RULES, PathEnding, Random, follow, measured
from ._direction_picture import panels

if TYPE_CHECKING:
    import xarray as xr

LEVELS = (0.5, 0.95)  # of test accuracy: half, and all but one of twenty


@dataclass(frozen=True)
class Settings:
    """What determines the numbers.

    The start is descent without weight decay for ``memorising_steps``, projected. The norm flow is followed for
    ``duration``, the others until they are down to its norm; ``least_rate`` is −d ln‖θ‖²/dt, in a path's own time t, at
    which they end before. Random vectors are redrawn every ``redraw_every`` of t, ``span`` of them are the random
    directions, and the controls move for ``kept_time``.
    """

    p: int = 11
    hidden: int = 128
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
    seeds: int = 5
    quick: bool = False


def simulate_grids(s: Settings, carry_out: Callable[[Sequence[Grid]], list[Cube]]) -> list[Cube]:
    """Follow the optimal path of every seed, and then the others, which are measured at its norms."""
    names, seeds = _names(s), range(s.seeds)
    common = {name: value for name, value in asdict(s).items() if name not in {"rules", "seeds", "quick"}}

    def arguments(seed: int, rule: str) -> dict[str, Any]:
        return {"settings": common, "seed": seed, "rule": rule}

    (optimal,) = carry_out([Grid(follow_rule, {"seed": seeds, "rule": [OPTIMAL]}, arguments)])

    def norms(seed: int, rule: str) -> dict[str, Any]:
        return {"levels": optimal[seed]["norm_E_squared"] + optimal[seed]["norm_W_squared"]}

    rest = (names[1:], [*CONTROLS])
    grids = [Grid(follow_rule, {"seed": seeds, "rule": rules}, arguments, also=norms) for rules in rest]
    others, controls = carry_out(grids)
    return [optimal, others, controls]


def _names(s: Settings) -> list[str]:
    return [OPTIMAL, *(name for name in s.rules if name != OPTIMAL)]


def check(s: Settings) -> None:
    """Raise ValueError where settings have no paths: before the work."""
    for name in s.rules:
        _checks.choice("rules", name, RULES)
    _checks.different("rules", s.rules, at_least=0)
    for name in ("duration", "most_time", "redraw_every", "kept_time"):
        _checks.positive(name, getattr(s, name))
    _checks.integer("span", s.span, at_least=1)
    _checks.integer("marks", s.marks, at_least=2)


def follow_rule(
    settings: Mapping[str, Any], seed: int, rule: str, levels: NDArray[np.float64] | None = None
) -> dict[str, Any]:
    """Follow one rule of one seed, and measure it where its ‖θ‖² is at given levels, or at equal times."""
    s, name = Settings(**settings), rule
    data, start = memorised(
        s.p, s.hidden, s.activation, seed, steps=s.memorising_steps, weight_decay=0.0, test_count=s.test_count
    )
    random = Random(seed, start.E.size + start.W.size, s.span, s.redraw_every)
    flow, slow_times = NormFlow(rtol=s.rtol), _marks(s)
    if levels is None or name in CONTROLS:
        duration = s.duration if levels is None else s.kept_time
        path = follow(name, random, data, start, flow, most_time=duration)
        times = slow_times if levels is None else np.linspace(0, duration, s.marks)
        times = np.where(times <= path.times[-1], times, np.nan)
        last = min(path.times[-1], duration) if levels is None else 0.0
    else:
        path = follow(
            name,
            random,
            data,
            start,
            flow,
            most_time=s.most_time,
            norm_squared=float(np.nanmin(levels)),
            least_rate=s.least_rate,
        )
        times = path.times_of_norms(levels)
        known = np.isfinite(levels)
        last = float(np.interp(-path.norms_squared[-1], -levels[known], slow_times[known]))
    end = times[-1] if np.isfinite(times[-1]) else path.times[-1]
    final = measured(path, [end], data, start)
    return {
        **measured(path, times, data, start),
        **{f"final_{key}": value[0] for key, value in final.items()},
        "last_slow_time": last,
        "ending": int(path.ending),
        "steps": len(path.times) - 1,
    }


def _marks(s: Settings) -> NDArray[np.float64]:
    """Return the slow times at which paths are measured, closer together where the norm falls fast."""
    return np.asarray(s.duration * np.linspace(0, 1, s.marks) ** 2)


def analyse(s: Settings, optimal: Cube, others: Cube, controls: Cube) -> xr.Dataset:
    """Return what is measured on the paths, and from when on they generalise."""
    slow_time = _marks(s)

    def over_rules(key: str) -> NDArray[Any]:
        return np.concatenate([optimal[key], others[key]], axis=1) if len(others) else np.asarray(optimal[key])

    variables: dict[str, Any] = {}
    for key, meaning in MEASURED.items():
        variables[key] = (("seed", "rule", "slow_time"), over_rules(key), meaning)
        variables[f"final_{key}"] = (("seed", "rule"), over_rules(f"final_{key}"), f"{meaning}, at the path's end")
        variables[f"kept_{key}"] = (
            ("seed", "control", "kept_time"),
            controls[key],
            f"{meaning}, where the norm is kept",
        )
    for key, meaning in {
        "last_slow_time": "slow time of the path's end",
        "ending": ", ".join(f"{ending.value}: {ending.name.lower()}" for ending in PathEnding),
        "steps": "steps taken",
    }.items():
        variables[key] = (("seed", "rule"), over_rules(key), meaning)
    times = np.array([generalised(over_rules("test_accuracy"), slow_time, level) for level in LEVELS])
    meaning = "slow time from which on test accuracy is at the level, as far as the path goes; NaN if it is not"
    variables["generalised"] = (("level", "seed", "rule"), times, meaning)
    return labelled(
        variables,
        {
            "seed": (np.arange(s.seeds), "seed index"),
            "rule": (_names(s), "direction"),
            "slow_time": (slow_time, "slow time at which the norm flow has the same norm"),
            "control": ([*CONTROLS], "random motion that keeps norms"),
            "kept_time": (np.linspace(0, s.kept_time, s.marks), "the controls' own time"),
            "level": (LEVELS, "test accuracy"),
        },
    )


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return the numbers of every rule and control, over the seeds."""
    optimal = numbers.sel(rule=OPTIMAL)
    summary = {name: _summary_of(numbers.sel(rule=name), optimal) for name in _names(s)}
    for name in CONTROLS:
        last = numbers.sel(control=name).isel(kept_time=-1)
        summary[name] = {f"final_{key}": _spread(last[f"kept_{key}"]) for key in MEASURED}
        summary[name]["final_norm_squared"] = _spread(last.kept_norm_E_squared + last.kept_norm_W_squared)
    return summary


def generalised(accuracy: NDArray[np.float64], slow_time: NDArray[np.float64], level: float) -> NDArray[np.float64]:
    """Return from which slow time on accuracies (…, times) are at a level, up to their end; NaN if they are not.

    NaN entries are beyond the end of a path.
    """
    below = accuracy < level
    ends = np.isfinite(accuracy).sum(axis=-1)
    first = np.where(below.any(axis=-1), below.shape[-1] - np.argmax(below[..., ::-1], axis=-1), 0)
    return np.asarray(np.where(first < ends, slow_time[np.minimum(first, len(slow_time) - 1)], np.nan))


def _spread(values: xr.DataArray) -> list[float]:
    """Return least, median and greatest over the seeds."""
    return [float(values.min()), float(values.median()), float(values.max())]


def _summary_of(part: xr.Dataset, optimal: xr.Dataset) -> dict[str, Any]:
    """Return what stands in the table of one rule, over the seeds, and in how many of them it is sooner."""
    reached = {}
    for level in LEVELS:
        times = part.generalised.sel(level=level)
        known = times.dropna("seed")
        median = survival.median(times, np.inf)
        reached[f"{level:g}"] = {
            "seeds": known.size,
            "median": median if np.isfinite(median) else None,
            "range": [float(known.min()), float(known.max())] if known.size else None,
            "sooner_than_optimal": int((times < optimal.generalised.sel(level=level)).sum()),
        }
    endings = [PathEnding(int(value)).name.lower() for value in part.ending.values]
    return {
        "generalised_at": reached,
        "endings": {name: endings.count(name) for name in sorted(set(endings))},
        "last_slow_time": _spread(part.last_slow_time),
        "final_norm_squared": _spread(part.final_norm_E_squared + part.final_norm_W_squared),
        **{f"final_{name}": _spread(part[f"final_{name}"]) for name in MEASURED},
    }


def _told(reached: Mapping[str, Any], seeds: int) -> str:
    if reached["seeds"] == 0:
        return "never"
    low, high = reached["range"]
    told = f"{low:.2f}–{high:.2f}" if high > low else f"{low:.2f}"
    return told if reached["seeds"] == seeds else f"{told} ({reached['seeds']} of {seeds})"


def _table(s: Settings, numbers: xr.Dataset, summary: Mapping[str, Any]) -> str:
    head = ["direction", "ends", "at s", "‖θ‖²", "length", "accuracy ½ at s", "0.95 at s"]
    head += ["accuracy", "test loss", "strongest share", "cosine gap"]
    rows = []
    for name, own in summary.items():
        row = [name, "", "", *(f"{own[f'final_{key}'][1]:.1f}" for key in ("norm_squared", "length")), "", ""]
        if name not in CONTROLS:
            seeds = sum(own["endings"].values())
            row[1:3] = ", ".join(own["endings"]), f"{own['last_slow_time'][1]:.2f}"
            row[5:] = [_told(reached, seeds) for reached in own["generalised_at"].values()]
        row += [f"{own['final_test_accuracy'][1]:.2f}", f"{own['final_test_loss'][1]:.4f}"]
        row += [f"{own['final_strongest_share'][1]:.2f}", f"{own['final_cosine_gap'][1]:.2f}"]
        rows.append(row)
    return rows_of_text(head, rows)


def _line(s: Settings, summary: Mapping[str, Any]) -> str:
    level = f"{LEVELS[-1]:g}"
    times = [
        f"{name} {_told(own['generalised_at'][level], s.seeds)}"
        for name, own in summary.items()
        if name not in CONTROLS
    ]
    kept = [f"{name} {{0:.2f}}–{{2:.2f}}".format(*summary[name]["final_test_accuracy"]) for name in CONTROLS]
    return (
        f"{s.seeds} seed{'s' if s.seeds > 1 else ''}; test accuracy {level} from s = {'; '.join(times)}; "
        f"test accuracy without a decrease: {'; '.join(kept)}"
    )


STUDY = Study(
    name="direction",
    title="Directions on the zero-loss set, with the same decrease of the norm",
    about="whether generalisation needs the optimal direction, or only a decrease of the norm",
    takes="5 min",
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
    table=_table,
    line=_line,
    layout=Layout("abc def", 13.0, 9.0, {"wspace": 0.03, "hspace": 0.03}),
    panels=panels,
    mark=lambda s: f"to s = {s.duration:g}",
    stores=True,
    processes=True,
)
