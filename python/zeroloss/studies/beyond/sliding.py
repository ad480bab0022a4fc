"""Study: the norm flow of ReLU slides along the corners of the zero-loss set; the cost of this for several methods.

(a) Error against the number of solves, and (b) against processor time, for plain Euler steps, adaptive
Bogacki–Shampine steps and proximal (implicit) steps. The error is the sup distance over s to a fine proximal run.
(c) Pinned pairs through time. (d) The points where trajectories branch: distances between proximal runs at different
tolerances, and of descent at small weight decays.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ... import plots
from ...dynamics import Dynamics, GradientDescent, NormFlow
from ...simulation import simulate
from .. import Cube, Grid, Layout, Places, Study, checked_run, label_numbers, select_settings
from .._drawing import LOG_LOG, draw_curves, finish_axes
from .._memorised import AdditionSettings, memorise

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

KINDS = {"plain": ("blue", "plain steps"), "adaptive": ("orange", "adaptive"), "proximal": ("green", "proximal")}
TIMES, LONG_TIMES = 151, 241  # The numbers of slow times with distances, and with pinned pairs.
BRANCHED = 0.05  # Two fine runs with a greater distance are on different branches.


@dataclass(frozen=True)
class Settings(AdditionSettings):
    """Settings of the study. They determine the numbers except the processor times."""

    activation: str = "relu"
    duration: float = 1.5
    plain: tuple[float, ...] = (2e-2, 1e-2, 5e-3, 2.5e-3, 1e-3)
    adaptive: tuple[float, ...] = (1e-1, 1e-2, 1e-3)
    proximal: tuple[float, ...] = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)
    fine: float = 2e-4
    long_duration: float = 6.0
    long_rtol: float = 1e-2
    weight_decays: tuple[float, ...] = (1e-5, 1e-6)
    seeds: int = 3


Path = Mapping[str, NDArray[np.float64]]


def follow(
    p: int, hidden: int, activation: str, seed: int, kind: str, value: float, duration: float,
    compared: Mapping[str, Any] | None = None, fine: Path | None = None,
) -> Mapping[str, Any]:  # fmt: skip
    """Follow a flow or a descent from a network on the set, with a record for each snapshot.

    Returns slow times (m,) and parameters (m, d). For a run that is compared with a fine one, returns the cost in
    solves and processor time, the greatest distance between the two, and the distances at equal times.
    """
    data, start = memorise(p, hidden, activation, seed)
    end: dict[str, Any] = {"duration": duration}
    size, every = value, 1
    if kind == "descent":
        dynamics: Dynamics = GradientDescent(1.0, value)
        end = {"steps": round(duration / value)}
        every = max(1, end["steps"] // 150)
    elif kind == "plain":
        dynamics, every = NormFlow(step_size=value), max(1, round(duration / 200 / value))
    else:
        dynamics = NormFlow(rtol=value, method="proximal" if kind == "proximal" else None)
        size = 0.0
    started = time.thread_time()
    run = checked_run(simulate(dynamics, data, start, record_every=every, snapshot_every=every, threads=1, **end))
    seconds = time.thread_time() - started
    assert run.snapshots is not None
    times = run.snapshots.step.values * size if size else run.history.time.values
    solves = float(end["steps"] if kind == "descent" else run.history.evaluations[-1])
    E, W = run.snapshots.E.values, run.snapshots.W.values
    path = {"times": times, "theta": np.concatenate([E.reshape(len(E), -1), W.reshape(len(W), -1)], axis=1)}
    if compared is None or fine is None:
        return path
    grid = np.linspace(0, compared["duration"], compared["times"])
    error = np.nanmax(_distance(path, fine, times))
    return {"solves": solves, "seconds": seconds, "error": error, "apart": _distance(path, fine, grid)}


def _distance(path: Path, fine: Path, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of two runs at some times, each interpolated linearly."""

    def interpolate(run: Path) -> NDArray[np.float64]:
        knots, theta = run["times"], run["theta"]
        right = np.clip(np.searchsorted(knots, times), 1, len(knots) - 1)
        left = right - 1
        share = (times - knots[left]) / (knots[right] - knots[left])
        return np.asarray((1 - share)[:, None] * theta[left] + share[:, None] * theta[right])

    return np.asarray(np.linalg.norm(interpolate(path) - interpolate(fine), axis=1))


def slide(p: int, hidden: int, activation: str, seed: int, rtol: float, duration: float, times: int) -> Path:
    """Follow the flow in proximal steps for a long time, and return pinned pairs and test accuracy at equal times."""
    flow = NormFlow(rtol=rtol, method="proximal")
    run = checked_run(simulate(flow, *memorise(p, hidden, activation, seed), duration=duration, record_every=1))
    grid, history = np.linspace(0, duration, times), run.history
    return {
        name: np.interp(grid, history.time.values, history[name].values) for name in ("pinned_pairs", "test_accuracy")
    }


def _list_flows(s: Settings) -> list[tuple[str, float]]:
    return [(kind, value) for kind in KINDS for value in getattr(s, kind)]


def simulate_grids(s: Settings, run_grids: Callable[[Sequence[Grid]], list[Cube]]) -> list[Cube]:
    """Follow a fine run and a long one of every seed, and then the others, which are compared with the fine one."""
    common, over_seeds = select_settings(s, "p hidden activation"), {"seed": range(s.seeds)}

    def fine_run(seed: int) -> dict[str, Any]:
        return {**common, "seed": seed, "kind": "proximal", "value": s.fine, "duration": s.duration}

    def long_run(seed: int) -> dict[str, Any]:
        return {**common, "seed": seed, "rtol": s.long_rtol, "duration": s.long_duration, "times": LONG_TIMES}

    def other_run(seed: int, run: tuple[str, float]) -> dict[str, Any]:
        compared = {"rtol": s.fine, "duration": s.duration, "times": TIMES}
        return {**common, "seed": seed, "kind": run[0], "value": run[1], "duration": s.duration, "compared": compared}

    fine, slides = run_grids([Grid(follow, over_seeds, fine_run), Grid(slide, over_seeds, long_run)])
    over = {**over_seeds, "run": [*_list_flows(s), *(("descent", decay) for decay in s.weight_decays)]}
    return [slides, *run_grids([Grid(follow, over, other_run, also=lambda seed, run: {"fine": fine[seed]})])]


def analyse(s: Settings, slides: Cube, runs: Cube) -> xr.Dataset:
    """Return costs and errors, distances to the fine run, pinned pairs and accuracies."""
    flows = _list_flows(s)
    compared = slice(len(flows) - 2, None)  # The two finest proximal flows, and the descents.
    others = [f"rtol {rtol:g}" for rtol in s.proximal[-2:]] + [f"descent {decay:g}" for decay in s.weight_decays]
    costs = {name: runs[name][:, : len(flows)] for name in ("solves", "seconds", "error")}
    return label_numbers(
        {
            "solves": (("seed", "flow"), costs["solves"], "solves with J Jᵀ or of an implicit step"),
            "seconds": (("seed", "flow"), costs["seconds"], "processor time in seconds, which differs from run to run"),
            "error": (("seed", "flow"), costs["error"], "sup distance to the fine proximal run"),
            "kind": (("flow",), np.array([kind for kind, _ in flows], dtype=object), "kind of steps"),
            "apart": (("seed", "other", "slow_time"), runs["apart"][:, compared], "distance to the fine proximal run"),
            "pinned": (("seed", "long_time"), slides["pinned_pairs"], "pinned pairs"),
            "accuracy": (("seed", "long_time"), slides["test_accuracy"], "test accuracy"),
        },
        {
            "seed": (np.arange(s.seeds), "seed index"),
            "flow": ([value for _, value in flows], "step size, or rtol"),
            "other": (others, "what is compared with the fine run"),
            "slow_time": (np.linspace(0, s.duration, TIMES), "slow time"),
            "long_time": (np.linspace(0, s.long_duration, LONG_TIMES), "slow time"),
        },
    )


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return the medians of costs and errors, and the slow times at which trajectories branch."""
    medians = numbers[["solves", "seconds", "error"]].median("seed")
    flows = {
        f"{kind} {value:g}": {str(name): float(values[at]) for name, values in medians.data_vars.items()}
        for at, (kind, value) in enumerate(zip(numbers.kind.values, numbers.flow.values, strict=True))
    }
    branched = numbers.apart.isel(other=1).values > BRANCHED
    times = [float(numbers.slow_time[int(np.argmax(where))]) if where.any() else None for where in branched]
    return {"flows": flows, "branching_time": times, "most_pinned": float(numbers.pinned.max())}


def _format_line(s: Settings, summary: Mapping[str, Any]) -> str:
    parts = [
        f"{name}: {flow['solves']:.0f} solves, {flow['seconds']:.2f} s, error {flow['error']:.3f}"
        for name, flow in summary["flows"].items()
    ]
    times = ", ".join("none" if at is None else f"{at:.2f}" for at in summary["branching_time"])
    return f"{'; '.join(parts)}; up to {summary['most_pinned']:.0f} pinned pairs; branches at s = {times}"


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw error against cost, pinned pairs, and distances through time."""
    a, b = place("a", f"error for s ≤ {s.duration:g} against solves"), place("b", "against processor time")
    _draw_costs(a, numbers, "solves", "solves")
    _draw_costs(b, numbers, "seconds", "processor time, seconds")
    _draw_pinned(place("c", "pairs of a sample and a unit pinned at the kink"), numbers)
    _draw_distances(place("d", "where trajectories branch: distance to a fine run"), numbers)


def _draw_costs(axes: Axes, numbers: xr.Dataset, cost: str, label: str) -> None:
    for kind, (colour, text) in KINDS.items():
        part = numbers.isel(flow=np.flatnonzero(numbers.kind.values == kind))
        for seed in part.seed.values:
            of_seed = part.sel(seed=seed)
            draw_curves(axes, of_seed[cost], of_seed.error, colour, None, "o", markersize=3, alpha=0.5)
        middle = part.median("seed") if part.sizes["seed"] > 1 else part.isel(seed=0)
        draw_curves(axes, middle[cost], middle.error, colour, text, "o-", markersize=5)
    finish_axes(axes, "upper right", xlabel=label, ylabel="sup distance to a fine run", **LOG_LOG)


def _draw_pinned(axes: Axes, numbers: xr.Dataset) -> None:
    plots.draw_runs(axes, numbers.long_time, numbers.pinned, plots.COLOURS["green"], "pinned pairs")
    axes.set(xlabel="slow time s", ylabel="pinned pairs", ylim=(0, None))
    other = axes.twinx()
    plots.draw_runs(other, numbers.long_time, numbers.accuracy, plots.COLOURS["vermilion"], "test accuracy (right)")
    other.set(ylim=(-0.02, 1.05))
    other.grid(visible=False)
    lines = [*axes.get_legend_handles_labels()[0], *other.get_legend_handles_labels()[0]]
    axes.legend(lines, [str(line.get_label()) for line in lines], loc="lower right")


def _draw_distances(axes: Axes, numbers: xr.Dataset) -> None:
    shown = numbers.isel(slow_time=slice(1, None))
    for colour, other in zip(("sky", "green", "purple", "vermilion"), numbers.other.values, strict=False):
        label = f"{'proximal, ' if 'rtol' in other else ''}{other}"
        draw_curves(axes, shown.slow_time, shown.apart.sel(other=other), colour, label, linewidth=1.1, alpha=0.8)
    finish_axes(axes, "lower right", xlabel="slow time s", ylabel="distance in parameters", yscale="log")


STUDY = Study(
    name="sliding",
    title="The norm flow along corners: cost, pinned pairs, branches",
    description="the cost of the norm flow of ReLU along corners of the zero-loss set, by several methods",
    expected_time="3 min",
    full=Settings(),
    quick=replace(
        Settings(),
        duration=0.6,
        plain=(2e-2, 1e-2),
        adaptive=(1e-1,),
        proximal=(1e-1, 3e-2, 1e-2),
        fine=1e-3,
        long_duration=3.0,
        weight_decays=(1e-4, 1e-5),
        seeds=1,
        quick=True,
    ),
    simulate=simulate_grids,
    analyse=analyse,
    summarise=summarise,
    line=_format_line,
    layout=Layout("ab cd", 11.0, 8.4, {"wspace": 0.03, "hspace": 0.03}),
    panels=panels,
    mark=lambda s: f"to s = {s.duration:g}",
)
