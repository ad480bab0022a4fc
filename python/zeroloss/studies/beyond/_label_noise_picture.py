"""The picture of the study of label noise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import Places
from .._drawing import LOG_LOG, draw_curves, draw_intervals, finish_axes

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

__all__ = ["WAYS", "panels"]

#: The ways along the set, with their colour and style.
WAYS: Mapping[str, tuple[str, str]] = {
    "label noise": ("vermilion", "-"),
    "noise flow": ("black", "--"),
    "minibatches": ("blue", "-"),
    "norm flow": ("green", "-"),
}


def panels(place: Places, numbers: xr.Dataset, s: Any) -> None:
    """Draw the numbers through time, both flows against the norm, and the differences against the learning rate."""
    _draw_way(place("a", "trace of the Hessian"), numbers, "trace", "tr H", legend="center right", yscale="log")
    _draw_way(place("b", "squared norm"), numbers, "norm_squared", "‖θ‖²", legend="center right")
    _draw_way(place("c", "test accuracy (mean of seeds)"), numbers.mean("seed"), "test_accuracy", "test accuracy")
    _draw_way(place("d", "Fourier structure"), numbers, "strongest_share", "share of the strongest frequency")
    _draw_against_norm(place("e", "two flows from the same starts"), numbers)
    _draw_rates(place("f", f"p = {s.rate_p}: difference from the flow"), numbers, s)


def _draw_way(
    axes: Axes, numbers: xr.Dataset, name: str, label: str, legend: str | None = None, **options: Any
) -> None:
    time = numbers.part * float(numbers.duration)
    for way in ("label noise", "minibatches", "noise flow"):
        colour, style = WAYS[way]
        draw_curves(axes, time, numbers[name].sel(way=way), colour, way, style, linewidth=1.1)
    xlim = (0, float(numbers.duration))
    finish_axes(axes, legend, xlabel="time of the noise flow", ylabel=label, xlim=xlim, **options)


def _draw_against_norm(axes: Axes, numbers: xr.Dataset) -> None:
    for way in ("noise flow", "norm flow"):
        colour, style = WAYS[way]
        part = numbers.sel(way=way)
        for seed in range(numbers.sizes["seed"]):
            curve = part.isel(seed=seed)
            label = way if seed == 0 else None
            draw_curves(axes, curve.norm_squared, curve.test_loss, colour, label, style, linewidth=1.1)
    starts = numbers.sel(way="noise flow").isel(part=0)
    axes.plot(starts.norm_squared, starts.test_loss, "o", color="black", markersize=4, label="start")
    finish_axes(axes, "upper right", xlabel="‖θ‖²", ylabel="test loss", yscale="log")


def _draw_rates(axes: Axes, numbers: xr.Dataset, s: Any) -> None:
    x = numbers.lr.values * float(numbers.sharpness)
    for name, colour, label in (
        ("own_difference", "grey", "without projection"),
        ("difference", "vermilion", "on the set"),
    ):
        values = numbers[name]
        size = np.abs(values.mean("noise_seed").values)
        error = values.std("noise_seed", ddof=1).values / np.sqrt(s.rate_seeds)
        draw_intervals(axes, x, size, np.maximum(size - error, size / 10), size + error, colour, label=label)
    last = float(np.abs(numbers.difference.mean("noise_seed"))[-1])
    draw_curves(axes, x, last * x / x[-1], "black", "slope 1", ":", linewidth=0.9)
    axes.axhline(0.01, color="black", linewidth=0.7, linestyle="--")
    finish_axes(axes, "lower right", xlabel="lr · sharpness", ylabel="relative difference of tr H", **LOG_LOG)
    axes.set_xticks(x, [f"{value:.2f}" for value in x])
    axes.set_xticks([], minor=True)
