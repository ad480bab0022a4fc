"""Study: the norm flow of ReLU slides along the corners of the zero-loss set; what that costs by which steps.

(a) Error against the number of solves, and (b) against processor time, of plain Euler steps, adaptive Bogacki–Shampine
steps and proximal (implicit) steps: sup distance over s to a fine proximal run. (c) Pinned pairs through time.
(d) Where trajectories branch: distances between proximal runs at different tolerances, and of descent at small weight
decays.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import plots
from ..datasets import Dataset
from ..dynamics import Dynamics, GradientDescent, NormFlow
from ..networks import Network
from ..results import Ending
from ..simulation import simulate
from .ensemble import NumericalFailure, derived_seeds
from .on_manifold import memorised
from .output import Result, labelled, settings_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FULL", "QUICK", "Settings", "draw", "run"]

KINDS = {"plain": ("blue", "plain steps"), "adaptive": ("orange", "adaptive"), "proximal": ("green", "proximal")}
BRANCHED = 0.05  # distance between two fine runs at which they are on different branches


@dataclass(frozen=True)
class Settings:
    """What determines the numbers, processor times aside."""

    p: int = 11
    hidden: int = 128
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
    quick: bool = False


FULL = Settings()
QUICK = replace(
    FULL,
    duration=0.6,
    plain=(2e-2, 1e-2),
    adaptive=(1e-1,),
    proximal=(1e-1, 3e-2, 1e-2),
    fine=1e-3,
    long_duration=3.0,
    weight_decays=(1e-4, 1e-5),
    seeds=1,
    quick=True,
)


@dataclass(frozen=True)
class _Path:
    """A run: slow times (m,), parameters (m, d), and what it cost."""

    times: NDArray[np.float64]
    theta: NDArray[np.float64]
    solves: float
    seconds: float


def run(settings: Settings) -> Result:
    """Simulate and analyse at given settings."""
    flows = [("plain", size, NormFlow(step_size=size)) for size in settings.plain]
    flows += [("adaptive", rtol, NormFlow(rtol=rtol)) for rtol in settings.adaptive]
    flows += [("proximal", rtol, NormFlow(rtol=rtol, method="proximal")) for rtol in settings.proximal]
    costs = np.empty((settings.seeds, len(flows), 3))
    grid = np.linspace(0, settings.duration, 151)
    others = [f"rtol {rtol:g}" for rtol in settings.proximal[-2:]]
    others += [f"descent {decay:g}" for decay in settings.weight_decays]
    apart = np.empty((settings.seeds, len(others), len(grid)))
    long_grid = np.linspace(0, settings.long_duration, 241)
    pinned, accuracy = np.empty((2, settings.seeds, len(long_grid)))
    for seed in range(settings.seeds):
        data, start = memorised(settings.p, settings.hidden, settings.activation, seed)
        fine = _flow(NormFlow(rtol=settings.fine, method="proximal"), data, start, settings.duration)
        paths = [_flow(flow, data, start, settings.duration) for *_, flow in flows]
        for at, path in enumerate(paths):
            costs[seed, at] = path.solves, path.seconds, np.nanmax(_distance(path, fine, path.times))
        compared = paths[len(paths) - 2 :]
        compared += [_descent(decay, data, start, settings.duration) for decay in settings.weight_decays]
        apart[seed] = [_distance(path, fine, grid) for path in compared]
        slide = simulate(
            NormFlow(rtol=settings.long_rtol, method="proximal"),
            data,
            start,
            duration=settings.long_duration,
            record_every=1,
            progress=False,
        )
        for kept, name in ((pinned, "pinned_pairs"), (accuracy, "test_accuracy")):
            kept[seed] = np.interp(long_grid, slide.history.time.values, slide.history[name].values)
    numbers = labelled(
        "The norm flow along corners: cost, pinned pairs, branches",
        settings,
        {
            "solves": (("seed", "flow"), costs[..., 0], "solves with J Jᵀ or of an implicit step"),
            "seconds": (("seed", "flow"), costs[..., 1], "processor time in seconds, which differs from run to run"),
            "error": (("seed", "flow"), costs[..., 2], "sup distance to the fine proximal run"),
            "kind": (("flow",), np.array([kind for kind, *_ in flows], dtype=object), "kind of steps"),
            "apart": (("seed", "other", "slow_time"), apart, "distance to the fine proximal run"),
            "pinned": (("seed", "long_time"), pinned, "pinned pairs"),
            "accuracy": (("seed", "long_time"), accuracy, "test accuracy"),
        },
        {
            "seed": (np.arange(settings.seeds), "seed index"),
            "flow": (np.array([value for _, value, _ in flows]), "step size, or rtol"),
            "other": (np.array(others, dtype=object), "what is compared with the fine run"),
            "slow_time": (grid, "slow time"),
            "long_time": (long_grid, "slow time"),
        },
    )
    summary = _summary(numbers)
    seeds = [derived_seeds(index) for index in range(settings.seeds)]
    return Result(numbers, asdict(settings), seeds, summary, _line(summary), draw)


def _flow(flow: NormFlow, data: Dataset, start: Network, duration: float) -> _Path:
    plain = flow.step_size is not None
    every = max(1, round(duration / 200 / flow.step_size)) if flow.step_size is not None else 1
    run, seconds = _simulated(flow, data, start, snapshot_every=every, duration=duration)
    solves = run.history.evaluations[-1]
    times = run.snapshots.step.values * flow.step_size if plain else run.history.time.values
    return _Path(times, _theta(run.snapshots), float(solves), seconds)


def _descent(weight_decay: float, data: Dataset, start: Network, duration: float) -> _Path:
    steps = round(duration / weight_decay)
    descent = GradientDescent(1.0, weight_decay)
    run, seconds = _simulated(descent, data, start, snapshot_every=max(1, steps // 150), steps=steps)
    return _Path(run.snapshots.step.values * weight_decay, _theta(run.snapshots), float(steps), seconds)


def _simulated(dynamics: Dynamics, data: Dataset, start: Network, snapshot_every: int, **end: Any) -> tuple[Any, float]:
    """Return a run and the processor time that it took, recorded as rarely as its snapshots."""
    started = time.process_time()
    run = simulate(
        dynamics,
        data,
        start,
        record_every=snapshot_every,
        snapshot_every=snapshot_every,
        threads=1,
        progress=False,
        **end,
    )
    seconds = time.process_time() - started
    if run.outcome.ending is Ending.STOPPED_BY_THE_USER:
        raise KeyboardInterrupt
    if run.outcome.ending is not Ending.REACHED_THE_END:
        raise NumericalFailure(run, type(dynamics).__name__)
    return run, seconds


def _theta(snapshots: xr.Dataset) -> NDArray[np.float64]:
    E, W = (snapshots[layer].values for layer in ("E", "W"))
    return np.concatenate([E.reshape(len(E), -1), W.reshape(len(W), -1)], axis=1)


def _distance(path: _Path, fine: _Path, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance of two runs at some times, each interpolated linearly."""

    def at(run: _Path) -> NDArray[np.float64]:
        right = np.clip(np.searchsorted(run.times, times), 1, len(run.times) - 1)
        left = right - 1
        share = (times - run.times[left]) / (run.times[right] - run.times[left])
        return np.asarray((1 - share)[:, None] * run.theta[left] + share[:, None] * run.theta[right])

    return np.asarray(np.linalg.norm(at(path) - at(fine), axis=1))


def _summary(numbers: xr.Dataset) -> dict[str, Any]:
    flows = {}
    for at, (kind, value) in enumerate(zip(numbers.kind.values, numbers.flow.values, strict=True)):
        part = numbers.isel(flow=at)
        flows[f"{kind} {value:g}"] = {
            "solves": float(part.solves.median()),
            "seconds": float(part.seconds.median()),
            "error": float(part.error.median()),
        }
    first = numbers.apart.isel(other=1) > BRANCHED
    branched = [float(numbers.slow_time[int(np.argmax(one))]) if one.any() else None for one in first.values]
    return {
        "flows": flows,
        "branching_time": branched,
        "most_pinned": float(numbers.pinned.max()),
    }


def _line(summary: Mapping[str, Any]) -> str:
    parts = [
        f"{name}: {own['solves']:.0f} solves, {own['seconds']:.2f} s, error {own['error']:.3f}"
        for name, own in summary["flows"].items()
    ]
    times = ", ".join("none" if at is None else f"{at:.2f}" for at in summary["branching_time"])
    return f"{'; '.join(parts)}; up to {summary['most_pinned']:.0f} pinned pairs; branches at s = {times}"


def draw(numbers: xr.Dataset) -> Figure:
    """Draw error against cost, pinned pairs, and distances through time."""
    settings = settings_of(numbers, Settings)
    figure = plots.new_figure(11.0, 8.4)
    a, b, c, d = figure.subfigures(2, 2, squeeze=False, wspace=0.03, hspace=0.03).ravel()
    plots.panel(a, "a", f"error for s ≤ {settings.duration:g} against solves")
    plots.panel(b, "b", "against processor time")
    plots.panel(c, "c", "pairs of a sample and a unit pinned at the kink")
    plots.panel(d, "d", "where trajectories branch: distance to a fine run")
    for place, cost, label in ((a, "solves", "solves"), (b, "seconds", "processor time, seconds")):
        axes = place.subplots()
        _costs(axes, numbers, cost)
        axes.set(xlabel=label, ylabel="sup distance to a fine run")
        axes.legend(loc="upper right")
    _pinned(c.subplots(), numbers)
    _apart(d.subplots(), numbers)
    if settings.quick:
        plots.mark_quick(figure, f"to s = {settings.duration:g}")
    return figure


def _costs(axes: Axes, numbers: xr.Dataset, cost: str) -> None:
    for kind, (colour, label) in KINDS.items():
        part = numbers.isel(flow=np.flatnonzero(numbers.kind.values == kind))
        for seed in part.seed.values:
            one = part.sel(seed=seed)
            axes.loglog(one[cost], one.error, "o", color=plots.COLOURS[colour], markersize=3, alpha=0.5)
        middle = part.median("seed") if part.sizes["seed"] > 1 else part.isel(seed=0)
        axes.loglog(middle[cost], middle.error, "o-", color=plots.COLOURS[colour], markersize=5, label=label)


def _pinned(axes: Axes, numbers: xr.Dataset) -> None:
    plots.runs_and_mean(axes, numbers.long_time, numbers.pinned, plots.COLOURS["green"], "pinned pairs")
    axes.set(xlabel="slow time s", ylabel="pinned pairs", ylim=(0, None))
    other = axes.twinx()
    plots.runs_and_mean(other, numbers.long_time, numbers.accuracy, plots.COLOURS["vermilion"], "test accuracy (right)")
    other.set(ylim=(-0.02, 1.05))
    other.grid(visible=False)
    lines = [*axes.get_legend_handles_labels()[0], *other.get_legend_handles_labels()[0]]
    axes.legend(lines, [str(line.get_label()) for line in lines], loc="lower right")


def _apart(axes: Axes, numbers: xr.Dataset) -> None:
    colours = [plots.COLOURS[name] for name in ("sky", "green", "purple", "vermilion")]
    for colour, other in zip(colours, numbers.other.values, strict=False):
        for seed in numbers.seed.values:
            values = numbers.apart.sel(seed=seed, other=other)
            label = f"{'proximal, ' if 'rtol' in other else ''}{other}" if seed == 0 else None
            axes.semilogy(numbers.slow_time[1:], values[1:], color=colour, linewidth=1.1, alpha=0.8, label=label)
    axes.set(xlabel="slow time s", ylabel="distance in parameters")
    axes.legend(loc="lower right")
