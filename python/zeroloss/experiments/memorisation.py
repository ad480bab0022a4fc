"""What figures 5 and 7 share: descent on modular addition, and how its updates lie to the zero-loss set.

Both layers are trained, with weight decay. Once the training samples are memorised, the updates should align with the
norm-minimising direction −(I − J⁺J) θ at the projection of θ on the zero-loss set. Figure 5 shows that beside the
losses, figure 7 beside the accuracies; asked for together, they are simulated once. Two more curves, not in the paper,
say why that cosine is not 1: the kink-aware direction of the same networks, and a smooth activation in place of ReLU.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import datasets, metrics, networks, plots, survival
from .._choices import ProjectionMethod
from .._machine import available_processors
from ..datasets import Dataset
from ..dynamics import GradientDescent
from ..geometry import AlignmentMeasure
from ..networks import Network
from ..results import Measures, Run, labels
from .ensemble import derived_seeds, simulate_seeds
from .kink_alignment import KinkAlignment
from .output import Result, ranges, settings_of, spelled

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "FULL",
    "QUICK",
    "Settings",
    "curves",
    "legend",
    "numbers_of",
    "picture",
    "problem",
    "result",
    "summary_of",
]

COSINE_STEPS = (300, 1000, 2500, 5000, 10_000, 30_000)  # at which the cosine is told

#: What is marked on the pictures and told, by name: words, the accuracy, and the level that it reaches. Seven test
#: samples are at 1/2 or above exactly where more than half of them are correct.
EVENTS = {
    "train_accuracy_1": ("train accuracy 1", "train_accuracy", 1.0),
    "test_accuracy_above_half": ("test accuracy > 1/2", "test_accuracy", 0.5),
    "test_accuracy_1": ("test accuracy 1", "test_accuracy", 1.0),
}

#: What of a history the pictures and the summary need.
KEPT = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
MEASURED = ("cosine", "decay_cosine", "tangent_share", "distance", "smallest_singular_value", "reason")


@dataclass(frozen=True)
class Settings:
    """What determines the numbers of the figures; the defaults are the paper's.

    The loss is the mean over all entries, and ``weight_decay`` multiplies θ in the update. ``lag`` is the number of
    steps whose update is compared. ``projection`` is that of `zeroloss.geometry.alignment`; ``"momentum"`` is the
    paper's. The kink-aware cosine (of updates over ``window`` steps) and that with ``smooth_activation`` are measured
    every ``compared_every`` steps.
    """

    p: int = 11
    hidden: int = 128
    activation: str = "relu"
    test_count: int = 7
    lr: float = 1.0
    weight_decay: float = 1e-4
    steps: int = 40_000
    record_every: int = 1
    lag: int = 10
    projection: ProjectionMethod = "chord"
    window: int = 200
    compared_every: int = 200
    smooth_activation: str = "softplus(5)"
    seeds: int = 5
    quick: bool = False


FULL = Settings()
QUICK = replace(FULL, seeds=3, record_every=50, compared_every=1000, quick=True)


def problem(settings: Settings, index: int, activation: str | None = None) -> tuple[Dataset, Network]:
    """Return the data and the initial network of a seed index, with another activation where one is given."""
    seeds = derived_seeds(index)
    data = datasets.modular_addition(settings.p, test_count=settings.test_count, seed=seeds["data"])
    return data, networks.uniform_fan_in(data, settings.hidden, seeds["network"], activation or settings.activation)


def result(settings: Settings, figure: int, draw: Callable[[xr.Dataset], Figure]) -> Result:
    """Simulate, or take what the other figure simulated, and analyse."""
    numbers = numbers_of(settings).assign_attrs(
        title=f"Figure {figure} of arXiv 2511.01938: updates of descent and the norm-minimising direction",
        settings=json.dumps(asdict(settings)),
    )
    summary = summary_of(settings, numbers)
    seeds = [derived_seeds(index) for index in range(settings.seeds)]
    return Result(numbers, asdict(settings), seeds, summary, _line(settings, summary), draw)


@functools.lru_cache(maxsize=1)
def numbers_of(settings: Settings) -> xr.Dataset:
    """Simulate every seed, and return losses, accuracies and alignment over seed and step."""
    import xarray as xr  # noqa: PLC0415 — slow to import

    runs = simulate_seeds(
        GradientDescent(settings.lr, settings.weight_decay),
        lambda index: problem(settings, index),
        range(settings.seeds),
        steps=settings.steps,
        record_every=settings.record_every,
        measures=lambda data: {
            "alignment": AlignmentMeasure(data, settings.projection, lag=settings.lag, lr=settings.lr)
        },
        at_once=settings.seeds if available_processors() > 1 else 1,  # all: five on two at a time would end on one
    )
    names = [*KEPT, *(f"alignment_{name}" for name in MEASURED)]
    numbers = xr.concat([run.history[names] for run in runs], dim="seed", combine_attrs="override")
    seed = ("seed", np.arange(settings.seeds), labels("seed", "1", "seed index"))
    return numbers.assign_coords(seed=seed).assign(_compared(settings))


def _compared(settings: Settings) -> dict[str, xr.DataArray]:
    """Simulate again for the kink-aware cosine, and with the smooth activation; over seed and ``compared_step``."""
    import xarray as xr  # noqa: PLC0415

    descent = GradientDescent(settings.lr, settings.weight_decay)

    def measures(data: Dataset) -> Measures:
        return {"kinks": KinkAlignment(data, descent, settings.window, settings.lag)}

    def smooth_measures(data: Dataset) -> Measures:
        return {"smooth": AlignmentMeasure(data, settings.projection, lag=settings.lag, lr=settings.lr)}

    def simulated(activation: str | None, measures: Callable[[Dataset], Measures]) -> list[Run]:
        return simulate_seeds(
            descent,
            lambda index: problem(settings, index, activation),
            range(settings.seeds),
            steps=settings.steps,
            record_every=settings.compared_every,
            measures=measures,
            at_once=settings.seeds if available_processors() > 1 else 1,
        )

    found: dict[str, xr.DataArray] = {}
    for runs, names in (
        (simulated(None, measures), [f"kinks_{name}" for name in KinkAlignment.descriptions]),
        (simulated(settings.smooth_activation, smooth_measures), ["smooth_cosine"]),
    ):
        for name in names:
            values = xr.concat([run.history[name] for run in runs], dim="seed", combine_attrs="override")
            found[name] = values.drop_vars("slow_time").rename(step="compared_step")
    return found


def summary_of(settings: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return the numbers of every seed, and their ranges."""
    per_seed = [_of_seed(settings, index, numbers.isel(seed=index)) for index in range(settings.seeds)]
    return {**ranges(per_seed), "per_seed": per_seed}


def first_steps(numbers: xr.Dataset) -> dict[str, int | None]:
    """Return the first step of each event for one seed."""
    return {name: metrics.crossing_step(numbers[curve], level) for name, (_, curve, level) in EVENTS.items()}


def _of_seed(settings: Settings, index: int, numbers: xr.Dataset) -> dict[str, Any]:
    step, test_loss, cosine = numbers.step.values, numbers.test_loss.values, numbers.alignment_cosine.values
    told = [at for at in COSINE_STEPS if at in numbers.step]
    reached = first_steps(numbers)
    memorised = reached["train_accuracy_1"]
    since = step >= (settings.steps if memorised is None else memorised)
    best = int(np.argmax(np.where(since & np.isfinite(cosine), cosine, -np.inf)))
    peak = int(np.argmax(np.where(since, test_loss, -np.inf)))
    return {
        "seed": index,
        "first_steps": reached,
        "peak_test_loss": float(test_loss[peak]),
        "peak_test_loss_step": int(step[peak]),
        "final_test_loss": float(test_loss[-1]),
        "final_train_loss": float(numbers.train_loss[-1]),
        "cosine": {str(at): float(numbers.alignment_cosine.sel(step=at)) for at in told},
        "decay_cosine": {str(at): float(numbers.alignment_decay_cosine.sel(step=at)) for at in told},
        "kink_cosine": _told(numbers.kinks_cosine),
        "kink_cosine_short": _told(numbers.kinks_short_cosine),
        "kink_share": _told(numbers.kinks_share),
        "smooth_cosine": _told(numbers.smooth_cosine),
        "peak_cosine": float(cosine[best]),
        "peak_cosine_step": int(step[best]),
        "smallest_singular_value": float(numbers.alignment_smallest_singular_value.min()),
        "records_not_measured": int((numbers.alignment_reason.sel(step=slice(COSINE_STEPS[0], None)) != 0).sum()),
    }


def _told(values: xr.DataArray) -> dict[str, float]:
    """Return what was measured at the steps at which cosines are told."""
    return {str(at): float(values.sel(compared_step=at)) for at in COSINE_STEPS if at in values.compared_step}


def _line(settings: Settings, summary: Mapping[str, Any]) -> str:
    steps = [
        _reached(text, [seed["first_steps"][name] for seed in summary["per_seed"]])
        for name, (text, *_) in EVENTS.items()
    ]
    cosines = [f"{spelled(pair, 'z.2f')} at {step}" for step, pair in summary["cosine"].items()]
    others = [
        f"{word} {', '.join(told)}; "
        for word, name in (("kink-aware", "kink_cosine"), ("smooth", "smooth_cosine"))
        if (told := [f"{spelled(pair, 'z.3f')} at {step}" for step, pair in summary[name].items()])
    ]
    return (
        f"{counted(settings)}; {', '.join(steps)}; "
        f"test loss {spelled(summary['peak_test_loss'], '.3f')} at its peak, "
        f"{spelled(summary['final_test_loss'], '.3f')} at the end; cosine {', '.join(cosines)}; "
        f"{''.join(others)}"
        f"smallest singular value {spelled(summary['smallest_singular_value'], '.2f')}"
    )


def _reached(what: str, steps: list[int | None]) -> str:
    """Say when runs, all of one length, reached something: the range, the median with those that did not, how many."""
    reached = [step for step in steps if step is not None]
    if not reached:
        return f"{what} in no run"
    median = survival.median(steps, np.inf)
    told = f"{what} at {spelled([min(reached), max(reached)], 'd')}"
    if np.isfinite(median) and len(steps) > 1:
        told += f" (median {median:.0f})"
    return told if len(reached) == len(steps) else f"{told} in {len(reached)} of {len(steps)} runs"


def picture(numbers: xr.Dataset, title: str, left: Callable[[Axes, xr.Dataset], None]) -> Figure:
    """Draw what ``left`` draws, and to the right of it the cosines; on both, when the networks learn."""
    settings = settings_of(numbers, Settings)
    figure = plots.new_figure(10.5, 4.5)
    a, b = figure.subfigures(1, 2, squeeze=False, wspace=0.04).ravel()
    plots.panel(a, "a", f"{title}, addition modulo {settings.p}")
    plots.panel(b, "b", "alignment of the updates")
    both = [a.subplots(), b.subplots()]
    left(both[0], numbers)
    _cosines(both[1], numbers, settings)
    for axes in both:
        axes.set(xscale="log", xlabel="step", xlim=(max(settings.record_every, settings.lag), settings.steps))
        _mark_events(axes, numbers)
    if settings.quick:
        plots.mark_quick(figure, f"{counted(settings)}, measured every {settings.record_every} steps")
    return figure


def counted(settings: Settings) -> str:
    """Return the number of seeds in words."""
    return f"{settings.seeds} seed{'s' if settings.seeds > 1 else ''}"


def curves(axes: Axes, variable: xr.DataArray, colour: str, label: str) -> None:
    """Draw a number over the steps, of each network and in the mean."""
    shown = variable.isel(step=variable.step.values > 0)  # a logarithmic axis has no 0
    plots.runs_and_mean(axes, shown.step, shown.transpose("seed", "step"), plots.COLOURS[colour], label)


def legend(axes: Axes, numbers: xr.Dataset, place: tuple[float, float], remark: str = "") -> None:
    """Add the legend, which says what is faint, with its lower left corner at a place in the axes."""
    text = f"mean of {counted(settings_of(numbers, Settings))}; each seed faint{remark}"
    axes.legend(loc=place, title=text, title_fontsize=8, alignment="left")


def _cosines(axes: Axes, numbers: xr.Dataset, settings: Settings) -> None:
    projection = {"chord": "Gauss–Newton (chord)", "gauss_newton": "Gauss–Newton"}.get(settings.projection, "momentum")
    curves(axes, numbers.alignment_cosine, "blue", r"with $-(I - J^+J)\,\theta$")
    curves(axes, numbers.alignment_decay_cosine, "orange", r"with $-\theta$")
    window = f"kink-aware, over {settings.window} steps"
    for name, colour, label in (
        ("kinks_cosine", "green", window),
        ("smooth_cosine", "purple", f"the first with {settings.smooth_activation}"),
    ):
        curves(axes, numbers[name].rename(compared_step="step"), colour, label)
    axes.axhline(0, color=plots.COLOURS["grey"], linewidth=0.8)
    axes.set(ylabel=rf"cosine of $\theta_t - \theta_{{t-{settings.lag}}}$", ylim=(-1, 1))
    every = "every step" if settings.record_every == 1 else f"every {settings.record_every} steps"
    legend(axes, numbers, (0.02, 0.64), f"\n{every}, not smoothed\n$J$ at the {projection} projection")


def _mark_events(axes: Axes, numbers: xr.Dataset) -> None:
    """Shade from which to which step the networks memorise and generalise, to the end where one does not."""
    first = [first_steps(numbers.isel(seed=index)) for index in range(numbers.sizes["seed"])]
    spans = {
        "memorised:\ntrain accuracy 1": ("train_accuracy_1", "train_accuracy_1"),
        "generalising:\ntest accuracy ½ to 1": ("test_accuracy_above_half", "test_accuracy_1"),
    }
    for text, (begin, end) in spans.items():
        if begun := [step for seed in first if (step := seed[begin]) is not None]:
            last = max(int(numbers.step[-1]) if (step := seed[end]) is None else step for seed in first)
            plots.span(axes, max(1, min(begun)), last, text)
