"""The runs of the studies of delays: descent on modular addition, each to its own budget, and their delays.

The same slow time takes each run 1/(lr · weight decay) steps, so that budgets differ by decades: records are spaced
logarithmically, 20 a decade, and what lies between two of them stays open, see `zeroloss.metrics.Crossing`. A run that
diverges is data. Every run has a split and an initialisation of its own, so that fits may take them as independent.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ... import _checks, datasets, networks, survival
from ..._checks import ArgumentValueError
from ...datasets import Dataset
from ...dynamics import GradientDescent
from ...metrics import Level, delays
from ...networks import Network
from ...results import Ending
from ...simulation import simulate
from ...survival import DelayLaw, UndeterminedError
from ...sweeps.engine import Grid
from .._study import derived_seeds

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "CURVES",
    "check_places",
    "definitions",
    "delays_of",
    "descend",
    "generalised_first",
    "grid_of",
    "history_of",
    "laws_of",
    "left_out",
    "seeds_of",
    "with_a_delay",
]

CURVES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "norm_E", "norm_W")

_PLACE_SEEDS = 1000


def problem(p: int, hidden: int, fraction: float, seed: int) -> tuple[Dataset, Network]:
    """Return the data and the initial network of a run."""
    seeds = derived_seeds(seed)
    data = datasets.modular_addition(p, train_fraction=fraction, seed=seeds["data"])
    return data, networks.uniform_fan_in(data, hidden, seeds["network"])


def descend(
    p: int, hidden: int, fraction: float, lr: float, weight_decay: float, steps: int, seed: int
) -> dict[str, NDArray[Any]]:
    """Return the curves of a run, with its steps and whether it diverged."""
    descent = GradientDescent(lr=lr, weight_decay=weight_decay)
    run = simulate(descent, *problem(p, hidden, fraction, seed), steps=steps, record_every="log")
    curves: dict[str, Any] = {name: run.history[name].values for name in CURVES}
    return {"step": run.history.step.values, **curves, "diverged": run.outcome.ending is not Ending.REACHED_THE_END}


def grid_of(settings: Any, places: Mapping[str, Sequence[float]]) -> Grid:
    """Return the runs of a study, seed by seed, at each place.

    Each covers the settings' ``duration`` in slow time, and takes at least ``least_steps``. The seed indices of place k
    begin at 1000 k.

    Parameters
    ----------
    settings : dataclass
        With p, hidden, duration, least_steps, seeds, and those of fraction, lr and weight_decay that do not vary.
    places : mapping of name to sequence of float
        The values of the others.
    """
    numbers = {values: number for number, values in enumerate(itertools.product(*places.values()))}

    def arguments(seed: int, **place: float) -> dict[str, Any]:
        own = {
            name: place[name] if name in place else getattr(settings, name)
            for name in ("fraction", "lr", "weight_decay")
        }
        steps = max(round(settings.duration / (own["lr"] * own["weight_decay"])), settings.least_steps)
        index = _PLACE_SEEDS * numbers[tuple(place.values())] + seed
        return {"p": settings.p, "hidden": settings.hidden, **own, "steps": steps, "seed": index}

    biggest = max(places.get("fraction", [getattr(settings, "fraction", 0.0)]))
    flops = GradientDescent(lr=1.0).cost(*problem(settings.p, settings.hidden, biggest, 0)).flops
    over = {"seed": range(settings.seeds), **places}
    return Grid(descend, over, arguments, lambda steps, **_: float(steps), flops=flops)


def seeds_of(grid: Grid) -> list[dict[str, int]]:
    """Return the seeds of every run."""
    return [derived_seeds(grid.arguments(**labels)["seed"]) for labels in grid.labels()]


def check_places(settings: Any, places: Iterable[tuple[float, float]]) -> None:
    """Check what determines the budgets of runs, at (learning rate, weight decay) of every place.

    Raises
    ------
    ImportError
        Without the extra that fits laws.
    ValueError
        For a learning rate, a weight decay or a duration that is not above 0, more steps than can be counted, more
        than 1000 seeds, and no place.
    """
    survival.check_installed()
    _checks.share("accuracy", settings.accuracy)
    _checks.integer("sustained", settings.sustained, at_least=1)
    grid = [(_checks.positive("lr", lr), _checks.positive("weight_decay", decay)) for lr, decay in places]
    duration = _checks.positive("duration", settings.duration)
    for lr, decay in grid:
        if lr * decay == 0 or math.isinf(duration / (lr * decay)):
            raise ArgumentValueError(
                "weight_decay", f"expected a finite duration / (lr · weight_decay), got {decay} at lr {lr}"
            )
    if not grid or settings.seeds > _PLACE_SEEDS:
        raise ArgumentValueError(
            ("places", "seeds"),
            f"expected at least one place and at most {_PLACE_SEEDS} seeds, got {len(grid)} and {settings.seeds}",
        )


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


def delays_of(
    settings: Any, runs: Iterable[Mapping[str, ArrayLike]]
) -> tuple[list[str], dict[str, NDArray[np.float64]]]:
    """Return the names of the definitions, and numbers (run, definition) by them, of which some may be NaN.

    These are the records of memorisation and of generalisation, and the least and greatest delays that the records
    leave possible.
    """
    meant = definitions(settings.p, settings.accuracy, settings.sustained)
    found = [
        [
            (own.memorisation.step, own.generalisation.step, *own.bounds)
            for own in delays(history_of(run), meant).values()
        ]
        for run in runs
    ]
    names = ("memorisation", "generalisation", "earliest", "latest")
    return list(meant), dict(zip(names, np.moveaxis(np.array(found, dtype=np.float64), -1, 0), strict=True))


def laws_of(fit: Callable[[str], DelayLaw], names: Iterable[str]) -> dict[str, DelayLaw]:
    """Return the laws that the runs determine, by name."""
    laws = {}
    for name in names:
        with contextlib.suppress(UndeterminedError, ArithmeticError):
            laws[name] = fit(name)
    return laws


def with_a_delay(runs: xr.Dataset) -> xr.Dataset:
    """Return the runs over "run" that memorise, and generalise after that or not in their budget."""
    return runs.isel(run=runs.memorisation.notnull().values & (runs.latest.values > 0))


def generalised_first(runs: xr.Dataset) -> int:
    """Return how many runs generalise before they memorise, by their records: these have no delay."""
    return int((runs.latest <= 0).sum())


def left_out(summary: Mapping[str, Any]) -> str:
    """Return the words of the line about them, by the summary's ``generalised_first``."""
    count = summary["generalised_first"]
    if count == 0:
        return ""
    return f", {count} left out that " + (
        "generalises before it memorises" if count == 1 else "generalise before they memorise"
    )


def history_of(run: Mapping[str, ArrayLike], until: int | None = None) -> xr.Dataset:
    """Return the curves of a run over "step", up to a budget that may be smaller than its own."""
    import xarray as xr  # noqa: PLC0415 — slow to import

    steps = np.asarray(run["step"])
    kept = slice(None) if until is None else slice(int(np.searchsorted(steps, until, "right")))
    curves = {name: ("step", np.asarray(run[name])[kept]) for name in CURVES}
    return xr.Dataset(curves, {"step": steps[kept]})
