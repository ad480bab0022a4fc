"""Theorem 5.1: the isolated dynamics of the first layer are the gradient flow of its cost, ΔE = −½ ∇(R/λ).

R/λ = ‖E‖² + tr(Yᵀ (H Hᵀ + λI)⁻¹ Y) by NumPy, its directional derivatives by central differences (Richardson's over
two steps), against ⟨−2 ΔE, V⟩ of the kernel, for λ > 0 and for λ = 0. The differences' error falls as the fourth power
of the step until rounding takes over; for ReLU as long as no pre-activation changes its sign in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ... import datasets, networks, plots
from ...datasets import Dataset
from ...dynamics import predicted_gradient
from ...sweeps.engine import Cube, Grid
from .._layout import Layout, Places
from .._study import Study, labelled
from .._words import rows_of_text

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

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


def cost(E: NDArray[np.float64], data: Dataset, activation: str, ridge: float) -> float:
    """Return R/λ at E by its definition."""
    Z = data.X_train @ E
    H = np.maximum(Z, 0) if activation == "relu" else np.logaddexp(0, 5 * Z) / 5
    K = H @ H.T + ridge * np.eye(len(Z))
    return float((E**2).sum() + (data.Y_train * np.linalg.solve(K, data.Y_train)).sum())


def differ(
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

    found = np.array([(4 * central(size / 2) - central(size)) / 3 for size in sizes])
    return {"error": abs(found - expected) / abs(expected)}


def _sizes(s: Settings) -> NDArray[np.float64]:
    return np.geomspace(s.least, s.greatest, s.points)


def grids(s: Settings) -> list[Grid]:
    """Return the directional derivatives of every activation, ridge and seed."""
    common = {"p": s.p, "train_fraction": s.train_fraction, "hidden": s.hidden, "sizes": _sizes(s).tolist()}
    over = {"activation": s.activations, "ridge": s.ridges, "seed": range(s.seeds)}
    return [Grid(differ, over, lambda **labels: {**common, **labels})]


def analyse(s: Settings, differences: Cube) -> xr.Dataset:
    """Return the errors against the step of the differences."""
    over = ("activation", "ridge", "seed", "size")
    return labelled(
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
        str(name): {f"{ridge:g}": float(best.sel(activation=name, ridge=ridge)) for ridge in s.ridges}
        for name in s.activations
    }


def _line(s: Settings, summary: Mapping[str, Any]) -> str:
    parts = [f"{name}: {', '.join(f'{v:.0e} at λ = {r}' for r, v in own.items())}" for name, own in summary.items()]
    return f"greatest relative difference of −½ ∇(R/λ) and ΔE over seeds, {'; '.join(parts)}"


def _table(s: Settings, numbers: xr.Dataset, summary: Mapping[str, Any]) -> str:
    rows = [[name, ridge, f"{value:.1e}"] for name, own in summary.items() for ridge, value in own.items()]
    return rows_of_text(["activation", "λ", "relative difference"], rows)


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw the error against the step of the differences."""
    for letter, name in zip("ab", s.activations, strict=True):
        axes = place(letter, f"{name}: ΔE and −½ ∇(R/λ)")
        for colour, ridge in zip(COLOURS, s.ridges, strict=False):
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


def _fourth_power(axes: Axes, numbers: xr.Dataset) -> None:
    steep = numbers.size.values[numbers.size.values > 5e-3]
    axes.loglog(steep, 1e-9 * (steep / 1e-2) ** 4, "k--", linewidth=0.8, label="slope 4")


STUDY = Study(
    name="theorem51",
    title="Theorem 5.1: finite differences of the first layer's cost",
    about="the isolated dynamics of the first layer are the gradient flow of its cost",
    takes="3 s",
    full=Settings(),
    quick=replace(Settings(), points=11, seeds=2, quick=True),
    grids=grids,
    analyse=analyse,
    summarise=summarise,
    table=_table,
    line=_line,
    layout=Layout("ab", 10.0, 4.4),
    panels=panels,
    mark=lambda s: f"{s.seeds} seeds, {s.points} steps",
)
