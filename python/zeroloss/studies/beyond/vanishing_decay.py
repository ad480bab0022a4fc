"""Study: descent and gradient flow with vanishing weight decay become the norm flow on the zero-loss set.

All start from the same network on the set. The study compares descent and gradient flow at several weight decays with
the norm flow at the same slow time s = weight_decay · lr · steps: the sup distance in parameters, the order in which it
falls, and test accuracies. The gradient flow reaches weight decays for which descent would take too many steps. With a
smooth activation the limit holds for the whole run. With ReLU it holds until trajectories branch, which the distances
through time show; and there the tolerance of the flows bounds what can be seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ... import _checks
from ...dynamics import GradientDescent, GradientFlow, NormFlow
from ...simulation import simulate
from ...simulation.context import check_interruption
from .. import Cube, Grid, Layout, Places, Study, checked_run, label_numbers, select_settings
from .._drawing import LOG_LOG, choose_colour, choose_shades, draw_curves, finish_axes
from .._memorised import AdditionSettings, estimate_flops, memorise
from .._words import fit_log_slope

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

Path = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Settings(AdditionSettings):
    """Settings of the study.

    The weight decays multiply θ, from the greatest to the least: ``weight_decays`` for descent, and ``flow_decays``
    for the gradient flow. ``rtol`` is the tolerance of the flows with ReLU, ``rtol_smooth`` with a smooth activation.
    """

    activations: tuple[str, ...] = ("softplus(5)", "relu")
    weight_decays: tuple[float, ...] = (1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
    flow_decays: tuple[float, ...] = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
    duration: float = 3.0
    before_branching: float = 1.0
    times: int = 60
    rtol: float = 1e-3
    rtol_smooth: float = 1e-8
    seeds: int = 1


def check(s: Settings) -> None:
    """Raise ValueError for activations that are equal, and for weight decays that are equal or not above 0."""
    _checks.check_distinct("activations", s.activations, at_least=1)
    for name in ("weight_decays", "flow_decays"):
        _checks.check_distinct(name, getattr(s, name), at_least=1)
        for decay in getattr(s, name):
            _checks.positive(name, decay)
    _checks.integer("times", s.times, 1)


def follow_flow(p: int, hidden: int, activation: str, seed: int, rtol: float, interval: float, times: int) -> Path:
    """Follow the norm flow from a network on the set, and return its path at the multiples of an interval of time."""
    flow = NormFlow(rtol=rtol, method="proximal" if "relu" in activation else None)
    return _follow(flow, memorise(p, hidden, activation, seed), [{"duration": interval}] * times)


def follow_gradient_flow(
    p: int, hidden: int, activation: str, seed: int, rtol: float, weight_decay: float, interval: float, times: int
) -> Path:
    """Follow the gradient flow from a network on the set, at the multiples of an interval of slow time."""
    flow = GradientFlow(weight_decay, rtol, method="proximal" if "relu" in activation else None)
    return _follow(flow, memorise(p, hidden, activation, seed), [{"duration": interval / weight_decay}] * times)


def descend(p: int, hidden: int, activation: str, seed: int, weight_decay: float, interval: float, times: int) -> Path:
    """Descend from a network on the set, and return the path at the multiples of an interval of slow time."""
    at = [round(number * (interval / weight_decay)) for number in range(times + 1)]
    parts = [{"steps": after - before} for before, after in itertools.pairwise(at)]
    return _follow(GradientDescent(1.0, weight_decay), memorise(p, hidden, activation, seed), parts)


def _follow(dynamics: Any, problem: Any, parts: Sequence[Mapping[str, Any]]) -> Path:
    """Return parameters (times, d) and test accuracy at the start of a run and at the ends of its parts."""
    run = simulate(dynamics, *problem, record_every=10**9, threads=1, steps=0)
    theta, accuracies = [], []
    for part in (None, *parts):
        if part is not None:
            checked_run(run.extend(**part))
            check_interruption()
        theta.append(np.concatenate([run.network.E.ravel(), run.network.W.ravel()]))
        accuracies.append(float(run.history.test_accuracy[-1]))
    return {"theta": np.array(theta), "test_accuracy": np.array(accuracies)}


def grids(s: Settings) -> list[Grid]:
    """Return the norm flows, and the descents and gradient flows at every weight decay."""
    common = {**select_settings(s, "p hidden times"), "interval": s.duration / s.times}
    rtols = {name: s.rtol if "relu" in name else s.rtol_smooth for name in s.activations}
    over = {"activation": s.activations, "seed": range(s.seeds)}

    def flow(**labels: Any) -> dict[str, Any]:
        return {**common, **labels, "rtol": rtols[labels["activation"]]}

    return [
        Grid(follow_flow, over, flow),
        Grid(
            descend,
            {**over, "weight_decay": s.weight_decays},
            lambda **labels: {**common, **labels},
            lambda weight_decay, **_: s.duration / weight_decay,
            flops=estimate_flops(s.p, s.hidden, s.activations[0]),
        ),
        Grid(follow_gradient_flow, {**over, "weight_decay": s.flow_decays}, flow),
    ]


def analyse(s: Settings, flows: Cube, descents: Cube, gradient_flows: Cube) -> xr.Dataset:
    """Return the distances of descent and of the gradient flow to the norm flow, and the accuracies."""
    distance, flow_distance = (
        np.linalg.norm(cube["theta"] - flows["theta"][:, :, None], axis=-1) for cube in (descents, gradient_flows)
    )
    axes = ("activation", "seed", "weight_decay", "slow_time")
    flow_axes = ("activation", "seed", "flow_decay", "slow_time")
    return label_numbers(
        {
            "distance": (axes, distance, "distance in parameters between descent and the norm flow"),
            "flow_distance": (flow_axes, flow_distance, "distance between the gradient flow and the norm flow"),
            "test_accuracy": (axes, descents["test_accuracy"], "test accuracy of descent"),
            "flow_test_accuracy": ((*axes[:2], axes[3]), flows["test_accuracy"], "test accuracy of the norm flow"),
        },
        {
            "activation": (s.activations, "activation"),
            "seed": (np.arange(s.seeds), "seed index"),
            "weight_decay": (s.weight_decays, "weight decay of descent, which multiplies θ"),
            "flow_decay": (s.flow_decays, "weight decay of the gradient flow"),
            "slow_time": (np.linspace(0, s.duration, s.times + 1), "slow time"),
        },
    )


def _sup_distances(s: Settings, distance: xr.DataArray, activation: str) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the mean sup distance at every weight decay: over all times, and before trajectories branch."""
    distance = distance.sel(activation=activation)
    early = distance.sel(slow_time=slice(0, s.before_branching + 1e-9))
    sup, sup_early = (part.max("slow_time").mean("seed") for part in (distance, early))
    return sup, sup_early


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return the sup distances and the orders in which they fall.

    The orders of the gradient flow are fitted over the last two decades of its weight decays.
    """
    summary: dict[str, Any] = {}
    last = np.array(s.flow_decays) <= 101 * min(s.flow_decays)
    for name in s.activations:
        both = [
            (prefix + "sup_distance" + suffix, prefix + "order" + suffix, sup)
            for prefix, distance in (("", numbers.distance), ("flow_", numbers.flow_distance))
            for suffix, sup in zip(("", "_early"), _sup_distances(s, distance, name), strict=True)
        ]
        orders = {}
        for _, order, sup in both:
            used = last if order.startswith("flow_") else np.full(sup.size, True)
            orders[order] = fit_log_slope(sup[sup.dims[0]].values[used], sup.values[used])
        sups = {
            key: {f"{decay:g}": float(sup[at]) for at, decay in enumerate(sup[sup.dims[0]].values)}
            for key, _, sup in both
        }
        summary[name] = {**sups, **orders}
    return summary


def _format_line(s: Settings, summary: Mapping[str, Any]) -> str:
    parts = []
    for name, orders in summary.items():
        values, least = list(orders["sup_distance"].items()), min(s.flow_decays)
        parts.append(
            f"{name}: sup distance {values[0][1]:.2f} at {values[0][0]} to {values[-1][1]:.3f} at {values[-1][0]}, "
            f"order {orders['order']:.2f} ({orders['order_early']:.2f} for s ≤ {s.before_branching:g}), gradient flow "
            f"{orders['flow_sup_distance'][f'{least:g}']:.1e} at {least:g}, last order {orders['flow_order']:.2f} "
            f"({orders['flow_order_early']:.3f})"
        )
    return "; ".join(parts)


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw the sup distances, the distances through time, and the accuracies."""
    _draw_orders(place("a", "sup distance to the norm flow"), numbers, s)
    shades = choose_shades(len(s.weight_decays), 0.9, 0.1)
    for letter, name in zip("bc", s.activations, strict=False):
        _draw_distances(
            place(letter, f"{name}: descent, distance to the norm flow"),
            numbers.distance.sel(activation=name),
            s,
            shades,
        )
    _draw_accuracies(place.part("d", "test accuracy, norm flow and descent (mean)"), numbers.mean("seed"), s, shades)


def _draw_orders(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    ways = (("descent", numbers.distance, s.weight_decays, "o"), ("flow", numbers.flow_distance, s.flow_decays, "x"))
    for name in s.activations:
        for way, distance, decays, mark in ways:
            both = zip(_sup_distances(s, distance, name), ("-", "--"), (s.duration, s.before_branching), strict=True)
            for sup, line, until in both:
                label, style = f"{name}, {way}, s ≤ {until:g}", mark + line
                colour = choose_colour(name)
                draw_curves(axes, decays, sup, colour, label, style, markersize=5, linewidth=1.2)
    least = np.array(s.flow_decays)
    smooth = _sup_distances(s, numbers.flow_distance, s.activations[0])[0].values
    draw_curves(axes, least, 0.3 * smooth[-1] * least / least[-1], "black", "slope 1", ":", linewidth=0.9)
    finish_axes(axes, "upper left", xlabel="weight decay", ylabel="greatest distance in parameters", **LOG_LOG)


def _draw_distances(axes: Axes, distance: xr.DataArray, s: Settings, shades: Sequence[Any]) -> None:
    shown = distance.isel(slow_time=slice(1, None))
    for shade, decay in zip(shades, s.weight_decays, strict=True):
        curves = shown.sel(weight_decay=decay).transpose("seed", "slow_time")
        draw_curves(axes, shown.slow_time, curves, shade, f"{decay:g}", linewidth=1.2)
    axes.set(xlabel="slow time s", ylabel="distance in parameters", xlim=(0, s.duration), yscale="log")
    axes.set_ylim(bottom=float(shown.min()) / 8)  # This makes room for the legend.
    axes.legend(loc="lower right", ncols=2, title="weight decay", title_fontsize=8)


def _draw_accuracies(place: Any, means: xr.Dataset, s: Settings, shades: Sequence[Any]) -> None:
    both = place.subplots(len(s.activations), 1, sharex=True, squeeze=False)[:, 0]
    for axes, name in zip(both, s.activations, strict=True):
        part = means.sel(activation=name)
        for shade, decay in zip(shades, s.weight_decays, strict=True):
            draw_curves(axes, part.slow_time, part.test_accuracy.sel(weight_decay=decay), shade, linewidth=1.1)
        draw_curves(axes, part.slow_time, part.flow_test_accuracy, "black", "norm flow", "--", linewidth=1.3)
        axes.set(ylabel=name, ylim=(-0.05, 1.05), xlim=(0, s.duration))
    both[0].legend(loc="lower right")
    both[-1].set_xlabel("slow time s")


STUDY = Study(
    name="vanishing_decay",
    title="Descent and gradient flow with vanishing weight decay",
    description="descent and gradient flow with vanishing weight decay become the norm flow on the zero-loss set",
    expected_time="2 min",
    full=Settings(),
    quick=replace(
        Settings(),
        weight_decays=(1e-3, 3e-4, 1e-4, 3e-5),
        flow_decays=(1e-3, 1e-4, 1e-5),
        duration=2.0,
        times=20,
        quick=True,
    ),
    check=check,
    budget="weight_decays",
    grids=grids,
    analyse=analyse,
    summarise=summarise,
    line=_format_line,
    layout=Layout("ab cd", 11.0, 8.4, {"wspace": 0.03, "hspace": 0.03}),
    panels=panels,
    mark=lambda s: f"{len(s.weight_decays)} decays, to s = {s.duration:g}",
)
