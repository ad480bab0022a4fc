"""The runs of the studies of delays: descent on modular addition, each to its own budget, and what is read from them.

The same slow time takes each run 1/(lr · weight decay) steps, so that budgets differ by decades: records are spaced
logarithmically, 20 a decade, and what lies between two of them stays open, see `zeroloss.metrics.Crossing`. A run that
diverges is data. Every run has a split and an initialisation of its own, so that fits may take them as independent.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks, datasets, networks
from .._checks import ArgumentValueError
from .._machine import available_processors
from .._progress import progress_bar
from ..datasets import Dataset
from ..dynamics import GradientDescent
from ..metrics import Level
from ..networks import Network
from ..results import Ending
from ..simulation.api import carry_out
from ..simulation.interruption import Interruption
from ..simulation.simulation import Plan as SimulationPlan
from ..simulation.threads import on_threads
from ..survival import DelayLaw, UndeterminedError
from .cells import Arrays, Cells
from .ensemble import MOST_HOURS, derived_seeds, hours_of

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "CURVES",
    "Plan",
    "check_plans",
    "definitions",
    "generalised_first",
    "histories",
    "history_of",
    "laws_of",
    "left_out",
    "plans_of",
    "with_a_delay",
]

CURVES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "norm_E", "norm_W")

_PLACE_SEEDS = 1000


@dataclass(frozen=True)
class Plan:
    """A run: all that determines it."""

    p: int
    hidden: int
    fraction: float
    lr: float
    weight_decay: float
    steps: int
    seed: int

    def problem(self) -> tuple[Dataset, Network]:
        """Return the data and the initial network."""
        seeds = derived_seeds(self.seed)
        data = datasets.modular_addition(self.p, train_fraction=self.fraction, seed=seeds["data"])
        return data, networks.uniform_fan_in(data, self.hidden, seeds["network"])

    def dynamics(self) -> GradientDescent:
        """Return the descent."""
        return GradientDescent(lr=self.lr, weight_decay=self.weight_decay)


def plans_of(
    p: int,
    hidden: int,
    places: Iterable[tuple[float, float, float]],
    seeds: int,
    *,
    duration: float,
    least_steps: int = 0,
) -> list[Plan]:
    """Return the runs of a grid, seed by seed, at each place (fraction, learning rate, weight decay).

    Each covers a duration in slow time, and takes at least so many steps. The seed indices of place k begin at 1000 k.

    Raises
    ------
    ValueError
        For a learning rate, a weight decay or a duration that is not above 0, more steps than can be counted, more
        than 1000 seeds, and no place.
    """
    grid = [
        (fraction, _checks.positive("lr", lr), _checks.positive("weight_decay", decay))
        for fraction, lr, decay in places
    ]
    _checks.positive("duration", duration)
    for _, lr, decay in grid:
        if lr * decay == 0 or math.isinf(duration / (lr * decay)):
            raise ArgumentValueError(
                "weight_decay", f"expected a finite duration / (lr · weight_decay), got {decay} at lr {lr}"
            )
    if not grid or seeds > _PLACE_SEEDS:
        raise ArgumentValueError(
            ("places", "seeds"),
            f"expected at least one place and at most {_PLACE_SEEDS} seeds, got {len(grid)} and {seeds}",
        )
    return [
        Plan(
            p=p,
            hidden=hidden,
            fraction=fraction,
            lr=lr,
            weight_decay=decay,
            steps=max(round(duration / (lr * decay)), least_steps),
            seed=_PLACE_SEEDS * place + seed,
        )
        for seed in range(seeds)
        for place, (fraction, lr, decay) in enumerate(grid)
    ]


def definitions(p: int, accuracy: float, sustained: int) -> dict[str, tuple[Level, Level]]:
    """Return what memorisation and generalisation are, by name.

    All training samples right and a share of the test samples, for the first time or in several records in a row; nine
    tenths of the test samples; or by losses: that of training a tenth of the constant prediction's, (1 − 1/p)/p, and
    that of the test below it.
    """
    constant = (1 - 1 / p) / p
    return {
        "first": (Level("train_accuracy", 1.0), Level("test_accuracy", accuracy)),
        "sustained": (Level("train_accuracy", 1.0, sustained), Level("test_accuracy", accuracy, sustained)),
        "nine tenths": (Level("train_accuracy", 1.0, sustained), Level("test_accuracy", 0.9, sustained)),
        "loss": (
            Level("train_loss", constant / 10, sustained, "below"),
            Level("test_loss", constant, sustained, "below"),
        ),
    }


def laws_of(fit: Callable[[str], DelayLaw], names: Iterable[str]) -> dict[str, DelayLaw]:
    """Return the laws that the runs determine, by name."""
    laws = {}
    for name in names:
        with contextlib.suppress(UndeterminedError, ArithmeticError):
            laws[name] = fit(name)
    return laws


def with_a_delay(runs: xr.Dataset) -> xr.Dataset:
    """Return those of some runs over "run" that memorise, and generalise after that or not in their budget."""
    return runs.isel(run=runs.memorisation.notnull().values & (runs.latest.values > 0))


def generalised_first(runs: xr.Dataset) -> int:
    """Return how many runs generalise before they memorise, as their records have it: these have no delay."""
    return int((runs.latest <= 0).sum())


def left_out(summary: Mapping[str, Any]) -> str:
    """Return what the line tells of them, by the summary's ``generalised_first``."""
    count = summary["generalised_first"]
    if count == 0:
        return ""
    return f", {count} left out that " + (
        "generalises before it memorises" if count == 1 else "generalise before they memorise"
    )


def check_plans(name: str, plans: Sequence[Plan]) -> float:
    """Return how many hours of one core the plans take at most; ValueError where that is more than a day."""
    biggest = max(plans, key=lambda plan: plan.fraction)
    flops = biggest.dynamics().cost(*biggest.problem()).flops
    steps = sum(float(plan.steps) for plan in plans)  # infinite where integers would overflow
    hours = hours_of(steps, flops)
    if hours > MOST_HOURS:
        raise ArgumentValueError(
            name,
            f"expected work of at most {MOST_HOURS:g} hours, got {len(plans)} runs of {steps:.1e} steps in "
            f"all, about {hours:.3g} hours",
        )
    return hours


def histories(name: str, plans: Sequence[Plan], cells: Cells | None) -> list[Arrays]:
    """Return the curves of each plan, with its steps and whether it diverged; the longest runs are the first to begin.

    Raises
    ------
    ValueError
        Where the work would take more than a day.
    KeyboardInterrupt
        Where the user stops them; those that have ended are kept in the cells.
    """
    minutes = 60 * check_plans(name, plans)
    kept = cells if cells is not None else Cells()
    at_once = min(available_processors(), len(plans))
    title = f"{len(plans)} runs, {at_once} at once, at most {minutes:.0f} minutes of a core"
    total = sum(plan.steps for plan in plans)
    bar = progress_bar(None, desc=title, total=total, leave=False)

    def follow(plan: Plan, tell: Callable[[int], None], interruption: Interruption) -> Arrays:
        left = plan.steps

        def tell_own(taken: int) -> None:
            nonlocal left
            left -= taken
            tell(taken)

        curves = kept.cell({"run": "descent", **asdict(plan)}, lambda: _curves(plan, tell_own, interruption))
        tell(left)  # all of a run that was kept, the rest of one that diverged
        return curves

    longest_first = sorted(plans, key=lambda plan: -plan.steps)
    runs = dict(zip(longest_first, on_threads(follow, longest_first, at_once, bar, threading.Event()), strict=True))
    return [runs[plan] for plan in plans]


def _curves(plan: Plan, tell: Callable[[int], None], interruption: Interruption) -> Mapping[str, ArrayLike]:
    recorded = SimulationPlan(steps=plan.steps, record_every="log")
    run = carry_out(plan.dynamics(), *plan.problem(), recorded, 1, tell, interruption)
    if run.outcome.ending is Ending.STOPPED_BY_THE_USER:
        raise KeyboardInterrupt
    curves: dict[str, Any] = {name: run.history[name].values for name in CURVES}
    return {"step": run.history.step.values, **curves, "diverged": run.outcome.ending is not Ending.REACHED_THE_END}


def history_of(run: Mapping[str, ArrayLike], until: int | None = None) -> xr.Dataset:
    """Return the curves of a run over "step", up to a budget that may be smaller than its own."""
    import xarray as xr  # noqa: PLC0415 — slow to import

    steps = np.asarray(run["step"])
    kept = slice(None) if until is None else slice(int(np.searchsorted(steps, until, "right")))
    curves = {name: ("step", np.asarray(run[name])[kept]) for name in CURVES}
    return xr.Dataset(curves, {"step": steps[kept]})
