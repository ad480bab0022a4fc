"""Study: the sharpness along gradient descent, against the edge of stability 2/lr.

Descent with learning rate lr is unstable along an eigenvector of the Hessian with an eigenvalue above 2/lr. The study
records the sharpness, which is the largest eigenvalue, as a multiple of 2/lr, for several learning rates and weight
decays. At the edge of stability this ratio stays at 1. The paper's setting, lr 1 and weight decay 1e-4, is included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ... import _checks
from ..._checks import ArgumentValueError
from ...curvature import SharpnessMeasure
from ...dynamics import GradientDescent
from ...simulation import simulate
from .. import Cube, Grid, Layout, Places, Study, label_numbers, select_settings
from .._drawing import choose_shades, draw_curves, finish_axes
from .._memorised import AdditionSettings, estimate_flops, make_addition

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Settings(AdditionSettings):
    """Settings of the study. The ratio is summarised from step ``first`` to step ``last``."""

    activations: tuple[str, ...] = ("relu", "softplus(5)")
    learning_rates: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    weight_decays: tuple[float, ...] = (2.5e-5, 1e-4)
    steps: int = 4000
    record_every: int = 20
    first: int = 400
    last: int = 1600


def check(s: Settings) -> None:
    """Raise ValueError for values that are equal or not above 0, and for steps out of order."""
    _checks.check_distinct("activations", s.activations, at_least=1)
    _checks.integer("record_every", s.record_every, 1)
    for name in ("learning_rates", "weight_decays"):
        _checks.check_distinct(name, getattr(s, name), at_least=1)
        for value in getattr(s, name):
            _checks.positive(name, value)
    if not 0 <= s.first < s.last <= s.steps or s.last - s.first < s.record_every:
        raise ArgumentValueError(
            ("first", "last"),
            f"expected a record in between and 0 ≤ first < last ≤ {s.steps}, got {s.first} and {s.last}",
        )


def descend(
    p: int, hidden: int, activation: str, seed: int, lr: float, weight_decay: float, steps: int, record_every: int
) -> dict[str, NDArray[np.float64] | float]:
    """Descend from initialisation, and return the ratio of the sharpness to 2/lr, and the training loss.

    After a failure, such as a divergence, the numbers are NaN, and ``failed`` is 1.
    """
    data, net = make_addition(p, hidden, activation, seed)
    measures = {"sharpness": SharpnessMeasure(data)}
    descent = GradientDescent(lr, weight_decay)
    run = simulate(descent, data, net, steps=steps, record_every=record_every, measures=measures, threads=1)
    at = np.arange(0, steps + 1, record_every)
    history = run.history.reindex(step=at)
    failed = float(not run.outcome.ending.can_continue)
    return {"ratio": history.sharpness.values * lr / 2, "train_loss": history.train_loss.values, "failed": failed}


def grids(s: Settings) -> list[Grid]:
    """Return the descents with every activation, learning rate, weight decay and seed."""
    common = select_settings(s, "p hidden steps record_every")
    over = {
        "activation": s.activations,
        "lr": s.learning_rates,
        "weight_decay": s.weight_decays,
        "seed": range(s.seeds),
    }
    # A record takes as long as about 60 steps.
    flops = estimate_flops(s.p, s.hidden, s.activations[0]) * (1 + 60 / s.record_every)
    return [Grid(descend, over, lambda **labels: {**common, **labels}, lambda steps, **_: steps, flops=flops)]


def analyse(s: Settings, descents: Cube) -> xr.Dataset:
    """Return the ratios and losses."""
    axes = ("activation", "lr", "weight_decay", "seed", "step")
    return label_numbers(
        {
            "ratio": (axes, descents["ratio"], "sharpness as a multiple of 2/lr"),
            "train_loss": (axes, descents["train_loss"], "training loss"),
            "failed": (axes[:-1], descents["failed"], "whether the run failed, such as by divergence"),
        },
        {
            "activation": (s.activations, "activation"),
            "lr": (s.learning_rates, "learning rate"),
            "weight_decay": (s.weight_decays, "weight decay, which multiplies θ"),
            "seed": (np.arange(s.seeds), "seed index"),
            "step": (np.arange(0, s.steps + 1, s.record_every), "step"),
        },
    )


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return the ratio in the window by activation, learning rate and decay.

    It has the mean and the range over all records and seeds, and the range over seeds of the median over records. Runs
    that failed do not count. Their number is ``failed``, if there are any.
    """
    window = numbers.ratio.sel(step=slice(s.first, s.last)).where(numbers.failed == 0)
    summary: dict[str, Any] = {}
    for name in s.activations:
        for lr in s.learning_rates:
            for decay in s.weight_decays:
                ratio = window.sel(activation=name, lr=lr, weight_decay=decay)
                medians = ratio.median("step")
                summary[f"{name}, lr {lr:g}, weight decay {decay:g}"] = {
                    "mean": float(ratio.mean()),
                    "least": float(ratio.min()),
                    "greatest": float(ratio.max()),
                    "least_median": float(medians.min()),
                    "greatest_median": float(medians.max()),
                }
                if failed := int(numbers.failed.sel(activation=name, lr=lr, weight_decay=decay).sum()):
                    summary[f"{name}, lr {lr:g}, weight decay {decay:g}"]["failed"] = failed
    return summary


def _format_table(s: Settings, numbers: xr.Dataset, summary: Mapping[str, Any]) -> str:
    head = f"sharpness · lr/2, steps {s.first} to {s.last}"
    rows = [f"{head:44} {'mean':>6}   {'range':15}   medians of seeds"]
    for name, ratio in summary.items():
        failed, values = ratio.get("failed", 0), ""
        if failed < s.seeds:
            values = f"{ratio['mean']:6.3f}   {ratio['least']:.3f} … {ratio['greatest']:.3f}"
            values += f"   {ratio['least_median']:.3f} … {ratio['greatest_median']:.3f}"
        rows.append(f"{name:44} {values}" + f"   {failed} of {s.seeds} runs failed" * (failed > 0))
    return "\n".join(rows)


def _format_line(s: Settings, summary: Mapping[str, Any]) -> str:
    parts = []
    for name in s.activations:
        for decay in s.weight_decays:
            keys = [f"{name}, lr {lr:g}, weight decay {decay:g}" for lr in s.learning_rates]
            means = ", ".join(_format_mean(summary[key], s.seeds) for key in keys)
            parts.append(f"{name}, weight decay {decay:g}: {means}")
    rates = ", ".join(f"{lr:g}" for lr in s.learning_rates)
    return f"sharpness · lr/2 at lr {rates}, steps {s.first} to {s.last}; {'; '.join(parts)}"


def _format_mean(ratio: Mapping[str, Any], seeds: int) -> str:
    """Return the mean of the runs that did not fail, and how many failed."""
    failed = int(ratio.get("failed", 0))
    if failed == seeds:
        return "failed"
    return f"{ratio['mean']:.2f}" + f" ({failed} of {seeds} failed)" * (failed > 0)


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw the ratio through time, a part for each activation and weight decay."""
    shades = choose_shades(len(s.learning_rates), 0.9, 0.1)
    parts = [(name, decay) for decay in s.weight_decays[:2] for name in s.activations[:2]]
    for letter, (name, decay) in zip("abcd", parts, strict=False):
        axes = place(letter, f"{name}, weight decay {decay:g}")
        shown = numbers.ratio.sel(activation=name, weight_decay=decay)
        for shade, lr in zip(shades, s.learning_rates, strict=True):
            curves = shown.sel(lr=lr).transpose("seed", "step")
            draw_curves(axes, shown.step, curves, shade, f"lr {lr:g}", linewidth=0.8)
        axes.axhline(1, color="black", linewidth=0.9, linestyle="--")
        finish_axes(axes, "upper right", xlabel="step", ylabel="sharpness · lr/2", xlim=(0, s.steps), ylim=(0, 1.6))


STUDY = Study(
    name="edge_of_stability",
    title="Sharpness along gradient descent and the edge of stability",
    description="does the sharpness reach 2/lr, the edge of stability?",
    expected_time="1 min",
    full=Settings(),
    quick=replace(Settings(), learning_rates=(1.0, 4.0), steps=1600, seeds=1, quick=True),
    check=check,
    budget="steps",
    grids=grids,
    analyse=analyse,
    summarise=summarise,
    table=_format_table,
    line=_format_line,
    layout=Layout("ab cd", 11.0, 8.0, {"wspace": 0.03, "hspace": 0.03}),
    panels=panels,
    mark=lambda s: f"{len(s.learning_rates)} learning rates, to step {s.steps}",
)
