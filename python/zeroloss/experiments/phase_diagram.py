"""Study: what becomes of descent on modular addition, by training fraction and weight decay.

(a) Each cell has the colour of most of its runs, a square for every run, and the median delay where they grok. (b) The
delays against lr · weight decay, and the law fitted to them: a power of it times an exponential of the fraction, with
runs that end before they generalise as censored ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _checks, plots, survival
from ..metrics import crossing_step, delays
from ..survival import DelayLaw
from .cells import Arrays, Cells
from .delay_runs import (
    Plan,
    definitions,
    generalised_first,
    histories,
    history_of,
    laws_of,
    left_out,
    plans_of,
    with_a_delay,
)
from .ensemble import derived_seeds
from .output import Result, labelled, settings_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FULL", "PHASES", "QUICK", "Settings", "draw", "phase_of", "run"]

#: The phases and their colours, see `phase_of`.
PHASES = {
    "groks": "green",
    "generalises at once": "sky",
    "memorises only": "orange",
    "does not fit": "grey",
    "collapses": "purple",
    "diverges": "vermilion",
}
COLLAPSED = 0.5  # of the norm at the start
AT_ONCE = 2.0  # times the steps to memorisation

AXES = ("seed", "fraction", "weight_decay")
LAW = "sustained"  # the definition that the picture and its law go by


@dataclass(frozen=True)
class Settings:
    """What determines the numbers; the budget of a run is ``duration`` in slow time, at least ``least_steps``.

    The law is fitted to decays up to ``law_decay``: it is one of small decays.
    """

    p: int = 11
    hidden: int = 128
    lr: float = 1.0
    fractions: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    weight_decays: tuple[float, ...] = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)
    duration: float = 12.0
    least_steps: int = 2000
    accuracy: float = 0.5
    sustained: int = 3
    law_decay: float = 1e-3
    seeds: int = 5
    quick: bool = False


FULL = Settings()
QUICK = replace(
    FULL,
    fractions=(0.3, 0.6, 0.9, 0.95),
    weight_decays=(1e-4, 3e-4, 1e-3, 3e-3, 3e-2, 3.0),
    duration=6.0,
    seeds=2,
    quick=True,
)


def phase_of(history: xr.Dataset, diverged: bool, *, accuracy: float, sustained: int) -> str:
    """Return what became of a run, by the first of these that holds.

    It *diverges*. At its end it does not fit: none of the last ``sustained`` records has all training samples right, or
    so many in a row never had; then it *collapses* where the norm of (E, W) is at most half of that at the start, and
    else *does not fit*. It *generalises at once* where the test accuracy is sustained at ``accuracy`` within twice the
    steps to memorisation, and *groks* where that comes later. Else it *memorises only*.

    Parameters
    ----------
    history : Dataset over "step"
        With train_accuracy, test_accuracy, norm_E and norm_W.
    diverged : bool
        Whether it ended so.
    accuracy : float
        The test accuracy of a network that generalises.
    sustained : int
        The records in a row for which accuracies have to hold.
    """
    if diverged:
        return "diverges"
    memorisation = crossing_step(history.train_accuracy, 1.0, sustained)
    if memorisation is None or not (history.train_accuracy.values[-sustained:] >= 1).any():
        norm = np.hypot(history.norm_E.values, history.norm_W.values)
        return "collapses" if norm[-1] <= COLLAPSED * norm[0] else "does not fit"
    generalisation = crossing_step(history.test_accuracy, accuracy, sustained)
    if generalisation is None:
        return "memorises only"
    if generalisation <= AT_ONCE * memorisation:
        return "generalises at once"
    return "groks"


def run(settings: Settings, cells: Cells | None = None) -> Result:
    """Simulate and analyse at given settings."""
    survival.check_installed()
    _check(settings)
    plans = _plans(settings)
    numbers = _numbers(settings, plans, histories("weight_decays", plans, cells))
    laws = laws_of(lambda name: _law(settings, numbers, name), numbers.definition.values)
    numbers = numbers.assign(_drawn(settings, numbers, laws.get(LAW)))
    summary = _summary(settings, numbers, laws)
    seeds = [derived_seeds(plan.seed) for plan in plans]
    return Result(numbers, asdict(settings), seeds, summary, _line(summary), draw)


def _check(settings: Settings) -> None:
    """Raise ValueError where settings have no diagram; `plans_of` looks at the values of the grid."""
    _checks.different("fractions", settings.fractions, at_least=1)
    _checks.different("weight_decays", settings.weight_decays, at_least=1)
    _checks.positive("law_decay", settings.law_decay)
    _checks.share("accuracy", settings.accuracy)
    _checks.integer("sustained", settings.sustained, at_least=1)


def _plans(settings: Settings) -> list[Plan]:
    places = [(fraction, settings.lr, decay) for fraction in settings.fractions for decay in settings.weight_decays]
    return plans_of(
        settings.p,
        settings.hidden,
        places,
        settings.seeds,
        duration=settings.duration,
        least_steps=settings.least_steps,
    )


def _numbers(settings: Settings, plans: Sequence[Plan], runs: Sequence[Arrays]) -> xr.Dataset:
    meant = definitions(settings.p, settings.accuracy, settings.sustained)
    shape = (settings.seeds, len(settings.fractions), len(settings.weight_decays))
    found: list[list[Any]] = []
    read: dict[str, list[Any]] = {"phase": [], "norm": [], "train_accuracy": [], "test_accuracy": []}
    for one in runs:
        history = history_of(one)
        read["phase"].append(
            phase_of(history, bool(one["diverged"]), accuracy=settings.accuracy, sustained=settings.sustained)
        )
        norm = np.hypot(one["norm_E"], one["norm_W"])
        read["norm"].append(norm[-1] / norm[0])
        read["train_accuracy"].append(one["train_accuracy"][-1])
        read["test_accuracy"].append(one["test_accuracy"][-1])
        found.append(
            [(own.memorisation.step, own.generalisation.step, *own.bounds) for own in delays(history, meant).values()]
        )
    steps = np.moveaxis(np.array(found, dtype=np.float64), -1, 0).reshape(4, *shape, len(meant))
    texts = {
        "norm": "norm of (E, W) at the end over that at the start",
        "train_accuracy": "train accuracy at the end",
        "test_accuracy": "test accuracy at the end",
    }
    by_definition = ("memorisation", "generalisation", "earliest", "latest")
    meanings = (
        "record of memorisation",
        "record of generalisation",
        "least delay in steps that the records leave possible",
        "greatest, infinite for a censored run",
    )
    return labelled(
        "What becomes of descent by training fraction and weight decay",
        settings,
        {
            "phase": (AXES, np.array(read["phase"], dtype=object).reshape(shape), "what became of the run"),
            **{name: (AXES, np.array(read[name]).reshape(shape), text) for name, text in texts.items()},
            **{
                name: ((*AXES, "definition"), values, text)
                for name, values, text in zip(by_definition, steps, meanings, strict=True)
            },
        },
        {
            "seed": (np.arange(settings.seeds), "seed index within a cell"),
            "fraction": (np.array(settings.fractions), "share of the samples that is trained on"),
            "weight_decay": (np.array(settings.weight_decays), "weight decay, which multiplies θ"),
            "definition": (np.array(list(meant), dtype=object), "what memorisation and generalisation are"),
        },
    )


def _of_the_law(settings: Settings, numbers: xr.Dataset) -> xr.Dataset:
    """Return the runs that a law is about, in a row: small decays, fractions at which any run groks, memorised."""
    small = numbers.weight_decay <= settings.law_decay
    groks = (numbers.phase == "groks").where(small, other=False).any(("seed", "weight_decay"))
    runs = numbers.sel(weight_decay=small, fraction=groks).stack(run=AXES)
    return runs.isel(run=_memorised(runs))


def _memorised(runs: xr.Dataset) -> NDArray[np.bool_]:
    return np.isin(runs.phase.values.astype(str), ["groks", "generalises at once", "memorises only"])


def _law(settings: Settings, numbers: xr.Dataset, definition: str, kind: str = "rate") -> DelayLaw:
    """Fit delay ∝ (lr · weight decay)^b · exp(c · fraction), or a power of the fraction, where there are several."""
    runs = with_a_delay(_of_the_law(settings, numbers).sel(definition=definition))
    powers = {"lr_weight_decay": settings.lr * runs.weight_decay.values}
    several = len(np.unique(runs.fraction.values)) > 1
    fraction = {"fraction": runs.fraction.values} if several else {}
    if kind == "power":
        return survival.fit_law(runs.earliest.values, runs.latest.values, powers={**powers, **fraction})
    return survival.fit_law(runs.earliest.values, runs.latest.values, powers=powers, rates=fraction)


def _drawn(settings: Settings, numbers: xr.Dataset, law: DelayLaw | None) -> dict[str, Any]:
    """Return the law's median and its interval, where the picture shows them; nowhere without a law."""
    fractions = np.unique(_of_the_law(settings, numbers).fraction.values) if law else np.empty(0)
    rate = settings.lr * np.geomspace(min(settings.weight_decays), settings.law_decay, 41)
    values = np.empty((3, len(fractions), len(rate)))
    if law:
        both: dict[str, Any] = {"lr_weight_decay": rate[None, :], "fraction": fractions[:, None]}
        places = {name: own for name, own in both.items() if name in {*law.powers, *law.rates}}
        values[:] = law.median(**places), *law.band(**places)
    added = labelled(
        "",
        settings,
        {"law": (("end", "law_fraction", "rate"), values, "median delay by the law, and its interval's ends")},
        {
            "end": (np.array(["median", "low", "high"], dtype=object), "which"),
            "law_fraction": (fractions, "fractions of the law"),
            "rate": (rate, "lr · weight decay"),
        },
    )
    return {str(name): values for name, values in added.variables.items()}


def _told(law: DelayLaw) -> dict[str, Any]:
    power, rate = law.powers["lr_weight_decay"], law.rates.get("fraction")
    return {
        "exponent": [power.value, power.low, power.high],
        "rate_in_fraction": None if rate is None else [rate.value, rate.low, rate.high],
        "scale": law.scale,
        "runs": law.runs,
        "censored": law.censored,
        "aic": law.aic,
    }


def _summary(settings: Settings, numbers: xr.Dataset, laws: Mapping[str, DelayLaw]) -> dict[str, Any]:
    names, counts = np.unique(numbers.phase.values.astype(str), return_counts=True)
    divided = sum(
        len(set(numbers.phase.values[:, at, decay])) > 1
        for at in range(len(settings.fractions))
        for decay in range(len(settings.weight_decays))
    )
    decays = {f"{most:g}": most for most in sorted(settings.weight_decays)[1:] if most < settings.law_decay}
    smaller = laws_of(lambda name: _law(replace(settings, law_decay=decays[name]), numbers, LAW), decays)
    power = laws_of(lambda kind: _law(settings, numbers, LAW, kind), ["power"]).get("power")
    return {
        "runs": numbers.phase.size,
        "phases": {str(name): int(count) for name, count in zip(names, counts, strict=True)},
        "cells": numbers.phase[0].size,
        "cells_with_several_phases": divided,
        "generalised_first": generalised_first(_of_the_law(settings, numbers).sel(definition=LAW)),
        "law_fractions": numbers.law_fraction.values.tolist(),
        "laws": {name: _told(law) for name, law in laws.items()},
        "exponents_of_smaller_decays": {name: _told(law)["exponent"] for name, law in smaller.items()},
        "aic_of_a_power_of_the_fraction": power.aic if power else None,
    }


def _line(summary: Mapping[str, Any]) -> str:
    phases = ", ".join(f"{count} × {name}" for name, count in summary["phases"].items())
    line = f"{summary['runs']} runs: {phases}; "
    if LAW not in summary["laws"]:
        return f"{line}too few grok for a law"
    law = summary["laws"][LAW]
    value, low, high = law["exponent"]
    told = f"delay ∝ (lr · weight decay)^b, b = {value:.3f} ({low:.3f} … {high:.3f})".replace("-", "−")
    return f"{line}{told}, {law['censored']} of {law['runs']} censored{left_out(summary)}"


def draw(numbers: xr.Dataset) -> Figure:
    """Draw the diagram, and the delays with their law."""
    settings = settings_of(numbers, Settings)
    figure = plots.new_figure(12.0, 6.2)
    a, b = figure.subfigures(1, 2, squeeze=False, wspace=0.03, width_ratios=(1.15, 1)).ravel()
    plots.panel(a, "a", f"what becomes of descent, {settings.seeds} runs a cell; median delay in thousands of steps")
    _diagram(a.subplots(), numbers)
    plots.panel(b, "b", "delays and their law")
    _delays(b.subplots(), numbers, settings)
    if settings.quick:
        plots.mark_quick(
            figure, f"{numbers.phase[0].size} cells of {settings.seeds} runs, to s = {settings.duration:g}"
        )
    return figure


def _diagram(axes: Axes, numbers: xr.Dataset) -> None:
    from matplotlib.patches import Rectangle  # noqa: PLC0415 — with the first picture

    seeds, fractions, decays = numbers.phase.shape
    found = numbers.sel(definition=LAW)
    median = survival.median(found.generalisation - found.memorisation, found.earliest, "seed").values
    for x in range(fractions):
        for y in range(decays):
            own = numbers.phase.values[:, x, y].astype(str)
            most = max(PHASES, key=lambda phase, own=own: (own == phase).sum())  # type: ignore[misc]
            axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=plots.COLOURS[PHASES[most]], alpha=0.3, lw=0))
            for at, phase in enumerate(sorted(own, key=list(PHASES).index)):
                place = (x - 0.42 + 0.84 * at / seeds, y - 0.4)
                axes.add_patch(Rectangle(place, 0.7 / seeds, 0.24, color=plots.COLOURS[PHASES[phase]], lw=0))
            if most == "groks":
                reached = np.isfinite(median[x, y])
                plots.words(axes, (x, y + 0.14), f"{median[x, y] / 1000:.3g}" if reached else "not yet", fontsize=7.5)
    axes.set(xlim=(-0.5, fractions - 0.5), ylim=(-0.5, decays - 0.5), xlabel="training fraction", ylabel="weight decay")
    axes.set_xticks(range(fractions), [f"{value:g}" for value in numbers.fraction.values])
    axes.set_yticks(range(decays), [f"{value:g}" for value in numbers.weight_decay.values])
    axes.grid(visible=False)
    there = set(numbers.phase.values.ravel().tolist())
    handles = [Rectangle((0, 0), 1, 1, color=plots.COLOURS[c], label=p) for p, c in PHASES.items() if p in there]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=min(len(handles), 5))


def _delays(axes: Axes, numbers: xr.Dataset, settings: Settings) -> None:
    """Draw the runs at the law's fractions, those at decays that it is not about too, in grey."""
    import matplotlib as mpl  # noqa: PLC0415

    if not numbers.sizes["law_fraction"]:
        axes.set_axis_off()
        plots.words(axes, (0.5, 0.5), "too few runs grok for a law")
        return
    runs = numbers.sel(definition=LAW, fraction=numbers.law_fraction.values).stack(run=AXES)
    memorised = runs.isel(run=_memorised(runs))
    runs = with_a_delay(memorised)
    small = runs.weight_decay.values <= settings.law_decay
    _points(axes, runs.isel(run=~small), settings, plots.COLOURS["grey"], f"decay above {settings.law_decay:g}")
    shades = mpl.colormaps["viridis"](np.linspace(0.85, 0.1, numbers.sizes["law_fraction"]))
    for shade, fraction in zip(shades, numbers.law_fraction.values, strict=True):
        here = small & np.isclose(runs.fraction.values, fraction)
        _points(axes, runs.isel(run=here), settings, shade, f"fraction {fraction:g}")
        law = numbers.law.sel(law_fraction=fraction)
        axes.plot(numbers.rate, law.sel(end="median"), color=shade, linewidth=1.1)
        axes.fill_between(numbers.rate, law.sel(end="low"), law.sel(end="high"), color=shade, alpha=0.2, linewidth=0)
    axes.plot([], [], "^", color="black", markersize=5, markerfacecolor="none", label="censored: the delay is longer")
    if first := generalised_first(memorised):
        axes.plot([], [], " ", label=f"{first} left out: generalised first")
    axes.set(xscale="log", yscale="log", xlabel="lr · weight decay", ylabel="delay in steps")
    axes.legend(loc="upper right")


def _points(axes: Axes, runs: xr.Dataset, settings: Settings, colour: Any, label: str) -> None:
    """Draw delays with what the records leave open, seeds side by side, and censored runs as open triangles."""
    rate = settings.lr * runs.weight_decay.values * 1.1 ** (runs.seed.values - (settings.seeds - 1) / 2)
    low, high = np.maximum(runs.earliest.values, 1), runs.latest.values
    known = np.isfinite(high)
    if known.any():
        middle = np.sqrt(low[known] * high[known])
        open_to = (middle - low[known], high[known] - middle)
        options: Any = {"markersize": 3, "linewidth": 0.8, "label": label}
        axes.errorbar(rate[known], middle, yerr=open_to, fmt="o", color=colour, **options)
    name = None if known.any() or known.size == 0 else label
    axes.plot(rate[~known], low[~known], "^", color=colour, markersize=5, markerfacecolor="none", label=name)
