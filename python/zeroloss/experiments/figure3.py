"""Figure 3: zero-loss sets that are curved, singular, or seen through a leaky ReLU; trajectories from several starts.

(a) A two-layer linear network, ŷ = w₁w₂x on 1 → c, c = 1. (b) The same with c = 0, whose zero-loss set, the two axes,
is singular at the origin. (c) One layer with leaky ReLU on (1, 1) → 2. (d) How far descent on (a), from a start on the
set, is from the norm-minimising flow, for smaller and smaller λ.

In (a, b) descent and the flow keep a law of D = w₁² − w₂²: D⁺ = [(1 − lr λ)² − (2 lr (w₁w₂ − c))²] D in each step, and
D = D₀ e^{−2s} in slow time s = λ · lr · steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import datasets, networks, plots
from ..datasets import Dataset
from ..dynamics import GradientDescent
from ..networks import Network
from .ensemble import simulate_seeds
from .output import Result, labelled, settings_of
from .toys import Unit, slow_steps

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FULL", "QUICK", "Settings", "draw", "product_flow", "run"]

COLOURS = ("blue", "vermilion", "green", "purple", "orange", "sky")  # of the starts
PANELS = ("curved", "singular", "leaky")
LEVELS = np.geomspace(0.03, 100, 9)  # of the train loss
REACH = 2.9  # of the axes


@dataclass(frozen=True)
class Settings:
    """What determines the numbers of the figure; the models are the paper's. Nothing is random."""

    target: float = 1.0
    x: tuple[float, ...] = (1.0, 1.0)
    y: float = 2.0
    negative_slope: float = 0.1
    starts_curved: tuple[tuple[float, float], ...] = (
        (-0.5, 2.4),
        (2.6, 1.6),
        (2.4, -0.8),
        (-2.4, 0.2),
        (-1.2, -2.6),
        (0.8, -1.1),
    )
    starts_singular: tuple[tuple[float, float], ...] = (
        (2.5, 1.5),
        (1.2, 2.4),
        (-1.8, 1.8),
        (-2.6, -1.2),
        (-0.7, -2.3),
        (1.9, -1.4),
    )
    starts_leaky: tuple[tuple[float, float], ...] = (
        (2.5, 2.2),
        (1.4, -0.8),
        (1.5, -2.6),
        (0.2, -2.2),
        (-2.4, -0.9),
        (-2.5, 1.6),
    )
    lr: float = 0.01
    weight_decay: float = 0.1
    slow_times: tuple[float, ...] = (0.5, 1.0, 2.0)
    duration: float = 4.0
    start_on_set: tuple[float, float] = (2.5, 0.4)
    weight_decays: tuple[float, ...] = (0.1, 0.03, 0.01, 0.003, 0.001)
    duration_on_set: float = 2.0
    records_on_set: int = 200
    quick: bool = False


FULL = Settings()
QUICK = replace(FULL, duration=2.0, weight_decays=(0.1, 0.03, 0.01), quick=True)


def run(settings: Settings) -> Result:
    """Simulate and analyse the figure at given settings."""
    numbers = _numbers(settings)
    summary = _summary(settings, numbers)
    return Result(numbers, asdict(settings), [], summary, _line(settings, summary), draw)


def problem(start: Sequence[float], target: float) -> tuple[Dataset, Network]:
    """Return the sample 1 → target and the network ŷ = w₁w₂x."""
    return datasets.from_arrays([[1.0]], [[target]]), networks.from_arrays([[start[0]]], [[start[1]]], "identity")


def descend(
    settings: Settings, starts: Sequence[Sequence[float]], target: float, weight_decay: float, steps: int, every: int
) -> NDArray[np.float64]:
    """Train ŷ = w₁w₂x from several starts, and return the weights (start, record, 2)."""
    runs = simulate_seeds(
        GradientDescent(settings.lr, weight_decay),
        lambda index: problem(starts[index], target),
        range(len(starts)),
        steps=steps,
        record_every=max(steps, 1),
        snapshot_every=every,
        unit="start",
    )
    layers = [(run.snapshots.E.values, run.snapshots.W.values) for run in runs if run.snapshots is not None]
    return np.stack([np.concatenate([E[:, 0], W[:, 0]], axis=-1) for E, W in layers])


def product_flow(starts: ArrayLike, target: float, slow_time: ArrayLike) -> NDArray[np.float64]:
    """Return the norm-minimising flow on {w₁w₂ = c} from where descent without decay lands, which keeps D = w₁² − w₂².

    D = D₀ e^{−2s}, and the greater of w₁², w₂² is (|D| + √(D² + 4c²))/2. (From w₁ = −w₂ · sign(c) descent never lands:
    it goes to the saddle at the origin.)

    Parameters
    ----------
    starts : array_like, (m, 2)
        The weights at step 0, on the set or off it.
    target : float
        c.
    slow_time : array_like, (k,)
        Slow time s.

    Returns
    -------
    ndarray, (m, k, 2)
    """
    start = np.asarray(starts, dtype=np.float64)
    D = (start[:, :1] ** 2 - start[:, 1:] ** 2) * np.exp(-2 * np.asarray(slow_time))
    first = abs(start[:, :1]) >= abs(start[:, 1:])  # w₁ is the greater one, and keeps its sign
    sign = np.where(first, np.sign(start[:, :1]), np.sign(start[:, 1:]))
    greater = sign * np.sqrt((abs(D) + np.sqrt(D**2 + 4 * target**2)) / 2)
    lesser = np.divide(target, greater, out=np.zeros_like(greater), where=greater != 0)
    return np.stack([np.where(first, greater, lesser), np.where(first, lesser, greater)], axis=-1)


def _numbers(settings: Settings) -> xr.Dataset:
    """Return all numbers of the picture over model, start, step and weight, and over λ."""
    steps = int(slow_steps(settings.duration, settings.lr, settings.weight_decay))
    slow_time = settings.lr * settings.weight_decay * np.arange(steps + 1)
    unit = Unit(settings.x, settings.y, settings.negative_slope)
    starts = (settings.starts_curved, settings.starts_singular, settings.starts_leaky)
    targets = (settings.target, 0.0)
    weights = [
        descend(settings, own, target, settings.weight_decay, steps, 1)
        for own, target in zip(starts[:2], targets, strict=True)
    ]
    flow = [product_flow(own, target, slow_time) for own, target in zip(starts[:2], targets, strict=True)]
    weights.append(unit.descend(starts[2], settings.lr, settings.weight_decay, steps))
    flow.append(unit.norm_flow(starts[2], slow_time))
    losses = [(w.prod(axis=-1) - target) ** 2 for w, target in zip(weights[:2], targets, strict=True)]
    path = ("model", "start", "step", "weight")
    return labelled(
        "Figure 3 of arXiv 2511.01938: curved, singular and kinked zero-loss sets",
        settings,
        {
            "weights": (path, np.stack(weights), "weights w₁, w₂ of descent"),
            "flow": (path, np.stack(flow), "norm-minimising flow at the same slow time"),
            "train_loss": (
                path[:3],
                np.stack([*losses, unit.loss(weights[2])]),
                "squared error on the training sample",
            ),
            "distance": (
                ("weight_decay",),
                distances_to_flow(settings),
                "sup over s of descent's distance to the flow",
            ),
        },
        {
            "model": (np.array(PANELS, dtype=object), "model of the panel"),
            "step": (np.arange(steps + 1), "number of steps taken"),
            "weight_decay": (np.array(settings.weight_decays), "λ, which multiplies w in the update"),
        },
    )


def distances_to_flow(settings: Settings) -> NDArray[np.float64]:
    """Return for each λ the greatest distance between descent from a start on the set and the flow."""
    found = []
    for decay in settings.weight_decays:
        steps = int(slow_steps(settings.duration_on_set, settings.lr, decay))
        every = max(1, steps // settings.records_on_set)
        weights = descend(settings, [settings.start_on_set], settings.target, decay, steps, every)
        at = np.append(np.arange(0, steps, every), steps)
        flow = product_flow([settings.start_on_set], settings.target, settings.lr * decay * at)
        found.append(np.linalg.norm(weights - flow, axis=-1).max())
    return np.array(found)


def _summary(settings: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return how well the exact law of D holds, the slope of the distance in λ, and how long the leaky unit takes."""
    w = numbers.weights.sel(model=["curved", "singular"]).values
    residual = w.prod(axis=-1) - np.array([settings.target, 0.0])[:, None, None]
    D = w[..., 0] ** 2 - w[..., 1] ** 2
    factor = (1 - settings.lr * settings.weight_decay) ** 2 - (2 * settings.lr * residual) ** 2
    scale = (w[..., :-1, :] ** 2).sum(axis=-1)
    slope = np.polyfit(np.log(settings.weight_decays), np.log(numbers.distance.values), 1)[0]
    memorised = (numbers.train_loss.sel(model="leaky") <= 0.01).values
    below = numbers.weights.sel(model="leaky").values @ np.asarray(settings.x) <= 0
    return {
        "largest_error_of_exact_law": float((abs(D[..., 1:] - factor[..., :-1] * D[..., :-1]) / scale).max()),
        "distance_to_flow": dict(zip(map(str, settings.weight_decays), numbers.distance.values.tolist(), strict=True)),
        "slope_of_distance": float(slope),
        "memorised_steps_leaky": [int(np.argmax(reached)) if reached.any() else None for reached in memorised],
        "steps_below_kink_leaky": below.sum(axis=-1).tolist(),
        "final_norm_singular": np.linalg.norm(w[1, :, -1], axis=-1).tolist(),
    }


def _line(settings: Settings, summary: Mapping[str, Any]) -> str:
    steps = [step for step in summary["memorised_steps_leaky"] if step is not None]
    norms = summary["final_norm_singular"]
    return (
        f"λ {settings.weight_decay:g}; law of w₁² − w₂² holds to {summary['largest_error_of_exact_law']:.0e} a step; "
        f"sup distance to the norm flow ∝ λ^{summary['slope_of_distance']:.3f}; "
        f"singular set: norm {min(norms):.1e}–{max(norms):.1e} at s = {settings.duration:g}; "
        f"leaky ReLU: train loss ≤ 0.01 after {min(steps)}–{max(steps)} steps"
    )


def draw(numbers: xr.Dataset) -> Figure:
    """Draw the trajectories of the three models, and the distance to the flow over λ."""
    settings = settings_of(numbers, Settings)
    figure = plots.new_figure(10.5, 8.9)
    a, b, c, d = figure.subfigures(2, 2, squeeze=False, wspace=0.03, hspace=0.02).ravel()
    decay = rf"$\lambda$ = {settings.weight_decay:g}"
    plots.panel(a, "a", rf"two layers, $\hat{{y}} = w_1 w_2 x$ on $1 \to {settings.target:g}$, {decay}: a curved set")
    plots.panel(b, "b", rf"the same on $1 \to 0$, {decay}: a set with a singular point")
    plots.panel(c, "c", rf"one layer with leaky ReLU on $(1, 1) \to 2$, {decay}")
    plots.panel(d, "d", "(a) from a start on the set: distance to the norm flow")
    unit = Unit(settings.x, settings.y, settings.negative_slope)
    t = np.geomspace(1 / REACH, REACH, 200)
    axis = np.array([-REACH, REACH])
    sets = {
        "curved": [(t, settings.target / t), (-t, -settings.target / t)],
        "singular": [(axis, 0 * axis), (0 * axis, axis)],
        "leaky": [(axis, 2 - axis)],
    }
    points = plots.grid((-REACH, REACH), (-REACH, REACH))
    product = points.prod(axis=-1)
    losses = {"curved": (product - settings.target) ** 2, "singular": product**2, "leaky": unit.loss(points)}
    for place, model in zip((a, b, c), PANELS, strict=True):
        axes = place.subplots()
        plots.landscape(axes, points[..., 0], points[..., 1], losses[model], LEVELS)
        for curve in sets[model]:
            axes.plot(*curve, label="zero loss", **plots.ZERO_LOSS)
        _trajectories(axes, numbers.sel(model=model), settings)
        if model == "leaky":
            label = f"kink; below it, slope {settings.negative_slope:g}"
            axes.plot(axis, -axis, color=plots.COLOURS["grey"], linewidth=0.8, linestyle="--", label=label)
        if model != "singular":
            plots.time_legend(axes, settings.slow_times, loc="lower left" if model == "leaky" else "lower right")
    _distances(d.subplots(), numbers, settings)
    if settings.quick:
        plots.mark_quick(figure, f"to s = {settings.duration:g}, {len(settings.weight_decays)} λ")
    return figure


def _trajectories(axes: Axes, numbers: xr.Dataset, settings: Settings) -> None:
    marked = slow_steps(settings.slow_times, settings.lr, settings.weight_decay)
    for colour, weights, flow in zip(COLOURS, numbers.weights.values, numbers.flow.values, strict=True):
        plots.trajectory(axes, weights, plots.COLOURS[colour])
        plots.times(axes, weights[marked], flow[marked], plots.COLOURS[colour])
    axes.set_aspect("equal")
    axes.set(xlabel="$w_1$", ylabel="$w_2$", xlim=(-REACH, REACH), ylim=(-REACH, REACH))


def _distances(axes: Axes, numbers: xr.Dataset, settings: Settings) -> None:
    decays, distance = numbers.weight_decay.values, numbers.distance.values
    axes.loglog(
        decays, distance, "o", color=plots.COLOURS["blue"], label=f"from ({plots.listed(settings.start_on_set)})"
    )
    axes.loglog(decays, decays * distance[-1] / decays[-1], "k--", linewidth=0.8, label="slope 1")
    axes.set(xlabel=r"$\lambda$", ylabel=f"greatest distance, s from 0 to {settings.duration_on_set:g}")
    axes.set_box_aspect(1)
    axes.legend(loc="upper left")
