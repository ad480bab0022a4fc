"""Study: what becomes of descent on modular addition, by training fraction and weight decay.

(a) Each cell has the colour of most of its runs, a square for every run, and the median delay where they grok. (b) The
delays against lr · weight decay, and the law fitted to them: a power of it times an exponential of the fraction, with
runs that end before they generalise as censored ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ... import _checks, plots, survival
from ...metrics import crossing_step
from ...survival import DelayLaw
from ...sweeps.engine import Cube, Grid
from .._layout import Layout, Places
from .._study import Study, labelled
from ._delays import (
    check_places,
    delays_of,
    generalised_first,
    grid_of,
    history_of,
    laws_of,
    left_out,
    seeds_of,
    with_a_delay,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

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


def check(s: Settings) -> None:
    """Raise ValueError for settings that have no diagram, and ImportError without what fits laws."""
    _checks.different("fractions", s.fractions, at_least=1)
    _checks.different("weight_decays", s.weight_decays, at_least=1)
    _checks.positive("law_decay", s.law_decay)
    check_places(s, [(s.lr, decay) for _ in s.fractions for decay in s.weight_decays])


def grids(s: Settings) -> list[Grid]:
    """Return the runs over seeds, fractions and weight decays."""
    return [grid_of(s, {"fraction": s.fractions, "weight_decay": s.weight_decays})]


def analyse(s: Settings, runs: Cube) -> tuple[xr.Dataset, dict[str, Any]]:
    """Return what became of every run, with the law of the delays, and the summary."""
    names, read = delays_of(s, runs)
    told = {"accuracy": s.accuracy, "sustained": s.sustained}
    phase = [phase_of(history_of(run), bool(run["diverged"]), **told) for run in runs]  # type: ignore[arg-type]
    norms = [np.hypot(run["norm_E"], run["norm_W"]) for run in runs]
    at_end: dict[str, tuple[list[Any], str]] = {
        "norm": ([norm[-1] / norm[0] for norm in norms], "norm of (E, W) at the end over that at the start"),
        "train_accuracy": ([run["train_accuracy"][-1] for run in runs], "train accuracy at the end"),
        "test_accuracy": ([run["test_accuracy"][-1] for run in runs], "test accuracy at the end"),
    }
    meanings = {
        "memorisation": "record of memorisation",
        "generalisation": "record of generalisation",
        "earliest": "least delay in steps that the records leave possible",
        "latest": "greatest, infinite for a censored run",
    }
    by_definition, shape = (*AXES, "definition"), runs.shape
    numbers = labelled(
        {
            "phase": (AXES, np.array(phase, dtype=object).reshape(shape), "what became of the run"),
            **{name: (AXES, np.reshape(values, shape), text) for name, (values, text) in at_end.items()},
            **{name: (by_definition, read[name].reshape(*shape, -1), text) for name, text in meanings.items()},
        },
        {
            "seed": (np.arange(s.seeds), "seed index within a cell"),
            "fraction": (s.fractions, "share of the samples that is trained on"),
            "weight_decay": (s.weight_decays, "weight decay, which multiplies θ"),
            "definition": (names, "what memorisation and generalisation are"),
        },
    )
    laws = laws_of(lambda name: _law(s, numbers, name), names)
    numbers = numbers.assign(_drawn(s, numbers, laws.get(LAW)))
    return numbers, _summary(s, numbers, laws)


def _of_the_law(s: Settings, numbers: xr.Dataset) -> xr.Dataset:
    """Return the runs that a law is about, in a row: small decays, fractions at which any run groks, memorised."""
    small = numbers.weight_decay <= s.law_decay
    groks = (numbers.phase == "groks").where(small, other=False).any(("seed", "weight_decay"))
    runs = numbers.sel(weight_decay=small, fraction=groks).stack(run=AXES)
    return runs.isel(run=_memorised(runs))


def _memorised(runs: xr.Dataset) -> NDArray[np.bool_]:
    return np.isin(runs.phase.values.astype(str), ["groks", "generalises at once", "memorises only"])


def _law(s: Settings, numbers: xr.Dataset, definition: str, kind: str = "rate") -> DelayLaw:
    """Fit delay ∝ (lr · weight decay)^b · exp(c · fraction), or a power of the fraction, where there are several."""
    runs = with_a_delay(_of_the_law(s, numbers).sel(definition=definition))
    powers = {"lr_weight_decay": s.lr * runs.weight_decay.values}
    several = len(np.unique(runs.fraction.values)) > 1
    fraction = {"fraction": runs.fraction.values} if several else {}
    if kind == "power":
        return survival.fit_law(runs.earliest.values, runs.latest.values, powers={**powers, **fraction})
    return survival.fit_law(runs.earliest.values, runs.latest.values, powers=powers, rates=fraction)


def _drawn(s: Settings, numbers: xr.Dataset, law: DelayLaw | None) -> dict[str, Any]:
    """Return the law's median and its interval, where the picture shows them; nowhere without a law."""
    fractions = np.unique(_of_the_law(s, numbers).fraction.values) if law else np.empty(0)
    rate = s.lr * np.geomspace(min(s.weight_decays), s.law_decay, 41)
    values = np.empty((3, len(fractions), len(rate)))
    if law:
        both: dict[str, Any] = {"lr_weight_decay": rate[None, :], "fraction": fractions[:, None]}
        places = {name: own for name, own in both.items() if name in {*law.powers, *law.rates}}
        values[:] = law.median(**places), *law.band(**places)
    added = labelled(
        {"law": (("end", "law_fraction", "rate"), values, "median delay by the law, and its interval's ends")},
        {
            "end": (["median", "low", "high"], "which"),
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


def _summary(s: Settings, numbers: xr.Dataset, laws: Mapping[str, DelayLaw]) -> dict[str, Any]:
    names, counts = np.unique(numbers.phase.values.astype(str), return_counts=True)
    divided = sum(
        len(set(numbers.phase.values[:, at, decay])) > 1
        for at in range(len(s.fractions))
        for decay in range(len(s.weight_decays))
    )
    decays = {f"{most:g}": most for most in sorted(s.weight_decays)[1:] if most < s.law_decay}
    smaller = laws_of(lambda name: _law(replace(s, law_decay=decays[name]), numbers, LAW), decays)
    power = laws_of(lambda kind: _law(s, numbers, LAW, kind), ["power"]).get("power")
    return {
        "runs": numbers.phase.size,
        "phases": {str(name): int(count) for name, count in zip(names, counts, strict=True)},
        "cells": numbers.phase[0].size,
        "cells_with_several_phases": divided,
        "generalised_first": generalised_first(_of_the_law(s, numbers).sel(definition=LAW)),
        "law_fractions": numbers.law_fraction.values.tolist(),
        "laws": {name: _told(law) for name, law in laws.items()},
        "exponents_of_smaller_decays": {name: _told(law)["exponent"] for name, law in smaller.items()},
        "aic_of_a_power_of_the_fraction": power.aic if power else None,
    }


def _line(s: Settings, summary: Mapping[str, Any]) -> str:
    phases = ", ".join(f"{count} × {name}" for name, count in summary["phases"].items())
    line = f"{summary['runs']} runs: {phases}; "
    if LAW not in summary["laws"]:
        return f"{line}too few grok for a law"
    law = summary["laws"][LAW]
    value, low, high = law["exponent"]
    told = f"delay ∝ (lr · weight decay)^b, b = {value:.3f} ({low:.3f} … {high:.3f})".replace("-", "−")
    return f"{line}{told}, {law['censored']} of {law['runs']} censored{left_out(summary)}"


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw the diagram, and the delays with their law."""
    title = f"what becomes of descent, {s.seeds} runs a cell; median delay in thousands of steps"
    _diagram(place("a", title), numbers)
    _delays(place("b", "delays and their law"), numbers, s)


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


def _delays(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    """Draw the runs at the law's fractions, those at decays that it is not about too, in grey."""
    import matplotlib as mpl  # noqa: PLC0415

    if not numbers.sizes["law_fraction"]:
        axes.set_axis_off()
        plots.words(axes, (0.5, 0.5), "too few runs grok for a law")
        return
    runs = numbers.sel(definition=LAW, fraction=numbers.law_fraction.values).stack(run=AXES)
    memorised = runs.isel(run=_memorised(runs))
    runs = with_a_delay(memorised)
    small = runs.weight_decay.values <= s.law_decay
    _points(axes, runs.isel(run=~small), s, plots.COLOURS["grey"], f"decay above {s.law_decay:g}")
    shades = mpl.colormaps["viridis"](np.linspace(0.85, 0.1, numbers.sizes["law_fraction"]))
    for shade, fraction in zip(shades, numbers.law_fraction.values, strict=True):
        here = small & np.isclose(runs.fraction.values, fraction)
        _points(axes, runs.isel(run=here), s, shade, f"fraction {fraction:g}")
        law = numbers.law.sel(law_fraction=fraction)
        axes.plot(numbers.rate, law.sel(end="median"), color=shade, linewidth=1.1)
        axes.fill_between(numbers.rate, law.sel(end="low"), law.sel(end="high"), color=shade, alpha=0.2, linewidth=0)
    axes.plot([], [], "^", color="black", markersize=5, markerfacecolor="none", label="censored: the delay is longer")
    if first := generalised_first(memorised):
        axes.plot([], [], " ", label=f"{first} left out: generalised first")
    axes.set(xscale="log", yscale="log", xlabel="lr · weight decay", ylabel="delay in steps")
    axes.legend(loc="upper right")


def _points(axes: Axes, runs: xr.Dataset, s: Settings, colour: Any, label: str) -> None:
    """Draw delays with what the records leave open, seeds side by side, and censored runs as open triangles."""
    rate = s.lr * runs.weight_decay.values * 1.1 ** (runs.seed.values - (s.seeds - 1) / 2)
    low, high = np.maximum(runs.earliest.values, 1), runs.latest.values
    known = np.isfinite(high)
    if known.any():
        middle = np.sqrt(low[known] * high[known])
        open_to = (middle - low[known], high[known] - middle)
        options: Any = {"markersize": 3, "linewidth": 0.8, "label": label}
        axes.errorbar(rate[known], middle, yerr=open_to, fmt="o", color=colour, **options)
    name = None if known.any() or known.size == 0 else label
    axes.plot(rate[~known], low[~known], "^", color=colour, markersize=5, markerfacecolor="none", label=name)


STUDY = Study(
    name="phase_diagram",
    title="What becomes of descent by training fraction and weight decay",
    about="what becomes of descent on modular addition, by training fraction and weight decay",
    takes="3 min",
    full=Settings(),
    quick=replace(
        Settings(),
        fractions=(0.3, 0.6, 0.9, 0.95),
        weight_decays=(1e-4, 3e-4, 1e-3, 3e-3, 3e-2, 3.0),
        duration=6.0,
        seeds=2,
        quick=True,
    ),
    check=check,
    budget="weight_decays",
    grids=grids,
    analyse=analyse,
    line=_line,
    seeds=lambda s: seeds_of(grids(s)[0]),
    layout=Layout("ab", 12.0, 6.2, {"wspace": 0.03, "width_ratios": (1.15, 1)}),
    panels=panels,
    mark=lambda s: f"{len(s.fractions) * len(s.weight_decays)} cells of {s.seeds} runs, to s = {s.duration:g}",
    stores=True,
)
