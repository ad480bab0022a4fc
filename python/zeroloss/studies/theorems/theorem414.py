"""Theorem 4.14: near the zero-loss set the gradient turns orthogonal to it, in proportion to the distance.

At points beside networks on the set, along random directions: |cos| = ‖(I − J⁺J) ∇L‖/‖∇L‖ with J at the projection, the
cosine of the gradient with the tangent space, against the distance; and figure 4's parabola with its closed form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ... import geometry, networks, plots
from ...dynamics import loss_and_gradient
from ...sweeps.engine import Cube, Grid
from .._layout import Layout, Places
from .._memorised import memorised
from .._study import Study, labelled
from .._words import log_slope, rows_of_text
from ..paper import figure4

if TYPE_CHECKING:
    import xarray as xr

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


def measure_beside(
    p: int, hidden: int, activation: str, seed: int, direction: int, offsets: Sequence[float]
) -> dict[str, Any]:
    """Return distance and |cos| (offset,) along one direction from one network."""
    data, net = memorised(p, hidden, activation, seed)
    random = np.random.default_rng([seed, direction])
    vE, vW = (random.standard_normal(layer.shape) for layer in (net.E, net.W))
    length = np.hypot(np.linalg.norm(vE), np.linalg.norm(vW))
    found = []
    for size in np.asarray(offsets) / length:
        there = networks.from_arrays(net.E + size * vE, net.W + size * vW, activation)
        _, gE, gW = loss_and_gradient(there, data)
        unit = np.hypot(np.linalg.norm(gE), np.linalg.norm(gW))
        before = networks.from_arrays(there.E - gE / unit, there.W - gW / unit, activation)
        try:
            measured = geometry.alignment(there, before, data)  # its update is ∇L/‖∇L‖
            found.append((measured.distance, measured.tangent_share))
        except geometry.ProjectionError:
            found.append((np.nan, np.nan))
    distance, cosine = np.array(found).T
    return {"distance": distance, "cosine": cosine}


def _offsets(s: Settings) -> NDArray[np.float64]:
    return np.geomspace(s.least, s.greatest, s.points)


def grids(s: Settings) -> list[Grid]:
    """Return the directions from every network."""
    common = {"p": s.p, "hidden": s.hidden, "offsets": _offsets(s).tolist()}
    over = {"activation": s.activations, "seed": range(s.seeds), "direction": range(s.directions)}
    return [Grid(measure_beside, over, lambda **labels: {**common, **labels})]


def analyse(s: Settings, beside: Cube) -> xr.Dataset:
    """Return |cos| against the distance."""
    parabola = np.geomspace(1e-6, 0.6, 61)
    shape, over = (len(s.activations), -1, s.points), ("activation", "start", "offset")
    return labelled(
        {
            "distance": (over, beside["distance"].reshape(shape), "distance to the projection"),
            "cosine": (over, beside["cosine"].reshape(shape), "|cos| of gradient and tangent space"),
            "parabola": (("parabola_distance",), figure4.measured(0.5, parabola), "|cos| of figure 4"),
            "parabola_closed_form": (("parabola_distance",), figure4.closed_form(0.5, parabola), "its closed form"),
        },
        {
            "activation": (s.activations, "activation"),
            "start": (np.arange(s.seeds * s.directions), "seed index times directions, and direction"),
            "offset": (_offsets(s), "how far along a random direction"),
            "parabola_distance": (parabola, "distance to the parabola"),
        },
    )


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return the powers of the distance."""
    slopes = {}
    for name in numbers.activation.values:
        part = numbers.sel(activation=name)
        own = [
            log_slope(part.distance[at].values[near], part.cosine[at].values[near])
            for at in range(part.sizes["start"])
            if (near := part.distance[at].values < s.fitted_below).sum() > 1
        ]
        slopes[str(name)] = [min(own), max(own)]
    near = numbers.parabola_distance.values <= 1e-5
    figure4_slope = log_slope(numbers.parabola_distance.values[near], numbers.parabola.values[near])
    return {"slope": slopes, "slope_of_figure_4": figure4_slope}


def _line(s: Settings, summary: Mapping[str, Any]) -> str:
    slopes = ", ".join(f"{low:.3f}–{high:.3f} ({name})" for name, (low, high) in summary["slope"].items())
    return f"|cos| ∝ distance to the power {slopes}; figure 4's parabola {summary['slope_of_figure_4']:.6f}"


def _table(s: Settings, numbers: xr.Dataset, summary: Mapping[str, Any]) -> str:
    rows = []
    for at in range(0, numbers.sizes["offset"], max(1, numbers.sizes["offset"] // 6)):
        for name in numbers.activation.values:
            part = numbers.sel(activation=name).isel(offset=at).median("start")
            rows.append([f"{float(part.distance):.2e}", f"{float(part.cosine):.2e}", str(name)])
    return rows_of_text(["distance", "|cos|", "activation"], rows)


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw |cos| against the distance."""
    left = place("a", f"addition modulo {s.p}: beside networks on the set")
    right = place("b", r"figure 4's $L = (y - x^2)^2$")
    for name in numbers.activation.values:
        part, colour = numbers.sel(activation=name), plots.COLOURS[COLOURS[str(name)]]
        for at in range(part.sizes["start"]):
            left.loglog(
                part.distance[at], part.cosine[at], "o-", color=colour, markersize=3, linewidth=0.7, alpha=0.7,
                label=str(name) if at == 0 else None,
            )  # fmt: skip
        x = np.array([s.least, s.fitted_below])
        mid = part.isel(offset=s.points // 3).median("start")
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


STUDY = Study(
    name="theorem414",
    title="Theorem 4.14: the gradient's angle to the zero-loss set",
    about="near the zero-loss set the gradient turns orthogonal to it, in proportion to the distance",
    takes="5 s",
    full=Settings(),
    quick=replace(Settings(), points=13, directions=2, seeds=1, quick=True),
    grids=grids,
    analyse=analyse,
    summarise=summarise,
    table=_table,
    line=_line,
    layout=Layout("ab", 10.0, 4.6),
    panels=panels,
    mark=lambda s: f"{s.seeds} seed, {s.points} points",
)
