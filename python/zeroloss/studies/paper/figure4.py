"""Figure 4: near the zero-loss set the gradient turns orthogonal to it, here for L(x, y) = (y − x²)².

At the distance s from the foot (x₀, x₀²), along the normal into the parabola, the cosine of the gradient with the
tangent of the set is |cos| = 4x₀s / (q² √(1 + 4x₀²(1 − 2s/q)²)), q = √(1 + 4x₀²): proportional to s as s → 0
(theorem 4.14).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import plots
from .. import Layout, Places, Study, label_numbers
from .._drawing import LOG_LOG, draw_curves, finish_axes
from .._words import fit_log_slope

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

COLOURS = ("blue", "vermilion", "green")  # Of the three points.
WINDOW = 1.7  # Half the width of a zoom, in distances of its point.


@dataclass(frozen=True)
class Settings:
    """Settings of the figure. The loss is the paper's. Nothing is random."""

    foot: float = 0.5
    distances: tuple[float, ...] = (0.5, 0.1, 0.02)
    least: float = 1e-6
    greatest: float = 0.6
    points: int = 121
    fitted_below: float = 1e-5
    quick: bool = False


def loss(point: ArrayLike) -> NDArray[np.float64]:
    """Return L (…) at points (…, 2)."""
    x, y = np.moveaxis(np.asarray(point, dtype=np.float64), -1, 0)
    return np.asarray((y - x**2) ** 2)


def gradient(point: ArrayLike) -> NDArray[np.float64]:
    """Return ∇L (…, 2) at points (…, 2)."""
    x, y = np.moveaxis(np.asarray(point, dtype=np.float64), -1, 0)
    return np.stack([-4 * x * (y - x**2), 2 * (y - x**2)], axis=-1)


def frame(foot: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the foot (x₀, x₀²), the unit tangent there, and the unit normal that points into the parabola."""
    q = np.sqrt(1 + 4 * foot**2)
    return np.array([foot, foot**2]), np.array([1, 2 * foot]) / q, np.array([-2 * foot, 1]) / q


def measure_cosine(foot: float, distance: ArrayLike) -> NDArray[np.float64]:
    """Return |cos| of the gradient and the tangent, at distances along the normal at the foot."""
    place, tangent, normal = frame(foot)
    slope = gradient(place + np.asarray(distance)[..., None] * normal)
    return np.asarray(abs(slope @ tangent) / np.linalg.norm(slope, axis=-1))


def closed_form(foot: float, distance: ArrayLike) -> NDArray[np.float64]:
    """Return the closed form of `measure_cosine`."""
    s, q = np.asarray(distance), np.sqrt(1 + 4 * foot**2)
    return np.asarray(4 * foot * s / (q**2 * np.sqrt(1 + 4 * foot**2 * (1 - 2 * s / q) ** 2)))


def analyse(s: Settings) -> xr.Dataset:
    """Return |cos| over the distance, from the gradient and from its closed form."""
    distance = np.geomspace(s.least, s.greatest, s.points)
    return label_numbers(
        {
            "cosine": (("distance",), measure_cosine(s.foot, distance), "|cos| of the gradient and the tangent"),
            "closed_form": (("distance",), closed_form(s.foot, distance), "the same from its closed form"),
            "shown_cosine": (("shown",), measure_cosine(s.foot, s.distances), "|cos| at the points of the zooms"),
        },
        {
            "distance": (distance, "distance to the zero-loss set"),
            "shown": (s.distances, "distance of the points of the zooms"),
        },
    )


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return the angles at the points of the zooms, and slope and constant of |cos| as the distance goes to 0."""
    distance, cosine = numbers.distance.values, numbers.cosine.values
    near = distance <= s.fitted_below
    return {
        "distances": list(s.distances),
        "angles_degrees": np.degrees(np.arccos(numbers.shown_cosine.values)).tolist(),
        "slope": fit_log_slope(distance[near], cosine[near]),
        "constant": float(cosine[0] / distance[0]),
        "constant_closed_form": _constant(s.foot),
        "largest_difference_to_closed_form": float(abs(cosine - numbers.closed_form.values).max()),
    }


def _constant(foot: float) -> float:
    return float(4 * foot / (1 + 4 * foot**2) ** 1.5)


def _format_line(s: Settings, summary: Mapping[str, Any]) -> str:
    angles = ", ".join(f"{angle:.2f}°" for angle in summary["angles_degrees"])
    return (
        f"angle to the set {angles} at distances {plots.format_numbers(summary['distances'])}; "
        f"|cos| ∝ distance^{summary['slope']:.6f}, constant {summary['constant']:.4f} "
        f"(closed form 4x₀/q³ = {summary['constant_closed_form']:.4f})"
    )


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw the three zooms, and |cos| against the distance."""
    for index, (letter, distance) in enumerate(zip("abc", s.distances, strict=False)):
        box = f" (the box in {'abc'[index - 1]})" if index else ""
        angle = float(np.degrees(np.arccos(numbers.shown_cosine[index])))
        _draw_zoom(place(letter, rf"$L = (y - x^2)^2$ at the distance {distance:g}{box}"), s, index, angle)
    _draw_cosines(place("d", "the gradient turns orthogonal to the set"), numbers, s)


def _draw_zoom(axes: Axes, s: Settings, index: int, angle: float) -> None:
    """Draw the surroundings of one point: the set, its tangent at the foot, the gradient, and the next box."""
    foot, tangent, normal = frame(s.foot)
    distance, colour = s.distances[index], plots.COLOURS[COLOURS[index]]
    point = foot + distance * normal
    x, y = _window(s, index)
    points = plots.make_grid(x, y)
    levels = distance**2 * np.geomspace(0.01, 30, 9)
    plots.shade_landscape(axes, points[..., 0], points[..., 1], loss(points), levels)
    curve = np.linspace(*x, 200)
    axes.plot(curve, curve**2, label="zero loss", **plots.ZERO_LOSS)
    slope = gradient(point)
    direction = slope / np.linalg.norm(slope)
    along = tangent * np.sign(tangent @ direction)
    for start, vector, style, label in (
        (point, along, "--", "direction of the set at the foot"),
        (foot, normal, ":", "normal at the foot"),
    ):
        first, second = (start + np.outer((-4 * distance, 4 * distance), vector)).T
        axes.plot(first, second, color="#333333", linewidth=0.9, linestyle=style, label=label, zorder=2)
    plots.draw_arrow(axes, point, point + 0.85 * distance * direction, colour, r"$\nabla L$")
    plots.draw_angle(axes, point, along, direction, 0.4 * distance, f"{angle:.1f}°")
    axes.plot(*foot, "o", color="black", markersize=4, zorder=5)
    axes.plot(*point, "o", color=colour, markersize=6, zorder=6)
    if index + 1 < len(s.distances):
        (left, right), (low, high) = _window(s, index + 1)
        box = [left, right, right, left, left], [low, low, high, high, low]
        draw_curves(axes, *box, COLOURS[index + 1], linewidth=1.0, zorder=4)
    axes.set_aspect("equal")
    finish_axes(axes, None if index else "lower left", xlabel="x", ylabel="y", xlim=x, ylim=y)


def _window(s: Settings, index: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the ends of x and of y in a zoom, which shows the point and its foot around the middle."""
    foot, _, normal = frame(s.foot)
    distance = s.distances[index]
    x, y = foot + 0.5 * distance * normal
    size = WINDOW * distance
    return (x - size, x + size), (y - size, y + size)


def _draw_cosines(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    distance = numbers.distance.values
    draw_curves(axes, distance, numbers.closed_form, "black", "closed form", linewidth=1.2)
    draw_curves(axes, distance, numbers.cosine, "grey", "from the gradient", "o", markersize=3, markevery=4)
    limit = r"slope 1: $4x_0/q^3 \cdot$ distance"
    draw_curves(axes, distance, _constant(s.foot) * distance, "grey", limit, "--", linewidth=0.9)
    for colour, shown, cosine, letter in zip(COLOURS, s.distances, numbers.shown_cosine, "abc", strict=True):
        axes.plot(shown, cosine, "o", color=plots.COLOURS[colour], markersize=7, zorder=5)
        axes.annotate(letter, (shown, cosine), (-9, 5), textcoords="offset points", fontweight="bold")
    axes.set_box_aspect(1)
    labels = {"xlabel": "distance to the zero-loss set", "ylabel": r"$|\cos|$ of gradient and tangent"}
    finish_axes(axes, "lower right", **labels, **LOG_LOG)


STUDY = Study(
    name="figure4",
    title="Figure 4 of arXiv 2511.01938: the gradient's angle to the zero-loss set",
    description="near the zero-loss set the gradient turns orthogonal to it",
    expected_time="3 s",
    full=Settings(),
    quick=replace(Settings(), points=31, quick=True),
    analyse=analyse,
    summarise=summarise,
    line=_format_line,
    layout=Layout("ab cd", 10.5, 9.2, {"wspace": 0.03, "hspace": 0.02}),
    panels=panels,
    mark=lambda s: f"{s.points} points in d",
)
