"""Theorem 4.8: the gradient flow from a start on the zero-loss set stays near it, as near as the weight decay is small.

The check follows the flow of the theorem and, next to it, descent.

(a) Two linear layers, ŷ = w₁w₂x on 1 → c, whose zero-loss set is the hyperbola w₁w₂ = c: the distance is exact.
(b) Modular addition with a smooth activation and with ReLU: the distance is that to the Gauss–Newton projection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import _checks, datasets, geometry
from ...datasets import Dataset
from ...dynamics import Dynamics, GradientDescent, GradientFlow
from ...networks import Network, from_arrays
from ...simulation import simulate
from .. import Cube, Grid, Layout, Places, Study, checked_run, label_numbers, select_settings
from .._drawing import LOG_LOG, choose_colour, draw_curves, finish_axes
from .._memorised import AdditionSettings, estimate_flops, memorise
from .._words import fit_log_slope, format_table
from ..paper.figure3 import product_path

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

Distance = dict[str, float]


@dataclass(frozen=True)
class Settings(AdditionSettings):
    """Settings of the check. The weight decays multiply θ. The gradient flow uses the tolerances."""

    target: float = 1.0
    start: tuple[float, float] = (2.5, 0.4)
    lr_product: float = 0.01
    decays_product: tuple[float, ...] = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
    duration_product: float = 2.0
    activations: tuple[str, ...] = ("softplus(5)", "relu")
    decays_network: tuple[float, ...] = (1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
    duration_network: float = 1.0
    fitted_below: float = 1e-4
    rtol_product: float = 1e-7
    rtol_smooth: float = 1e-5
    rtol_kinked: float = 1e-3
    seeds: int = 1


def hyperbola_distance(points: ArrayLike, target: float) -> NDArray[np.float64]:
    """Return the distance of points (m, 2) to {w₁w₂ = c}: its feet (t, c/t) solve t⁴ − w₁t³ + w₂ct − c² = 0."""

    def distance(w: NDArray[np.float64]) -> float:
        roots = np.roots([1.0, -w[0], 0.0, w[1] * target, -(target**2)])
        t = roots[abs(roots.imag) < 1e-6].real
        t = t[t != 0]
        for _ in range(3):  # Newton steps, because the companion matrix gives only half of the digits.
            slope = 4 * t**3 - 3 * w[0] * t**2 + w[1] * target
            t = t - np.divide(t**4 - w[0] * t**3 + w[1] * target * t - target**2, slope, where=slope != 0, out=0 * t)
        return float(np.hypot(t - w[0], target / t - w[1]).min())

    return np.array([distance(w) for w in np.asarray(points, dtype=np.float64)])


def follow_product(
    start: tuple[float, float], target: float, weight_decay: float, rtol: float, time: float
) -> Distance:
    """Follow the gradient flow of ŷ = w₁w₂x on 1 → target, and return the greatest distance to the hyperbola."""
    data, net = datasets.from_arrays([[1.0]], [[target]]), from_arrays([[start[0]]], [[start[1]]], "identity")
    run = checked_run(simulate(GradientFlow(weight_decay, rtol), data, net, duration=time, snapshot_every=1))
    assert run.snapshots is not None
    weights = np.concatenate([run.snapshots.E.values[:, 0], run.snapshots.W.values[:, 0]], axis=-1)
    return {"distance": float(hyperbola_distance(weights, target).max())}


def descend(p: int, hidden: int, activation: str, seed: int, weight_decay: float, duration: float) -> Distance:
    """Descend from a network on the set, and return the greatest distance to its projection on the set."""
    schedule = {"steps": round(duration / weight_decay), "record_every": "log"}
    return _find_distance(GradientDescent(1.0, weight_decay), memorise(p, hidden, activation, seed), schedule)


def follow(
    p: int, hidden: int, activation: str, seed: int, weight_decay: float, rtol: float, duration: float
) -> Distance:
    """Follow the gradient flow from a network on the set, and return the greatest distance as `descend` does."""
    flow = GradientFlow(weight_decay, rtol, method="proximal" if "relu" in activation else None)
    schedule = {"duration": duration / weight_decay, "record_every": 1}
    return _find_distance(flow, memorise(p, hidden, activation, seed), schedule)


def _find_distance(dynamics: Dynamics, problem: tuple[Dataset, Network], schedule: Mapping[str, Any]) -> Distance:
    data, net = problem

    def distance(net: Network) -> float:
        return geometry.project(net, data, "chord", tolerance=1e-10).distance

    run = checked_run(simulate(dynamics, data, net, measures={"distance": distance}, **schedule))
    return {"distance": float(run.history.distance.max())}


def check(s: Settings) -> None:
    """Raise ValueError for activations that are equal, and for weight decays that are equal or not above 0."""
    _checks.check_distinct("activations", s.activations, at_least=1)
    for name in ("decays_product", "decays_network"):
        _checks.check_distinct(name, getattr(s, name), at_least=1)
        for decay in getattr(s, name):
            _checks.positive(name, decay)


def grids(s: Settings) -> list[Grid]:
    """Return the descents and the flows of the two linear layers and of the networks."""

    def linear_layers(weight_decay: float) -> dict[str, Any]:
        steps = round(s.duration_product / (s.lr_product * weight_decay))
        schedule = {"weight_decay": weight_decay, "steps": steps, "every": "log"}
        return {**select_settings(s, "start target"), "lr": s.lr_product, **schedule}

    def flow_of_linear_layers(weight_decay: float) -> dict[str, Any]:
        time = s.duration_product / weight_decay
        common = select_settings(s, "start target")
        return {**common, "weight_decay": weight_decay, "rtol": s.rtol_product, "time": time}

    def network(**labels: Any) -> dict[str, Any]:
        return {**select_settings(s, "p hidden"), **labels, "duration": s.duration_network}

    def flow(activation: str, **labels: Any) -> dict[str, Any]:
        rtol = s.rtol_kinked if "relu" in activation else s.rtol_smooth
        return {**network(activation=activation, **labels), "rtol": rtol}

    def steps_of_network(weight_decay: float, **_: Any) -> float:
        return s.duration_network / weight_decay

    over = {"activation": s.activations, "seed": range(s.seeds), "weight_decay": s.decays_network}
    flops = estimate_flops(s.p, s.hidden, s.activations[0])
    return [
        Grid(product_path, {"weight_decay": s.decays_product}, linear_layers, lambda steps, **_: steps),
        Grid(descend, over, network, steps_of_network, flops=flops),
        Grid(follow_product, {"weight_decay": s.decays_product}, flow_of_linear_layers),
        Grid(follow, over, flow),
    ]


def analyse(s: Settings, linear_layers: Cube, networks: Cube, linear_flows: Cube, flows: Cube) -> xr.Dataset:
    """Return the greatest distances to the set."""
    product = [hyperbola_distance(cell["weights"], s.target).max() for cell in linear_layers]
    over = ("activation", "seed", "decay")
    return label_numbers(
        {
            "product": (("decay_product",), product, "sup distance to the hyperbola, two linear layers"),
            "network": (over, networks["distance"], "sup distance to the projection, modular addition"),
            "product_flow": (("decay_product",), linear_flows["distance"], "the same as product, for the flow"),
            "network_flow": (over, flows["distance"], "the same as network, for the flow"),
        },
        {
            "decay_product": (s.decays_product, "weight decay, which multiplies θ"),
            "activation": (s.activations, "activation"),
            "seed": (np.arange(s.seeds), "seed index"),
            "decay": (s.decays_network, "weight decay, which multiplies θ"),
        },
    )


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return the exponents of the weight decay, for descent and for the flow."""
    small = numbers.isel(decay=numbers.decay.values <= s.fitted_below)
    summary: dict[str, Any] = {}
    for suffix in ("", "_flow"):
        means = {name: small["network" + suffix].sel(activation=name).mean("seed") for name in s.activations}
        summary["slope_product" + suffix] = fit_log_slope(numbers.decay_product, numbers["product" + suffix])
        summary["slope_network" + suffix] = {name: fit_log_slope(small.decay, mean) for name, mean in means.items()}
    return summary


def _format_line(s: Settings, summary: Mapping[str, Any]) -> str:
    def format_exponents(suffix: str) -> str:
        networks = ", ".join(f"{name} {slope:.3f}" for name, slope in summary["slope_network" + suffix].items())
        return f"λ^{summary['slope_product' + suffix]:.4f} (two linear layers), exponents {networks}"

    return f"sup distance to the set, gradient flow: ∝ {format_exponents('_flow')}; descent: ∝ {format_exponents('')}"


def _format_table(s: Settings, numbers: xr.Dataset, summary: Mapping[str, Any]) -> str:
    pairs = [("two linear layers", s.decays_product, numbers["product"], numbers.product_flow)]
    for name in s.activations:
        part = numbers.sel(activation=name).max("seed")
        pairs.append((name, s.decays_network, part.network, part.network_flow))
    rows = [
        [f"{decay:g}", f"{flow:.3e}", f"{descent:.3e}", model]
        for model, decays, descents, flows in pairs
        for decay, descent, flow in zip(decays, descents.values, flows.values, strict=True)
    ]
    return format_table(["weight decay", "flow", "descent", "model"], rows)


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw the distances of the linear layers and of the networks against weight decay."""
    left = place("a", rf"two linear layers, $\hat{{y}} = w_1 w_2 x$ on $1 \to {s.target:g}$")
    right = place("b", f"addition modulo {s.p}, {s.hidden} units")
    flows, descents = numbers.product_flow.values[None], numbers["product"].values[None]
    _draw_distances(left, numbers.decay_product.values, flows, descents, "blue", "")
    for name in s.activations:
        flows, descents = (numbers[key].sel(activation=name).values for key in ("network_flow", "network"))
        _draw_distances(right, numbers.decay.values, flows, descents, choose_colour(name), f"{name}, ")
    labels = {"xlabel": "weight decay", "ylabel": "greatest distance to the zero-loss set"}
    for axes in (left, right):
        finish_axes(axes, "upper left", **labels, **LOG_LOG)


def _draw_distances(axes: Axes, decays: Any, flows: Any, descents: Any, colour: str, name: str) -> None:
    draw_curves(axes, decays, flows, colour, f"{name}flow", "o-", markersize=5, linewidth=1.0)
    draw_curves(axes, decays, descents, colour, f"{name}descent", "x", markersize=8)
    last = int(np.argmin(decays))
    slope = flows.mean(axis=0)[last] * decays / decays[last]
    draw_curves(axes, decays, slope, colour, f"{name}slope 1", "--", linewidth=0.8)


STUDY = Study(
    name="theorem48",
    title="Theorem 4.8: distance to the zero-loss set against weight decay",
    description="started on the zero-loss set, gradient flow stays at a distance that vanishes with weight decay",
    expected_time="40 s",
    full=Settings(),
    quick=replace(Settings(), decays_network=(1e-3, 3e-4, 1e-4, 3e-5), fitted_below=1e-3, quick=True),
    check=check,
    budget="decays_network",
    grids=grids,
    analyse=analyse,
    summarise=summarise,
    table=_format_table,
    line=_format_line,
    layout=Layout("ab", 10.0, 4.6),
    panels=panels,
    mark=lambda s: f"{len(s.decays_network)} decays in b",
)
