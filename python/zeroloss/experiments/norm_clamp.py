"""Study: when networks generalise if a norm is held, or set once, from a step just after memorisation.

Every seed descends with weight decay, as in figure 5, to the same step t₀; from there on the norm of all parameters, or
of one layer, is held at ρ times what it was at t₀, or set to that once, or left alone. All runs of a seed have the same
bits up to t₀, which is verified. (a), (b) Delay against ρ: steps from t₀ until the test accuracy is there to stay.
(c) Losses at the end. (d) Norms of the runs of one seed. Runs that have not generalised where their steps end are
censored: they stay in the numbers and on the picture as such.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _checks, datasets, networks, plots, survival
from .._checks import ArgumentValueError
from .._progress import progress_bar
from ..dynamics import GradientDescent
from ..metrics import crossing_step
from ..results import Ending, Run
from ..simulation import simulate
from .cells import Cells
from .ensemble import derived_seeds
from .output import Result, labelled, settings_of, spelled

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["FULL", "QUICK", "Settings", "draw", "run"]

#: What is controlled, by name: how, of which layers, colour and label.
VARIANTS = {
    "hold both": ("hold", "both", "blue", "‖θ‖ held"),
    "rescale both": ("rescale", "both", "orange", "‖θ‖ set once"),
    "hold E": ("hold", "E", "green", "‖E‖ held"),
    "hold W": ("hold", "W", "purple", "‖W‖ held"),
}
FREE = "free"  # the run of a seed without control
CURVES = ("test_accuracy", "train_loss", "test_loss", "norm_E", "norm_W")
ACCURACIES = (0.5, 0.95)  # of seven test samples more than half, and all; the first is drawn seed by seed and told

Key = tuple[int, str, float]  # seed, variant, ratio


@dataclass(frozen=True)
class Settings:
    """What determines the numbers.

    The control begins after ``before`` steps, and ``steps`` are taken from there. A test accuracy counts from the first
    of ``sustained`` records in a row that have it, at steps apart ``record_every``.
    """

    p: int = 11
    hidden: int = 128
    activation: str = "relu"
    test_count: int = 7
    lr: float = 1.0
    weight_decay: float = 1e-4
    before: int = 500
    steps: int = 60_000
    ratios: tuple[float, ...] = (0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1, 1.2)
    record_every: int = 50
    sustained: int = 20
    seeds: int = 5
    quick: bool = False


FULL = Settings()
QUICK = replace(FULL, steps=20_000, ratios=(0.5, 0.7, 0.8, 0.9, 1.0), seeds=2, quick=True)


def run(settings: Settings, cells: Cells | None = None) -> Result:
    """Simulate and analyse at given settings; what ``cells`` hold is not simulated again."""
    _check(settings)
    cells = Cells() if cells is None else cells
    found: dict[Key, Mapping[str, NDArray[Any]]] = {}
    keys = [(seed, name, ratio) for seed in range(settings.seeds) for name in VARIANTS for ratio in settings.ratios]
    for seed, name, ratio in progress_bar(None, iterable=keys, desc="runs", unit="run", leave=False):
        if (seed, FREE, ratio) not in found:
            one = _kept(cells, _cell(settings, seed, FREE, 1.0))
            found |= dict.fromkeys([(seed, FREE, any_ratio) for any_ratio in settings.ratios], one)
        found[seed, name, ratio] = _kept(cells, _cell(settings, seed, name, ratio))
    numbers = _numbers(settings, found)
    summary = _summary(settings, numbers)
    seeds = [derived_seeds(index) for index in range(settings.seeds)]
    return Result(numbers, asdict(settings), seeds, summary, _line(settings, summary), draw)


def _check(settings: Settings) -> None:
    """Raise ValueError where settings have no delays: before the runs."""
    _checks.different("ratios", settings.ratios, at_least=1)
    for ratio in settings.ratios:
        _checks.positive("ratios", ratio)
    _checks.integer("steps", settings.steps, at_least=1)
    _checks.integer("sustained", settings.sustained, at_least=1)
    every = _checks.integer("record_every", settings.record_every, at_least=1)
    if _checks.integer("before", settings.before, at_least=0) % every:
        raise ArgumentValueError("before", f"expected a multiple of record_every, {every}, got {settings.before}")


def _kept(cells: Cells, cell: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    return cells.cell(cell, lambda: _simulated(cell))


def _cell(settings: Settings, seed: int, name: str, ratio: float) -> dict[str, Any]:
    """Return all that determines one run."""
    control, layers = (None, "both") if name == FREE else VARIANTS[name][:2]
    names = ("p", "hidden", "activation", "test_count", "lr", "weight_decay", "before", "steps", "record_every")
    own = {name: getattr(settings, name) for name in names}
    return {"study": "norm-clamp", **own, **derived_seeds(seed), "control": control, "layers": layers, "ratio": ratio}


def _simulated(cell: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Return the curves of one run, how it ended, and a digest of all that it was up to ``before``."""
    data = datasets.modular_addition(cell["p"], test_count=cell["test_count"], seed=cell["data"])
    net = networks.uniform_fan_in(data, cell["hidden"], cell["network"], cell["activation"])
    control: dict[str, Any] = {}
    if cell["control"] is not None:
        control = {"norm_control": cell["control"], "norm_layers": cell["layers"], "norm_ratio": cell["ratio"]}
        control["norm_step"] = cell["before"]
    descent = GradientDescent(cell["lr"], cell["weight_decay"], **control)
    every = cell["record_every"]
    run = _sound(simulate(descent, data, net, steps=cell["before"], record_every=every, threads=1, progress=False))
    digest = hashlib.sha256()
    recorded = [run.history[name].values for name in run.history.data_vars]
    for array in (run.network.E, run.network.W, *recorded):
        digest.update(np.ascontiguousarray(array).tobytes())
    if run.outcome.ending is Ending.REACHED_THE_END:
        _sound(run.extend(cell["steps"], progress=False))
    return {
        **{name: run.history[name].values for name in ("step", *CURVES)},
        "train_accuracy_before": run.history.train_accuracy.values[: cell["before"] // every + 1][-1],
        "finite": np.asarray(run.outcome.ending is Ending.REACHED_THE_END),
        "before": np.frombuffer(digest.digest(), np.uint8),
    }


def _sound(run: Run) -> Run:
    """Return a run that the user did not stop; one that diverged is a result."""
    if run.outcome.ending is Ending.STOPPED_BY_THE_USER:
        raise KeyboardInterrupt
    return run


def _numbers(settings: Settings, found: Mapping[Key, Mapping[str, NDArray[Any]]]) -> xr.Dataset:
    import xarray as xr  # noqa: PLC0415 — slow to import

    names, ratios, seeds = [FREE, *VARIANTS], settings.ratios, range(settings.seeds)
    steps = np.arange(0, settings.before + settings.steps + 1, settings.record_every)
    runs = (settings.seeds, len(names), len(ratios))
    delay, observed = np.empty((*runs, len(ACCURACIES))), np.empty((*runs, len(ACCURACIES)), bool)
    finite = np.empty(runs, bool)
    ends = {name: np.empty(runs) for name in CURVES}
    norm = np.full((len(names), len(ratios), len(steps)), np.nan)
    for (seed, name, ratio), one in found.items():
        at = seed, names.index(name), ratios.index(ratio)
        since = one["step"] >= settings.before
        last = max(int(one["step"][-1]), settings.before)  # some diverge before the control
        accuracy = xr.DataArray(one["test_accuracy"][since], {"step": one["step"][since]}, ("step",))
        for kind, level in enumerate(ACCURACIES):
            step = crossing_step(accuracy, level, settings.sustained)
            observed[*at, kind] = step is not None
            delay[*at, kind] = (last if step is None else step) - settings.before
        finite[at] = one["finite"]
        for curve, values in ends.items():
            values[at] = one[curve][-1]
        if seed == 0:
            norm[*at[1:], : len(one["step"])] = np.hypot(one["norm_E"], one["norm_W"])[: len(steps)]
    first = [found[seed, FREE, ratios[0]] for seed in seeds]
    same = [
        all(np.array_equal(first[key[0]]["before"], one["before"]) for key, one in found.items() if key[0] == seed)
        for seed in seeds
    ]
    run = ("seed", "variant", "ratio")
    return labelled(
        "Delay of generalisation against a norm that is controlled",
        settings,
        {
            "delay": (
                (*run, "accuracy"),
                delay,
                "steps from the control to a lasting test accuracy, or all there were",
            ),
            "observed": ((*run, "accuracy"), observed, "whether it was reached; else the delay is censored"),
            "finite": (run, finite, "whether the run did not diverge"),
            **{f"end_{name}": (run, values, f"{name} at the last step") for name, values in ends.items()},
            "norm": (("variant", "ratio", "step"), norm, "norm of all parameters, of seed 0"),
            "identical_before": (("seed",), same, "whether all runs of the seed have the same bits up to the control"),
            "memorised_before": (
                ("seed",),
                [one["train_accuracy_before"] == 1 for one in first],
                "whether every training sample was right where the control begins",
            ),
        },
        {
            "seed": (np.array(seeds), "seed index"),
            "variant": (np.array(names, dtype=object), "what is controlled; the free run is the same for every ratio"),
            "ratio": (np.array(ratios), "norm over that where the control begins"),
            "accuracy": (np.array(ACCURACIES), "test accuracy"),
            "step": (steps, "step"),
        },
    )


def _median(runs: xr.Dataset) -> float | None:
    """Return the median delay of runs, with censored ones; None if it is not reached."""
    middle = survival.median(runs.delay.where(runs.observed), runs.delay)
    return middle if math.isfinite(middle) else None


def _summary(settings: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    def delays(level: float, name: str, ratio: float) -> dict[str, Any]:
        one, free = (numbers.sel(accuracy=level, variant=variant, ratio=ratio) for variant in (name, FREE))
        share = (one.delay / free.delay).where(free.observed)
        share_of_free = survival.median(share.where(one.observed), share)
        return {
            "median": _median(one),
            "each": [float(d) if o else None for d, o in zip(one.delay.values, one.observed.values, strict=True)],
            "censored": int((~one.observed).sum()),
            "median_share_of_free": share_of_free if math.isfinite(share_of_free) else None,
        }

    def of(name: str, ratio: float) -> dict[str, Any]:
        one = numbers.sel(variant=name, ratio=ratio)
        return {
            "delay": {f"{level:g}": delays(level, name, ratio) for level in ACCURACIES},
            **{f"median_{end}": float(one[end].median()) for end in ("end_train_loss", "end_test_loss")},
            "diverged": int((~one.finite).sum()),
        }

    return {
        "identical_before": bool(numbers.identical_before.all()),
        "memorised_before": bool(numbers.memorised_before.all()),
        "free_end_ratio_of_seed_0": _free_end(settings, numbers),
        FREE: of(FREE, settings.ratios[0]),
        **{name: {f"{ratio:g}": of(name, ratio) for ratio in settings.ratios} for name in VARIANTS},
    }


def _free_end(settings: Settings, numbers: xr.Dataset) -> float:
    """Return the norm at the end of the free run of seed 0, over that where the others' control begins."""
    norm = numbers.norm.sel(variant=FREE).isel(ratio=0)
    return float(norm[-1] / norm.sel(step=settings.before))


def _line(settings: Settings, summary: Mapping[str, Any]) -> str:
    told = f"{ACCURACIES[0]:g}"
    parts = [f"{settings.seeds} seeds; test accuracy ≥ {told}, free: {_told(summary[FREE]['delay'][told])}"]
    for variant, (*_, label) in VARIANTS.items():
        delays = {ratio: own["delay"][told] for ratio, own in summary[variant].items()}
        if medians := {ratio: own["median"] for ratio, own in delays.items() if own["median"] is not None}:
            best = min(medians, key=lambda ratio: medians[ratio])
            parts.append(f"{label}: soonest at ρ = {best}, {_told(delays[best])}")
        if never := [float(ratio) for ratio, own in delays.items() if own["censored"] == settings.seeds]:
            parts.append(f"{label}: none in {settings.steps} steps at ρ = {plots.listed(never)}")
    ends = [summary[FREE], *(own for variant in VARIANTS for own in summary[variant].values())]
    if diverged := sum(own["diverged"] for own in ends):
        parts.append(f"{diverged} of {settings.seeds * len(ends)} runs diverged")
    same = "identical" if summary["identical_before"] else "NOT identical"
    return f"{'; '.join(parts)}; paths to step {settings.before} {same} in every seed"


def _told(delays: Mapping[str, Any]) -> str:
    seen = [delay for delay in delays["each"] if delay is not None]
    if not seen:
        return "in no run"
    censored = f", {delays['censored']} of {len(delays['each'])} censored" if delays["censored"] else ""
    return f"{spelled([min(seen), max(seen)], '.0f')} steps{censored}"


def draw(numbers: xr.Dataset) -> Figure:
    """Draw delays against ρ, losses at the end, and the norms of one seed's runs."""
    settings = settings_of(numbers, Settings)
    figure = plots.new_figure(11.0, 8.4)
    a, b, c, d = figure.subfigures(2, 2, squeeze=False, wspace=0.03, hspace=0.03).ravel()
    plots.panel(a, "a", "delay with the norm of both layers controlled")
    plots.panel(b, "b", "delay with the norm of one layer held")
    plots.panel(c, "c", f"‖θ‖ held: losses after {settings.steps} steps")
    plots.panel(d, "d", "‖θ‖ of seed 0, held and free")
    _delays(a.subplots(), numbers, ("hold both", "rescale both"))
    _delays(b.subplots(), numbers, ("hold E", "hold W"))
    _losses(c.subplots(), numbers)
    _norms(d.subplots(), numbers)
    if settings.quick:
        plots.mark_quick(figure, f"{settings.seeds} seeds, {settings.steps} steps")
    return figure


def _delays(axes: Axes, numbers: xr.Dataset, variants: tuple[str, ...]) -> None:
    settings, grey = settings_of(numbers, Settings), plots.COLOURS["grey"]
    drawn, other = (numbers.sel(accuracy=level) for level in ACCURACIES)
    free = drawn.sel(variant=FREE).isel(ratio=0)
    axes.axhspan(float(free.delay.min()), float(free.delay.max()), color=grey, alpha=0.16, linewidth=0, zorder=0)
    if (middle := _median(free)) is not None:
        axes.axhline(middle, color=grey, linewidth=1.1, label="free: median, range")
    axes.axhline(settings.steps, color=grey, linewidth=0.8, linestyle=":")
    for place, variant in enumerate(variants):
        _, _, name, label = VARIANTS[variant]
        colour = plots.COLOURS[name]
        for numbers_at, line in ((drawn, "-"), (other, "--")):
            one = numbers_at.sel(variant=variant)
            medians = [_median(one.sel(ratio=ratio)) for ratio in settings.ratios]
            axes.plot(
                settings.ratios, np.array(medians, float), line, color=colour, label=label if line == "-" else None
            )
        one = drawn.sel(variant=variant)
        for seed in one.seed.values:
            side = 0.006 * (seed - (settings.seeds - 1) / 2) + 0.003 * (place - 0.5)  # else seeds hide each other
            at, delay, observed = one.ratio + side, one.delay.sel(seed=seed), one.observed.sel(seed=seed).values
            style: dict[str, Any] = {"color": colour, "linestyle": "none", "markersize": 4, "alpha": 0.7}
            axes.plot(at[observed], delay[observed], "o", **style)
            axes.plot(at[~observed], delay[~observed] * 1.08**place, "^", markerfacecolor="none", **style)
    axes.plot([], [], "^", color=grey, markerfacecolor="none", linestyle="none", label="censored: not reached")
    axes.plot([], [], "--", color=grey, label=f"medians at {ACCURACIES[1]:g}")
    axes.set(
        xlabel=f"ρ: norm over that of step {settings.before}",
        ylabel=f"steps to a test accuracy ≥ {ACCURACIES[0]:g} that lasts",
        yscale="log",
        ylim=(None, settings.steps * 4),
    )
    axes.legend(loc="upper left", fontsize=8, ncols=2)


def _losses(axes: Axes, numbers: xr.Dataset) -> None:
    held = numbers.sel(variant="hold both")
    for name, colour, label in (("test_loss", "vermilion", "test loss"), ("train_loss", "green", "train loss")):
        values = held[f"end_{name}"].clip(1e-16)
        plots.runs_and_mean(axes, held.ratio, values.transpose("seed", "ratio"), plots.COLOURS[colour], label)
    end = _free_end(settings_of(numbers, Settings), numbers)
    axes.axvline(end, color=plots.COLOURS["grey"], linewidth=0.9, linestyle="--", label="where ‖θ‖ ends free, seed 0")
    axes.set(xlabel="ρ", ylabel="mean squared error, from 10⁻¹⁶", yscale="log")
    axes.legend(loc="lower left")


def _norms(axes: Axes, numbers: xr.Dataset) -> None:
    import matplotlib as mpl  # noqa: PLC0415 — loaded with the first picture

    settings = settings_of(numbers, Settings)
    colours = mpl.colormaps["viridis"](np.linspace(0, 0.92, len(settings.ratios)))
    for colour, ratio in zip(colours, settings.ratios, strict=True):
        curve = numbers.norm.sel(variant="hold both", ratio=ratio)
        axes.plot(numbers.step[1:], curve[1:], color=colour, linewidth=1.1, label=f"ρ = {ratio:g}")
    axes.plot(numbers.step[1:], numbers.norm.sel(variant=FREE)[0, 1:], color=plots.COLOURS["vermilion"], label="free")
    axes.axvline(settings.before, color=plots.COLOURS["grey"], linewidth=0.8)
    axes.set(xscale="log", xlabel="step", ylabel="‖θ‖")
    axes.legend(loc="center left", fontsize=7, bbox_to_anchor=(1.0, 0.5))
