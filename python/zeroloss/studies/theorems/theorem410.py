"""Theorem 4.10: for almost every dataset the zero-loss set has no singular points.

(a) The smallest singular value of J at the projection of θ, along descent on modular addition. (b) What the exception
looks like: two linear layers, ŷ = w₁w₂x, where J = (w₂, w₁) has the singular value ‖w‖: with the target 1 it stays
above √2, with the target 0 it goes to 0 as e^{−s}.
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
from ...sweeps.engine import Cube, Grid, finished
from .._layout import Layout, Places
from .._memorised import addition
from .._study import Study, labelled
from .._words import rows_of_text, spelled
from ..paper.figure3 import product_flow

if TYPE_CHECKING:
    import xarray as xr

TOLD = (200, 1000, 5000, 10_000, 40_000)  # steps of the table


@dataclass(frozen=True)
class Settings:
    """What determines the numbers: the setting of figure 5, and two starts of the linear layers."""

    p: int = 11
    hidden: int = 128
    activation: str = "relu"
    weight_decay: float = 1e-4
    steps: int = 40_000
    record_every: int = 200
    start: tuple[float, float] = (2.5, 1.5)
    duration: float = 6.0
    seeds: int = 5
    quick: bool = False


def descend(
    p: int, hidden: int, activation: str, seed: int, weight_decay: float, steps: int, every: int
) -> dict[str, NDArray[Any]]:
    """Descend from a seed's start, and return the smallest singular value of J at the projection over the steps."""
    data, net = addition(p, hidden, activation, seed)
    descent, measures = GradientDescent(1.0, weight_decay), {"a": AlignmentMeasure(data)}
    run = finished(simulate(descent, data, net, steps=steps, record_every=every, measures=measures))
    return {"step": run.history.step.values, "smallest": run.history.a_smallest_singular_value.values}


def grids(s: Settings) -> list[Grid]:
    """Return the descents."""
    names = ("p", "hidden", "activation", "weight_decay", "steps")
    common = {**{name: getattr(s, name) for name in names}, "every": s.record_every}
    return [Grid(descend, {"seed": range(s.seeds)}, lambda seed: {**common, "seed": seed}, lambda steps, **_: steps)]


def analyse(s: Settings, descents: Cube) -> xr.Dataset:
    """Return the smallest singular values."""
    slow_time = np.linspace(0, s.duration, 121)
    flows = [product_flow([s.start], target, slow_time)[0] for target in (1.0, 0.0)]
    product = np.linalg.norm(flows, axis=-1)
    meaning = "singular value of J of two linear layers along the norm flow"
    return labelled(
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
    """Return the smallest values of all."""
    least = numbers.network.min("step").values
    return {
        "smallest": [float(least.min()), float(least.max())],
        "smallest_of_product": {str(c): float(numbers.product.sel(target=c).min()) for c in (1.0, 0.0)},
    }


def _line(s: Settings, summary: Mapping[str, Any]) -> str:
    product = summary["smallest_of_product"]
    return (
        f"smallest singular value of J over {s.steps} steps {spelled(summary['smallest'], '.3f')}; "
        f"two linear layers at s = {s.duration:g}: {product['1.0']:.3f} (target 1), {product['0.0']:.1e} (0)"
    )


def _table(s: Settings, numbers: xr.Dataset, summary: Mapping[str, Any]) -> str:
    told = [step for step in TOLD if step in numbers.step]
    rows = [
        [str(int(seed)), *(f"{float(numbers.network.sel(seed=seed, step=step)):.3f}" for step in told)]
        for seed in numbers.seed.values
    ]
    return rows_of_text(["seed", *(f"step {step}" for step in told)], rows)


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw both panels."""
    left = place("a", f"addition modulo {s.p}: no singular point on the way")
    right = place("b", "the exception: target 0")
    shown = numbers.isel(step=numbers.step.values > 0)
    plots.runs_and_mean(left, shown.step, shown.network, plots.COLOURS["blue"], f"mean of {s.seeds} seeds")
    left.set(xscale="log", xlabel="step", ylabel=r"smallest singular value of $J$ at the projection", ylim=(0, None))
    left.legend(loc="lower left")
    for target, colour, label in (
        (1.0, "green", r"two linear layers, $1 \to 1$"),
        (0.0, "vermilion", r"two linear layers, $1 \to 0$: as $e^{-s}$"),
    ):
        right.semilogy(numbers.slow_time, numbers.product.sel(target=target), color=plots.COLOURS[colour], label=label)
    right.axhline(np.sqrt(2), color=plots.COLOURS["grey"], linewidth=0.8, linestyle="--", label=r"$\sqrt{2}$")
    right.set(xlabel="slow time s", ylabel=r"singular value of $J = (w_2, w_1)$")
    right.legend(loc="lower left")


STUDY = Study(
    name="theorem410",
    title="Theorem 4.10: the smallest singular value of J",
    about="for almost every dataset the zero-loss set has no singular points",
    takes="8 s",
    full=Settings(),
    quick=replace(Settings(), seeds=2, steps=10_000, quick=True),
    grids=grids,
    analyse=analyse,
    summarise=summarise,
    table=_table,
    line=_line,
    layout=Layout("ab", 10.0, 4.4),
    panels=panels,
    mark=lambda s: f"{s.seeds} seeds, {s.steps} steps",
)
