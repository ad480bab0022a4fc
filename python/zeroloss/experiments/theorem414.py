"""Theorem 4.14: near the zero-loss set the gradient turns orthogonal to it, in proportion to the distance.

At points beside networks on the set, along random directions: |cos| = ‖(I − J⁺J) ∇L‖/‖∇L‖ with J at the projection, the
cosine of the gradient with the tangent space, against the distance; and figure 4's parabola with its closed form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import geometry, networks, plots
from ..dynamics import loss_and_gradient
from . import figure4
from .on_manifold import log_slope, memorised, rows_of_text
from .output import Result, labelled, settings_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = ["FULL", "QUICK", "Settings", "draw", "run"]

COLOURS = {"softplus(5)": "green", "relu": "vermilion"}


@dataclass(frozen=True)
class Settings:
    """What determines the numbers."""

    p: int = 11
    hidden: int = 128
    activations: tuple[str, ...] = ("softplus(5)", "relu")
    least: float = 1e-6
    greatest: float = 1.0
    points: int = 31
    fitted_below: float = 3e-5
    directions: int = 3
    seeds: int = 3
    quick: bool = False


FULL = Settings()
QUICK = replace(FULL, points=13, directions=2, seeds=1, quick=True)


def run(settings: Settings) -> Result:
    """Compute and analyse at given settings."""
    offset = np.geomspace(settings.least, settings.greatest, settings.points)
    found = np.array(
        [
            [
                _beside(settings, name, index, direction, offset)
                for index in range(settings.seeds)
                for direction in range(settings.directions)
            ]
            for name in settings.activations
        ]
    )  # (activation, start, 2, offset)
    parabola = np.geomspace(1e-6, 0.6, 61)
    start = np.arange(settings.seeds * settings.directions)
    numbers = labelled(
        "Theorem 4.14: the gradient's angle to the zero-loss set",
        settings,
        {
            "distance": (("activation", "start", "offset"), found[:, :, 0], "distance to the projection"),
            "cosine": (("activation", "start", "offset"), found[:, :, 1], "|cos| of gradient and tangent space"),
            "parabola": (("parabola_distance",), figure4.measured(0.5, parabola), "|cos| of figure 4"),
            "parabola_closed_form": (("parabola_distance",), figure4.closed_form(0.5, parabola), "its closed form"),
        },
        {
            "activation": (np.array(settings.activations, dtype=object), "activation"),
            "start": (start, "seed index times directions, and direction"),
            "offset": (offset, "how far along a random direction"),
            "parabola_distance": (parabola, "distance to the parabola"),
        },
    )
    summary = _summary(settings, numbers)
    return Result(numbers, asdict(settings), [], summary, _line(summary), draw, _table(numbers))


def _beside(
    settings: Settings, activation: str, index: int, direction: int, offset: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return distance and |cos| (2, offset) along one direction from one network."""
    data, net = memorised(settings.p, settings.hidden, activation, index)
    random = np.random.default_rng([index, direction])
    vE, vW = (random.standard_normal(layer.shape) for layer in (net.E, net.W))
    length = np.hypot(np.linalg.norm(vE), np.linalg.norm(vW))
    found = []
    for size in offset / length:
        there = networks.from_arrays(net.E + size * vE, net.W + size * vW, activation)
        _, gE, gW = loss_and_gradient(there, data)
        unit = np.hypot(np.linalg.norm(gE), np.linalg.norm(gW))
        before = networks.from_arrays(there.E - gE / unit, there.W - gW / unit, activation)
        try:
            measured = geometry.alignment(there, before, data)  # its update is ∇L/‖∇L‖
            found.append((measured.distance, measured.tangent_share))
        except geometry.ProjectionError:
            found.append((np.nan, np.nan))
    return np.array(found).T


def _summary(settings: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    slopes = {}
    for name in numbers.activation.values:
        part = numbers.sel(activation=name)
        own = [
            log_slope(part.distance[at].values[near], part.cosine[at].values[near])
            for at in range(part.sizes["start"])
            if (near := part.distance[at].values < settings.fitted_below).sum() > 1
        ]
        slopes[str(name)] = [min(own), max(own)]
    near = numbers.parabola_distance.values <= 1e-5
    figure4_slope = log_slope(numbers.parabola_distance.values[near], numbers.parabola.values[near])
    return {"slope": slopes, "slope_of_figure_4": figure4_slope}


def _line(summary: Mapping[str, Any]) -> str:
    slopes = ", ".join(f"{low:.3f}–{high:.3f} ({name})" for name, (low, high) in summary["slope"].items())
    return f"|cos| ∝ distance to the power {slopes}; figure 4's parabola {summary['slope_of_figure_4']:.6f}"


def _table(numbers: xr.Dataset) -> str:
    rows = []
    for at in range(0, numbers.sizes["offset"], max(1, numbers.sizes["offset"] // 6)):
        for name in numbers.activation.values:
            part = numbers.sel(activation=name).isel(offset=at).median("start")
            rows.append([f"{float(part.distance):.2e}", f"{float(part.cosine):.2e}", str(name)])
    return rows_of_text(["distance", "|cos|", "activation"], rows)


def draw(numbers: xr.Dataset) -> Figure:
    """Draw |cos| against the distance."""
    settings = settings_of(numbers, Settings)
    figure = plots.new_figure(10.0, 4.6)
    a, b = figure.subfigures(1, 2, squeeze=False, wspace=0.04).ravel()
    plots.panel(a, "a", f"addition modulo {settings.p}: beside networks on the set")
    plots.panel(b, "b", r"figure 4's $L = (y - x^2)^2$")
    left, right = a.subplots(), b.subplots()
    for name in numbers.activation.values:
        part, colour = numbers.sel(activation=name), plots.COLOURS[COLOURS[str(name)]]
        for at in range(part.sizes["start"]):
            left.loglog(
                part.distance[at], part.cosine[at], "o-", color=colour, markersize=3, linewidth=0.7, alpha=0.7,
                label=str(name) if at == 0 else None,
            )  # fmt: skip
        x = np.array([settings.least, settings.fitted_below])
        mid = part.isel(offset=settings.points // 3).median("start")
        scale = float(mid.cosine / mid.distance)
        left.loglog(
            x, scale * x, "k--", linewidth=0.8, label="slope 1" if name == numbers.activation.values[0] else None
        )
    right.loglog(
        numbers.parabola_distance,
        numbers.parabola,
        "o",
        color=plots.COLOURS["grey"],
        markersize=3,
        label="from the gradient",
    )
    right.loglog(numbers.parabola_distance, numbers.parabola_closed_form, "k", linewidth=1.0, label="closed form")
    for axes in (left, right):
        axes.set(xlabel="distance to the zero-loss set", ylabel=r"$|\cos|$ of gradient and tangent")
        axes.legend(loc="lower right")
    if settings.quick:
        plots.mark_quick(figure, f"{settings.seeds} seed, {settings.points} points")
    return figure
