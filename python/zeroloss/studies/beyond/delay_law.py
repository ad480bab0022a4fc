"""Study: whether the delay between memorisation and generalisation is proportional to 1 / (lr · weight decay).

(a) Delays over a grid of learning rates and weight decays, with the law. (b) Its exponent for several definitions of
the delay, and the exponents of lr and weight decay separately. (c) The effect of a budget: the same runs as if each had
ended after some steps. The runs that had not generalised are censored, left out, or have the budget as their delay.
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
from .. import Cube, Grid, Layout, Places, Study, label_numbers
from . import _delays
from ._delays import LAW, MEANINGS, DelaySettings, fit_laws, format_interval, interval_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

AXES = ("seed", "lr", "weight_decay")
WAYS = {
    "censored": ("green", "as censored"),
    "dropped": ("orange", "left out"),
    "taken": ("vermilion", "budget taken for their delay"),
}
COLOURS = ("sky", "green", "orange", "purple", "vermilion", "blue")  # Of learning rates.
MARKERS = "osDv"  # Of learning rates, if there are more of them than colours.
LEAST_CENSORED = 0.05  # The picture leaves out budgets that fewer runs exceed, because they have no effect.


@dataclass(frozen=True)
class Settings(DelaySettings):
    """Settings of the study. Each run is much longer than the delay."""

    fraction: float = 0.9
    learning_rates: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    weight_decays: tuple[float, ...] = (3e-5, 1e-4, 3e-4, 1e-3)
    budgets: tuple[int, ...] = (10_000, 20_000, 40_000, 80_000, 160_000)


def check(s: Settings) -> None:
    """Raise ValueError for settings without laws, and ImportError if the extra that fits them is missing."""
    _checks.check_distinct("learning_rates", s.learning_rates, at_least=2)
    _checks.check_distinct("weight_decays", s.weight_decays, at_least=2)
    _checks.check_distinct("budgets", s.budgets, at_least=1)
    for budget in s.budgets:
        _checks.integer("budgets", budget, at_least=1)
    _delays.check_places(s, [(lr, decay) for lr in s.learning_rates for decay in s.weight_decays])


def grids(s: Settings) -> list[Grid]:
    """Return the runs over seeds, learning rates and weight decays."""
    return [_delays.make_grid(s, {"lr": s.learning_rates, "weight_decay": s.weight_decays})]


def analyse(s: Settings, runs: Cube) -> tuple[xr.Dataset, dict[str, Any]]:
    """Return the delays with their laws, and the summary."""
    names, values = _delays.measure_delays(s, runs)
    over = (*AXES, "definition")
    numbers = label_numbers(
        {
            name: (over, values[name].reshape(*runs.shape, -1), MEANINGS[name])
            for name in ("earliest", "latest", "memorisation")
        },
        {
            "seed": (np.arange(s.seeds), "seed index within a place"),
            "lr": (s.learning_rates, "learning rate"),
            "weight_decay": (s.weight_decays, "weight decay, which multiplies θ"),
            "definition": (names, "what memorisation and generalisation are"),
        },
    )
    sustained = numbers.sel(definition=LAW)
    others = [name for name in names if name != LAW]
    laws = {LAW: _fit(sustained, "rate"), **fit_laws(lambda name: _fit(numbers.sel(definition=name), "rate"), others)}
    noises = fit_laws(lambda kind: _fit(sustained, "rate", kind), [*DISTRIBUTIONS][1:])
    apart = _fit(sustained, "lr and weight decay")
    numbers = numbers.merge(_compute_panels(s, laws, apart, runs))
    summary = {
        "runs": len(runs),
        "diverged": sum(bool(run["diverged"]) for run in runs),
        "generalised_first": _delays.count_generalised_first(sustained),
        "laws": {name: _summarise_law(law) for name, law in laws.items()},
        "exponents_apart": {name: interval_of(apart.powers[name]) for name in ("lr", "weight_decay")},
        "aic": {laws[LAW].distribution: laws[LAW].aic, **{kind: law.aic for kind, law in noises.items()}},
        "aic_of_an_exponential": _fit(sustained, "exponential").aic,
        "budgets": {
            str(budget): {way: numbers.by_budget.sel(budget=budget, way=way).values.tolist() for way in WAYS}
            | {"censored_share": float(numbers.censored_share.sel(budget=budget))}
            for budget in numbers.budget.values.tolist()
        },
    }
    return numbers, summary


def _fit(numbers: xr.Dataset, covariates: str, distribution: str = "log_normal") -> DelayLaw:
    """Fit a power ("rate") or an exponential of lr · weight decay, or a power of each of the two."""
    runs = _delays.select_delayed(numbers.stack(run=AXES))
    lr, decay = runs.lr.values, runs.weight_decay.values
    terms: Any = {
        "rate": {"powers": {"rate": lr * decay}},
        "exponential": {"rates": {"rate": lr * decay}},
        "lr and weight decay": {"powers": {"lr": lr, "weight_decay": decay}},
    }
    return fit_law(runs.earliest.values, runs.latest.values, distribution=distribution, **terms[covariates])  # type: ignore[arg-type]


def bounds_within(
    runs: Sequence[Mapping[str, Any]], levels: Mapping[str, Any], budget: int | None = None
) -> NDArray[np.float64]:
    """Return the bounds (2, runs) of the delays by one definition, as if every run had ended after a budget."""
    bounds = [delays(_delays.make_history(run, budget), {"": levels[LAW]})[""].bounds for run in runs]
    return np.array(bounds, dtype=np.float64).T


def _fit_by_budget(low: NDArray[np.float64], high: NDArray[np.float64], rate: NDArray[np.float64]) -> dict[str, Any]:
    """Return the exponent and its interval for each of the `WAYS`."""
    done = np.isfinite(high)
    delay = np.where(done, high, low)
    exponents: dict[str, Any] = {}
    for way in WAYS:
        part = done if way == "dropped" else np.ones(len(rate), bool)
        bounds = (np.minimum(low, delay), delay) if way == "taken" else (low, high)
        try:
            law = fit_law(bounds[0][part], bounds[1][part], powers={"rate": rate[part]})
            exponents[way] = interval_of(law.powers["rate"])
        except (UndeterminedError, ArithmeticError):  # Too few runs are done.
            exponents[way] = [np.nan] * 3
    return exponents


def _compute_panels(s: Settings, laws: Mapping[str, DelayLaw], apart: DelayLaw, runs: Cube) -> xr.Dataset:
    """Return the numbers that the picture shows next to the delays."""
    products = np.array([place["lr"] * place["weight_decay"] for place in grids(s)[0].labels()])
    rate = np.geomspace(products.min(), products.max(), 41)
    law = laws[LAW]
    exponents = {f"lr · decay, {name}": interval_of(law.powers["rate"]) for name, law in laws.items()}
    exponents |= {
        f"{name}, {LAW}": interval_of(apart.powers[key]) for name, key in zip(("lr", "decay"), AXES[1:], strict=True)
    }
    levels = _delays.definitions(s.p, s.accuracy, s.sustained)
    by_budget, shares = [], []
    for budget in s.budgets:
        low, high = bounds_within(runs, levels, budget)
        delayed = high > 0  # Not NaN, for runs that do not memorise, and not for those that generalise before.
        by_budget.append(list(_fit_by_budget(low[delayed], high[delayed], products[delayed]).values()))
        shares.append(float(np.isinf(high[delayed]).mean()))
    return label_numbers(
        {
            "law": (("end", "rate"), np.stack([law.median(rate=rate), *law.band(rate=rate)]), "median delay"),
            "exponent": (("kind", "end"), list(exponents.values()), "exponent and its interval"),
            "by_budget": (("budget", "way", "end"), by_budget, "exponent of lr · weight decay within a budget"),
            "censored_share": (("budget",), shares, "share of the runs that had not generalised"),
        },
        {
            "end": (("value", "low", "high"), "estimate, and the ends of its interval"),
            "rate": (rate, "lr · weight decay"),
            "kind": ([*exponents], "of what, by which definition"),
            "budget": (s.budgets, "steps after which every run is taken to have ended"),
            "way": ([*WAYS], "what is done with runs that had not generalised"),
        },
    )


def _summarise_law(law: DelayLaw) -> dict[str, Any]:
    exponent, factor = interval_of(law.powers["rate"]), float(np.exp(law.intercept.value))
    return {"exponent": exponent, "factor": factor, **_delays.quality_of(law)}


def _format_line(s: Settings, summary: Mapping[str, Any]) -> str:
    law, apart = summary["laws"][LAW], summary["exponents_apart"]
    return (
        f"{summary['runs']} runs: delay ∝ (lr · weight decay)^b, b = {format_interval(law['exponent'])}, "
        f"{law['censored']} of {law['runs']} censored{_delays.format_left_out(summary)}; "
        f"apart lr^{format_interval(apart['lr'])}, weight decay^{format_interval(apart['weight_decay'])}"
    )


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw the delays, the exponents, and the effect of budgets on them."""
    _draw_delays(place("a", f"delays, {s.seeds} runs a place"), numbers.sel(definition=LAW), s)
    _draw_exponents(place("b", "exponents, 95 % intervals"), numbers)
    _draw_budgets(place("c", "the same runs within a budget"), numbers)


def _draw_delays(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    for at, lr in enumerate(s.learning_rates):
        marker, colour = MARKERS[at // len(COLOURS) % len(MARKERS)], plots.COLOURS[COLOURS[at % len(COLOURS)]]
        runs = _delays.select_delayed(numbers.sel(lr=lr).stack(run=("seed", "weight_decay")))
        rate = lr * runs.weight_decay.values * 1.06 ** (runs.seed.values - (s.seeds - 1) / 2)
        _delays.draw_delays(axes, rate, runs, colour, f"lr {lr:g}", marker)
    law = [numbers.law.sel(end=end) for end in ("value", "low", "high")]
    _delays.draw_law(axes, numbers.rate, law, "black", "law", linewidth=1.0, alpha=0.15)
    censored = "censored" if np.isinf(numbers.latest).any() else None
    _delays.finish_delays(axes, censored, _delays.count_generalised_first(numbers))


def _draw_exponents(axes: Axes, numbers: xr.Dataset) -> None:
    values, low, high = numbers.exponent.transpose("end", "kind").values
    at = np.arange(len(values))[::-1]
    axes.errorbar(values, at, xerr=(values - low, high - values), fmt="o", color=plots.COLOURS["green"], markersize=4)
    axes.axvline(-1, color="black", linewidth=0.9, linestyle=":")
    axes.set_yticks(at, numbers.kind.values.tolist())
    axes.set(xlabel="exponent", ylim=(-0.6, len(values) - 0.4))


def _draw_budgets(axes: Axes, numbers: xr.Dataset) -> None:
    shown = numbers.isel(budget=np.flatnonzero(numbers.censored_share.values > LEAST_CENSORED))
    at = np.arange(shown.sizes["budget"])
    for shift, (way, (colour, label)) in zip((-0.15, 0, 0.15), WAYS.items(), strict=True):
        values, low, high = shown.by_budget.sel(way=way).transpose("end", "budget").values
        options: Any = {"color": plots.COLOURS[colour], "markersize": 4, "label": label}
        axes.errorbar(at + shift, values, yerr=(values - low, high - values), fmt="o", **options)
    exponent = numbers.exponent.sel(kind=f"lr · decay, {LAW}", end="value")
    axes.axhline(float(exponent), color="black", linewidth=0.9)
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
    description="whether the delay of generalisation is proportional to 1 / (lr · weight decay)",
    expected_time="2 min",
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
    line=_format_line,
    seeds=lambda s: _delays.list_seeds(grids(s)[0]),
    layout=Layout("abc", 13.0, 4.6, {"wspace": 0.03, "width_ratios": (1.15, 1, 1)}),
    panels=panels,
    mark=lambda s: f"{len(s.learning_rates) * len(s.weight_decays)} places",
    stores=True,
)
