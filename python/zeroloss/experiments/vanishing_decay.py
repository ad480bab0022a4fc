"""Study: descent with vanishing weight decay becomes the norm flow on the zero-loss set.

Both start from the same network on the set. Descent at several weight decays is compared with the flow at the same slow
time s = weight_decay · lr · steps: sup distance in parameters, the order in which it falls, and test accuracies. With a
smooth activation the limit holds all along; with ReLU until trajectories branch, which the distances through time show.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import plots
from ..datasets import Dataset
from ..dynamics import Dynamics, GradientDescent, NormFlow
from ..networks import Network
from ..results import Ending, Run
from ..simulation import simulate
from .ensemble import NumericalFailure, derived_seeds
from .on_manifold import check_cost, log_slope, memorised
from .output import Result, labelled, settings_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FULL", "QUICK", "Settings", "draw", "run"]

COLOURS = {"softplus(5)": "green", "relu": "vermilion"}


@dataclass(frozen=True)
class Settings:
    """What determines the numbers; ``weight_decays`` multiply θ in the update, from the greatest to the least."""

    p: int = 11
    hidden: int = 128
    activations: tuple[str, ...] = ("softplus(5)", "relu")
    weight_decays: tuple[float, ...] = (1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
    duration: float = 3.0
    before_branching: float = 1.0
    times: int = 60
    rtol: float = 1e-3
    rtol_smooth: float = 1e-5
    seeds: int = 1
    quick: bool = False


FULL = Settings()
QUICK = replace(FULL, weight_decays=(1e-3, 3e-4, 1e-4, 3e-5), duration=2.0, times=20, quick=True)


def run(settings: Settings) -> Result:
    """Simulate and analyse at given settings."""
    data, net = memorised(settings.p, settings.hidden, settings.activations[0], 0, steps=0)
    flops = GradientDescent(lr=1.0).cost(data, net).flops
    runs = settings.seeds * len(settings.activations)
    check_cost("weight_decays", settings.weight_decays, settings.duration, flops, runs)
    shape = (len(settings.activations), settings.seeds, len(settings.weight_decays), settings.times + 1)
    distance, accuracy, flow_accuracy = np.empty(shape), np.empty(shape), np.empty((*shape[:2], shape[3]))
    for at, activation in enumerate(settings.activations):
        for seed in range(settings.seeds):
            flow, *descents = _compared(settings, activation, seed)
            flow_accuracy[at, seed] = flow[1]
            for decay, descent in enumerate(descents):
                distance[at, seed, decay] = np.linalg.norm(descent[0] - flow[0], axis=1)
                accuracy[at, seed, decay] = descent[1]
    axes = ("activation", "seed", "weight_decay", "slow_time")
    numbers = labelled(
        "Descent with vanishing weight decay and the norm flow",
        settings,
        {
            "distance": (axes, distance, "distance in parameters between descent and the norm flow"),
            "test_accuracy": (axes, accuracy, "test accuracy of descent"),
            "flow_test_accuracy": ((*axes[:2], axes[3]), flow_accuracy, "test accuracy of the norm flow"),
        },
        {
            "activation": (np.array(settings.activations, dtype=object), "activation"),
            "seed": (np.arange(settings.seeds), "seed index"),
            "weight_decay": (np.array(settings.weight_decays), "weight decay, which multiplies θ"),
            "slow_time": (np.linspace(0, settings.duration, settings.times + 1), "slow time"),
        },
    )
    summary = _summary(settings, numbers)
    seeds = [derived_seeds(index) for index in range(settings.seeds)]
    return Result(numbers, asdict(settings), seeds, summary, _line(settings, summary), draw)


def _compared(settings: Settings, activation: str, seed: int) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Return parameters (times, d) and test accuracies of the flow and of every descent, from one start."""
    data, start = memorised(settings.p, settings.hidden, activation, seed)
    smooth = "relu" not in activation
    flow = NormFlow(rtol=settings.rtol_smooth if smooth else settings.rtol, method=None if smooth else "proximal")
    interval = settings.duration / settings.times
    found = [_path(flow, data, start, settings.times, interval, f"{activation} flow")]
    for decay in settings.weight_decays:
        descent = GradientDescent(1.0, decay)
        found.append(_path(descent, data, start, settings.times, interval / decay, f"{activation} at {decay:g}"))
    return found


def _path(
    dynamics: Dynamics, data: Dataset, start: Network, times: int, interval: float, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return parameters and test accuracy at the multiples of an interval of the dynamics' own time."""
    run: Run | None = None
    networks, accuracies = [start], []
    for at in range(1, times + 1):
        if isinstance(dynamics, NormFlow):
            step: dict[str, Any] = {"duration": interval}
        else:
            step = {"steps": round(at * interval) - round((at - 1) * interval)}
        if run is None:
            run = simulate(dynamics, data, start, record_every=10**9, progress=False, threads=1, **step)
            accuracies.append(float(run.history.test_accuracy[0]))
        else:
            run.extend(**step, progress=False)
        if run.outcome.ending is Ending.STOPPED_BY_THE_USER:
            raise KeyboardInterrupt
        if run.outcome.ending is not Ending.REACHED_THE_END:
            raise NumericalFailure(run, name)
        networks.append(run.network)
        accuracies.append(float(run.history.test_accuracy[-1]))
    theta = [np.concatenate([net.E.ravel(), net.W.ravel()]) for net in networks]
    return np.array(theta), np.array(accuracies)


def _summary(settings: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    early = numbers.distance.sel(slow_time=slice(0, settings.before_branching + 1e-9))
    for name in settings.activations:
        sup, sup_early = (d.sel(activation=name).max("slow_time").mean("seed") for d in (numbers.distance, early))
        summary[name] = {
            "sup_distance": {f"{decay:g}": float(sup.sel(weight_decay=decay)) for decay in settings.weight_decays},
            "sup_distance_early": {
                f"{decay:g}": float(sup_early.sel(weight_decay=decay)) for decay in settings.weight_decays
            },
            "order": log_slope(settings.weight_decays, sup),
            "order_early": log_slope(settings.weight_decays, sup_early),
        }
    return summary


def _line(settings: Settings, summary: Mapping[str, Any]) -> str:
    parts = []
    for name, own in summary.items():
        values = list(own["sup_distance"].items())
        parts.append(
            f"{name}: sup distance {values[0][1]:.2f} at {values[0][0]} to {values[-1][1]:.3f} at {values[-1][0]}, "
            f"order {own['order']:.2f} ({own['order_early']:.2f} for s ≤ {settings.before_branching:g})"
        )
    return "; ".join(parts)


def draw(numbers: xr.Dataset) -> Figure:
    """Draw the sup distances, the distances through time, and the accuracies."""
    settings = settings_of(numbers, Settings)
    figure = plots.new_figure(11.0, 8.4)
    a, b, c, d = figure.subfigures(2, 2, squeeze=False, wspace=0.03, hspace=0.03).ravel()
    plots.panel(a, "a", "sup distance to the norm flow")
    _orders(a.subplots(), numbers, settings)
    for place, letter, name in zip((b, c), "bc", settings.activations, strict=False):
        plots.panel(place, letter, f"{name}: distance to the flow")
        _through_time(place.subplots(), numbers.sel(activation=name), settings)
    plots.panel(d, "d", "test accuracy, flow and descent (mean)")
    _accuracies(d, numbers, settings)
    if settings.quick:
        plots.mark_quick(figure, f"{len(settings.weight_decays)} decays, to s = {settings.duration:g}")
    return figure


def _orders(axes: Axes, numbers: xr.Dataset, settings: Settings) -> None:
    decays = np.array(settings.weight_decays)
    early = numbers.distance.sel(slow_time=slice(0, settings.before_branching + 1e-9))
    for name in settings.activations:
        colour = plots.COLOURS[COLOURS[name]]
        for values, style, until in (
            (numbers.distance, "o-", settings.duration),
            (early, "s--", settings.before_branching),
        ):
            sup = values.sel(activation=name).max("slow_time").mean("seed").values
            label = f"{name}, s ≤ {until:g}: order {log_slope(decays, sup):.2f}"
            axes.loglog(decays, sup, style, color=colour, markersize=5, linewidth=1.2, label=label)
    smooth = numbers.distance.isel(activation=0).max("slow_time").mean("seed").values
    axes.loglog(decays, 0.4 * smooth[-1] * decays / decays[-1], "k:", linewidth=0.9, label="slope 1")
    axes.set(xlabel="weight decay", ylabel="greatest distance in parameters")
    axes.legend(loc="upper left")


def _shades(settings: Settings) -> list[Any]:
    import matplotlib as mpl  # noqa: PLC0415 — with the first picture

    return list(mpl.colormaps["viridis"](np.linspace(0.9, 0.1, len(settings.weight_decays))))


def _through_time(axes: Axes, numbers: xr.Dataset, settings: Settings) -> None:
    time = numbers.slow_time.values[1:]
    for shade, decay in zip(_shades(settings), settings.weight_decays, strict=True):
        for seed in numbers.seed.values:
            values = numbers.distance.sel(weight_decay=decay, seed=seed).values[1:]
            axes.semilogy(time, values, color=shade, linewidth=1.2, label=f"{decay:g}" if seed == 0 else None)
    least = float(numbers.distance.isel(slow_time=slice(1, None)).min())
    axes.set(xlabel="slow time s", ylabel="distance in parameters", xlim=(0, settings.duration))
    axes.set_ylim(bottom=least / 8)  # room for the legend
    axes.legend(loc="lower right", ncols=2, title="weight decay", title_fontsize=8)


def _accuracies(place: Any, numbers: xr.Dataset, settings: Settings) -> None:
    both = place.subplots(len(settings.activations), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(both, settings.activations, strict=True):
        part = numbers.sel(activation=name).mean("seed")
        for shade, decay in zip(_shades(settings), settings.weight_decays, strict=True):
            axes.plot(part.slow_time, part.test_accuracy.sel(weight_decay=decay), color=shade, linewidth=1.1)
        axes.plot(part.slow_time, part.flow_test_accuracy, "k--", linewidth=1.3, label="norm flow")
        axes.set(ylabel=name, ylim=(-0.05, 1.05), xlim=(0, settings.duration))
    both[0].legend(loc="lower right")
    both[-1].set_xlabel("slow time s")
