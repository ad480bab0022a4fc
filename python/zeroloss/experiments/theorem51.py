"""Theorem 5.1: the isolated dynamics of the first layer are the gradient flow of its cost, ΔE = −½ ∇(R/λ).

R/λ = ‖E‖² + tr(Yᵀ (H Hᵀ + λI)⁻¹ Y) by NumPy, its directional derivatives by central differences (Richardson's over
two steps), against ⟨−2 ΔE, V⟩ of the kernel, for λ > 0 and for λ = 0. The differences' error falls as the fourth power
of the step until rounding takes over; for ReLU as long as no pre-activation changes its sign in between.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import datasets, networks, plots
from ..datasets import Dataset
from ..dynamics import predicted_gradient
from .on_manifold import rows_of_text
from .output import Result, labelled, settings_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FULL", "QUICK", "Settings", "cost", "draw", "run"]

COLOURS = ("blue", "orange", "green", "purple")


@dataclass(frozen=True)
class Settings:
    """What determines the numbers: addition modulo p, a normal E, and random directions V of length 1."""

    p: int = 7
    train_fraction: float = 0.7
    hidden: int = 64
    ridges: tuple[float, ...] = (0.0, 1e-2, 1.0, 100.0)
    activations: tuple[str, ...] = ("softplus(5)", "relu")
    least: float = 1e-6
    greatest: float = 1e-1
    points: int = 26
    seeds: int = 5
    quick: bool = False


FULL = Settings()
QUICK = replace(FULL, points=11, seeds=2, quick=True)


def cost(E: NDArray[np.float64], data: Dataset, activation: str, ridge: float) -> float:
    """Return R/λ at E by its definition."""
    Z = data.X_train @ E
    H = np.maximum(Z, 0) if activation == "relu" else np.logaddexp(0, 5 * Z) / 5
    K = H @ H.T + ridge * np.eye(len(Z))
    return float((E**2).sum() + (data.Y_train * np.linalg.solve(K, data.Y_train)).sum())


def run(settings: Settings) -> Result:
    """Compute and analyse at given settings."""
    sizes = np.geomspace(settings.least, settings.greatest, settings.points)
    errors = np.empty((len(settings.activations), len(settings.ridges), settings.seeds, settings.points))
    for index in np.ndindex(errors.shape[:3]):
        errors[index] = _errors(settings, settings.activations[index[0]], settings.ridges[index[1]], index[2], sizes)
    numbers = labelled(
        "Theorem 5.1: finite differences of the first layer's cost",
        settings,
        {"error": (("activation", "ridge", "seed", "size"), errors, "relative error of the directional derivative")},
        {
            "activation": (np.array(settings.activations, dtype=object), "activation"),
            "ridge": (np.array(settings.ridges), "λ"),
            "seed": (np.arange(settings.seeds), "seed index"),
            "size": (sizes, "step of the differences"),
        },
    )
    best = numbers.error.min("size").max("seed")
    summary = {
        str(name): {f"{ridge:g}": float(best.sel(activation=name, ridge=ridge)) for ridge in settings.ridges}
        for name in settings.activations
    }
    return Result(numbers, asdict(settings), [], summary, _line(summary), draw, _table(summary))


def _errors(
    settings: Settings, activation: str, ridge: float, seed: int, sizes: NDArray[np.float64]
) -> NDArray[np.float64]:
    data = datasets.modular_addition(settings.p, train_fraction=settings.train_fraction, seed=seed)
    net = networks.normal(data, settings.hidden, std=settings.p**-0.5, seed=1000 + seed, activation=activation)
    V = np.random.default_rng(seed).standard_normal(net.E.shape)
    V /= np.linalg.norm(V)
    expected = -2 * float((predicted_gradient(net, data, ridge=ridge)[0] * V).sum())

    def central(size: float) -> float:
        plus, minus = (cost(net.E + sign * size * V, data, activation, ridge) for sign in (1, -1))
        return (plus - minus) / (2 * size)

    found = np.array([(4 * central(size / 2) - central(size)) / 3 for size in sizes])
    return np.asarray(abs(found - expected) / abs(expected))


def _line(summary: Mapping[str, Any]) -> str:
    parts = [f"{name}: {', '.join(f'{v:.0e} at λ = {r}' for r, v in own.items())}" for name, own in summary.items()]
    return f"greatest relative difference of −½ ∇(R/λ) and ΔE over seeds, {'; '.join(parts)}"


def _table(summary: Mapping[str, Any]) -> str:
    rows = [[name, ridge, f"{value:.1e}"] for name, own in summary.items() for ridge, value in own.items()]
    return rows_of_text(["activation", "λ", "relative difference"], rows)


def draw(numbers: xr.Dataset) -> Figure:
    """Draw the error against the step of the differences."""
    settings = settings_of(numbers, Settings)
    figure = plots.new_figure(10.0, 4.4)
    places = figure.subfigures(1, 2, squeeze=False, wspace=0.04).ravel()
    for place, letter, name in zip(places, "ab", settings.activations, strict=True):
        plots.panel(place, letter, f"{name}: ΔE and −½ ∇(R/λ)")
        axes = place.subplots()
        for colour, ridge in zip(COLOURS, settings.ridges, strict=False):
            shown = numbers.error.sel(activation=name, ridge=ridge).median("seed")
            axes.loglog(
                numbers.size,
                shown,
                "o-",
                color=plots.COLOURS[colour],
                markersize=3,
                linewidth=1.0,
                label=f"λ = {ridge:g}",
            )
        if name != "relu":
            _fourth_power(axes, numbers)
        axes.set(xlabel="step of the differences", ylabel="relative error, median over seeds")
        axes.legend(loc="upper left", ncols=2)
    if settings.quick:
        plots.mark_quick(figure, f"{settings.seeds} seeds, {settings.points} steps")
    return figure


def _fourth_power(axes: Axes, numbers: xr.Dataset) -> None:
    steep = numbers.size.values[numbers.size.values > 5e-3]
    axes.loglog(steep, 1e-9 * (steep / 1e-2) ** 4, "k--", linewidth=0.8, label="slope 4")
