"""Theorem 4.10: for almost every dataset the zero-loss set has no singular points.

(a) The smallest singular value of J at the projection of θ, along descent on modular addition. (b) What the exception
looks like: two linear layers, ŷ = w₁w₂x, where J = (w₂, w₁) has the singular value ‖w‖: with the target 1 it stays
above √2, with the target 0 it goes to 0 as e^{−s}.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import datasets, networks, plots
from .._machine import available_processors
from ..datasets import Dataset
from ..dynamics import GradientDescent
from ..geometry import AlignmentMeasure
from ..networks import Network
from .ensemble import derived_seeds, simulate_seeds
from .figure3 import product_flow
from .on_manifold import rows_of_text
from .output import Result, labelled, settings_of, spelled

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = ["FULL", "QUICK", "Settings", "draw", "run"]

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


FULL = Settings()
QUICK = replace(FULL, seeds=2, steps=10_000, quick=True)


def run(settings: Settings) -> Result:
    """Compute and analyse at given settings."""

    def problem(index: int) -> tuple[Dataset, Network]:
        seeds = derived_seeds(index)
        data = datasets.modular_addition(settings.p, test_count=7, seed=seeds["data"])
        return data, networks.uniform_fan_in(data, settings.hidden, seeds["network"], settings.activation)

    runs = simulate_seeds(
        GradientDescent(1.0, settings.weight_decay),
        problem,
        range(settings.seeds),
        steps=settings.steps,
        record_every=settings.record_every,
        measures=lambda data: {"a": AlignmentMeasure(data)},
        at_once=settings.seeds if available_processors() > 1 else 1,
    )
    slow_time = np.linspace(0, settings.duration, 121)
    flows = [product_flow([settings.start], target, slow_time)[0] for target in (1.0, 0.0)]
    numbers = labelled(
        "Theorem 4.10: the smallest singular value of J",
        settings,
        {
            "network": (
                ("seed", "step"),
                np.array([one.history.a_smallest_singular_value.values for one in runs]),
                "smallest singular value of J at the projection",
            ),
            "product": (
                ("target", "slow_time"),
                np.linalg.norm(flows, axis=-1),
                "singular value of J of two linear layers along the norm flow",
            ),
        },
        {
            "seed": (np.arange(settings.seeds), "seed index"),
            "step": (runs[0].history.step.values, "number of steps taken"),
            "target": (np.array([1.0, 0.0]), "target c of the linear layers"),
            "slow_time": (slow_time, "slow time"),
        },
    )
    least = numbers.network.min("step").values
    summary: dict[str, Any] = {
        "smallest": [float(least.min()), float(least.max())],
        "smallest_of_product": {str(c): float(numbers.product.sel(target=c).min()) for c in (1.0, 0.0)},
    }
    seeds = [derived_seeds(index) for index in range(settings.seeds)]
    return Result(numbers, asdict(settings), seeds, summary, _line(summary, settings), draw, _table(numbers))


def _line(summary: dict[str, Any], settings: Settings) -> str:
    product = summary["smallest_of_product"]
    return (
        f"smallest singular value of J over {settings.steps} steps {spelled(summary['smallest'], '.3f')}; "
        f"two linear layers at s = {settings.duration:g}: {product['1.0']:.3f} (target 1), {product['0.0']:.1e} (0)"
    )


def _table(numbers: xr.Dataset) -> str:
    told = [step for step in TOLD if step in numbers.step]
    rows = [
        [str(int(seed)), *(f"{float(numbers.network.sel(seed=seed, step=step)):.3f}" for step in told)]
        for seed in numbers.seed.values
    ]
    return rows_of_text(["seed", *(f"step {step}" for step in told)], rows)


def draw(numbers: xr.Dataset) -> Figure:
    """Draw both panels."""
    settings = settings_of(numbers, Settings)
    figure = plots.new_figure(10.0, 4.4)
    a, b = figure.subfigures(1, 2, squeeze=False, wspace=0.04).ravel()
    plots.panel(a, "a", f"addition modulo {settings.p}: no singular point on the way")
    plots.panel(b, "b", "the exception: target 0")
    left, right = a.subplots(), b.subplots()
    shown = numbers.isel(step=numbers.step.values > 0)
    plots.runs_and_mean(left, shown.step, shown.network, plots.COLOURS["blue"], f"mean of {settings.seeds} seeds")
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
    if settings.quick:
        plots.mark_quick(figure, f"{settings.seeds} seeds, {settings.steps} steps")
    return figure
