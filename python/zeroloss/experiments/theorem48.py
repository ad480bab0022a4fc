"""Theorem 4.8: started on the zero-loss set, descent stays within a distance of it that vanishes with weight decay.

(a) Two linear layers, ŷ = w₁w₂x on 1 → c, whose zero-loss set is the hyperbola w₁w₂ = c: the distance is exact.
(b) Modular addition with a smooth activation and with ReLU: the distance is that to the Gauss–Newton projection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import geometry, plots
from ..datasets import Dataset
from ..dynamics import GradientDescent
from ..networks import Network
from .ensemble import simulate_seeds
from .figure3 import problem as product_problem
from .on_manifold import check_cost, log_slope, memorised, rows_of_text
from .output import Result, labelled, settings_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FULL", "QUICK", "Settings", "draw", "hyperbola_distance", "run"]

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


FULL = Settings()
QUICK = replace(FULL, decays_network=(1e-3, 3e-4, 1e-4, 3e-5), fitted_below=1e-3, quick=True)


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


def run(settings: Settings) -> Result:
    """Compute and analyse at given settings."""
    data, net = memorised(settings.p, settings.hidden, settings.activations[0], 0, steps=0)
    flops = GradientDescent(lr=1.0).cost(data, net).flops
    runs = settings.seeds * len(settings.activations)
    check_cost("decays_network", settings.decays_network, settings.duration_network, flops, runs)
    numbers = labelled(
        "Theorem 4.8: distance to the zero-loss set against weight decay",
        settings,
        {
            "product": (("decay_product",), _product(settings), "sup distance to the hyperbola, two linear layers"),
            "network": (
                ("activation", "seed", "decay"),
                np.array([_networks(settings, name) for name in settings.activations]),
                "sup distance to the projection, modular addition",
            ),
        },
        {
            "decay_product": (np.array(settings.decays_product), "weight decay, which multiplies θ"),
            "activation": (np.array(settings.activations, dtype=object), "activation"),
            "seed": (np.arange(settings.seeds), "seed index"),
            "decay": (np.array(settings.decays_network), "weight decay, which multiplies θ"),
        },
    )
    summary = _summary(settings, numbers)
    return Result(numbers, asdict(settings), [], summary, _line(summary), draw, _table(numbers))


def _product(settings: Settings) -> NDArray[np.float64]:
    found = []
    for decay in settings.decays_product:
        steps = round(settings.duration_product / (settings.lr_product * decay))
        (one,) = simulate_seeds(
            GradientDescent(settings.lr_product, decay),
            lambda _: product_problem(settings.start, settings.target),
            [0],
            steps=steps,
            record_every=steps,
            snapshot_every="log",
            unit="start",
        )
        assert one.snapshots is not None
        path = np.concatenate([one.snapshots.E.values[:, 0], one.snapshots.W.values[:, 0]], axis=-1)
        found.append(hyperbola_distance(path, settings.target).max())
    return np.array(found)


def _networks(settings: Settings, activation: str) -> list[list[float]]:
    """Return for each seed and decay the greatest distance of descent from the set to its projection."""

    def distance(data: Dataset) -> dict[str, Any]:
        return {"distance": lambda net: geometry.project(net, data, "chord", tolerance=1e-10).distance}

    def start(index: int) -> tuple[Dataset, Network]:
        return memorised(settings.p, settings.hidden, activation, index)

    runs = [
        simulate_seeds(
            GradientDescent(1.0, decay),
            start,
            range(settings.seeds),
            steps=round(settings.duration_network / decay),
            record_every="log",
            measures=distance,
        )
        for decay in settings.decays_network
    ]
    return [[float(of_decay[seed].history.distance.max()) for of_decay in runs] for seed in range(settings.seeds)]


def _summary(settings: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    fitted = numbers.decay.values <= settings.fitted_below
    return {
        "slope_product": log_slope(numbers.decay_product, numbers.product),
        "slope_network": {
            str(name): log_slope(
                numbers.decay.values[fitted], numbers.network.sel(activation=name).mean("seed").values[fitted]
            )
            for name in numbers.activation.values
        },
    }


def _line(summary: Mapping[str, Any]) -> str:
    networks = ", ".join(f"{name} {slope:.3f}" for name, slope in summary["slope_network"].items())
    return f"sup distance to the set ∝ λ^{summary['slope_product']:.4f} (two linear layers), exponents {networks}"


def _table(numbers: xr.Dataset) -> str:
    names = [str(name) for name in numbers.activation.values]
    rows = [
        [f"{d:g}", f"{v:.3e}", "two linear layers"]
        for d, v in zip(numbers.decay_product.values, numbers.product.values, strict=True)
    ]
    for name in names:
        values = numbers.network.sel(activation=name).max("seed").values
        rows += [[f"{d:g}", f"{v:.3e}", name] for d, v in zip(numbers.decay.values, values, strict=True)]
    return rows_of_text(["weight decay", "sup distance", "model"], rows)


def draw(numbers: xr.Dataset) -> Figure:
    """Draw both panels."""
    settings = settings_of(numbers, Settings)
    figure = plots.new_figure(10.0, 4.6)
    a, b = figure.subfigures(1, 2, squeeze=False, wspace=0.04).ravel()
    plots.panel(a, "a", rf"two linear layers, $\hat{{y}} = w_1 w_2 x$ on $1 \to {settings.target:g}$")
    plots.panel(b, "b", f"addition modulo {settings.p}, {settings.hidden} units")
    left, right = a.subplots(), b.subplots()
    _curve(left, numbers.decay_product.values, numbers.product.values[None], "blue", "descent")
    for name in numbers.activation.values:
        _curve(right, numbers.decay.values, numbers.network.sel(activation=name).values, COLOURS[str(name)], str(name))
    for axes in (left, right):
        axes.set(xlabel="weight decay", ylabel="greatest distance to the zero-loss set")
        axes.legend(loc="upper left")
    if settings.quick:
        plots.mark_quick(figure, f"{len(settings.decays_network)} decays in b")
    return figure


def _curve(axes: Axes, decays: NDArray[np.float64], distances: NDArray[np.float64], colour: str, label: str) -> None:
    shade = plots.COLOURS[colour]
    for each in distances:
        axes.loglog(decays, each, "o-", color=shade, markersize=5, linewidth=1.0, label=label)
        label = "_"
    last = int(np.argmin(decays))
    axes.loglog(
        decays, distances.mean(axis=0)[last] * decays / decays[last], "--", color=shade, linewidth=0.8, label="slope 1"
    )
