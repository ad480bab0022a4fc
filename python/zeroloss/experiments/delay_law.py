"""Study: whether the delay between memorisation and generalisation is proportional to 1 / (lr · weight decay).

(a) Delays over a grid of learning rates and weight decays, with the law. (b) Its exponent by several definitions of the
delay, and the exponents of lr and weight decay one by one. (c) What a budget does: the same runs as if each had ended
after so many steps, fitted with those that had not generalised as censored, without them, and with the budget taken for
their delay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _checks, plots, survival
from ..metrics import delays
from ..survival import DISTRIBUTIONS, DelayLaw, UndeterminedError, fit_law
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

__all__ = ["FULL", "QUICK", "Settings", "bounds_within", "draw", "run"]

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


FULL = Settings()
QUICK = replace(
    FULL,
    learning_rates=(0.5, 1.0, 2.0),
    weight_decays=(2e-4, 5e-4, 1e-3),
    duration=5.0,
    budgets=(5000, 10_000),
    seeds=2,
    quick=True,
)


def run(settings: Settings, cells: Cells | None = None) -> Result:
    """Simulate and analyse at given settings."""
    survival.check_installed()
    _check(settings)
    plans = _plans(settings)
    runs = histories("weight_decays", plans, cells)
    diverged = [plan for plan, one in zip(plans, runs, strict=True) if one["diverged"]]
    numbers = _numbers(settings, plans, runs)
    law = _fit(numbers.sel(definition=LAW), "rate")
    others = [name for name in numbers.definition.values if name != LAW]
    laws = {LAW: law, **laws_of(lambda name: _fit(numbers.sel(definition=name), "rate"), others)}
    noises = laws_of(lambda kind: _fit(numbers.sel(definition=LAW), "rate", kind), [*DISTRIBUTIONS][1:])
    apart = _fit(numbers.sel(definition=LAW), "lr and weight decay")
    numbers = numbers.assign(_drawn(settings, numbers, laws, apart, plans, runs))
    summary = {
        "runs": len(plans),
        "diverged": len(diverged),
        "generalised_first": generalised_first(numbers.sel(definition=LAW)),
        "laws": {name: _told(law, "rate") for name, law in laws.items()},
        "exponents_apart": {name: _interval(apart, name) for name in ("lr", "weight_decay")},
        "aic": {law.distribution: law.aic, **{kind: own.aic for kind, own in noises.items()}},
        "aic_of_an_exponential": _exponential(numbers.sel(definition=LAW)).aic,
        "budgets": {
            str(budget): {way: numbers.by_budget.sel(budget=budget, way=way).values.tolist() for way in WAYS}
            | {"censored_share": float(numbers.censored_share.sel(budget=budget))}
            for budget in numbers.budget.values.tolist()
        },
    }
    seeds = [derived_seeds(plan.seed) for plan in plans]
    return Result(numbers, asdict(settings), seeds, summary, _line(summary), draw)


def _check(settings: Settings) -> None:
    """Raise ValueError where settings can have no laws; `plans_of` looks at the values of the grid."""
    _checks.different("learning_rates", settings.learning_rates, at_least=2)
    _checks.different("weight_decays", settings.weight_decays, at_least=2)
    _checks.different("budgets", settings.budgets, at_least=1)
    for budget in settings.budgets:
        _checks.integer("budgets", budget, at_least=1)
    _checks.share("accuracy", settings.accuracy)
    _checks.integer("sustained", settings.sustained, at_least=1)


def _plans(settings: Settings) -> list[Plan]:
    places = [(settings.fraction, lr, decay) for lr in settings.learning_rates for decay in settings.weight_decays]
    return plans_of(
        settings.p,
        settings.hidden,
        places,
        settings.seeds,
        duration=settings.duration,
        least_steps=settings.least_steps,
    )


def bounds_within(
    runs: Sequence[Mapping[str, Any]], meant: Mapping[str, Any], budget: int | None = None
) -> NDArray[np.float64]:
    """Return the bounds (2, runs) of the delays by one definition, as if every run had ended after a budget."""
    found = [delays(history_of(one, budget), {"": meant[LAW]})[""].bounds for one in runs]
    return np.array(found, dtype=np.float64).T


def _numbers(settings: Settings, plans: Sequence[Plan], runs: Sequence[Arrays]) -> xr.Dataset:
    meant = definitions(settings.p, settings.accuracy, settings.sustained)
    shape = (settings.seeds, len(settings.learning_rates), len(settings.weight_decays), len(meant))
    found = [[(*own.bounds, own.memorisation.step) for own in delays(history_of(one), meant).values()] for one in runs]
    low, high, memorisation = np.moveaxis(np.array(found, dtype=np.float64), -1, 0)
    axes = (*AXES, "definition")
    return labelled(
        "Delays against learning rate and weight decay",
        settings,
        {
            "earliest": (axes, low.reshape(shape), "least delay in steps that the records leave possible"),
            "latest": (axes, high.reshape(shape), "greatest, infinite for a censored run"),
            "memorisation": (axes, memorisation.reshape(shape), "record of memorisation"),
        },
        {
            "seed": (np.arange(settings.seeds), "seed index within a place"),
            "lr": (np.array(settings.learning_rates), "learning rate"),
            "weight_decay": (np.array(settings.weight_decays), "weight decay, which multiplies θ"),
            "definition": (np.array(list(meant), dtype=object), "what memorisation and generalisation are"),
        },
    )


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


def _drawn(
    settings: Settings,
    numbers: xr.Dataset,
    laws: Mapping[str, DelayLaw],
    apart: DelayLaw,
    plans: Sequence[Plan],
    runs: Sequence[Arrays],
) -> dict[str, Any]:
    """Return what the picture shows beside the delays."""
    products = np.array([plan.lr * plan.weight_decay for plan in plans])
    rate = np.geomspace(products.min(), products.max(), 41)
    law = laws[LAW]
    exponents = {f"lr · decay, {name}": _interval(own, "rate") for name, own in laws.items()}
    exponents |= {f"{name}, {LAW}": _interval(apart, key) for name, key in (("lr", "lr"), ("decay", "weight_decay"))}
    meant = definitions(settings.p, settings.accuracy, settings.sustained)
    by_budget, shares = [], []
    for budget in settings.budgets:
        low, high = bounds_within(runs, meant, budget)
        delayed = high > 0  # not of runs that do not memorise, NaN, or that generalise before
        found = _by_budget(low[delayed], high[delayed], products[delayed])
        by_budget.append([found[way] for way in WAYS])
        shares.append(float(np.isinf(high[delayed]).mean()))
    ends = ("value", "low", "high")
    added = labelled(
        "",
        settings,
        {
            "law": (("end", "rate"), np.stack([law.median(rate=rate), *law.band(rate=rate)]), "median delay"),
            "exponent": (("kind", "end"), list(exponents.values()), "exponent and its interval"),
            "by_budget": (("budget", "way", "end"), by_budget, "exponent of lr · weight decay within a budget"),
            "censored_share": (("budget",), shares, "share of the runs that had not generalised"),
        },
        {
            "end": (np.array(ends, dtype=object), "estimate, and the ends of its interval"),
            "rate": (rate, "lr · weight decay"),
            "kind": (np.array(list(exponents), dtype=object), "of what, by which definition"),
            "budget": (np.array(settings.budgets), "steps after which every run is taken to have ended"),
            "way": (np.array(list(WAYS), dtype=object), "what is done with runs that had not generalised"),
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


def _line(summary: Mapping[str, Any]) -> str:
    law = summary["laws"][LAW]
    value, low, high = law["exponent"]
    lr, decay = (summary["exponents_apart"][name] for name in ("lr", "weight_decay"))
    return (
        f"{summary['runs']} runs: delay ∝ (lr · weight decay)^b, b = {value:.3f} ({low:.3f} … {high:.3f}), "
        f"{law['censored']} of {law['runs']} censored{left_out(summary)}; "
        f"apart lr^{lr[0]:.3f} ({lr[1]:.3f} … {lr[2]:.3f}), "
        f"weight decay^{decay[0]:.3f} ({decay[1]:.3f} … {decay[2]:.3f})"
    ).replace("-", "−")


def draw(numbers: xr.Dataset) -> Figure:
    """Draw the delays, the exponents, and what budgets do to them."""
    settings = settings_of(numbers, Settings)
    figure = plots.new_figure(13.0, 4.6)
    a, b, c = figure.subfigures(1, 3, squeeze=False, wspace=0.03, width_ratios=(1.15, 1, 1)).ravel()
    plots.panel(a, "a", f"delays, {settings.seeds} runs a place")
    _delays(a.subplots(), numbers, settings)
    plots.panel(b, "b", "exponents, 95 % intervals")
    _exponents(b.subplots(), numbers)
    plots.panel(c, "c", "the same runs within a budget")
    _budgets(c.subplots(), numbers)
    if settings.quick:
        plots.mark_quick(figure, f"{numbers.earliest[0, ..., 0].size} places")
    return figure


def _delays(axes: Axes, numbers: xr.Dataset, settings: Settings) -> None:
    names = ("sky", "green", "orange", "purple", "vermilion", "blue")
    for at, lr in enumerate(settings.learning_rates):
        marker, name = MARKERS[at // len(names) % len(MARKERS)], names[at % len(names)]
        own = with_a_delay(numbers.sel(definition=LAW, lr=lr).stack(run=("seed", "weight_decay")))
        rate = lr * own.weight_decay.values * 1.06 ** (own.seed.values - (settings.seeds - 1) / 2)
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
