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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import _checks, plots, survival
from ..._checks import ArgumentValueError
from ...dynamics import GradientDescent
from ...metrics import crossing_step
from ...results import Ending
from ...simulation import simulate
from ...sweeps.engine import Cube, Grid
from .._layout import Layout, Places
from .._memorised import addition
from .._study import Study, chosen, labelled
from .._words import spelled

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

#: What is controlled, by name: how, of which layers, colour and label.
VARIANTS = {
    "hold both": ("fixed", "both", "blue", "‖θ‖ held"),
    "rescale both": ("once", "both", "orange", "‖θ‖ set once"),
    "hold E": ("fixed", "E", "green", "‖E‖ held"),
    "hold W": ("fixed", "W", "purple", "‖W‖ held"),
}
FREE = "free"  # the run of a seed without control
CURVES = ("test_accuracy", "train_loss", "test_loss", "norm_E", "norm_W")
ACCURACIES = (0.5, 0.95)  # of seven test samples more than half, and all; the first is drawn seed by seed and told


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


def check(s: Settings) -> None:
    """Raise ValueError where settings have no delays: before the runs."""
    _checks.different("ratios", s.ratios, at_least=1)
    for ratio in s.ratios:
        _checks.positive("ratios", ratio)
    _checks.integer("steps", s.steps, at_least=1)
    _checks.integer("sustained", s.sustained, at_least=1)
    every = _checks.integer("record_every", s.record_every, at_least=1)
    if _checks.integer("before", s.before, at_least=0) % every:
        raise ArgumentValueError("before", f"expected a multiple of record_every, {every}, got {s.before}")


def grids(s: Settings) -> list[Grid]:
    """Return the runs of every seed, variant and ratio; the free run is the same for every ratio."""
    common = chosen(s, "p hidden activation test_count lr weight_decay before steps record_every")

    def arguments(seed: int, variant: str, ratio: float) -> dict[str, Any]:
        control, layers = (None, "both") if variant == FREE else VARIANTS[variant][:2]
        own = {"control": control, "layers": layers, "ratio": 1.0 if variant == FREE else ratio}
        return {**common, "seed": seed, **own}

    over = {"seed": range(s.seeds), "variant": [FREE, *VARIANTS], "ratio": s.ratios}
    return [Grid(descend, over, arguments, lambda before, steps, **_: before + steps)]


def descend(
    p: int, hidden: int, activation: str, test_count: int, seed: int, lr: float, weight_decay: float, before: int,
    steps: int, record_every: int, control: Any, layers: Any, ratio: float,
) -> dict[str, Any]:  # fmt: skip
    """Return the curves of one run, how it ended, and a digest of all that it was up to ``before``."""
    data, net = addition(p, hidden, activation, seed, test_count=test_count)
    controlled: dict[str, Any] = {}
    if control is not None:
        controlled = {"norm_constraint": control, "norm_layers": layers, "norm_ratio": ratio, "norm_from_step": before}
    run = simulate(
        GradientDescent(lr, weight_decay, **controlled), data, net, steps=before, record_every=record_every, threads=1
    )
    digest = hashlib.sha256()
    for array in (run.network.E, run.network.W, *(run.history[name].values for name in run.history.data_vars)):
        digest.update(np.ascontiguousarray(array).tobytes())
    if run.outcome.ending is Ending.REACHED_THE_END:
        run.extend(steps)
    return {
        **{name: run.history[name].values for name in ("step", *CURVES)},
        "train_accuracy_before": run.history.train_accuracy.values[: before // record_every + 1][-1],
        "finite": run.outcome.ending is Ending.REACHED_THE_END,
        "before": np.frombuffer(digest.digest(), np.uint8),
    }


def analyse(s: Settings, cube: Cube) -> xr.Dataset:
    """Return delays and ends over seed, variant, ratio and test accuracy."""
    import xarray as xr  # noqa: PLC0415 — slow to import

    steps = np.arange(0, s.before + s.steps + 1, s.record_every)
    delay, observed = np.empty((2, *cube.shape, len(ACCURACIES)))
    norm = np.full((*cube.shape[1:], len(steps)), np.nan)
    same, memorised = np.empty((2, s.seeds), bool)
    for at in np.ndindex(cube.shape):
        one, free = cube[at], cube[at[0], 0, 0]
        since = one["step"] >= s.before
        last = max(int(one["step"][-1]), s.before)  # some diverge before the control
        accuracy = xr.DataArray(one["test_accuracy"][since], {"step": one["step"][since]}, ("step",))
        for kind, level in enumerate(ACCURACIES):
            step = crossing_step(accuracy, level, s.sustained)
            observed[*at, kind] = step is not None
            delay[*at, kind] = (last if step is None else step) - s.before
        if at[0] == 0:
            norm[*at[1:], : len(one["step"])] = np.hypot(one["norm_E"], one["norm_W"])[: len(steps)]
        is_same = np.array_equal(free["before"], one["before"])
        same[at[0]] = is_same and (at[1:] == (0, 0) or same[at[0]])
        memorised[at[0]] = free["train_accuracy_before"] == 1
    over = ("seed", "variant", "ratio")
    ends = {name: np.reshape([one[name][-1] for one in cube], cube.shape) for name in CURVES}
    meaning = "steps from the control to a lasting test accuracy, or all there were"
    return labelled(
        {
            "delay": ((*over, "accuracy"), delay, meaning),
            "observed": ((*over, "accuracy"), observed == 1, "whether it was reached; else the delay is censored"),
            "finite": (over, cube["finite"], "whether the run did not diverge"),
            **{f"end_{name}": (over, values, f"{name} at the last step") for name, values in ends.items()},
            "norm": (("variant", "ratio", "step"), norm, "norm of all parameters, of seed 0"),
            "identical_before": (("seed",), same, "whether all runs of the seed have the same bits up to the control"),
            "memorised_before": (
                ("seed",),
                memorised,
                "whether every training sample was right where the control begins",
            ),
        },
        {
            "seed": (np.arange(s.seeds), "seed index"),
            "variant": ([FREE, *VARIANTS], "what is controlled; the free run is the same for every ratio"),
            "ratio": (s.ratios, "norm over that where the control begins"),
            "accuracy": (ACCURACIES, "test accuracy"),
            "step": (steps, "step"),
        },
    )


def _median(runs: xr.Dataset) -> float | None:
    """Return the median delay of runs, with censored ones; None if it is not reached."""
    middle = survival.median(runs.delay.where(runs.observed), runs.delay)
    return middle if math.isfinite(middle) else None


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return delays, ends and divergences of every variant and ratio."""

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
        "free_end_ratio_of_seed_0": _free_end(s, numbers),
        FREE: of(FREE, s.ratios[0]),
        **{name: {f"{ratio:g}": of(name, ratio) for ratio in s.ratios} for name in VARIANTS},
    }


def _free_end(s: Settings, numbers: xr.Dataset) -> float:
    """Return the norm at the end of the free run of seed 0, over that where the others' control begins."""
    norm = numbers.norm.sel(variant=FREE).isel(ratio=0)
    return float(norm[-1] / norm.sel(step=s.before))


def _line(s: Settings, summary: Mapping[str, Any]) -> str:
    told = f"{ACCURACIES[0]:g}"
    parts = [f"{s.seeds} seeds; test accuracy ≥ {told}, free: {_told(summary[FREE]['delay'][told])}"]
    for variant, (*_, label) in VARIANTS.items():
        delays = {ratio: own["delay"][told] for ratio, own in summary[variant].items()}
        if medians := {ratio: own["median"] for ratio, own in delays.items() if own["median"] is not None}:
            best = min(medians, key=lambda ratio: medians[ratio])
            parts.append(f"{label}: soonest at ρ = {best}, {_told(delays[best])}")
        if never := [float(ratio) for ratio, own in delays.items() if own["censored"] == s.seeds]:
            parts.append(f"{label}: none in {s.steps} steps at ρ = {plots.listed(never)}")
    ends = [summary[FREE], *(own for variant in VARIANTS for own in summary[variant].values())]
    if diverged := sum(own["diverged"] for own in ends):
        parts.append(f"{diverged} of {s.seeds * len(ends)} runs diverged")
    same = "identical" if summary["identical_before"] else "NOT identical"
    return f"{'; '.join(parts)}; paths to step {s.before} {same} in every seed"


def _told(delays: Mapping[str, Any]) -> str:
    seen = [delay for delay in delays["each"] if delay is not None]
    if not seen:
        return "in no run"
    censored = f", {delays['censored']} of {len(delays['each'])} censored" if delays["censored"] else ""
    return f"{spelled([min(seen), max(seen)], '.0f')} steps{censored}"


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw delays against ρ, losses at the end, and the norms of one seed's runs."""
    _delays(place("a", "delay with the norm of both layers controlled"), numbers, ("hold both", "rescale both"), s)
    _delays(place("b", "delay with the norm of one layer held"), numbers, ("hold E", "hold W"), s)
    _losses(place("c", f"‖θ‖ held: losses after {s.steps} steps"), numbers, s)
    _norms(place("d", "‖θ‖ of seed 0, held and free"), numbers, s)


def _delays(axes: Axes, numbers: xr.Dataset, variants: tuple[str, ...], s: Settings) -> None:
    grey = plots.COLOURS["grey"]
    drawn, other = (numbers.sel(accuracy=level) for level in ACCURACIES)
    free = drawn.sel(variant=FREE).isel(ratio=0)
    axes.axhspan(float(free.delay.min()), float(free.delay.max()), color=grey, alpha=0.16, linewidth=0, zorder=0)
    if (middle := _median(free)) is not None:
        axes.axhline(middle, color=grey, linewidth=1.1, label="free: median, range")
    axes.axhline(s.steps, color=grey, linewidth=0.8, linestyle=":")
    for place, variant in enumerate(variants):
        _, _, name, label = VARIANTS[variant]
        colour = plots.COLOURS[name]
        for numbers_at, line in ((drawn, "-"), (other, "--")):
            one = numbers_at.sel(variant=variant)
            medians = [_median(one.sel(ratio=ratio)) for ratio in s.ratios]
            axes.plot(s.ratios, np.array(medians, float), line, color=colour, label=label if line == "-" else None)
        one = drawn.sel(variant=variant)
        for seed in one.seed.values:
            side = 0.006 * (seed - (s.seeds - 1) / 2) + 0.003 * (place - 0.5)  # else seeds hide each other
            at, delay, observed = one.ratio + side, one.delay.sel(seed=seed), one.observed.sel(seed=seed).values
            style: dict[str, Any] = {"color": colour, "linestyle": "none", "markersize": 4, "alpha": 0.7}
            axes.plot(at[observed], delay[observed], "o", **style)
            axes.plot(at[~observed], delay[~observed] * 1.08**place, "^", markerfacecolor="none", **style)
    axes.plot([], [], "^", color=grey, markerfacecolor="none", linestyle="none", label="censored: not reached")
    axes.plot([], [], "--", color=grey, label=f"medians at {ACCURACIES[1]:g}")
    axes.set(
        xlabel=f"ρ: norm over that of step {s.before}",
        ylabel=f"steps to a test accuracy ≥ {ACCURACIES[0]:g} that lasts",
        yscale="log",
        ylim=(None, s.steps * 4),
    )
    axes.legend(loc="upper left", fontsize=8, ncols=2)


def _losses(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    held = numbers.sel(variant="hold both")
    for name, colour, label in (("test_loss", "vermilion", "test loss"), ("train_loss", "green", "train loss")):
        values = held[f"end_{name}"].clip(1e-16)
        plots.runs_and_mean(axes, held.ratio, values.transpose("seed", "ratio"), plots.COLOURS[colour], label)
    end = _free_end(s, numbers)
    axes.axvline(end, color=plots.COLOURS["grey"], linewidth=0.9, linestyle="--", label="where ‖θ‖ ends free, seed 0")
    axes.set(xlabel="ρ", ylabel="mean squared error, from 10⁻¹⁶", yscale="log")
    axes.legend(loc="lower left")


def _norms(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    import matplotlib as mpl  # noqa: PLC0415 — loaded with the first picture

    colours = mpl.colormaps["viridis"](np.linspace(0, 0.92, len(s.ratios)))
    for colour, ratio in zip(colours, s.ratios, strict=True):
        curve = numbers.norm.sel(variant="hold both", ratio=ratio)
        axes.plot(numbers.step[1:], curve[1:], color=colour, linewidth=1.1, label=f"ρ = {ratio:g}")
    axes.plot(numbers.step[1:], numbers.norm.sel(variant=FREE)[0, 1:], color=plots.COLOURS["vermilion"], label="free")
    axes.axvline(s.before, color=plots.COLOURS["grey"], linewidth=0.8)
    axes.set(xscale="log", xlabel="step", ylabel="‖θ‖")
    axes.legend(loc="center left", fontsize=7, bbox_to_anchor=(1.0, 0.5))


STUDY = Study(
    name="norm_clamp",
    title="Delay of generalisation against a norm that is controlled",
    about="when networks generalise if a norm is held, or set once, after memorisation",
    takes="2 min",
    full=Settings(),
    quick=replace(Settings(), steps=20_000, ratios=(0.5, 0.7, 0.8, 0.9, 1.0), seeds=2, quick=True),
    check=check,
    grids=grids,
    analyse=analyse,
    summarise=summarise,
    line=_line,
    layout=Layout("ab cd", 11.0, 8.4, {"wspace": 0.03, "hspace": 0.03}),
    panels=panels,
    mark=lambda s: f"{s.seeds} seeds, {s.steps} steps",
    stores=True,
)
