"""The picture of the study of the direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import plots
from .. import Places
from .._drawing import draw_curves, finish_axes
from ._direction_paths import CONTROLS, OPTIMAL, RULES

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

__all__ = ["panels"]

_BLACK = "#000000"

#: The panels of curves: their titles, and the colours of their rules apart from the optimal one.
_GROUPS: Mapping[str, Mapping[str, str]] = {
    "at an angle to the optimal direction": {
        "30° off": "sky",
        "60° off": "blue",
        "80° off": "vermilion",
        "80° off, redrawn": "orange",
    },
    "in a part of the tangent space": {
        "first layer alone": "green",
        "second layer alone": "purple",
        "random directions": "sky",
        "a random direction": "grey",
    },
    "balanced, and steepest in other norms": {
        "layers balanced": "green",
        "units balanced": "blue",
        "first layer × 10": "orange",
        "metric of entries": "purple",
    },
}
_STYLES: Mapping[str, tuple[str, str]] = {
    OPTIMAL: (_BLACK, "D"),
    **{
        name: (plots.COLOURS[colour], marker)
        for marker, rules in zip("os^", _GROUPS.values(), strict=True)
        for name, colour in rules.items()
    },
}
_CONTROL_COLOURS = dict(zip(CONTROLS, (plots.COLOURS["green"], plots.COLOURS["purple"]), strict=True))


def panels(place: Places, numbers: xr.Dataset, s: Any) -> None:
    """Draw accuracy and Fourier structure against slow time, the times, the ends, and accuracy against length."""
    for letter, (title, rules) in zip("abc", _GROUPS.items(), strict=True):
        _draw_curves(place.part(letter, title), numbers, [OPTIMAL, *(name for name in rules if name in numbers.rule)])
    names = [name for name in RULES if name in numbers.rule]
    _draw_times(place("d", "when they generalise"), numbers, names)
    _draw_ends(place("e", "test loss and norm at the ends (colours as in d)"), numbers, names)
    _draw_lengths(place("f", "with and without a decrease of the norm"), numbers)


def _draw_curves(place: SubFigure, numbers: xr.Dataset, names: Sequence[str]) -> None:
    """Draw test accuracy and strongest share of every seed and their mean, with marks where paths end early."""
    furthest = float(numbers.last_slow_time.sel(rule=names[1:] or names).max())
    half = 0.5 * float(numbers.slow_time[-1])
    latest = min(2 * furthest, half)
    both = place.subplots(2, 1, sharex=True)
    labels = {"test_accuracy": "test accuracy", "strongest_share": "share of strongest frequency"}
    for axes, (variable, label) in zip(both, labels.items(), strict=True):
        for name in names:
            colour, marker = _STYLES[name]
            part = numbers.sel(rule=name)
            curves = part[variable].transpose("seed", "slow_time")
            plots.draw_runs(axes, numbers.slow_time, curves, colour, name)
            early = part.isel(seed=part.last_slow_time.values < float(numbers.slow_time[-1]) - 1e-9)
            ends = early.last_slow_time, early[f"final_{variable}"]
            axes.plot(*ends, marker, color=colour, markersize=4, alpha=0.6)
        axes.set(ylabel=label, xlim=(0, latest))
    both[0].set(ylim=(-0.03, 1.05))
    both[1].set(xlabel="slow time s at which the norm flow has the same norm")
    if latest < half:
        both[0].legend(loc="upper right")
    else:
        both[1].legend(loc="lower right")


def _draw_times(axes: Axes, numbers: xr.Dataset, names: Sequence[str]) -> None:
    """Draw the slow times of both levels for each rule and seed, and where the other paths end."""
    for at, name in enumerate(names):
        colour, marker = _STYLES[name]
        part = numbers.sel(rule=name)
        shifts = at + np.linspace(-0.22, 0.22, numbers.sizes["seed"] + 2)[1:-1]
        for times, face in zip(part.generalised.transpose("level", "seed"), ("none", colour), strict=True):
            axes.plot(times, shifts, marker, color=colour, markerfacecolor=face, markersize=4.5)
        never = np.isnan(part.generalised.isel(level=-1).values)
        axes.plot(part.last_slow_time[never], shifts[never], "x", color=plots.COLOURS["grey"], markersize=5)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="slow time s", ylim=(len(names) - 0.4, -0.6), xlim=(-0.05, None))
    levels = " and ".join(f"{level:g}" for level in numbers.level.values)
    axes.set_title(f"test accuracy {levels} (filled); ×: ends before", loc="left", fontsize=8)


def _draw_ends(axes: Axes, numbers: xr.Dataset, names: Sequence[str]) -> None:
    """Draw test loss against ‖θ‖² where the paths end, with the path of the optimal direction."""
    for seed in numbers.seed.values:
        optimal = numbers.sel(rule=OPTIMAL, seed=seed)
        norm, label = optimal.norm_E_squared + optimal.norm_W_squared, None if seed else "optimal, along its path"
        draw_curves(axes, norm, optimal.test_loss, _BLACK, label, linewidth=0.8)
    for name in names:
        (colour, marker), part = _STYLES[name], numbers.sel(rule=name)
        norm = part.final_norm_E_squared + part.final_norm_W_squared
        axes.plot(norm, part.final_test_loss, marker, color=colour, markersize=4.5, alpha=0.8, linestyle="none")
    for name, colour in _CONTROL_COLOURS.items():
        last = numbers.sel(control=name).isel(kept_time=-1)
        norm = last.kept_norm_E_squared + last.kept_norm_W_squared
        axes.plot(norm, last.kept_test_loss, "*", color=colour, markersize=7, linestyle="none", label=name)
    finish_axes(axes, "lower right", xlabel=r"$\|\theta\|^2$", ylabel="test loss", yscale="log")


def _draw_lengths(axes: Axes, numbers: xr.Dataset) -> None:
    """Draw test accuracy against the length of the path."""
    paths: list[tuple[str, str, xr.DataArray, xr.DataArray]] = []
    for name in (OPTIMAL, "60° off", "80° off, redrawn"):
        if name in numbers.rule:
            part = numbers.sel(rule=name)
            paths.append((name, _STYLES[name][0], part.length, part.test_accuracy))
    for name, colour in _CONTROL_COLOURS.items():
        part = numbers.sel(control=name)
        paths.append((name, colour, part.kept_length, part.kept_test_accuracy))
    for name, colour, lengths, accuracies in paths:
        for seed in numbers.seed.values:
            curve = lengths.sel(seed=seed), accuracies.sel(seed=seed)
            draw_curves(axes, *curve, colour, None if seed else name, linewidth=1.1, alpha=0.7)
    limits = {"xlim": (0.1, None), "ylim": (-0.03, 1.05)}
    finish_axes(axes, "upper left", xlabel="length of the path", ylabel="test accuracy", xscale="log", **limits)
