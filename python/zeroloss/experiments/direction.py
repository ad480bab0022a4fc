"""Study: whether generalisation needs the optimal direction on the zero-loss set, or only a decrease of the norm.

From the same memorised network, rules (`direction_paths`) follow other tangent directions than the norm-minimising one,
with the same decrease of the norm per unit of slow time: s of a point is the slow time at which the norm flow from the
same start has its ‖θ‖². (a–c) Test accuracy and Fourier structure against s. (d) When they generalise, or where they
end before. (e) Test loss against the norm at the paths' ends. (f) Test accuracy against the length of the path, with
controls that move at random and keep norms.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from .. import _checks, survival
from .._progress import progress_bar
from ..datasets import Dataset
from ..dynamics import NormFlow
from ..networks import Network
from . import direction_picture
from .cells import Cells
from .direction_paths import CONTROLS, MEASURED, OPTIMAL, RULES, PathEnding, Random, follow, measured
from .ensemble import derived_seeds
from .on_manifold import memorised, rows_of_text
from .output import Result, labelled, settings_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = ["FULL", "QUICK", "Settings", "draw", "run"]

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


FULL = Settings()
_SLOW = {"80° off", "units balanced", "metric of entries"}
QUICK = replace(
    FULL,
    hidden=80,
    rules=tuple(name for name in RULES if name not in _SLOW),
    duration=3.0,
    marks=31,
    rtol=3e-3,
    least_rate=1e-3,
    most_time=15.0,
    span=50,
    kept_time=1.0,
    seeds=1,
    quick=True,
)


def run(settings: Settings, cells: Cells | None = None) -> Result:
    """Simulate and analyse at given settings; each path of each seed is a cell."""
    _check(settings)
    kept = cells or Cells()
    names = (OPTIMAL, *(name for name in settings.rules if name != OPTIMAL))
    common = {name: value for name, value in asdict(settings).items() if name not in {"rules", "seeds", "quick"}}
    found: list[list[Mapping[str, NDArray[Any]]]] = []
    followed = (*names, *CONTROLS)
    total = settings.seeds * len(followed)
    with (
        threadpool_limits(1, "blas"),  # its matrices are small: on more threads they wait for each other
        progress_bar(None, total=total, unit="path", leave=False) as bar,
    ):
        for seed in range(settings.seeds):
            paths: list[Mapping[str, NDArray[Any]]] = []
            for name in followed:
                bar.set_description(f"seed {seed}, {name}")
                levels = paths[0]["norm_E_squared"] + paths[0]["norm_W_squared"] if paths else None
                about = {"study": "direction", **common, "seed": seed, "rule": name}
                paths.append(kept.cell(about, functools.partial(_path, settings, seed, name, levels)))
                bar.update()
            found.append(paths)
    numbers = _numbers(settings, names, found)
    summary = {name: _summary_of(numbers.sel(rule=name), numbers.sel(rule=OPTIMAL)) for name in names}
    for name in CONTROLS:
        last = numbers.sel(control=name).isel(kept_time=-1)
        summary[name] = {f"final_{key}": _spread(last[f"kept_{key}"]) for key in MEASURED}
        summary[name]["final_norm_squared"] = _spread(last.kept_norm_E_squared + last.kept_norm_W_squared)
    seeds = [derived_seeds(index) for index in range(settings.seeds)]
    return Result(numbers, asdict(settings), seeds, summary, _line(settings, summary), draw, _table(summary))


def _check(settings: Settings) -> None:
    """Raise ValueError where settings have no paths: before the work."""
    for name in settings.rules:
        _checks.choice("rules", name, RULES)
    _checks.different("rules", settings.rules, at_least=0)
    for name in ("duration", "most_time", "redraw_every", "kept_time"):
        _checks.positive(name, getattr(settings, name))
    _checks.integer("span", settings.span, at_least=1)
    _checks.integer("marks", settings.marks, at_least=2)


def _path(settings: Settings, seed: int, name: str, levels: NDArray[np.float64] | None) -> dict[str, NDArray[Any]]:
    """Follow one rule of one seed, and measure it where its ‖θ‖² is at given levels, or at equal times."""
    data, start = _problem(settings, seed)
    random = Random(seed, start.E.size + start.W.size, settings.span, settings.redraw_every)
    flow, slow_times = NormFlow(rtol=settings.rtol), _marks(settings)
    if levels is None or name in CONTROLS:
        duration = settings.duration if levels is None else settings.kept_time
        path = follow(name, random, data, start, flow, most_time=duration)
        times = slow_times if levels is None else np.linspace(0, duration, settings.marks)
        times = np.where(times <= path.times[-1], times, np.nan)
        last = min(path.times[-1], duration) if levels is None else 0.0
    else:
        path = follow(
            name,
            random,
            data,
            start,
            flow,
            most_time=settings.most_time,
            norm_squared=float(np.nanmin(levels)),
            least_rate=settings.least_rate,
        )
        times = path.times_of_norms(levels)
        known = np.isfinite(levels)
        last = float(np.interp(-path.norms_squared[-1], -levels[known], slow_times[known]))
    end = times[-1] if np.isfinite(times[-1]) else path.times[-1]
    final = measured(path, [end], data, start)
    return {
        **measured(path, times, data, start),
        **{f"final_{key}": value[0] for key, value in final.items()},
        "last_slow_time": np.array(last),
        "ending": np.array(int(path.ending)),
        "steps": np.array(len(path.times) - 1),
    }


def _marks(settings: Settings) -> NDArray[np.float64]:
    """Return the slow times at which paths are measured, closer together where the norm falls fast."""
    return np.asarray(settings.duration * np.linspace(0, 1, settings.marks) ** 2)


@functools.lru_cache(maxsize=1)
def _problem(settings: Settings, seed: int) -> tuple[Dataset, Network]:
    return memorised(
        settings.p,
        settings.hidden,
        settings.activation,
        seed,
        steps=settings.memorising_steps,
        weight_decay=0.0,
        test_count=settings.test_count,
    )


def _numbers(settings: Settings, names: tuple[str, ...], found: list[list[Mapping[str, NDArray[Any]]]]) -> xr.Dataset:
    slow_time = _marks(settings)

    def over_rules(key: str) -> NDArray[Any]:
        return np.array([[path[key] for path in paths[: len(names)]] for paths in found])

    variables: dict[str, Any] = {}
    for key, meaning in MEASURED.items():
        variables[key] = (("seed", "rule", "slow_time"), over_rules(key), meaning)
        variables[f"final_{key}"] = (("seed", "rule"), over_rules(f"final_{key}"), f"{meaning}, at the path's end")
        kept = np.array([[path[key] for path in paths[len(names) :]] for paths in found])
        variables[f"kept_{key}"] = (("seed", "control", "kept_time"), kept, f"{meaning}, where the norm is kept")
    for key, meaning in {
        "last_slow_time": "slow time of the path's end",
        "ending": ", ".join(f"{ending.value}: {ending.name.lower()}" for ending in PathEnding),
        "steps": "steps taken",
    }.items():
        variables[key] = (("seed", "rule"), over_rules(key), meaning)
    accuracy = over_rules("test_accuracy")
    times = np.array([generalised(accuracy, slow_time, level) for level in LEVELS])
    meaning = "slow time from which on test accuracy is at the level, as far as the path goes; NaN if it is not"
    variables["generalised"] = (("level", "seed", "rule"), times, meaning)
    return labelled(
        "Directions on the zero-loss set, with the same decrease of the norm",
        settings,
        variables,
        {
            "seed": (np.arange(settings.seeds), "seed index"),
            "rule": (np.array(names, dtype=object), "direction"),
            "slow_time": (slow_time, "slow time at which the norm flow has the same norm"),
            "control": (np.array(list(CONTROLS), dtype=object), "random motion that keeps norms"),
            "kept_time": (np.linspace(0, settings.kept_time, settings.marks), "the controls' own time"),
            "level": (np.array(LEVELS), "test accuracy"),
        },
    )


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


def _table(summary: Mapping[str, Any]) -> str:
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


def _line(settings: Settings, summary: Mapping[str, Any]) -> str:
    level = f"{LEVELS[-1]:g}"
    times = [
        f"{name} {_told(own['generalised_at'][level], settings.seeds)}"
        for name, own in summary.items()
        if name not in CONTROLS
    ]
    kept = [f"{name} {{0:.2f}}–{{2:.2f}}".format(*summary[name]["final_test_accuracy"]) for name in CONTROLS]
    return (
        f"{settings.seeds} seed{'s' if settings.seeds > 1 else ''}; test accuracy {level} from s = {'; '.join(times)}; "
        f"test accuracy without a decrease: {'; '.join(kept)}"
    )


def draw(numbers: xr.Dataset) -> Figure:
    """Draw accuracy and Fourier structure against slow time, the times, the ends, and accuracy against length."""
    return direction_picture.draw(numbers, settings_of(numbers, Settings).quick)
