"""Figure 3: zero-loss sets that are curved, singular, or seen through a leaky ReLU; trajectories from several starts.

(a) A two-layer linear network, ŷ = w₁w₂x on 1 → c, c = 1. (b) The same with c = 0. Its zero-loss set, the two axes, is
singular at the origin. (c) One layer with leaky ReLU on (1, 1) → 2. (d) The distance of descent on (a), from a start on
the set, to the norm-minimising flow, for smaller and smaller λ.

In (a, b) D = w₁² − w₂² follows a law: D⁺ = [(1 − lr λ)² − (2 lr (w₁w₂ − c))²] D in each step of descent, and
D = D₀ e^{−2s} for the flow in slow time s = λ · lr · steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import datasets, networks, plots
from ..._choices import Every
from ...dynamics import GradientDescent
from ...simulation import simulate
from .. import Cube, Grid, Layout, Places, Study, checked_run, label_numbers, select_settings
from .._drawing import LOG_LOG, draw_curves, finish_axes
from .._words import fit_log_slope
from ._toys import Unit, count_slow_steps

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

COLOURS = ("blue", "vermilion", "green", "purple", "orange", "sky")  # Of the starts.
PANELS = ("curved", "singular", "leaky")
LEVELS = np.geomspace(0.03, 100, 9)  # Of the train loss.
REACH = 2.9  # The axes end here.

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Settings:
    """Settings of the figure. The models are the paper's. Nothing is random."""

    target: float = 1.0
    x: tuple[float, ...] = (1.0, 1.0)
    y: float = 2.0
    negative_slope: float = 0.1
    starts_curved: Points = ((-0.5, 2.4), (2.6, 1.6), (2.4, -0.8), (-2.4, 0.2), (-1.2, -2.6), (0.8, -1.1))
    starts_singular: Points = ((2.5, 1.5), (1.2, 2.4), (-1.8, 1.8), (-2.6, -1.2), (-0.7, -2.3), (1.9, -1.4))
    starts_leaky: Points = ((2.5, 2.2), (1.4, -0.8), (1.5, -2.6), (0.2, -2.2), (-2.4, -0.9), (-2.5, 1.6))
    lr: float = 0.01
    weight_decay: float = 0.1
    slow_times: tuple[float, ...] = (0.5, 1.0, 2.0)
    duration: float = 4.0
    start_on_set: tuple[float, float] = (2.5, 0.4)
    weight_decays: tuple[float, ...] = (0.1, 0.03, 0.01, 0.003, 0.001)
    duration_on_set: float = 2.0
    records_on_set: int = 200
    quick: bool = False


def product_path(
    start: Sequence[float], target: float, lr: float, weight_decay: float, steps: int, every: Every
) -> dict[str, NDArray[np.float64]]:
    """Train ŷ = w₁w₂x on the sample 1 → target, and return the weights (record, 2)."""
    data, net = datasets.from_arrays([[1.0]], [[target]]), networks.from_arrays([[start[0]]], [[start[1]]], "identity")
    descent = GradientDescent(lr, weight_decay)
    run = checked_run(simulate(descent, data, net, steps=steps, record_every=max(steps, 1), snapshot_every=every))
    assert run.snapshots is not None
    return {"weights": np.concatenate([run.snapshots.E.values[:, 0], run.snapshots.W.values[:, 0]], axis=-1)}


def product_flow(starts: ArrayLike, target: float, slow_time: ArrayLike) -> NDArray[np.float64]:
    """Return the norm-minimising flow on {w₁w₂ = c} (m, k, 2) at slow times (k,).

    It starts where descent without decay from ``starts`` (m, 2) reaches the set, which does not change D = w₁² − w₂².
    Then D = D₀ e^{−2s}, and the greater of w₁², w₂² is (|D| + √(D² + 4c²))/2. (Descent from w₁ = −w₂ · sign(c) does not
    reach the set. It ends at the saddle at the origin.)
    """
    start = np.asarray(starts, dtype=np.float64)
    D = (start[:, :1] ** 2 - start[:, 1:] ** 2) * np.exp(-2 * np.asarray(slow_time))
    first = abs(start[:, :1]) >= abs(start[:, 1:])  # The greater weight does not change its sign.
    sign = np.where(first, np.sign(start[:, :1]), np.sign(start[:, 1:]))
    greater = sign * np.sqrt((abs(D) + np.sqrt(D**2 + 4 * target**2)) / 2)
    lesser = np.divide(target, greater, out=np.zeros_like(greater), where=greater != 0)
    return np.stack([np.where(first, greater, lesser), np.where(first, lesser, greater)], axis=-1)


def grids(s: Settings) -> list[Grid]:
    """Return the descents of (a), of (b), and of (d)."""
    steps = int(count_slow_steps(s.duration, s.lr, s.weight_decay))
    common = {**select_settings(s, "lr weight_decay"), "steps": steps, "every": 1}

    def from_starts(starts: Sequence[Any], target: float) -> Grid:
        return Grid(product_path, {"start": starts}, lambda start: {"start": start, "target": target, **common})

    def on_the_set(weight_decay: float) -> dict[str, Any]:
        steps = int(count_slow_steps(s.duration_on_set, s.lr, weight_decay))
        schedule = {"weight_decay": weight_decay, "steps": steps, "every": max(1, steps // s.records_on_set)}
        return {"start": s.start_on_set, **select_settings(s, "target lr"), **schedule}

    curved, singular = from_starts(s.starts_curved, s.target), from_starts(s.starts_singular, 0.0)
    return [curved, singular, Grid(product_path, {"weight_decay": s.weight_decays}, on_the_set)]


def analyse(s: Settings, curved: Cube, singular: Cube, on_the_set: Cube) -> xr.Dataset:
    """Return all numbers of the picture over model, start, step and weight, and over λ."""
    steps = int(count_slow_steps(s.duration, s.lr, s.weight_decay))
    slow_time = s.lr * s.weight_decay * np.arange(steps + 1)
    unit = Unit(s.x, s.y, s.negative_slope)
    weights = [curved["weights"], singular["weights"]]
    weights.append(unit.descend(s.starts_leaky, s.lr, s.weight_decay, steps))
    flow = [product_flow(s.starts_curved, s.target, slow_time), product_flow(s.starts_singular, 0.0, slow_time)]
    flow.append(unit.norm_flow(s.starts_leaky, slow_time))
    losses = [(w.prod(axis=-1) - target) ** 2 for w, target in zip(weights, (s.target, 0.0), strict=False)]
    losses.append(unit.loss(weights[2]))
    distance = [_distance_to_flow(s, *pair) for pair in zip(s.weight_decays, on_the_set, strict=True)]
    path = ("model", "start", "step", "weight")
    return label_numbers(
        {
            "weights": (path, np.stack(weights), "weights w₁, w₂ of descent"),
            "flow": (path, np.stack(flow), "norm-minimising flow at the same slow time"),
            "train_loss": (path[:3], np.stack(losses), "squared error on the training sample"),
            "distance": (("weight_decay",), distance, "sup over s of descent's distance to the flow"),
        },
        {
            "model": (PANELS, "model of the panel"),
            "step": (np.arange(steps + 1), "number of steps taken"),
            "weight_decay": (s.weight_decays, "λ, which multiplies w in the update"),
        },
    )


def _distance_to_flow(s: Settings, decay: float, cell: Mapping[str, NDArray[np.float64]]) -> float:
    """Return the greatest distance between descent from the start on the set and the flow."""
    steps = int(count_slow_steps(s.duration_on_set, s.lr, decay))
    at = np.append(np.arange(0, steps, max(1, steps // s.records_on_set)), steps)
    flow = product_flow([s.start_on_set], s.target, s.lr * decay * at)
    return float(np.linalg.norm(cell["weights"] - flow, axis=-1).max())


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return the error of the law of D, the slope of the distance in λ, and the steps that the leaky unit takes."""
    w = numbers.weights.sel(model=["curved", "singular"]).values
    residual = w.prod(axis=-1) - np.array([s.target, 0.0])[:, None, None]
    D = w[..., 0] ** 2 - w[..., 1] ** 2
    factor = (1 - s.lr * s.weight_decay) ** 2 - (2 * s.lr * residual) ** 2
    scale = (w[..., :-1, :] ** 2).sum(axis=-1)
    memorised = (numbers.train_loss.sel(model="leaky") <= 0.01).values
    below = numbers.weights.sel(model="leaky").values @ np.asarray(s.x) <= 0
    return {
        "largest_error_of_exact_law": float((abs(D[..., 1:] - factor[..., :-1] * D[..., :-1]) / scale).max()),
        "distance_to_flow": dict(zip(map(str, s.weight_decays), numbers.distance.values.tolist(), strict=True)),
        "slope_of_distance": fit_log_slope(s.weight_decays, numbers.distance.values),
        "memorised_steps_leaky": [int(np.argmax(reached)) if reached.any() else None for reached in memorised],
        "steps_below_kink_leaky": below.sum(axis=-1).tolist(),
        "final_norm_singular": np.linalg.norm(w[1, :, -1], axis=-1).tolist(),
    }


def _format_line(s: Settings, summary: Mapping[str, Any]) -> str:
    steps = [step for step in summary["memorised_steps_leaky"] if step is not None]
    norms = summary["final_norm_singular"]
    return (
        f"λ {s.weight_decay:g}; law of w₁² − w₂² holds to {summary['largest_error_of_exact_law']:.0e} a step; "
        f"sup distance to the norm flow ∝ λ^{summary['slope_of_distance']:.3f}; "
        f"singular set: norm {min(norms):.1e}–{max(norms):.1e} at s = {s.duration:g}; "
        f"leaky ReLU: train loss ≤ 0.01 after {min(steps)}–{max(steps)} steps"
    )


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw the trajectories of the three models, and the distance to the flow over λ."""
    decay = rf"$\lambda$ = {s.weight_decay:g}"
    titles = (
        rf"two layers, $\hat{{y}} = w_1 w_2 x$ on $1 \to {s.target:g}$, {decay}: a curved set",
        rf"the same on $1 \to 0$, {decay}: a set with a singular point",
        rf"one layer with leaky ReLU on $(1, 1) \to 2$, {decay}",
    )
    t = np.geomspace(1 / REACH, REACH, 200)
    axis = np.array([-REACH, REACH])
    sets = {
        "curved": [(t, s.target / t), (-t, -s.target / t)],
        "singular": [(axis, 0 * axis), (0 * axis, axis)],
        "leaky": [(axis, 2 - axis)],
    }
    points = plots.make_grid((-REACH, REACH), (-REACH, REACH))
    product, leaky = points.prod(axis=-1), Unit(s.x, s.y, s.negative_slope).loss(points)
    losses = {"curved": (product - s.target) ** 2, "singular": product**2, "leaky": leaky}
    for letter, title, model in zip("abc", titles, PANELS, strict=True):
        axes = place(letter, title)
        plots.shade_landscape(axes, points[..., 0], points[..., 1], losses[model], LEVELS)
        for curve in sets[model]:
            axes.plot(*curve, label="zero loss", **plots.ZERO_LOSS)
        _draw_trajectories(axes, numbers.sel(model=model), s)
        if model == "leaky":
            label = f"kink; below it, slope {s.negative_slope:g}"
            draw_curves(axes, axis, -axis, "grey", label, "--", linewidth=0.8)
        if model != "singular":
            plots.add_time_legend(axes, s.slow_times, loc="lower left" if model == "leaky" else "lower right")
    _draw_distances(place("d", "(a) from a start on the set: distance to the norm flow"), numbers, s)


def _draw_trajectories(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    marked = count_slow_steps(s.slow_times, s.lr, s.weight_decay)
    for colour, weights, flow in zip(COLOURS, numbers.weights.values, numbers.flow.values, strict=True):
        plots.draw_trajectory(axes, weights, plots.COLOURS[colour])
        plots.mark_times(axes, weights[marked], flow[marked], plots.COLOURS[colour])
    axes.set_aspect("equal")
    axes.set(xlabel="$w_1$", ylabel="$w_2$", xlim=(-REACH, REACH), ylim=(-REACH, REACH))


def _draw_distances(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    decays, distance = numbers.weight_decay.values, numbers.distance.values
    draw_curves(axes, decays, distance, "blue", f"from ({plots.format_numbers(s.start_on_set)})", "o")
    draw_curves(axes, decays, decays * distance[-1] / decays[-1], "black", "slope 1", "--", linewidth=0.8)
    axes.set_box_aspect(1)
    ylabel = f"greatest distance, s from 0 to {s.duration_on_set:g}"
    finish_axes(axes, "upper left", xlabel=r"$\lambda$", ylabel=ylabel, **LOG_LOG)


STUDY = Study(
    name="figure3",
    title="Figure 3 of arXiv 2511.01938: curved, singular and kinked zero-loss sets",
    description="zero-loss sets that are curved, singular, or seen through a leaky ReLU",
    expected_time="4 s",
    full=Settings(),
    quick=replace(Settings(), duration=2.0, weight_decays=(0.1, 0.03, 0.01), quick=True),
    grids=grids,
    analyse=analyse,
    summarise=summarise,
    line=_format_line,
    layout=Layout("ab cd", 10.5, 8.9, {"wspace": 0.03, "hspace": 0.02}),
    panels=panels,
    mark=lambda s: f"to s = {s.duration:g}, {len(s.weight_decays)} λ",
)
