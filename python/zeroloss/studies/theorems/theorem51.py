"""Theorem 5.1: the isolated dynamics of the first layer are the gradient flow of its cost, ΔE = −½ ∇(R/λ).

NumPy computes R/λ = ‖E‖² + tr(Yᵀ (H Hᵀ + λI)⁻¹ Y) and its directional derivatives by central differences (Richardson's
over two steps). They are compared with ⟨−2 ΔE, V⟩ of the kernel, for λ > 0 and for λ = 0. The error of the differences
falls as the fourth power of the step, until rounding dominates; for ReLU only if no pre-activation changes its sign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ... import datasets, networks
from ...datasets import Dataset
from ...dynamics import predicted_gradient
from .. import Cube, Grid, Layout, Places, Study, label_numbers, select_settings
from .._drawing import LOG_LOG, draw_curves
from .._words import format_table

if TYPE_CHECKING:
    import xarray as xr

COLOURS = ("blue", "orange", "green", "purple")


@dataclass(frozen=True)
class Settings:
    """Settings of the check: addition modulo p, a normal E, and random directions V of length 1."""

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


def cost(E: NDArray[np.float64], data: Dataset, activation: str, ridge: float) -> float:
    """Return R/λ at E by its definition."""
    Z = data.X_train @ E
    H = np.maximum(Z, 0) if activation == "relu" else np.logaddexp(0, 5 * Z) / 5
    K = H @ H.T + ridge * np.eye(len(Z))
    return float((E**2).sum() + (data.Y_train * np.linalg.solve(K, data.Y_train)).sum())


def compare_derivatives(
    p: int, train_fraction: float, hidden: int, activation: str, ridge: float, seed: int, sizes: Sequence[float]
) -> dict[str, NDArray[np.float64]]:
    """Return the relative error (size,) of the directional derivative along a random direction of length 1."""
    data = datasets.modular_addition(p, train_fraction=train_fraction, seed=seed)
    net = networks.normal(data, hidden, std=p**-0.5, seed=1000 + seed, activation=activation)
    V = np.random.default_rng(seed).standard_normal(net.E.shape)
    V /= np.linalg.norm(V)
    expected = -2 * float((predicted_gradient(net, data, ridge=ridge)[0] * V).sum())

    def central(size: float) -> float:
        plus, minus = (cost(net.E + sign * size * V, data, activation, ridge) for sign in (1, -1))
        return (plus - minus) / (2 * size)

    derivatives = np.array([(4 * central(size / 2) - central(size)) / 3 for size in sizes])
    return {"error": abs(derivatives - expected) / abs(expected)}


def _sizes(s: Settings) -> NDArray[np.float64]:
    return np.geomspace(s.least, s.greatest, s.points)


def grids(s: Settings) -> list[Grid]:
    """Return the directional derivatives of every activation, ridge and seed."""
    common = {**select_settings(s, "p train_fraction hidden"), "sizes": _sizes(s).tolist()}
    over = {"activation": s.activations, "ridge": s.ridges, "seed": range(s.seeds)}
    return [Grid(compare_derivatives, over, lambda **labels: {**common, **labels})]


def analyse(s: Settings, differences: Cube) -> xr.Dataset:
    """Return the errors against the step of the differences."""
    over = ("activation", "ridge", "seed", "size")
    return label_numbers(
        {"error": (over, differences["error"], "relative error of the directional derivative")},
        {
            "activation": (s.activations, "activation"),
            "ridge": (s.ridges, "λ"),
            "seed": (np.arange(s.seeds), "seed index"),
            "size": (_sizes(s), "step of the differences"),
        },
    )


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return the least error over the steps, the greatest of the seeds."""
    best = numbers.error.min("size").max("seed")
    return {
        name: {f"{ridge:g}": float(best.sel(activation=name, ridge=ridge)) for ridge in s.ridges}
        for name in s.activations
    }


def _format_line(s: Settings, summary: Mapping[str, Any]) -> str:
    parts = [
        f"{name}: {', '.join(f'{value:.0e} at λ = {ridge}' for ridge, value in errors.items())}"
        for name, errors in summary.items()
    ]
    return f"greatest relative difference of −½ ∇(R/λ) and ΔE over seeds, {'; '.join(parts)}"


def _format_table(s: Settings, numbers: xr.Dataset, summary: Mapping[str, Any]) -> str:
    rows = [[name, ridge, f"{value:.1e}"] for name, errors in summary.items() for ridge, value in errors.items()]
    return format_table(["activation", "λ", "relative difference"], rows)


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw the error against the step of the differences."""
    for letter, name in zip("ab", s.activations, strict=True):
        axes = place(letter, f"{name}: ΔE and −½ ∇(R/λ)")
        for colour, ridge in zip(COLOURS, s.ridges, strict=False):
            errors = numbers.error.sel(activation=name, ridge=ridge).median("seed")
            draw_curves(axes, numbers.size, errors, colour, f"λ = {ridge:g}", "o-", markersize=3, linewidth=1.0)
        if name != "relu":
            steep = numbers.size.values[numbers.size.values > 5e-3]
            draw_curves(axes, steep, 1e-9 * (steep / 1e-2) ** 4, "black", "slope 4", "--", linewidth=0.8)
        axes.set(xlabel="step of the differences", ylabel="relative error, median over seeds", **LOG_LOG)
        axes.legend(loc="upper left", ncols=2)


STUDY = Study(
    name="theorem51",
    title="Theorem 5.1: finite differences of the first layer's cost",
    description="the isolated dynamics of the first layer are the gradient flow of its cost",
    expected_time="3 s",
    full=Settings(),
    quick=replace(Settings(), points=11, seeds=2, quick=True),
    grids=grids,
    analyse=analyse,
    summarise=summarise,
    table=_format_table,
    line=_format_line,
    layout=Layout("ab", 10.0, 4.4),
    panels=panels,
    mark=lambda s: f"{s.seeds} seeds, {s.points} steps",
)
