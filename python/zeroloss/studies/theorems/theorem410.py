"""Theorem 4.10: for almost every dataset the zero-loss set has no singular points.

(a) The smallest singular value of J at the projection of θ, along descent on modular addition. (b) The exception: two
linear layers, ŷ = w₁w₂x, where J = (w₂, w₁) has the singular value ‖w‖. With the target 1 it stays above √2, with the
target 0 it goes to 0 as e^{−s}.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ... import plots
from ...dynamics import GradientDescent
from ...geometry import AlignmentMeasure
from ...simulation import simulate
from .. import Cube, Grid, Layout, Places, Study, checked_run, label_numbers, select_settings
from .._drawing import draw_curves, finish_axes
from .._memorised import AdditionSettings, make_addition
from .._words import format_range, format_table
from ..paper.figure3 import product_flow

if TYPE_CHECKING:
    import xarray as xr

TABLE_STEPS = (200, 1000, 5000, 10_000, 40_000)


@dataclass(frozen=True)
class Settings(AdditionSettings):
    """Settings of the check: those of figure 5, and two starts of the linear layers."""

    activation: str = "relu"
    weight_decay: float = 1e-4
    steps: int = 40_000
    record_every: int = 200
    start: tuple[float, float] = (2.5, 1.5)
    duration: float = 6.0


def descend(
    p: int, hidden: int, activation: str, seed: int, weight_decay: float, steps: int, every: int
) -> dict[str, NDArray[Any]]:
    """Descend from the start of a seed, and return the smallest singular values of J at the projection."""
    data, net = make_addition(p, hidden, activation, seed)
    descent, measures = GradientDescent(1.0, weight_decay), {"a": AlignmentMeasure(data)}
    run = checked_run(simulate(descent, data, net, steps=steps, record_every=every, measures=measures))
    return {"step": run.history.step.values, "smallest": run.history.a_smallest_singular_value.values}


def grids(s: Settings) -> list[Grid]:
    """Return the descents."""
    common = {**select_settings(s, "p hidden activation weight_decay steps"), "every": s.record_every}
    return [Grid(descend, {"seed": range(s.seeds)}, lambda seed: {**common, "seed": seed}, lambda steps, **_: steps)]


def analyse(s: Settings, descents: Cube) -> xr.Dataset:
    """Return the smallest singular values."""
    slow_time = np.linspace(0, s.duration, 121)
    flows = [product_flow([s.start], target, slow_time)[0] for target in (1.0, 0.0)]
    product = np.linalg.norm(flows, axis=-1)
    meaning = "singular value of J of two linear layers along the norm flow"
    return label_numbers(
        {
            "network": (("seed", "step"), descents["smallest"], "smallest singular value of J at the projection"),
            "product": (("target", "slow_time"), product, meaning),
        },
        {
            "seed": (np.arange(s.seeds), "seed index"),
            "step": (descents[0]["step"], "number of steps taken"),
            "target": (np.array([1.0, 0.0]), "target c of the linear layers"),
            "slow_time": (slow_time, "slow time"),
        },
    )


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return the smallest values along the runs."""
    least = numbers.network.min("step").values
    return {
        "smallest": [float(least.min()), float(least.max())],
        "smallest_of_product": {str(c): float(numbers.product.sel(target=c).min()) for c in (1.0, 0.0)},
    }


def _format_line(s: Settings, summary: Mapping[str, Any]) -> str:
    product = summary["smallest_of_product"]
    return (
        f"smallest singular value of J over {s.steps} steps {format_range(summary['smallest'], '.3f')}; "
        f"two linear layers at s = {s.duration:g}: {product['1.0']:.3f} (target 1), {product['0.0']:.1e} (0)"
    )


def _format_table(s: Settings, numbers: xr.Dataset, summary: Mapping[str, Any]) -> str:
    shown = numbers.network.sel(step=[step for step in TABLE_STEPS if step in numbers.step])
    rows = [[str(seed), *(f"{value:.3f}" for value in shown.sel(seed=seed).values)] for seed in range(s.seeds)]
    return format_table(["seed", *(f"step {step}" for step in shown.step.values)], rows)


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw the smallest singular values of the networks and of the linear layers."""
    left = place("a", f"addition modulo {s.p}: no singular point on the way")
    right = place("b", "the exception: target 0")
    shown = numbers.isel(step=numbers.step.values > 0)
    plots.draw_runs(left, shown.step, shown.network, plots.COLOURS["blue"], f"mean of {s.seeds} seeds")
    ylabel = r"smallest singular value of $J$ at the projection"
    finish_axes(left, "lower left", xscale="log", xlabel="step", ylabel=ylabel, ylim=(0, None))
    for target, colour, label in ((1.0, "green", r"$1 \to 1$"), (0.0, "vermilion", r"$1 \to 0$: as $e^{-s}$")):
        product = numbers.product.sel(target=target)
        draw_curves(right, numbers.slow_time, product, colour, f"two linear layers, {label}")
    right.axhline(np.sqrt(2), color=plots.COLOURS["grey"], linewidth=0.8, linestyle="--", label=r"$\sqrt{2}$")
    ylabel = r"singular value of $J = (w_2, w_1)$"
    finish_axes(right, "lower left", yscale="log", xlabel="slow time s", ylabel=ylabel)


STUDY = Study(
    name="theorem410",
    title="Theorem 4.10: the smallest singular value of J",
    description="for almost every dataset the zero-loss set has no singular points",
    expected_time="8 s",
    full=Settings(),
    quick=replace(Settings(), seeds=2, steps=10_000, quick=True),
    grids=grids,
    analyse=analyse,
    summarise=summarise,
    table=_format_table,
    line=_format_line,
    layout=Layout("ab", 10.0, 4.4),
    panels=panels,
    mark=lambda s: f"{s.seeds} seeds, {s.steps} steps",
)
