"""Study: descent with vanishing weight decay becomes the norm flow on the zero-loss set.

Both start from the same network on the set. Descent at several weight decays is compared with the flow at the same slow
time s = weight_decay · lr · steps: sup distance in parameters, the order in which it falls, and test accuracies. With a
smooth activation the limit holds all along; with ReLU until trajectories branch, which the distances through time show.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ... import _checks, plots
from ...dynamics import GradientDescent, NormFlow
from ...simulation import simulate
from ...simulation.context import check_interruption
from ...sweeps.engine import Cube, Grid, finished
from .._layout import Layout, Places
from .._memorised import flops_of_descent, memorised
from .._study import Study, chosen, labelled
from .._words import log_slope

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

Path = dict[str, NDArray[np.float64]]

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


def check(s: Settings) -> None:
    """Raise ValueError for decays that are none."""
    _checks.different("weight_decays", s.weight_decays, at_least=1)
    for decay in s.weight_decays:
        _checks.positive("weight_decays", decay)


def follow_flow(p: int, hidden: int, activation: str, seed: int, rtol: float, interval: float, times: int) -> Path:
    """Follow the norm flow from a network on the set, and return its path at the multiples of an interval of time."""
    flow = NormFlow(rtol=rtol, method="proximal" if "relu" in activation else None)
    return _path(flow, memorised(p, hidden, activation, seed), [{"duration": interval}] * times)


def descend(p: int, hidden: int, activation: str, seed: int, weight_decay: float, interval: float, times: int) -> Path:
    """Descend from a network on the set, and return the path at the multiples of an interval of slow time."""
    at = [round(number * (interval / weight_decay)) for number in range(times + 1)]
    parts = [{"steps": after - before} for before, after in itertools.pairwise(at)]
    return _path(GradientDescent(1.0, weight_decay), memorised(p, hidden, activation, seed), parts)


def _path(dynamics: Any, problem: Any, parts: Sequence[Mapping[str, Any]]) -> Path:
    """Return parameters (times, d) and test accuracy at the ends of the parts of a run."""
    run = simulate(dynamics, *problem, record_every=10**9, threads=1, steps=0)
    theta, accuracies = [], []
    for part in (None, *parts):
        if part is not None:
            finished(run.extend(**part))
            check_interruption()
        theta.append(np.concatenate([run.network.E.ravel(), run.network.W.ravel()]))
        accuracies.append(float(run.history.test_accuracy[-1]))
    return {"theta": np.array(theta), "test_accuracy": np.array(accuracies)}


def grids(s: Settings) -> list[Grid]:
    """Return the flows, and the descents at every weight decay."""
    common = {**chosen(s, "p hidden times"), "interval": s.duration / s.times}
    rtols = {name: s.rtol if "relu" in name else s.rtol_smooth for name in s.activations}
    over = {"activation": s.activations, "seed": range(s.seeds)}
    return [
        Grid(follow_flow, over, lambda **labels: {**common, **labels, "rtol": rtols[labels["activation"]]}),
        Grid(
            descend,
            {**over, "weight_decay": s.weight_decays},
            lambda **labels: {**common, **labels},
            lambda weight_decay, **_: s.duration / weight_decay,
            flops=flops_of_descent(s.p, s.hidden, s.activations[0]),
        ),
    ]


def analyse(s: Settings, flows: Cube, descents: Cube) -> xr.Dataset:
    """Return the distances between descent and the flow, and the accuracies."""
    distance = np.linalg.norm(descents["theta"] - flows["theta"][:, :, None], axis=-1)
    axes = ("activation", "seed", "weight_decay", "slow_time")
    return labelled(
        {
            "distance": (axes, distance, "distance in parameters between descent and the norm flow"),
            "test_accuracy": (axes, descents["test_accuracy"], "test accuracy of descent"),
            "flow_test_accuracy": ((*axes[:2], axes[3]), flows["test_accuracy"], "test accuracy of the norm flow"),
        },
        {
            "activation": (s.activations, "activation"),
            "seed": (np.arange(s.seeds), "seed index"),
            "weight_decay": (s.weight_decays, "weight decay, which multiplies θ"),
            "slow_time": (np.linspace(0, s.duration, s.times + 1), "slow time"),
        },
    )


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return the sup distances and the orders in which they fall."""
    summary: dict[str, Any] = {}
    early = numbers.distance.sel(slow_time=slice(0, s.before_branching + 1e-9))
    for name in s.activations:
        sup, sup_early = (d.sel(activation=name).max("slow_time").mean("seed") for d in (numbers.distance, early))
        summary[name] = {
            "sup_distance": {f"{decay:g}": float(sup.sel(weight_decay=decay)) for decay in s.weight_decays},
            "sup_distance_early": {f"{decay:g}": float(sup_early.sel(weight_decay=decay)) for decay in s.weight_decays},
            "order": log_slope(s.weight_decays, sup),
            "order_early": log_slope(s.weight_decays, sup_early),
        }
    return summary


def _line(s: Settings, summary: Mapping[str, Any]) -> str:
    parts = []
    for name, own in summary.items():
        values = list(own["sup_distance"].items())
        parts.append(
            f"{name}: sup distance {values[0][1]:.2f} at {values[0][0]} to {values[-1][1]:.3f} at {values[-1][0]}, "
            f"order {own['order']:.2f} ({own['order_early']:.2f} for s ≤ {s.before_branching:g})"
        )
    return "; ".join(parts)


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw the sup distances, the distances through time, and the accuracies."""
    _orders(place("a", "sup distance to the norm flow"), numbers, s)
    for letter, name in zip("bc", s.activations, strict=False):
        _through_time(place(letter, f"{name}: distance to the flow"), numbers.sel(activation=name), s)
    _accuracies(place.part("d", "test accuracy, flow and descent (mean)"), numbers, s)


def _orders(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    decays = np.array(s.weight_decays)
    early = numbers.distance.sel(slow_time=slice(0, s.before_branching + 1e-9))
    for name in s.activations:
        colour = plots.COLOURS[COLOURS[name]]
        for values, style, until in ((numbers.distance, "o-", s.duration), (early, "s--", s.before_branching)):
            sup = values.sel(activation=name).max("slow_time").mean("seed").values
            label = f"{name}, s ≤ {until:g}: order {log_slope(decays, sup):.2f}"
            axes.loglog(decays, sup, style, color=colour, markersize=5, linewidth=1.2, label=label)
    smooth = numbers.distance.isel(activation=0).max("slow_time").mean("seed").values
    axes.loglog(decays, 0.4 * smooth[-1] * decays / decays[-1], "k:", linewidth=0.9, label="slope 1")
    axes.set(xlabel="weight decay", ylabel="greatest distance in parameters")
    axes.legend(loc="upper left")


def _shades(s: Settings) -> list[Any]:
    import matplotlib as mpl  # noqa: PLC0415 — with the first picture

    return list(mpl.colormaps["viridis"](np.linspace(0.9, 0.1, len(s.weight_decays))))


def _through_time(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    time = numbers.slow_time.values[1:]
    for shade, decay in zip(_shades(s), s.weight_decays, strict=True):
        for seed in numbers.seed.values:
            values = numbers.distance.sel(weight_decay=decay, seed=seed).values[1:]
            axes.semilogy(time, values, color=shade, linewidth=1.2, label=f"{decay:g}" if seed == 0 else None)
    least = float(numbers.distance.isel(slow_time=slice(1, None)).min())
    axes.set(xlabel="slow time s", ylabel="distance in parameters", xlim=(0, s.duration))
    axes.set_ylim(bottom=least / 8)  # room for the legend
    axes.legend(loc="lower right", ncols=2, title="weight decay", title_fontsize=8)


def _accuracies(place: Any, numbers: xr.Dataset, s: Settings) -> None:
    both = place.subplots(len(s.activations), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(both, s.activations, strict=True):
        part = numbers.sel(activation=name).mean("seed")
        for shade, decay in zip(_shades(s), s.weight_decays, strict=True):
            axes.plot(part.slow_time, part.test_accuracy.sel(weight_decay=decay), color=shade, linewidth=1.1)
        axes.plot(part.slow_time, part.flow_test_accuracy, "k--", linewidth=1.3, label="norm flow")
        axes.set(ylabel=name, ylim=(-0.05, 1.05), xlim=(0, s.duration))
    both[0].legend(loc="lower right")
    both[-1].set_xlabel("slow time s")


STUDY = Study(
    name="vanishing_decay",
    title="Descent with vanishing weight decay and the norm flow",
    about="descent with vanishing weight decay becomes the norm flow on the zero-loss set",
    takes="2 min",
    full=Settings(),
    quick=replace(Settings(), weight_decays=(1e-3, 3e-4, 1e-4, 3e-5), duration=2.0, times=20, quick=True),
    check=check,
    budget="weight_decays",
    grids=grids,
    analyse=analyse,
    summarise=summarise,
    line=_line,
    layout=Layout("ab cd", 11.0, 8.4, {"wspace": 0.03, "hspace": 0.03}),
    panels=panels,
    mark=lambda s: f"{len(s.weight_decays)} decays, to s = {s.duration:g}",
)
