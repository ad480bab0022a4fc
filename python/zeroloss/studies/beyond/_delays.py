"""Common parts of the studies of delays: descent on modular addition, the delays of its runs, laws, and their drawing.

The same slow time takes 1/(lr · weight decay) steps, so the lengths of runs differ by decades. Records are spaced
logarithmically, 20 in a decade, and a crossing between two of them stays open, see `zeroloss.metrics.Crossing`. A run
that diverges is data. Every run has its own split and initialisation, so fits may treat the runs as independent.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
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
from .. import Grid, derive_seeds
from .._memorised import AdditionSettings

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

CURVES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "norm_E", "norm_W")
LAW = "sustained"  # The definition of the delay that the pictures and their laws use.
MEANINGS = {
    "memorisation": "record of memorisation",
    "generalisation": "record of generalisation",
    "earliest": "least delay in steps that the records leave possible",
    "latest": "greatest, infinite for a censored run",
}

_PLACE_SEEDS = 1000


@dataclass(frozen=True)
class DelaySettings(AdditionSettings):
    """Common settings. A run covers ``duration`` in slow time and takes at least ``least_steps``.

    A network generalises if ``sustained`` records in a row have a test accuracy of ``accuracy``.
    """

    duration: float = 8.0
    least_steps: int = 2000
    accuracy: float = 0.5
    sustained: int = 3


def make_problem(p: int, hidden: int, fraction: float, seed: int) -> tuple[Dataset, Network]:
    """Return the data and the initial network of a run."""
    seeds = derive_seeds(seed)
    data = datasets.modular_addition(p, train_fraction=fraction, seed=seeds["data"])
    return data, networks.uniform_fan_in(data, hidden, seeds["network"])


def descend(
    p: int, hidden: int, fraction: float, lr: float, weight_decay: float, steps: int, seed: int
) -> dict[str, NDArray[Any]]:
    """Return the curves of a run, with its steps and whether it diverged."""
    descent = GradientDescent(lr=lr, weight_decay=weight_decay)
    run = simulate(descent, *make_problem(p, hidden, fraction, seed), steps=steps, record_every="log")
    curves: dict[str, Any] = {name: run.history[name].values for name in CURVES}
    return {"step": run.history.step.values, **curves, "diverged": run.outcome.ending is not Ending.REACHED_THE_END}


def make_grid(settings: Any, places: Mapping[str, Sequence[float]]) -> Grid:
    """Return the runs of a study, seed by seed, at each place. The seed indices of place k begin at 1000 k.

    Parameters
    ----------
    settings : DelaySettings
        It also has those of fraction, lr and weight_decay that do not vary.
    places : mapping of name to sequence of float
        The values of the others.
    """
    numbers = {values: number for number, values in enumerate(itertools.product(*places.values()))}

    def arguments(seed: int, **place: float) -> dict[str, Any]:
        names = ("fraction", "lr", "weight_decay")
        values = {name: place[name] if name in place else getattr(settings, name) for name in names}
        steps = max(round(settings.duration / (values["lr"] * values["weight_decay"])), settings.least_steps)
        index = _PLACE_SEEDS * numbers[tuple(place.values())] + seed
        return {"p": settings.p, "hidden": settings.hidden, **values, "steps": steps, "seed": index}

    biggest = max(places.get("fraction", [getattr(settings, "fraction", 0.0)]))
    flops = GradientDescent(lr=1.0).cost(*make_problem(settings.p, settings.hidden, biggest, 0)).flops
    over = {"seed": range(settings.seeds), **places}
    return Grid(descend, over, arguments, lambda steps, **_: float(steps), flops=flops)


def list_seeds(grid: Grid) -> list[dict[str, int]]:
    """Return the derived seeds of every run."""
    return [derive_seeds(grid.arguments(**labels)["seed"]) for labels in grid.labels()]


def check_places(settings: DelaySettings, places: Iterable[tuple[float, float]]) -> None:
    """Check the settings that determine the lengths of runs, at (learning rate, weight decay) of every place.

    Raises ImportError if the extra that fits laws is missing, and ValueError if a learning rate, a weight decay or the
    duration is not above 0, if there are more steps than can be counted, more than 1000 seeds, or no place.
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
    """Return the levels of memorisation and of generalisation by the name of a definition.

    All training samples are right and a share of the test samples, for the first time or in several records in a row;
    nine tenths of the test samples; or by losses: the training loss is a tenth of the constant prediction's,
    (1 − 1/p)/p, and the test loss is below it.
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


def measure_delays(
    settings: DelaySettings, runs: Iterable[Mapping[str, ArrayLike]]
) -> tuple[list[str], dict[str, NDArray[np.float64]]]:
    """Return the names of the definitions, and the numbers of `MEANINGS` (run, definition), some of which are NaN."""
    levels = definitions(settings.p, settings.accuracy, settings.sustained)
    numbers = [
        [
            (delay.memorisation.step, delay.generalisation.step, *delay.bounds)
            for delay in delays(make_history(run), levels).values()
        ]
        for run in runs
    ]
    return list(levels), dict(zip(MEANINGS, np.moveaxis(np.array(numbers, dtype=np.float64), -1, 0), strict=True))


def fit_laws(fit: Callable[[str], DelayLaw], names: Iterable[str]) -> dict[str, DelayLaw]:
    """Return the laws that the runs determine, by name."""
    laws = {}
    for name in names:
        with contextlib.suppress(UndeterminedError, ArithmeticError):
            laws[name] = fit(name)
    return laws


def interval_of(estimate: Any) -> list[float]:
    """Return the value of an estimate and the ends of its interval."""
    return [estimate.value, estimate.low, estimate.high]


def quality_of(law: DelayLaw) -> dict[str, Any]:
    """Return the entries of a summary that show how well a law is determined."""
    return {"scale": law.scale, "runs": law.runs, "censored": law.censored, "aic": law.aic}


def format_interval(interval: Sequence[float]) -> str:
    """Return an estimate with its interval."""
    value, low, high = interval
    return f"{value:.3f} ({low:.3f} … {high:.3f})".replace("-", "−")


def select_delayed(runs: xr.Dataset) -> xr.Dataset:
    """Return the runs over "run" that memorise, and generalise later or not at all."""
    return runs.isel(run=runs.memorisation.notnull().values & (runs.latest.values > 0))


def count_generalised_first(runs: xr.Dataset) -> int:
    """Count the runs that generalise before they memorise, by their records. They have no delay."""
    return int((runs.latest <= 0).sum())


def format_left_out(summary: Mapping[str, Any]) -> str:
    """Return the text of the line about the runs that the summary counts in ``generalised_first``."""
    count = summary["generalised_first"]
    if count == 0:
        return ""
    verbs = "generalises before it memorises" if count == 1 else "generalise before they memorise"
    return f", {count} left out that {verbs}"


def make_history(run: Mapping[str, ArrayLike], until: int | None = None) -> xr.Dataset:
    """Return the curves of a run over "step", up to a step if one is given."""
    import xarray as xr  # noqa: PLC0415 — xarray takes long to import.

    steps = np.asarray(run["step"])
    part = slice(None) if until is None else slice(int(np.searchsorted(steps, until, "right")))
    curves = {name: ("step", np.asarray(run[name])[part]) for name in CURVES}
    return xr.Dataset(curves, {"step": steps[part]})


def draw_delays(axes: Axes, rate: NDArray[Any], runs: xr.Dataset, colour: Any, label: str, marker: str = "o") -> None:
    """Draw delays with the intervals that the records leave open, and censored runs as open triangles."""
    low, high = np.maximum(runs.earliest.values, 1), runs.latest.values
    known = np.isfinite(high)
    if known.any():
        middle = np.sqrt(low[known] * high[known])
        ends = (middle - low[known], high[known] - middle)
        options: Any = {"color": colour, "markersize": 3, "linewidth": 0.8, "label": label}
        axes.errorbar(rate[known], middle, yerr=ends, fmt=marker, **options)
    name = None if known.any() or known.size == 0 else label
    axes.plot(rate[~known], low[~known], "^", color=colour, markersize=5, markerfacecolor="none", label=name)


def draw_law(axes: Axes, rate: Any, law: Sequence[Any], colour: Any, label: str | None, **style: Any) -> None:
    """Draw a law (median, low, high) over rates: a line, and a band for its interval with the opacity ``alpha``."""
    median, low, high = law
    axes.plot(rate, median, color=colour, linewidth=style["linewidth"], label=label)
    axes.fill_between(rate, low, high, color=colour, alpha=style["alpha"], linewidth=0)


def finish_delays(axes: Axes, censored: str | None, generalised_first: int) -> None:
    """Add scales, labels and the legend, with entries for censored runs and for runs that are left out."""
    if censored:
        axes.plot([], [], "^", color="black", markersize=5, markerfacecolor="none", label=censored)
    if generalised_first:
        axes.plot([], [], " ", label=f"{generalised_first} left out: generalised first")
    axes.set(xscale="log", yscale="log", xlabel="lr · weight decay", ylabel="delay in steps")
    axes.legend(loc="upper right")
