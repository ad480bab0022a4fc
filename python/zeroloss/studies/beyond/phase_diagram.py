"""Study: the fate of descent on modular addition, by training fraction and weight decay.

(a) Each cell has the colour of most of its runs, a square for every run, and the median delay if most runs grok.
(b) The delays against lr · weight decay, and the law fitted to them: a power of it times an exponential of the
fraction. Runs that end before they generalise are censored.
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
from .. import Cube, Grid, Layout, Places, Study, label_numbers
from .._drawing import choose_shades
from . import _delays
from ._delays import LAW, MEANINGS, DelaySettings, fit_laws, format_interval, interval_of

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
MEMORISED = ("groks", "generalises at once", "memorises only")
COLLAPSED = 0.5  # Of the norm at the start.
AT_ONCE = 2.0  # Times the steps to memorisation.

AXES = ("seed", "fraction", "weight_decay")


@dataclass(frozen=True)
class Settings(DelaySettings):
    """Settings of the study. The law is fitted to decays up to ``law_decay``, because it is a law of small decays."""

    lr: float = 1.0
    fractions: tuple[float, ...] = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    weight_decays: tuple[float, ...] = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)
    duration: float = 12.0
    law_decay: float = 1e-3


def phase_of(history: xr.Dataset, diverged: bool, *, accuracy: float, sustained: int) -> str:
    """Return the phase of a run: the first of these that applies.

    It *diverges*. If it does not fit at its end (no ``sustained`` records in a row ever had all training samples right,
    or none of the last ones has), it *collapses* if the norm of (E, W) is at most half of the norm at the start, and
    otherwise *does not fit*. It *generalises at once* if the test accuracy is sustained at ``accuracy`` within twice
    the steps to memorisation, and *groks* if that happens later. Otherwise it *memorises only*. The history has
    train_accuracy, test_accuracy, norm_E and norm_W over "step".
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
    return "generalises at once" if generalisation <= AT_ONCE * memorisation else "groks"


def check(s: Settings) -> None:
    """Raise ValueError for settings without a diagram, and ImportError if the extra that fits laws is missing."""
    _checks.check_distinct("fractions", s.fractions, at_least=1)
    _checks.check_distinct("weight_decays", s.weight_decays, at_least=1)
    _checks.positive("law_decay", s.law_decay)
    _delays.check_places(s, [(s.lr, decay) for _ in s.fractions for decay in s.weight_decays])


def grids(s: Settings) -> list[Grid]:
    """Return the runs over seeds, fractions and weight decays."""
    return [_delays.make_grid(s, {"fraction": s.fractions, "weight_decay": s.weight_decays})]


def analyse(s: Settings, runs: Cube) -> tuple[xr.Dataset, dict[str, Any]]:
    """Return the phase of every run, with the law of the delays, and the summary."""
    names, values = _delays.measure_delays(s, runs)
    levels: Any = {"accuracy": s.accuracy, "sustained": s.sustained}
    phase = [phase_of(_delays.make_history(run), bool(run["diverged"]), **levels) for run in runs]
    norms = [np.hypot(run["norm_E"], run["norm_W"]) for run in runs]
    at_end: dict[str, tuple[list[Any], str]] = {
        "norm": ([norm[-1] / norm[0] for norm in norms], "norm of (E, W) at the end over that at the start"),
        "train_accuracy": ([run["train_accuracy"][-1] for run in runs], "train accuracy at the end"),
        "test_accuracy": ([run["test_accuracy"][-1] for run in runs], "test accuracy at the end"),
    }
    by_definition, shape = (*AXES, "definition"), runs.shape
    numbers = label_numbers(
        {
            "phase": (AXES, np.array(phase, dtype=object).reshape(shape), "what became of the run"),
            **{name: (AXES, np.reshape(entries, shape), text) for name, (entries, text) in at_end.items()},
            **{name: (by_definition, values[name].reshape(*shape, -1), text) for name, text in MEANINGS.items()},
        },
        {
            "seed": (np.arange(s.seeds), "seed index within a cell"),
            "fraction": (s.fractions, "share of the samples that is trained on"),
            "weight_decay": (s.weight_decays, "weight decay, which multiplies θ"),
            "definition": (names, "what memorisation and generalisation are"),
        },
    )
    laws = fit_laws(lambda name: _fit(s, numbers, name), names)
    numbers = numbers.merge(_compute_law(s, numbers, laws.get(LAW)))
    return numbers, _summarise(s, numbers, laws)


def _select_law_runs(s: Settings, numbers: xr.Dataset) -> xr.Dataset:
    """Return the runs of a law over "run": memorised, at small decays, and at fractions at which any run groks."""
    small = numbers.weight_decay <= s.law_decay
    groks = (numbers.phase == "groks").where(small, other=False).any(("seed", "weight_decay"))
    return _select_memorised(numbers.sel(weight_decay=small, fraction=groks).stack(run=AXES))


def _select_memorised(runs: xr.Dataset) -> xr.Dataset:
    return runs.isel(run=np.isin(runs.phase.values.astype(str), MEMORISED))


def _fit(s: Settings, numbers: xr.Dataset, definition: str, kind: str = "rate") -> DelayLaw:
    """Fit delay ∝ (lr · weight decay)^b · exp(c · fraction), or a power of the fraction, if there are several."""
    runs = _delays.select_delayed(_select_law_runs(s, numbers).sel(definition=definition))
    powers = {"lr_weight_decay": s.lr * runs.weight_decay.values}
    fraction = {"fraction": runs.fraction.values} if len(np.unique(runs.fraction.values)) > 1 else {}
    if kind == "power":
        return survival.fit_law(runs.earliest.values, runs.latest.values, powers={**powers, **fraction})
    return survival.fit_law(runs.earliest.values, runs.latest.values, powers=powers, rates=fraction)


def _compute_law(s: Settings, numbers: xr.Dataset, law: DelayLaw | None) -> xr.Dataset:
    """Return the median of the law and its interval at the fractions of the picture; empty without a law."""
    fractions = np.unique(_select_law_runs(s, numbers).fraction.values) if law else np.empty(0)
    rate = s.lr * np.geomspace(min(s.weight_decays), s.law_decay, 41)
    values = np.empty((3, len(fractions), len(rate)))
    if law:
        both: dict[str, Any] = {"lr_weight_decay": rate[None, :], "fraction": fractions[:, None]}
        places = {name: place for name, place in both.items() if name in {*law.powers, *law.rates}}
        values[:] = law.median(**places), *law.band(**places)
    return label_numbers(
        {"law": (("end", "law_fraction", "rate"), values, "median delay by the law, and its interval's ends")},
        {
            "end": (["median", "low", "high"], "which"),
            "law_fraction": (fractions, "fractions of the law"),
            "rate": (rate, "lr · weight decay"),
        },
    )


def _summarise_law(law: DelayLaw) -> dict[str, Any]:
    rate = law.rates.get("fraction")
    return {
        "exponent": interval_of(law.powers["lr_weight_decay"]),
        "rate_in_fraction": None if rate is None else interval_of(rate),
        **_delays.quality_of(law),
    }


def _summarise(s: Settings, numbers: xr.Dataset, laws: Mapping[str, DelayLaw]) -> dict[str, Any]:
    names, counts = np.unique(numbers.phase.values.astype(str), return_counts=True)
    divided = sum(len(set(runs)) > 1 for runs in numbers.phase.values.reshape(s.seeds, -1).T)
    decays = {f"{most:g}": most for most in sorted(s.weight_decays)[1:] if most < s.law_decay}
    smaller = fit_laws(lambda name: _fit(replace(s, law_decay=decays[name]), numbers, LAW), decays)
    power = fit_laws(lambda kind: _fit(s, numbers, LAW, kind), ["power"]).get("power")
    return {
        "runs": numbers.phase.size,
        "phases": {str(name): int(count) for name, count in zip(names, counts, strict=True)},
        "cells": numbers.phase[0].size,
        "cells_with_several_phases": divided,
        "generalised_first": _delays.count_generalised_first(_select_law_runs(s, numbers).sel(definition=LAW)),
        "law_fractions": numbers.law_fraction.values.tolist(),
        "laws": {name: _summarise_law(law) for name, law in laws.items()},
        "exponents_of_smaller_decays": {
            name: interval_of(law.powers["lr_weight_decay"]) for name, law in smaller.items()
        },
        "aic_of_a_power_of_the_fraction": power.aic if power else None,
    }


def _format_line(s: Settings, summary: Mapping[str, Any]) -> str:
    phases = ", ".join(f"{count} × {name}" for name, count in summary["phases"].items())
    line = f"{summary['runs']} runs: {phases}; "
    if LAW not in summary["laws"]:
        return f"{line}too few grok for a law"
    law = summary["laws"][LAW]
    exponent = f"delay ∝ (lr · weight decay)^b, b = {format_interval(law['exponent'])}"
    return f"{line}{exponent}, {law['censored']} of {law['runs']} censored{_delays.format_left_out(summary)}"


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw the diagram, and the delays with their law."""
    title = f"what becomes of descent, {s.seeds} runs a cell; median delay in thousands of steps"
    _draw_diagram(place("a", title), numbers.sel(definition=LAW))
    _draw_delays(place("b", "delays and their law"), numbers.sel(definition=LAW), s)


def _draw_diagram(axes: Axes, numbers: xr.Dataset) -> None:
    from matplotlib.patches import Rectangle  # noqa: PLC0415 — Matplotlib is loaded with the first picture.

    seeds, fractions, decays = numbers.phase.shape
    median = survival.median(numbers.generalisation - numbers.memorisation, numbers.earliest, "seed").values
    for x, y in np.ndindex(fractions, decays):
        phases = numbers.phase.values[:, x, y].astype(str)
        most = max(PHASES, key=lambda phase, phases=phases: (phases == phase).sum())  # type: ignore[misc]
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, color=plots.COLOURS[PHASES[most]], alpha=0.3, lw=0))
        for at, phase in enumerate(sorted(phases, key=list(PHASES).index)):
            place = (x - 0.42 + 0.84 * at / seeds, y - 0.4)
            axes.add_patch(Rectangle(place, 0.7 / seeds, 0.24, color=plots.COLOURS[PHASES[phase]], lw=0))
        if most == "groks":
            reached = np.isfinite(median[x, y])
            plots.write_label(axes, (x, y + 0.14), f"{median[x, y] / 1000:.3g}" if reached else "not yet", fontsize=7.5)
    axes.set(xlim=(-0.5, fractions - 0.5), ylim=(-0.5, decays - 0.5), xlabel="training fraction", ylabel="weight decay")
    axes.set_xticks(range(fractions), [f"{value:g}" for value in numbers.fraction.values])
    axes.set_yticks(range(decays), [f"{value:g}" for value in numbers.weight_decay.values])
    axes.grid(visible=False)
    present = set(numbers.phase.values.ravel().tolist())
    handles = [Rectangle((0, 0), 1, 1, color=plots.COLOURS[c], label=p) for p, c in PHASES.items() if p in present]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=min(len(handles), 5))


def _draw_delays(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    """Draw the runs at the fractions of the law. Those at greater decays than the law's are grey."""
    if not numbers.sizes["law_fraction"]:
        axes.set_axis_off()
        plots.write_label(axes, (0.5, 0.5), "too few runs grok for a law")
        return
    memorised = _select_memorised(numbers.sel(fraction=numbers.law_fraction.values).stack(run=AXES))
    runs = _delays.select_delayed(memorised)
    rate = s.lr * runs.weight_decay.values * 1.1 ** (runs.seed.values - (s.seeds - 1) / 2)
    small = runs.weight_decay.values <= s.law_decay

    def draw(part: NDArray[np.bool_], colour: Any, label: str) -> None:
        _delays.draw_delays(axes, rate[part], runs.isel(run=part), colour, label)

    draw(~small, plots.COLOURS["grey"], f"decay above {s.law_decay:g}")
    shades = choose_shades(numbers.sizes["law_fraction"], 0.85, 0.1)
    for shade, fraction in zip(shades, numbers.law_fraction.values, strict=True):
        draw(small & np.isclose(runs.fraction.values, fraction), shade, f"fraction {fraction:g}")
        law = [numbers.law.sel(law_fraction=fraction, end=end) for end in ("median", "low", "high")]
        _delays.draw_law(axes, numbers.rate, law, shade, None, linewidth=1.1, alpha=0.2)
    _delays.finish_delays(axes, "censored: the delay is longer", _delays.count_generalised_first(memorised))


STUDY = Study(
    name="phase_diagram",
    title="What becomes of descent by training fraction and weight decay",
    description="the fate of descent on modular addition, by training fraction and weight decay",
    expected_time="3 min",
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
    line=_format_line,
    seeds=lambda s: _delays.list_seeds(grids(s)[0]),
    layout=Layout("ab", 12.0, 6.2, {"wspace": 0.03, "width_ratios": (1.15, 1)}),
    panels=panels,
    mark=lambda s: f"{len(s.fractions) * len(s.weight_decays)} cells of {s.seeds} runs, to s = {s.duration:g}",
    stores=True,
)
