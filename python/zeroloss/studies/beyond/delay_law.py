"""Study: whether the delay between memorisation and generalisation is proportional to 1 / (lr · weight decay).

(a) Delays over a grid of learning rates and weight decays, with the law. (b) Its exponent by several definitions of the
delay, and the exponents of lr and weight decay one by one. (c) What a budget does: the same runs as if each had ended
after so many steps, fitted with those that had not generalised as censored, without them, and with the budget taken for
their delay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ... import _checks, plots
from ...metrics import delays
from ...survival import DISTRIBUTIONS, DelayLaw, UndeterminedError, fit_law
from ...sweeps.engine import Cube, Grid
from .._layout import Layout, Places
from .._study import Study, labelled
from ._delays import (
    check_places,
    definitions,
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

AXES = ("seed", "lr", "weight_decay")
LAW = "sustained"  # the definition that the law and the budgets go by
WAYS = {
    "censored": ("green", "as censored"),
    "dropped": ("orange", "left out"),
    "taken": ("vermilion", "budget taken for their delay"),
}
MARKERS = "osDv"  # of learning rates, where there are more of them than colours
LEAST_CENSORED = 0.05  # a budget that all runs keep shows nothing


@dataclass(frozen=True)
class Settings:
    """What determines the numbers; each run covers ``duration`` in slow time, far beyond the delay."""

    p: int = 11
    hidden: int = 128
    fraction: float = 0.9
    learning_rates: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    weight_decays: tuple[float, ...] = (3e-5, 1e-4, 3e-4, 1e-3)
    duration: float = 8.0
    least_steps: int = 2000
    accuracy: float = 0.5
    sustained: int = 3
    budgets: tuple[int, ...] = (10_000, 20_000, 40_000, 80_000, 160_000)
    seeds: int = 5
    quick: bool = False


def check(s: Settings) -> None:
    """Raise ValueError for settings that can have no laws, and ImportError without what fits them."""
    _checks.different("learning_rates", s.learning_rates, at_least=2)
    _checks.different("weight_decays", s.weight_decays, at_least=2)
    _checks.different("budgets", s.budgets, at_least=1)
    for budget in s.budgets:
        _checks.integer("budgets", budget, at_least=1)
    check_places(s, [(lr, decay) for lr in s.learning_rates for decay in s.weight_decays])


def grids(s: Settings) -> list[Grid]:
    """Return the runs over seeds, learning rates and weight decays."""
    return [grid_of(s, {"lr": s.learning_rates, "weight_decay": s.weight_decays})]


def analyse(s: Settings, runs: Cube) -> tuple[xr.Dataset, dict[str, Any]]:
    """Return the delays with their laws, and the summary."""
    names, read = delays_of(s, runs)
    over = (*AXES, "definition")
    meanings = {
        "earliest": "least delay in steps that the records leave possible",
        "latest": "greatest, infinite for a censored run",
        "memorisation": "record of memorisation",
    }
    numbers = labelled(
        {name: (over, read[name].reshape(*runs.shape, -1), text) for name, text in meanings.items()},
        {
            "seed": (np.arange(s.seeds), "seed index within a place"),
            "lr": (s.learning_rates, "learning rate"),
            "weight_decay": (s.weight_decays, "weight decay, which multiplies θ"),
            "definition": (names, "what memorisation and generalisation are"),
        },
    )
    sustained = numbers.sel(definition=LAW)
    others = [name for name in names if name != LAW]
    laws = {LAW: _fit(sustained, "rate"), **laws_of(lambda name: _fit(numbers.sel(definition=name), "rate"), others)}
    noises = laws_of(lambda kind: _fit(sustained, "rate", kind), [*DISTRIBUTIONS][1:])
    apart = _fit(sustained, "lr and weight decay")
    numbers = numbers.assign(_drawn(s, laws, apart, runs))
    summary = {
        "runs": len(runs),
        "diverged": sum(bool(run["diverged"]) for run in runs),
        "generalised_first": generalised_first(sustained),
        "laws": {name: _told(law, "rate") for name, law in laws.items()},
        "exponents_apart": {name: _interval(apart, name) for name in ("lr", "weight_decay")},
        "aic": {laws[LAW].distribution: laws[LAW].aic, **{kind: own.aic for kind, own in noises.items()}},
        "aic_of_an_exponential": _exponential(sustained).aic,
        "budgets": {
            str(budget): {way: numbers.by_budget.sel(budget=budget, way=way).values.tolist() for way in WAYS}
            | {"censored_share": float(numbers.censored_share.sel(budget=budget))}
            for budget in numbers.budget.values.tolist()
        },
    }
    return numbers, summary


def bounds_within(
    runs: Sequence[Mapping[str, Any]], meant: Mapping[str, Any], budget: int | None = None
) -> NDArray[np.float64]:
    """Return the bounds (2, runs) of the delays by one definition, as if every run had ended after a budget."""
    found = [delays(history_of(one, budget), {"": meant[LAW]})[""].bounds for one in runs]
    return np.array(found, dtype=np.float64).T


def _fit(numbers: xr.Dataset, covariates: str, distribution: str = "log_normal") -> DelayLaw:
    """Fit a power of lr · weight decay, or of both one by one."""
    runs = with_a_delay(numbers.stack(run=AXES))
    lr, decay = runs.lr.values, runs.weight_decay.values
    powers = {"rate": lr * decay} if covariates == "rate" else {"lr": lr, "weight_decay": decay}
    return fit_law(runs.earliest.values, runs.latest.values, powers=powers, distribution=distribution)  # type: ignore[arg-type]


def _exponential(numbers: xr.Dataset) -> DelayLaw:
    runs = with_a_delay(numbers.stack(run=AXES))
    return fit_law(runs.earliest.values, runs.latest.values, rates={"rate": runs.lr.values * runs.weight_decay.values})


def _by_budget(low: NDArray[np.float64], high: NDArray[np.float64], rate: NDArray[np.float64]) -> dict[str, Any]:
    """Return the exponent and its interval as each way of dealing with the runs that were not done has it."""
    done = np.isfinite(high)
    taken = np.where(done, high, low)
    found: dict[str, Any] = {}
    for way, bounds, kept in (
        ("censored", (low, high), np.ones(len(rate), bool)),
        ("dropped", (low, high), done),
        ("taken", (np.minimum(low, taken), taken), np.ones(len(rate), bool)),
    ):
        try:
            law = fit_law(bounds[0][kept], bounds[1][kept], powers={"rate": rate[kept]})
            found[way] = _interval(law, "rate")
        except (UndeterminedError, ArithmeticError):  # too few are done: there is no such fit
            found[way] = [np.nan] * 3
    return found


def _drawn(s: Settings, laws: Mapping[str, DelayLaw], apart: DelayLaw, runs: Cube) -> dict[str, Any]:
    """Return what the picture shows next to the delays."""
    products = np.array([place["lr"] * place["weight_decay"] for place in grids(s)[0].labels()])
    rate = np.geomspace(products.min(), products.max(), 41)
    law = laws[LAW]
    exponents = {f"lr · decay, {name}": _interval(own, "rate") for name, own in laws.items()}
    exponents |= {f"{name}, {LAW}": _interval(apart, key) for name, key in (("lr", "lr"), ("decay", "weight_decay"))}
    meant = definitions(s.p, s.accuracy, s.sustained)
    by_budget, shares = [], []
    for budget in s.budgets:
        low, high = bounds_within(runs, meant, budget)
        delayed = high > 0  # not of runs that do not memorise, NaN, or that generalise before
        found = _by_budget(low[delayed], high[delayed], products[delayed])
        by_budget.append([found[way] for way in WAYS])
        shares.append(float(np.isinf(high[delayed]).mean()))
    ends = ("value", "low", "high")
    added = labelled(
        {
            "law": (("end", "rate"), np.stack([law.median(rate=rate), *law.band(rate=rate)]), "median delay"),
            "exponent": (("kind", "end"), list(exponents.values()), "exponent and its interval"),
            "by_budget": (("budget", "way", "end"), by_budget, "exponent of lr · weight decay within a budget"),
            "censored_share": (("budget",), shares, "share of the runs that had not generalised"),
        },
        {
            "end": (ends, "estimate, and the ends of its interval"),
            "rate": (rate, "lr · weight decay"),
            "kind": ([*exponents], "of what, by which definition"),
            "budget": (s.budgets, "steps after which every run is taken to have ended"),
            "way": ([*WAYS], "what is done with runs that had not generalised"),
        },
    )
    return {str(name): values for name, values in added.variables.items()}


def _interval(law: DelayLaw, name: str) -> list[float]:
    own = law.powers[name]
    return [own.value, own.low, own.high]


def _told(law: DelayLaw, name: str) -> dict[str, Any]:
    return {
        "exponent": _interval(law, name),
        "factor": float(np.exp(law.intercept.value)),
        "scale": law.scale,
        "runs": law.runs,
        "censored": law.censored,
        "aic": law.aic,
    }


def _line(s: Settings, summary: Mapping[str, Any]) -> str:
    law = summary["laws"][LAW]
    value, low, high = law["exponent"]
    lr, decay = (summary["exponents_apart"][name] for name in ("lr", "weight_decay"))
    return (
        f"{summary['runs']} runs: delay ∝ (lr · weight decay)^b, b = {value:.3f} ({low:.3f} … {high:.3f}), "
        f"{law['censored']} of {law['runs']} censored{left_out(summary)}; "
        f"apart lr^{lr[0]:.3f} ({lr[1]:.3f} … {lr[2]:.3f}), "
        f"weight decay^{decay[0]:.3f} ({decay[1]:.3f} … {decay[2]:.3f})"
    ).replace("-", "−")


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw the delays, the exponents, and what budgets do to them."""
    _delays(place("a", f"delays, {s.seeds} runs a place"), numbers, s)
    _exponents(place("b", "exponents, 95 % intervals"), numbers)
    _budgets(place("c", "the same runs within a budget"), numbers)


def _delays(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    names = ("sky", "green", "orange", "purple", "vermilion", "blue")
    for at, lr in enumerate(s.learning_rates):
        marker, name = MARKERS[at // len(names) % len(MARKERS)], names[at % len(names)]
        own = with_a_delay(numbers.sel(definition=LAW, lr=lr).stack(run=("seed", "weight_decay")))
        rate = lr * own.weight_decay.values * 1.06 ** (own.seed.values - (s.seeds - 1) / 2)
        low, high = np.maximum(own.earliest.values, 1), own.latest.values
        done = np.isfinite(high)
        middle = np.sqrt(low[done] * high[done])
        open_to = (middle - low[done], high[done] - middle)
        options: Any = {"color": plots.COLOURS[name], "markersize": 3, "linewidth": 0.8}
        axes.errorbar(rate[done], middle, yerr=open_to, fmt=marker, label=f"lr {lr:g}", **options)
        axes.plot(rate[~done], low[~done], "^", color=plots.COLOURS[name], markersize=5, markerfacecolor="none")
    law = numbers.law
    axes.plot(numbers.rate, law.sel(end="value"), color="black", linewidth=1.0, label="law")
    axes.fill_between(numbers.rate, law.sel(end="low"), law.sel(end="high"), color="black", alpha=0.15, linewidth=0)
    if np.isinf(numbers.latest.sel(definition=LAW)).any():
        axes.plot([], [], "^", color="black", markersize=5, markerfacecolor="none", label="censored")
    if first := generalised_first(numbers.sel(definition=LAW)):
        axes.plot([], [], " ", label=f"{first} left out: generalised first")
    axes.set(xscale="log", yscale="log", xlabel="lr · weight decay", ylabel="delay in steps")
    axes.legend(loc="upper right")


def _exponents(axes: Axes, numbers: xr.Dataset) -> None:
    values, low, high = numbers.exponent.transpose("end", "kind").values
    at = np.arange(len(values))[::-1]
    axes.errorbar(values, at, xerr=(values - low, high - values), fmt="o", color=plots.COLOURS["green"], markersize=4)
    axes.axvline(-1, color="black", linewidth=0.9, linestyle=":")
    axes.set_yticks(at, numbers.kind.values.tolist())
    axes.set(xlabel="exponent", ylim=(-0.6, len(values) - 0.4))


def _budgets(axes: Axes, numbers: xr.Dataset) -> None:
    shown = numbers.isel(budget=np.flatnonzero(numbers.censored_share.values > LEAST_CENSORED))
    at = np.arange(shown.sizes["budget"])
    for shift, (way, (colour, label)) in zip((-0.15, 0, 0.15), WAYS.items(), strict=True):
        values, low, high = shown.by_budget.sel(way=way).transpose("end", "budget").values
        options: Any = {"color": plots.COLOURS[colour], "markersize": 4, "label": label}
        axes.errorbar(at + shift, values, yerr=(values - low, high - values), fmt="o", **options)
    axes.axhline(float(numbers.exponent[list(numbers.definition.values).index(LAW), 0]), color="black", linewidth=0.9)
    axes.axhline(-1, color="black", linewidth=0.9, linestyle=":")
    words = [
        f"{budget:,}\n{share:.0%}".replace(",", " ").replace("%", " %")
        for budget, share in zip(shown.budget.values, shown.censored_share.values, strict=True)
    ]
    axes.set_xticks(at, words)
    axes.set(xlabel="budget in steps, share of runs that had not generalised", ylabel="exponent of lr · weight decay")
    axes.legend(loc="best", title="runs that had not generalised", title_fontsize=8)


STUDY = Study(
    name="delay_law",
    title="Delays against learning rate and weight decay",
    about="whether the delay of generalisation is proportional to 1 / (lr · weight decay)",
    takes="2 min",
    full=Settings(),
    quick=replace(
        Settings(),
        learning_rates=(0.5, 1.0, 2.0),
        weight_decays=(2e-4, 5e-4, 1e-3),
        duration=5.0,
        budgets=(5000, 10_000),
        seeds=2,
        quick=True,
    ),
    check=check,
    budget="weight_decays",
    grids=grids,
    analyse=analyse,
    line=_line,
    seeds=lambda s: seeds_of(grids(s)[0]),
    layout=Layout("abc", 13.0, 4.6, {"wspace": 0.03, "width_ratios": (1.15, 1, 1)}),
    panels=panels,
    mark=lambda s: f"{len(s.learning_rates) * len(s.weight_decays)} places",
    stores=True,
)
