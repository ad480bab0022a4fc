"""The runs of the studies of delays: descent on modular addition, each to its own budget, and what is read from them.

The same slow time takes each run 1/(lr · weight decay) steps, so that budgets differ by decades: records are spaced
logarithmically, 20 a decade, and what lies between two of them stays open, see `zeroloss.metrics.Crossing`. A run that
diverges is data. Every run has a split and an initialisation of its own, so that fits may take them as independent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .. import datasets, networks
from .._machine import available_processors
from ..datasets import Dataset
from ..dynamics import GradientDescent, simulate
from ..metrics import Level
from ..networks import Network
from ..results import Ending
from ..survival import DelayLaw, UndeterminedError
from .cells import Arrays, Cells
from .ensemble import Watch, derived_seeds, side_by_side

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "CELL_SEEDS",
    "CURVES",
    "Plan",
    "check_plans",
    "definitions",
    "histories",
    "history_of",
    "laws_of",
    "steps_of",
]

CURVES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "norm_E", "norm_W")
CELL_SEEDS = 1000  # seed indices of a place on a grid of settings: those of place k begin at k · CELL_SEEDS

_FLOPS = 2e10  # a second, on one slow core
_MOST_HOURS = 24.0


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


def steps_of(duration: float, lr: float, weight_decay: float, least: int) -> int:
    """Return the steps that a slow time takes, at least so many."""
    return max(round(duration / (lr * weight_decay)), least)


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


def laws_of(fit: Callable[[str], DelayLaw], meant: Iterable[str], needed: str) -> dict[str, DelayLaw]:
    """Return the law by each definition that has one; the needed one has to."""
    laws = {}
    for name in meant:
        try:
            laws[name] = fit(name)
        except UndeterminedError:
            if name == needed:
                raise
    return laws


def check_plans(name: str, plans: Sequence[Plan]) -> float:
    """Return how many hours of one core the plans take at most; ValueError where that is more than a day."""
    biggest = max(plans, key=lambda plan: plan.fraction)
    flops = biggest.dynamics().cost(*biggest.problem()).flops
    steps = float(sum(plan.steps for plan in plans))
    hours = steps * flops / _FLOPS / 3600
    if hours > _MOST_HOURS:
        raise ValueError(
            f"{name}: expected work of at most {_MOST_HOURS:g} hours, got {len(plans)} runs of {steps:.1e} steps in "
            f"all, about {hours:.0f} hours"
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
    order = sorted(range(len(plans)), key=lambda at: -plans[at].steps)
    at_once = min(available_processors(), len(plans))
    title = f"{len(plans)} runs, {at_once} at once, at most {minutes:.0f} minutes of a core"

    def follow(plan: Plan, watch: Watch) -> Arrays:
        return kept.cell({"run": "descent", **asdict(plan)}, lambda: _curves(plan, watch))

    found = side_by_side(follow, [plans[at] for at in order], at_once, None, title)
    return [run for _, run in sorted(zip(order, found, strict=True), key=lambda pair: pair[0])]


def _curves(plan: Plan, watch: Watch) -> Mapping[str, ArrayLike]:
    data, network = plan.problem()
    run = simulate(
        plan.dynamics(),
        data,
        network,
        steps=plan.steps,
        record_every="log",
        measures={"watch": watch},
        threads=1,
        progress=False,
    )
    curves: dict[str, Any] = {name: run.history[name].values for name in CURVES}
    return {"step": run.history.step.values, **curves, "diverged": run.outcome.ending is not Ending.REACHED_THE_END}


def history_of(run: Mapping[str, ArrayLike], until: int | None = None) -> xr.Dataset:
    """Return the curves of a run over "step", up to a budget that may be smaller than its own."""
    import xarray as xr  # noqa: PLC0415 — half of the package's import time

    steps = np.asarray(run["step"])
    kept = slice(None) if until is None else slice(int(np.searchsorted(steps, until, "right")))
    curves = {name: ("step", np.asarray(run[name])[kept]) for name in CURVES}
    return xr.Dataset(curves, {"step": steps[kept]})
