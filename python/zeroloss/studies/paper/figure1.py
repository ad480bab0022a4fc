"""Figure 1: a linear unit memorises one sample, and weight decay moves it along the zero-loss line to generalise.

ŷ = w₁x₁ + w₂x₂ learns (1, 1) → 2 from (−1, 1). Descent reaches the line w₁ + w₂ = 2 within about ten steps. Then it
slides along the line to its shortest point (1, 1), which is addition, at a speed proportional to λ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ... import plots
from .. import Layout, Places, Study, label_numbers
from .._drawing import draw_curves
from ._toys import Unit

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

COLOURS = ("blue", "orange", "vermilion")  # Of the weight decays.
MARKED = (10, 100, 1000)  # The trajectories have marks at these steps.
LEARNT = 0.01  # The loss at which a sample, or addition, counts as learnt.
TARGET = np.array([1.0, 1.0])  # y = x₁ + x₂


@dataclass(frozen=True)
class Settings:
    """Settings of the figure. The defaults are the paper's. ``seeds`` is the number of draws of the test samples."""

    x: tuple[float, ...] = (1.0, 1.0)
    y: float = 2.0
    start: tuple[float, ...] = (-1.0, 1.0)
    lr: float = 0.1
    weight_decays: tuple[float, ...] = (0.01, 0.1, 0.2)
    test_samples: int = 100
    steps: int = 10_000
    seeds: int = 1
    quick: bool = False


def analyse(s: Settings) -> xr.Dataset:
    """Return all numbers of the picture over seed, weight decay and step."""
    unit = Unit(s.x, s.y)
    weights = unit.descend([s.start] * len(s.weight_decays), s.lr, s.weight_decays, s.steps)
    error = weights - TARGET
    samples = [np.random.default_rng(seed).standard_normal((s.test_samples, 2)) for seed in range(s.seeds)]
    test_loss = [np.einsum("...i,ij,...j->...", error, x.T @ x / len(x), error) for x in samples]
    curve = ("weight_decay", "step")
    return label_numbers(
        {
            "weights": ((*curve, "weight"), weights, "weights w₁, w₂"),
            "train_loss": (curve, unit.loss(weights), "squared error on the training sample"),
            "test_loss": (("seed", *curve), np.stack(test_loss), "mean squared error on the test samples"),
            "expected_test_loss": (curve, (error**2).sum(axis=-1), "|w − (1, 1)|², the expectation of the test loss"),
        },
        {
            "step": (np.arange(weights.shape[1]), "number of steps taken"),
            "weight_decay": (s.weight_decays, "λ, which multiplies w in the update"),
            "seed": (np.arange(s.seeds), "seed index of the test samples"),
        },
    )


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return for each λ when descent reaches the set, when the unit generalises, and where it comes to rest."""
    train, expected = numbers.train_loss.values, numbers.expected_test_loss.values
    final = numbers.weights.values[:, -1]
    return {
        "weight_decays": list(s.weight_decays),
        "memorised_steps": [_find_first(loss <= LEARNT) for loss in train],
        "generalised_steps": [_find_first(loss <= LEARNT) for loss in expected],
        "final_weights": final.tolist(),
        "final_distance": np.linalg.norm(final - TARGET, axis=-1).tolist(),
        "final_train_loss": train[:, -1].tolist(),
        "final_test_loss": numbers.test_loss.values[:, :, -1].tolist(),
        "final_expected_test_loss": expected[:, -1].tolist(),
    }


def _find_first(reached: NDArray[np.bool_]) -> int | None:
    return int(np.argmax(reached)) if reached.any() else None


def _format_line(s: Settings, summary: Mapping[str, Any]) -> str:
    def join(values: list[Any], form: str) -> str:
        return ", ".join("never" if value is None else format(value, form) for value in values)

    return (
        f"λ {join(summary['weight_decays'], 'g')}; "
        f"train loss ≤ {LEARNT} at step {join(summary['memorised_steps'], 'd')}; "
        f"expected test loss ≤ {LEARNT} at step {join(summary['generalised_steps'], 'd')}; "
        f"final |w − (1, 1)| {join(summary['final_distance'], '.4f')}"
    )


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw the train loss, the test loss, and the trajectories with the zero-loss line."""
    _draw_losses(place("a", r"train loss on $(1, 1) \to 2$"), numbers, "train_loss")
    _draw_losses(place("b", f"test loss on {s.test_samples} samples of $y = x_1 + x_2$"), numbers, "test_loss")
    _draw_trajectories(place("c", "trajectories, over the train loss"), numbers, s)


def _draw_losses(axes: Axes, numbers: xr.Dataset, name: str) -> None:
    """Draw the losses of each λ, and of each seed if there are several."""
    width = 1.3 if numbers[name].size == numbers.train_loss.size else 0.7
    for colour, decay in zip(COLOURS, numbers.weight_decay.values, strict=True):
        curves = numbers[name].sel(weight_decay=decay).values
        draw_curves(axes, numbers.step, curves, colour, rf"$\lambda$ = {decay:g}", linewidth=width)
    if name == "test_loss":
        label = r"$|w - (1, 1)|^2$, expected"
        draw_curves(axes, numbers.step, numbers.expected_test_loss, "black", label, "--", linewidth=0.8)
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    axes.set(xlabel="step", ylabel=name.replace("_", " "), yscale="log", xlim=(0, numbers.step[-1]))
    axes.legend(loc="lower left")


def _draw_trajectories(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    """Draw the trajectories, and in an inset where they come to rest: short of the line by λ."""
    points = plots.make_grid((-1.3, 2), (-0.7, 2.6))
    losses = Unit(s.x, s.y).loss(points)
    plots.shade_landscape(axes, points[..., 0], points[..., 1], losses, np.geomspace(0.03, 10, 8))
    inset = axes.inset_axes((0.09, 0.07, 0.4, 0.4))
    for part in (axes, inset):
        part.axline((0, 2), slope=-1, **plots.ZERO_LOSS, label="zero loss")
        for colour, decay in zip(COLOURS, numbers.weight_decay.values, strict=True):
            weights = numbers.weights.sel(weight_decay=decay)
            plots.draw_trajectory(part, weights.values, plots.COLOURS[colour], rf"$\lambda$ = {decay:g}")
            for step, size in zip(MARKED, (3, 4.5, 6), strict=True):
                part.plot(*weights.sel(step=step).values, "o", color=plots.COLOURS[colour], markersize=size, zorder=5)
        part.plot(*TARGET, "*", color="black", markersize=9, label="(1, 1), addition", zorder=6)
        part.set_aspect("equal")
    axes.set(xlabel="$w_1$", ylabel="$w_2$")
    inset.set(xlim=(0.85, 1.1), ylim=(0.85, 1.1), xticks=(0.9, 1, 1.1), yticks=(0.9, 1, 1.1))
    axes.indicate_inset_zoom(inset, edgecolor=plots.COLOURS["grey"])
    draw_curves(axes, [], [], "grey", f"after {', '.join(map(str, MARKED))} steps", "o", markersize=4.5)
    axes.legend(loc="upper right")


STUDY = Study(
    name="figure1",
    title="Figure 1 of arXiv 2511.01938: a linear unit on one sample",
    description="a linear unit memorises one sample, then slides along the zero-loss line",
    expected_time="3 s",
    full=Settings(),
    quick=replace(Settings(), steps=2000, quick=True),
    analyse=analyse,
    summarise=summarise,
    line=_format_line,
    seeds=lambda s: [{"seed": index, "test": index} for index in range(s.seeds)],
    layout=Layout("ac bc", 10.5, 5.4, {"wspace": 0.04, "hspace": 0.02, "width_ratios": (1, 1.02)}),
    panels=panels,
    mark=lambda s: f"{s.steps} steps",
)
