"""Figure 2: the zero-loss set of three weights is a plane; trajectories from four starts.

A linear unit learns (1, 1, 1) → 3. Descent moves onto the plane w₁ + w₂ + w₃ = 3, and then straight along it to its
point of least norm, (1, 1, 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import plots
from .. import Layout, Places, Study, label_numbers
from ._toys import Unit, count_slow_steps

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

COLOURS = ("vermilion", "orange", "green", "purple")  # Of the starts.
NORMAL = np.ones(3) / np.sqrt(3)
PLANE = np.array([[-1, 1, 0], [-1, -1, 2]]) / np.sqrt([[2], [6]])  # Orthonormal axes in the plane.
CENTRE = np.ones(3)  # The point of least norm of the plane.
REACH = 2.8  # The radius of the drawn disc of the plane.
LEVELS = np.arange(1.8, 3.25, 0.2)  # Of the norm.
SCALE = ((-0.13, -0.06), (0.0, -0.2), (-0.17, 0.0))  # Offsets of the numbers along w₁, w₂, w₃.
AZIMUTH, ELEVATION = np.radians((-22, 14))  # Of the eye.


@dataclass(frozen=True)
class Settings:
    """Settings of the figure. The sample is the paper's. Nothing is random."""

    x: tuple[float, ...] = (1.0, 1.0, 1.0)
    y: float = 3.0
    starts: tuple[tuple[float, ...], ...] = ((0.0, 2.0, -1.0), (2.5, 0.0, 2.0), (0.0, 1.0, 3.0), (1.5, -0.5, -1.0))
    lr: float = 0.1
    weight_decay: float = 0.1
    slow_times: tuple[float, ...] = (0.5, 1.0, 2.0)
    duration: float = 4.0
    quick: bool = False


def analyse(s: Settings) -> xr.Dataset:
    """Return descent and the norm flow over start, step and weight."""
    unit = Unit(s.x, s.y)
    steps = int(count_slow_steps(s.duration, s.lr, s.weight_decay))
    weights = unit.descend(s.starts, s.lr, s.weight_decay, steps)
    flow = unit.norm_flow(s.starts, s.lr * s.weight_decay * np.arange(steps + 1))
    return label_numbers(
        {
            "weights": (("start", "step", "weight"), weights, "weights w₁, w₂, w₃ of descent"),
            "flow": (("start", "step", "weight"), flow, "norm-minimising flow at the same slow time"),
            "train_loss": (("start", "step"), unit.loss(weights), "squared error on the training sample"),
            "norm": (("start", "step"), np.linalg.norm(weights, axis=-1), "norm of the weights"),
        },
        {"step": (np.arange(steps + 1), "number of steps taken")},
    )


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return the distance of descent to the flow, how straight its path on the plane is, and where it comes to rest."""
    weights, flow = numbers.weights.values, numbers.flow.values
    along, expected = ((w @ PLANE.T) for w in (weights, flow))
    direction = along[:, 0] / np.linalg.norm(along[:, 0], axis=-1, keepdims=True)
    sideways = along[..., 0] * direction[:, None, 1] - along[..., 1] * direction[:, None, 0]
    return {
        "final_weights": weights[:, -1].tolist(),
        "final_norm": numbers.norm.values[:, -1].tolist(),
        "least_norm": float(np.linalg.norm(CENTRE)),
        "final_train_loss": Unit(s.x, s.y).loss(weights[:, -1]).tolist(),
        "largest_distance_to_flow_in_plane": float(np.linalg.norm(along - expected, axis=-1).max()),
        "largest_deviation_from_straight": float(abs(sideways).max()),
    }


def _format_line(s: Settings, summary: Mapping[str, Any]) -> str:
    norms = summary["final_norm"]
    return (
        f"λ {s.weight_decay:g}, {len(norms)} starts; norm at s = {s.duration:g}: "
        f"{min(norms):.4f}–{max(norms):.4f}, least on the plane {summary['least_norm']:.4f}; "
        f"within the plane at most {summary['largest_distance_to_flow_in_plane']:.1e} from the norm flow, "
        f"{summary['largest_deviation_from_straight']:.0e} from straight"
    )


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw the trajectories in space, and as seen along the normal of the plane."""
    _draw_space(place("a", "onto the zero-loss plane $w_1 + w_2 + w_3 = 3$, then along it"), numbers, s)
    within = place.part("b", rf"the same within the plane, $\lambda$ = {s.weight_decay:g}")
    axes = within.subplots()
    shades = _draw_plane(axes, numbers, s)
    within.colorbar(shades, ax=axes, label="norm $|w|$ on the plane", shrink=0.74, aspect=20, pad=0.03)


def _project(points: ArrayLike) -> NDArray[np.float64]:
    """Project points (…, 3) onto the picture (…, 2): a parallel projection in which w₃ points up."""
    right = np.array([-np.sin(AZIMUTH), np.cos(AZIMUTH), 0])
    up = np.array([-np.sin(ELEVATION) * np.cos(AZIMUTH), -np.sin(ELEVATION) * np.sin(AZIMUTH), np.cos(ELEVATION)])
    return np.asarray(np.asarray(points) @ np.stack([right, up], axis=1))


def _disc() -> NDArray[np.float64]:
    """Return points of the plane (radii, angles, 3)."""
    radius, angle = np.meshgrid(np.linspace(0, REACH, 60), np.linspace(0, 2 * np.pi, 181), indexing="ij")
    return np.asarray(CENTRE + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1) @ PLANE)


def _draw_space(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    """Draw the parts behind the plane, the translucent plane, and the parts on it or before it."""
    disc = _disc()
    place = _project(disc)
    shades = plots.shade_landscape(axes, place[..., 0], place[..., 1], np.linalg.norm(disc, axis=-1), LEVELS, "PuBu")
    shades.set(zorder=2, alpha=0.8)
    for number, axis in enumerate(np.eye(3), start=1):
        for ends, order in (((0, 3), 1), ((3, 3.9), 3)):
            axes.plot(*_project(np.outer(ends, axis)).T, color="#333333", linewidth=0.8, zorder=order)
        plots.write_label(axes, _project(4.3 * axis), f"$w_{number}$")
        for value in (1, 2, 3):  # A scale along each axis.
            mark = "|" if number < 3 else "_"
            axes.plot(*_project(value * axis), marker=mark, color="#333333", markersize=5, zorder=3)
            plots.write_label(axes, _project(value * axis) + SCALE[number - 1], str(value), fontsize=7)
    plots.write_label(axes, _project([0, -0.15, -0.2]), "0", fontsize=8)
    axes.plot(*_project([np.zeros(3), CENTRE]).T, color="#333333", linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
    for colour, weights, start in zip(COLOURS, numbers.weights.values, s.starts, strict=True):
        before = (weights - CENTRE) @ NORMAL >= -s.weight_decay  # Descent rests below the plane by a part of λ.
        before[:-1] |= before[1:]  # The curve has no gap where it crosses the plane.
        axes.plot([], [], color=plots.COLOURS[colour], label=f"from ({plots.format_numbers(start)})")
        plots.draw_trajectory(axes, _project(weights), plots.COLOURS[colour], order=1)
        plots.draw_trajectory(axes, np.where(before[:, None], _project(weights), np.nan), plots.COLOURS[colour])
    axes.plot(*_project(CENTRE), "*", color="black", markersize=9, zorder=6, label="(1, 1, 1), least norm")
    axes.legend(loc="upper right", bbox_to_anchor=(1.12, 1))
    axes.set_aspect("equal")
    axes.set_axis_off()


def _draw_plane(axes: Axes, numbers: xr.Dataset, s: Settings) -> Any:
    """Draw the trajectories within the plane, and return the shades of the norm."""
    disc = _disc()
    u, v = np.moveaxis((disc - CENTRE) @ PLANE.T, -1, 0)
    shades = plots.shade_landscape(axes, u, v, np.linalg.norm(disc, axis=-1), LEVELS, "PuBu")
    marked = count_slow_steps(s.slow_times, s.lr, s.weight_decay)
    for colour, descent, flow in zip(COLOURS, numbers.weights.values, numbers.flow.values, strict=True):
        path, expected = ((w - CENTRE) @ PLANE.T for w in (descent, flow))
        plots.draw_trajectory(axes, path, plots.COLOURS[colour])
        plots.mark_times(axes, path[marked], expected[marked], plots.COLOURS[colour])
    axes.plot(0, 0, "*", color="black", markersize=9, zorder=6)
    axes.set_aspect("equal")
    axes.set(xlabel=r"along $(-1, 1, 0)/\sqrt{2}$", ylabel=r"along $(-1, -1, 2)/\sqrt{6}$")
    axes.set_ylim(-3.4, 2.9)
    plots.add_time_legend(axes, s.slow_times, loc="lower center", ncols=2)
    return shades


STUDY = Study(
    name="figure2",
    title="Figure 2 of arXiv 2511.01938: three weights on one sample",
    description="three weights move onto the zero-loss plane, then straight to its shortest point",
    expected_time="3 s",
    full=Settings(),
    quick=replace(Settings(), duration=2.0, quick=True),
    analyse=analyse,
    summarise=summarise,
    line=_format_line,
    layout=Layout("ab", 10.5, 5.0, {"width_ratios": (1, 1.08), "wspace": 0.02}),
    panels=panels,
    mark=lambda s: f"to s = {s.duration:g}",
)
