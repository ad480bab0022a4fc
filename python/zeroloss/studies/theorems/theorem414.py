"""Theorem 4.14: near the zero-loss set the gradient turns orthogonal to it, in proportion to the distance.

(a) Near networks on the set, along random directions: |cos| = ‖(I − J⁺J) ∇L‖/‖∇L‖ with J at the projection, which is
the cosine of the gradient with the tangent space, against the distance. (b) The parabola of figure 4 with its closed
form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ... import geometry, networks
from ...dynamics import loss_and_gradient
from .. import Cube, Grid, Layout, Places, Study, label_numbers, select_settings
from .._drawing import LOG_LOG, choose_colour, draw_curves, finish_axes
from .._memorised import AdditionSettings, memorise
from .._words import fit_log_slope, format_table
from ..paper import figure4

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Settings(AdditionSettings):
    """Settings of the check."""

    activations: tuple[str, ...] = ("softplus(5)", "relu")
    least: float = 1e-6
    greatest: float = 1.0
    points: int = 31
    fitted_below: float = 3e-5
    directions: int = 3
    seeds: int = 3


def measure_near(
    p: int, hidden: int, activation: str, seed: int, direction: int, offsets: Sequence[float]
) -> dict[str, Any]:
    """Return distance and |cos| (offset,) along one direction from one network."""
    data, net = memorise(p, hidden, activation, seed)
    random = np.random.default_rng([seed, direction])
    vE, vW = (random.standard_normal(layer.shape) for layer in (net.E, net.W))
    length = np.hypot(np.linalg.norm(vE), np.linalg.norm(vW))
    pairs = []
    for size in np.asarray(offsets) / length:
        near = networks.from_arrays(net.E + size * vE, net.W + size * vW, activation)
        _, gE, gW = loss_and_gradient(near, data)
        unit = np.hypot(np.linalg.norm(gE), np.linalg.norm(gW))
        before = networks.from_arrays(near.E - gE / unit, near.W - gW / unit, activation)
        try:
            alignment = geometry.alignment(near, before, data)  # The update from ``before`` is ∇L/‖∇L‖.
            pairs.append((alignment.distance, alignment.tangent_share))
        except geometry.ProjectionError:
            pairs.append((np.nan, np.nan))
    distance, cosine = np.array(pairs).T
    return {"distance": distance, "cosine": cosine}


def _offsets(s: Settings) -> NDArray[np.float64]:
    return np.geomspace(s.least, s.greatest, s.points)


def grids(s: Settings) -> list[Grid]:
    """Return the directions from every network."""
    common = {**select_settings(s, "p hidden"), "offsets": _offsets(s).tolist()}
    over = {"activation": s.activations, "seed": range(s.seeds), "direction": range(s.directions)}
    return [Grid(measure_near, over, lambda **labels: {**common, **labels})]


def analyse(s: Settings, cube: Cube) -> xr.Dataset:
    """Return |cos| against the distance."""
    parabola = np.geomspace(1e-6, 0.6, 61)
    shape, over = (len(s.activations), -1, s.points), ("activation", "start", "offset")
    closed_form = figure4.closed_form(0.5, parabola)
    return label_numbers(
        {
            "distance": (over, cube["distance"].reshape(shape), "distance to the projection"),
            "cosine": (over, cube["cosine"].reshape(shape), "|cos| of gradient and tangent space"),
            "parabola": (("parabola_distance",), figure4.measure_cosine(0.5, parabola), "|cos| of figure 4"),
            "parabola_closed_form": (("parabola_distance",), closed_form, "its closed form"),
        },
        {
            "activation": (s.activations, "activation"),
            "start": (np.arange(s.seeds * s.directions), "seed index times directions, and direction"),
            "offset": (_offsets(s), "how far along a random direction"),
            "parabola_distance": (parabola, "distance to the parabola"),
        },
    )


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return the exponents of the distance."""
    slopes = {}
    for name in s.activations:
        part = numbers.sel(activation=name)
        exponents = [
            fit_log_slope(distance[near], cosine[near])
            for distance, cosine in zip(part.distance.values, part.cosine.values, strict=True)
            if (near := distance < s.fitted_below).sum() > 1
        ]
        slopes[name] = [min(exponents), max(exponents)]
    near = numbers.parabola_distance.values <= 1e-5
    figure4_slope = fit_log_slope(numbers.parabola_distance.values[near], numbers.parabola.values[near])
    return {"slope": slopes, "slope_of_figure_4": figure4_slope}


def _format_line(s: Settings, summary: Mapping[str, Any]) -> str:
    slopes = ", ".join(f"{low:.3f}–{high:.3f} ({name})" for name, (low, high) in summary["slope"].items())
    return f"|cos| ∝ distance to the power {slopes}; figure 4's parabola {summary['slope_of_figure_4']:.6f}"


def _format_table(s: Settings, numbers: xr.Dataset, summary: Mapping[str, Any]) -> str:
    medians = numbers.median("start").isel(offset=slice(None, None, max(1, s.points // 6)))
    rows = [
        [f"{float(medians[key].sel(activation=name)[at]):.2e}" for key in ("distance", "cosine")] + [name]
        for at in range(medians.sizes["offset"])
        for name in s.activations
    ]
    return format_table(["distance", "|cos|", "activation"], rows)


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw |cos| against the distance."""
    left = place("a", f"addition modulo {s.p}: near networks on the set")
    right = place("b", r"figure 4's $L = (y - x^2)^2$")
    for name in s.activations:
        part = numbers.sel(activation=name)
        for at in range(part.sizes["start"]):
            curve, label = part.isel(start=at), None if at else name
            style: Any = {"markersize": 3, "linewidth": 0.7, "alpha": 0.7}
            draw_curves(left, curve.distance, curve.cosine, choose_colour(name), label, "o-", **style)
    x = np.array([s.least, s.fitted_below])
    for name in s.activations:
        middle = numbers.sel(activation=name).isel(offset=s.points // 3).median("start")
        label = "slope 1" if name == s.activations[-1] else None
        draw_curves(left, x, float(middle.cosine / middle.distance) * x, "black", label, "--", linewidth=0.8)
    x = numbers.parabola_distance
    draw_curves(right, x, numbers.parabola, "grey", "from the gradient", "o", markersize=3)
    draw_curves(right, x, numbers.parabola_closed_form, "black", "closed form", linewidth=1.0)
    labels = {"xlabel": "distance to the zero-loss set", "ylabel": r"$|\cos|$ of gradient and tangent"}
    for axes in (left, right):
        finish_axes(axes, "lower right", **labels, **LOG_LOG)


STUDY = Study(
    name="theorem414",
    title="Theorem 4.14: the gradient's angle to the zero-loss set",
    description="near the zero-loss set the gradient turns orthogonal to it, in proportion to the distance",
    expected_time="5 s",
    full=Settings(),
    quick=replace(Settings(), points=13, directions=2, seeds=1, quick=True),
    grids=grids,
    analyse=analyse,
    summarise=summarise,
    table=_format_table,
    line=_format_line,
    layout=Layout("ab", 10.0, 4.6),
    panels=panels,
    mark=lambda s: f"{s.seeds} seed, {s.points} points",
)
