"""Theorem 4.8: started on the zero-loss set, descent stays within a distance of it that vanishes with weight decay.

(a) Two linear layers, ŷ = w₁w₂x on 1 → c, whose zero-loss set is the hyperbola w₁w₂ = c: the distance is exact.
(b) Modular addition with a smooth activation and with ReLU: the distance is that to the Gauss–Newton projection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import _checks, geometry, plots
from ...dynamics import GradientDescent
from ...networks import Network
from ...simulation import simulate
from ...sweeps.engine import Cube, Grid, finished
from .._layout import Layout, Places
from .._memorised import flops_of_descent, memorised
from .._study import Study, labelled
from .._words import log_slope, rows_of_text
from ..paper.figure3 import product_path

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

COLOURS = {"softplus(5)": "green", "relu": "vermilion"}


@dataclass(frozen=True)
class Settings:
    """What determines the numbers; the decays multiply θ in the update."""

    target: float = 1.0
    start: tuple[float, float] = (2.5, 0.4)
    lr_product: float = 0.01
    decays_product: tuple[float, ...] = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
    duration_product: float = 2.0
    p: int = 11
    hidden: int = 128
    activations: tuple[str, ...] = ("softplus(5)", "relu")
    decays_network: tuple[float, ...] = (1e-3, 3e-4, 1e-4, 3e-5, 1e-5, 3e-6, 1e-6)
    duration_network: float = 1.0
    fitted_below: float = 1e-4
    seeds: int = 1
    quick: bool = False


def hyperbola_distance(points: ArrayLike, target: float) -> NDArray[np.float64]:
    """Return the distance of points (m, 2) to {w₁w₂ = c}: its feet (t, c/t) solve t⁴ − w₁t³ + w₂ct − c² = 0."""

    def one(w: NDArray[np.float64]) -> float:
        roots = np.roots([1.0, -w[0], 0.0, w[1] * target, -(target**2)])
        t = roots[abs(roots.imag) < 1e-6].real
        t = t[t != 0]
        for _ in range(3):  # of Newton's method: the companion matrix leaves half of the digits
            slope = 4 * t**3 - 3 * w[0] * t**2 + w[1] * target
            t = t - np.divide(t**4 - w[0] * t**3 + w[1] * target * t - target**2, slope, where=slope != 0, out=0 * t)
        return float(np.hypot(t - w[0], target / t - w[1]).min())

    return np.array([one(w) for w in np.asarray(points, dtype=np.float64)])


def descend(p: int, hidden: int, activation: str, seed: int, weight_decay: float, steps: int) -> dict[str, float]:
    """Descend from a network on the set, and return the greatest distance to its projection on the set."""
    data, net = memorised(p, hidden, activation, seed)

    def distance(net: Network) -> float:
        return geometry.project(net, data, "chord", tolerance=1e-10).distance

    descent = GradientDescent(1.0, weight_decay)
    run = finished(simulate(descent, data, net, steps=steps, record_every="log", measures={"distance": distance}))
    return {"distance": float(run.history.distance.max())}


def check(s: Settings) -> None:
    """Raise ValueError for decays that are none."""
    for name in ("decays_product", "decays_network"):
        _checks.different(name, getattr(s, name), at_least=1)
        for decay in getattr(s, name):
            _checks.positive(name, decay)


def grids(s: Settings) -> list[Grid]:
    """Return the descents of the two linear layers, and those of the networks."""

    def linear_layers(weight_decay: float) -> dict[str, Any]:
        steps = round(s.duration_product / (s.lr_product * weight_decay))
        own = {"weight_decay": weight_decay, "steps": steps, "every": "log"}
        return {"start": s.start, "target": s.target, "lr": s.lr_product, **own}

    def network(weight_decay: float, **labels: Any) -> dict[str, Any]:
        steps = round(s.duration_network / weight_decay)
        return {"p": s.p, "hidden": s.hidden, **labels, "weight_decay": weight_decay, "steps": steps}

    over = {"activation": s.activations, "seed": range(s.seeds), "weight_decay": s.decays_network}
    flops = flops_of_descent(s.p, s.hidden, s.activations[0])
    return [
        Grid(product_path, {"weight_decay": s.decays_product}, linear_layers, lambda steps, **_: steps),
        Grid(descend, over, network, lambda steps, **_: steps, flops=flops),
    ]


def analyse(s: Settings, linear_layers: Cube, networks: Cube) -> xr.Dataset:
    """Return the greatest distances to the set."""
    product = [hyperbola_distance(cell["weights"], s.target).max() for cell in linear_layers]
    over = ("activation", "seed", "decay")
    return labelled(
        {
            "product": (("decay_product",), product, "sup distance to the hyperbola, two linear layers"),
            "network": (over, networks["distance"], "sup distance to the projection, modular addition"),
        },
        {
            "decay_product": (s.decays_product, "weight decay, which multiplies θ"),
            "activation": (s.activations, "activation"),
            "seed": (np.arange(s.seeds), "seed index"),
            "decay": (s.decays_network, "weight decay, which multiplies θ"),
        },
    )


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return the powers of the weight decay."""
    fitted = numbers.decay.values <= s.fitted_below
    return {
        "slope_product": log_slope(numbers.decay_product, numbers.product),
        "slope_network": {
            str(name): log_slope(
                numbers.decay.values[fitted], numbers.network.sel(activation=name).mean("seed").values[fitted]
            )
            for name in numbers.activation.values
        },
    }


def _line(s: Settings, summary: Mapping[str, Any]) -> str:
    networks = ", ".join(f"{name} {slope:.3f}" for name, slope in summary["slope_network"].items())
    return f"sup distance to the set ∝ λ^{summary['slope_product']:.4f} (two linear layers), exponents {networks}"


def _table(s: Settings, numbers: xr.Dataset, summary: Mapping[str, Any]) -> str:
    names = [str(name) for name in numbers.activation.values]
    rows = [
        [f"{d:g}", f"{v:.3e}", "two linear layers"]
        for d, v in zip(numbers.decay_product.values, numbers.product.values, strict=True)
    ]
    for name in names:
        values = numbers.network.sel(activation=name).max("seed").values
        rows += [[f"{d:g}", f"{v:.3e}", name] for d, v in zip(numbers.decay.values, values, strict=True)]
    return rows_of_text(["weight decay", "sup distance", "model"], rows)


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw both panels."""
    left = place("a", rf"two linear layers, $\hat{{y}} = w_1 w_2 x$ on $1 \to {s.target:g}$")
    right = place("b", f"addition modulo {s.p}, {s.hidden} units")
    _curve(left, numbers.decay_product.values, numbers.product.values[None], "blue", "descent")
    for name in numbers.activation.values:
        _curve(right, numbers.decay.values, numbers.network.sel(activation=name).values, COLOURS[str(name)], str(name))
    for axes in (left, right):
        axes.set(xlabel="weight decay", ylabel="greatest distance to the zero-loss set")
        axes.legend(loc="upper left")


def _curve(axes: Axes, decays: NDArray[np.float64], distances: NDArray[np.float64], colour: str, label: str) -> None:
    shade = plots.COLOURS[colour]
    for each in distances:
        axes.loglog(decays, each, "o-", color=shade, markersize=5, linewidth=1.0, label=label)
        label = "_"
    last = int(np.argmin(decays))
    axes.loglog(
        decays, distances.mean(axis=0)[last] * decays / decays[last], "--", color=shade, linewidth=0.8, label="slope 1"
    )


STUDY = Study(
    name="theorem48",
    title="Theorem 4.8: distance to the zero-loss set against weight decay",
    about="started on the zero-loss set, descent stays within a distance that vanishes with weight decay",
    takes="40 s",
    full=Settings(),
    quick=replace(Settings(), decays_network=(1e-3, 3e-4, 1e-4, 3e-5), fitted_below=1e-3, quick=True),
    check=check,
    budget="decays_network",
    grids=grids,
    analyse=analyse,
    summarise=summarise,
    table=_table,
    line=_line,
    layout=Layout("ab", 10.0, 4.6),
    panels=panels,
    mark=lambda s: f"{len(s.decays_network)} decays in b",
)
