"""Study: when networks generalise if a norm is held fixed, or set once, from a step just after memorisation.

Every seed descends with weight decay, as in figure 5, to the same step t₀. From there the norm of all parameters, or of
one layer, is held at ρ times its value at t₀, or set to that once, or left free. All runs of a seed have the same bits
up to t₀, which the study verifies. (a), (b) Delay against ρ: steps from t₀ until the test accuracy stays at a level.
(c) Losses at the end. (d) Norms of the runs of one seed. Runs that have not generalised at their end are censored. The
numbers and the picture include them as such.
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
from .. import Cube, Grid, Layout, Places, Study, label_numbers, select_settings
from .._drawing import choose_shades, draw_curves, finish_axes
from .._memorised import AdditionSettings, make_addition
from .._words import format_range

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

#: The controls by name: how, of which layers, colour and label.
VARIANTS = {
    "hold both": ("fixed", "both", "blue", "‖θ‖ held"),
    "rescale both": ("once", "both", "orange", "‖θ‖ set once"),
    "hold E": ("fixed", "E", "green", "‖E‖ held"),
    "hold W": ("fixed", "W", "purple", "‖W‖ held"),
}
FREE = "free"  # The run of a seed without control.
CURVES = ("test_accuracy", "train_loss", "test_loss", "norm_E", "norm_W")
#: Of seven test samples more than half, and all. The picture shows the first one seed by seed, and so does the line.
ACCURACIES = (0.5, 0.95)


@dataclass(frozen=True)
class Settings(AdditionSettings):
    """Settings of the study.

    The control begins after ``before`` steps, and ``steps`` steps follow. A run reaches a test accuracy at the first of
    ``sustained`` records in a row that have it. Records are ``record_every`` steps apart.
    """

    activation: str = "relu"
    test_count: int = 7
    lr: float = 1.0
    weight_decay: float = 1e-4
    before: int = 500
    steps: int = 60_000
    ratios: tuple[float, ...] = (0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1, 1.2)
    record_every: int = 50
    sustained: int = 20


def check(s: Settings) -> None:
    """Raise ValueError for settings without delays."""
    _checks.check_distinct("ratios", s.ratios, at_least=1)
    for ratio in s.ratios:
        _checks.positive("ratios", ratio)
    _checks.integer("steps", s.steps, at_least=1)
    _checks.integer("sustained", s.sustained, at_least=1)
    every = _checks.integer("record_every", s.record_every, at_least=1)
    if _checks.integer("before", s.before, at_least=0) % every:
        raise ArgumentValueError("before", f"expected a multiple of record_every, {every}, got {s.before}")


def grids(s: Settings) -> list[Grid]:
    """Return the runs of every seed, variant and ratio. The free run is the same for every ratio."""
    common = select_settings(s, "p hidden activation test_count lr weight_decay before steps record_every")

    def arguments(seed: int, variant: str, ratio: float) -> dict[str, Any]:
        control, layers = (None, "both") if variant == FREE else VARIANTS[variant][:2]
        norm = {"control": control, "layers": layers, "ratio": 1.0 if variant == FREE else ratio}
        return {**common, "seed": seed, **norm}

    over = {"seed": range(s.seeds), "variant": [FREE, *VARIANTS], "ratio": s.ratios}
    return [Grid(descend, over, arguments, lambda before, steps, **_: before + steps)]


def descend(
    p: int, hidden: int, activation: str, test_count: int, seed: int, lr: float, weight_decay: float, before: int,
    steps: int, record_every: int, control: Any, layers: Any, ratio: float,
) -> dict[str, Any]:  # fmt: skip
    """Return the curves of one run, whether it stayed finite, and a digest of the run up to ``before``."""
    data, net = make_addition(p, hidden, activation, seed, test_count=test_count)
    controls: dict[str, Any] = {}
    if control is not None:
        controls = {"norm_constraint": control, "norm_layers": layers, "norm_ratio": ratio, "norm_from_step": before}
    descent = GradientDescent(lr, weight_decay, **controls)
    run = simulate(descent, data, net, steps=before, record_every=record_every, threads=1)
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
    """Return delays and final values over seed, variant, ratio and test accuracy."""
    import xarray as xr  # noqa: PLC0415 — xarray takes long to import.

    steps = np.arange(0, s.before + s.steps + 1, s.record_every)
    delay, observed = np.empty((2, *cube.shape, len(ACCURACIES)))
    norm = np.full((*cube.shape[1:], len(steps)), np.nan)
    for at in np.ndindex(cube.shape):
        run = cube[at]
        since = run["step"] >= s.before
        last = max(int(run["step"][-1]), s.before)  # Some runs diverge before the control begins.
        accuracy = xr.DataArray(run["test_accuracy"][since], {"step": run["step"][since]}, ("step",))
        for kind, level in enumerate(ACCURACIES):
            step = crossing_step(accuracy, level, s.sustained)
            observed[*at, kind] = step is not None
            delay[*at, kind] = (last if step is None else step) - s.before
        if at[0] == 0:
            norm[*at[1:], : len(run["step"])] = np.hypot(run["norm_E"], run["norm_W"])[: len(steps)]
    digests = cube["before"]
    same = (digests == digests[:, :1, :1]).all(axis=(1, 2, 3))
    memorised = cube["train_accuracy_before"][:, 0, 0] == 1
    over = ("seed", "variant", "ratio")
    final = {name: np.reshape([run[name][-1] for run in cube], cube.shape) for name in CURVES}
    about_delay = "steps from the control to a lasting test accuracy, or all there were"
    about_same = "whether all runs of the seed have the same bits up to the control"
    about_memorised = "whether every training sample was right where the control begins"
    return label_numbers(
        {
            "delay": ((*over, "accuracy"), delay, about_delay),
            "observed": ((*over, "accuracy"), observed == 1, "whether it was reached; else the delay is censored"),
            "finite": (over, cube["finite"], "whether the run did not diverge"),
            **{f"end_{name}": (over, values, f"{name} at the last step") for name, values in final.items()},
            "norm": (("variant", "ratio", "step"), norm, "norm of all parameters, of seed 0"),
            "identical_before": (("seed",), same, about_same),
            "memorised_before": (("seed",), memorised, about_memorised),
        },
        {
            "seed": (np.arange(s.seeds), "seed index"),
            "variant": ([FREE, *VARIANTS], "what is controlled; the free run is the same for every ratio"),
            "ratio": (s.ratios, "norm over that where the control begins"),
            "accuracy": (ACCURACIES, "test accuracy"),
            "step": (steps, "step"),
        },
    )


def _finite_median(times: Any, lengths: Any) -> float | None:
    """Return the median of times with censored ones (NaN). None if it is not reached."""
    median = survival.median(times, lengths)
    return median if math.isfinite(median) else None


def _median_delay(runs: xr.Dataset) -> float | None:
    return _finite_median(runs.delay.where(runs.observed), runs.delay)


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return delays, final losses and divergences of every variant and ratio."""

    def summarise_delays(level: float, name: str, ratio: float) -> dict[str, Any]:
        runs, free = (numbers.sel(accuracy=level, variant=variant, ratio=ratio) for variant in (name, FREE))
        share = (runs.delay / free.delay).where(free.observed)
        return {
            "median": _median_delay(runs),
            "each": [float(d) if o else None for d, o in zip(runs.delay.values, runs.observed.values, strict=True)],
            "censored": int((~runs.observed).sum()),
            "median_share_of_free": _finite_median(share.where(runs.observed), share),
        }

    def summarise_runs(name: str, ratio: float) -> dict[str, Any]:
        runs = numbers.sel(variant=name, ratio=ratio)
        return {
            "delay": {f"{level:g}": summarise_delays(level, name, ratio) for level in ACCURACIES},
            **{f"median_{end}": float(runs[end].median()) for end in ("end_train_loss", "end_test_loss")},
            "diverged": int((~runs.finite).sum()),
        }

    return {
        "identical_before": bool(numbers.identical_before.all()),
        "memorised_before": bool(numbers.memorised_before.all()),
        "free_end_ratio_of_seed_0": _free_end(s, numbers),
        FREE: summarise_runs(FREE, s.ratios[0]),
        **{name: {f"{ratio:g}": summarise_runs(name, ratio) for ratio in s.ratios} for name in VARIANTS},
    }


def _free_end(s: Settings, numbers: xr.Dataset) -> float:
    """Return the norm at the end of the free run of seed 0, over its norm at the step where controls begin."""
    norm = numbers.norm.sel(variant=FREE).isel(ratio=0)
    return float(norm[-1] / norm.sel(step=s.before))


def _format_line(s: Settings, summary: Mapping[str, Any]) -> str:
    level = f"{ACCURACIES[0]:g}"
    parts = [f"{s.seeds} seeds; test accuracy ≥ {level}, free: {_format_delays(summary[FREE]['delay'][level])}"]
    for variant, (*_, label) in VARIANTS.items():
        delays = {ratio: runs["delay"][level] for ratio, runs in summary[variant].items()}
        if medians := {ratio: delay["median"] for ratio, delay in delays.items() if delay["median"] is not None}:
            best = min(medians, key=lambda ratio: medians[ratio])
            parts.append(f"{label}: soonest at ρ = {best}, {_format_delays(delays[best])}")
        if never := [float(ratio) for ratio, delay in delays.items() if delay["censored"] == s.seeds]:
            parts.append(f"{label}: none in {s.steps} steps at ρ = {plots.format_numbers(never)}")
    groups = [summary[FREE], *(runs for variant in VARIANTS for runs in summary[variant].values())]
    if diverged := sum(runs["diverged"] for runs in groups):
        parts.append(f"{diverged} of {s.seeds * len(groups)} runs diverged")
    same = "identical" if summary["identical_before"] else "NOT identical"
    return f"{'; '.join(parts)}; paths to step {s.before} {same} in every seed"


def _format_delays(delays: Mapping[str, Any]) -> str:
    observed = [delay for delay in delays["each"] if delay is not None]
    if not observed:
        return "in no run"
    censored = f", {delays['censored']} of {len(delays['each'])} censored" if delays["censored"] else ""
    return f"{format_range([min(observed), max(observed)], '.0f')} steps{censored}"


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw delays against ρ, losses at the end, and the norms of the runs of one seed."""
    _draw_delays(place("a", "delay with the norm of both layers controlled"), numbers, ("hold both", "rescale both"), s)
    _draw_delays(place("b", "delay with the norm of one layer held"), numbers, ("hold E", "hold W"), s)
    _draw_losses(place("c", f"‖θ‖ held: losses after {s.steps} steps"), numbers, s)
    _draw_norms(place("d", "‖θ‖ of seed 0, held and free"), numbers.isel(step=slice(1, None)).norm, s)


def _draw_delays(axes: Axes, numbers: xr.Dataset, variants: tuple[str, ...], s: Settings) -> None:
    """Draw the delays of every seed at the first accuracy, and the medians at both."""
    grey = plots.COLOURS["grey"]
    first, second = (numbers.sel(accuracy=level) for level in ACCURACIES)
    free = first.sel(variant=FREE).isel(ratio=0)
    axes.axhspan(float(free.delay.min()), float(free.delay.max()), color=grey, alpha=0.16, linewidth=0, zorder=0)
    if (median := _median_delay(free)) is not None:
        axes.axhline(median, color=grey, linewidth=1.1, label="free: median, range")
    axes.axhline(s.steps, color=grey, linewidth=0.8, linestyle=":")
    for place, variant in enumerate(variants):
        _, _, colour, label = VARIANTS[variant]
        for at_level, line, text in ((first, "-", label), (second, "--", None)):
            medians = [_median_delay(at_level.sel(variant=variant, ratio=ratio)) for ratio in s.ratios]
            draw_curves(axes, s.ratios, np.array(medians, float), colour, text, line)
        for seed in range(s.seeds):
            runs = first.sel(variant=variant, seed=seed)
            aside = 0.006 * (seed - (s.seeds - 1) / 2) + 0.003 * (place - 0.5)  # Seeds do not hide each other.
            at, observed = runs.ratio + aside, runs.observed.values
            style: dict[str, Any] = {"color": plots.COLOURS[colour], "linestyle": "none", "markersize": 4, "alpha": 0.7}
            axes.plot(at[observed], runs.delay[observed], "o", **style)
            axes.plot(at[~observed], runs.delay[~observed] * 1.08**place, "^", markerfacecolor="none", **style)
    axes.plot([], [], "^", color=grey, markerfacecolor="none", linestyle="none", label="censored: not reached")
    axes.plot([], [], "--", color=grey, label=f"medians at {ACCURACIES[1]:g}")
    ylabel = f"steps to a test accuracy ≥ {ACCURACIES[0]:g} that lasts"
    axes.set(xlabel=f"ρ: norm over that of step {s.before}", ylabel=ylabel, yscale="log", ylim=(None, s.steps * 4))
    axes.legend(loc="upper left", fontsize=8, ncols=2)


def _draw_losses(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    held = numbers.sel(variant="hold both")
    for name, colour, label in (("test_loss", "vermilion", "test loss"), ("train_loss", "green", "train loss")):
        values = held[f"end_{name}"].clip(1e-16)
        plots.draw_runs(axes, held.ratio, values.transpose("seed", "ratio"), plots.COLOURS[colour], label)
    line: Any = {"color": plots.COLOURS["grey"], "linewidth": 0.9, "linestyle": "--"}
    axes.axvline(_free_end(s, numbers), label="where ‖θ‖ ends free, seed 0", **line)
    finish_axes(axes, "lower left", xlabel="ρ", ylabel="mean squared error, from 10⁻¹⁶", yscale="log")


def _draw_norms(axes: Axes, norm: xr.DataArray, s: Settings) -> None:
    for shade, ratio in zip(choose_shades(len(s.ratios), 0, 0.92), s.ratios, strict=True):
        curve = norm.sel(variant="hold both", ratio=ratio)
        draw_curves(axes, norm.step, curve, shade, f"ρ = {ratio:g}", linewidth=1.1)
    draw_curves(axes, norm.step, norm.sel(variant=FREE)[0], "vermilion", "free")
    axes.axvline(s.before, color=plots.COLOURS["grey"], linewidth=0.8)
    axes.set(xscale="log", xlabel="step", ylabel="‖θ‖")
    axes.legend(loc="center left", fontsize=7, bbox_to_anchor=(1.0, 0.5))


STUDY = Study(
    name="norm_clamp",
    title="Delay of generalisation against a norm that is controlled",
    description="when networks generalise if a norm is held, or set once, after memorisation",
    expected_time="2 min",
    full=Settings(),
    quick=replace(Settings(), steps=20_000, ratios=(0.5, 0.7, 0.8, 0.9, 1.0), seeds=2, quick=True),
    check=check,
    grids=grids,
    analyse=analyse,
    summarise=summarise,
    line=_format_line,
    layout=Layout("ab cd", 11.0, 8.4, {"wspace": 0.03, "hspace": 0.03}),
    panels=panels,
    mark=lambda s: f"{s.seeds} seeds, {s.steps} steps",
    stores=True,
)
