"""Figures 5 and 7: descent on modular addition, and how its updates lie to the zero-loss set.

Both layers are trained, with weight decay. Once the training samples are memorised, the updates should align with the
norm-minimising direction −(I − J⁺J) θ at the projection of θ on the zero-loss set. Figure 5 shows that beside the
losses, figure 7 beside the accuracies; asked for together, they are simulated once. Two more curves, not in the paper,
say why that cosine is not 1: the kink-aware direction of the same networks, and a smooth activation in place of ReLU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import metrics, plots, survival
from ..._choices import ProjectionMethod
from ...dynamics import GradientDescent
from ...geometry import AlignmentMeasure
from ...results import labels
from ...simulation import simulate
from ...sweeps.engine import Cube, Grid, finished
from .._layout import Layout, Places
from .._memorised import addition
from .._study import Study, chosen
from .._words import ranges, spelled
from ._kink_alignment import KinkAlignment

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

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


def descend(
    p: int, hidden: int, activation: str, test_count: int, seed: int, lr: float, weight_decay: float, steps: int,
    every: int, measure: str, measured: Mapping[str, Any],
) -> xr.Dataset:  # fmt: skip
    """Descend from a seed's start, and return the records with what one measure finds."""
    data, net = addition(p, hidden, activation, seed, test_count=test_count)
    descent = GradientDescent(lr, weight_decay)
    if measure == "kinks":
        own: Any = KinkAlignment(data, descent, measured["window"], measured["lag"])
    else:
        own = AlignmentMeasure(data, measured["projection"], lag=measured["lag"], lr=lr)
    run = finished(simulate(descent, data, net, steps=steps, record_every=every, measures={measure: own}))
    names = dict.fromkeys(f"{measure}_{name}" for name in (*MEASURED, *KinkAlignment.descriptions))
    return run.history[[name for name in (*KEPT, *names) if name in run.history]]


def grids(s: Settings) -> list[Grid]:
    """Return the figures' descents, the same again with the kink-aware direction, and some that are smooth."""
    common = chosen(s, "p hidden test_count lr weight_decay steps")
    alignment, window = {"measured": chosen(s, "projection lag")}, {"measured": chosen(s, "window lag")}
    kinds: tuple[dict[str, Any], ...] = (
        {"activation": s.activation, "every": s.record_every, "measure": "alignment", **alignment},
        {"activation": s.activation, "every": s.compared_every, "measure": "kinks", **window},
        {"activation": s.smooth_activation, "every": s.compared_every, "measure": "smooth", **alignment},
    )
    return [
        Grid(
            descend,
            {"seed": range(s.seeds)},
            lambda seed, kind=kind: {**common, "seed": seed, **kind},
            lambda steps, **_: steps,
        )
        for kind in kinds
    ]


def analyse(s: Settings, descents: Cube, kinks: Cube, smooth: Cube) -> xr.Dataset:
    """Return losses, accuracies and alignment over seed and step; what is compared over ``compared_step``."""
    numbers = descents.dataset()
    for cube, names in ((kinks, KinkAlignment.descriptions), (smooth, ["cosine"])):
        compared = cube.dataset().drop_vars("slow_time").rename(step="compared_step")
        for name in names:
            key = f"{'kinks' if cube is kinks else 'smooth'}_{name}"
            numbers[key] = compared[key]
    return numbers.assign_coords(seed=("seed", np.arange(s.seeds), labels("seed", "1", "seed index")))


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return the numbers of every seed, and their ranges."""
    per_seed = [_of_seed(s, index, numbers.isel(seed=index)) for index in range(s.seeds)]
    return {**ranges(per_seed), "per_seed": per_seed}


def first_steps(numbers: xr.Dataset) -> dict[str, int | None]:
    """Return the first step of each event for one seed."""
    return {name: metrics.crossing_step(numbers[curve], level) for name, (_, curve, level) in EVENTS.items()}


def _of_seed(s: Settings, index: int, numbers: xr.Dataset) -> dict[str, Any]:
    step, test_loss, cosine = numbers.step.values, numbers.test_loss.values, numbers.alignment_cosine.values
    told = [at for at in COSINE_STEPS if at in numbers.step]
    reached = first_steps(numbers)
    memorised = reached["train_accuracy_1"]
    since = step >= (s.steps if memorised is None else memorised)
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


def _line(s: Settings, summary: Mapping[str, Any]) -> str:
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
        f"{counted(s)}; {', '.join(steps)}; "
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


def _panels(title: str, left: Callable[[Axes, xr.Dataset, Settings], None]) -> Callable[..., None]:
    """Return what draws ``left``, and to the right of it the cosines; on both, when the networks learn."""

    def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
        both = [place("a", f"{title}, addition modulo {s.p}"), place("b", "alignment of the updates")]
        left(both[0], numbers, s)
        _cosines(both[1], numbers, s)
        for axes in both:
            axes.set(xscale="log", xlabel="step", xlim=(max(s.record_every, s.lag), s.steps))
            _mark_events(axes, numbers)

    return panels


def _losses(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    curves(axes, numbers.train_loss, "green", "train loss")
    curves(axes, numbers.test_loss, "vermilion", "test loss")
    axes.set(ylabel="mean squared error", ylim=(0, None))
    legend(axes, s, (0.4, 0.3))


def _accuracies(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    curves(axes, numbers.train_accuracy, "green", "train accuracy")
    curves(axes, numbers.test_accuracy, "vermilion", "test accuracy")
    axes.set(ylabel="accuracy", ylim=(-0.02, 1.03))
    legend(axes, s, (0.38, 0.45))


def counted(s: Settings) -> str:
    """Return the number of seeds in words."""
    return f"{s.seeds} seed{'s' if s.seeds > 1 else ''}"


def curves(axes: Axes, variable: xr.DataArray, colour: str, label: str) -> None:
    """Draw a number over the steps, of each network and in the mean."""
    shown = variable.isel(step=variable.step.values > 0)  # a logarithmic axis has no 0
    plots.runs_and_mean(axes, shown.step, shown.transpose("seed", "step"), plots.COLOURS[colour], label)


def legend(axes: Axes, s: Settings, place: tuple[float, float], remark: str = "") -> None:
    """Add the legend, which says what is faint, with its lower left corner at a place in the axes."""
    text = f"mean of {counted(s)}; each seed faint{remark}"
    axes.legend(loc=place, title=text, title_fontsize=8, alignment="left")


def _cosines(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    projection = {"chord": "Gauss–Newton (chord)", "gauss_newton": "Gauss–Newton"}.get(s.projection, "momentum")
    curves(axes, numbers.alignment_cosine, "blue", r"with $-(I - J^+J)\,\theta$")
    curves(axes, numbers.alignment_decay_cosine, "orange", r"with $-\theta$")
    window = f"kink-aware, over {s.window} steps"
    for name, colour, label in (
        ("kinks_cosine", "green", window),
        ("smooth_cosine", "purple", f"the first with {s.smooth_activation}"),
    ):
        curves(axes, numbers[name].rename(compared_step="step"), colour, label)
    axes.axhline(0, color=plots.COLOURS["grey"], linewidth=0.8)
    axes.set(ylabel=rf"cosine of $\theta_t - \theta_{{t-{s.lag}}}$", ylim=(-1, 1))
    every = "every step" if s.record_every == 1 else f"every {s.record_every} steps"
    legend(axes, s, (0.02, 0.64), f"\n{every}, not smoothed\n$J$ at the {projection} projection")


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


FIGURE5 = Study(
    name="figure5",
    title="Figure 5 of arXiv 2511.01938: updates of descent and the norm-minimising direction",
    about="losses of descent on modular addition, and the alignment of its updates",
    takes="11 min",
    full=Settings(),
    quick=replace(Settings(), seeds=3, record_every=50, compared_every=1000, quick=True),
    grids=grids,
    analyse=analyse,
    summarise=summarise,
    line=_line,
    layout=Layout("ab", 10.5, 4.5),
    panels=_panels("losses", _losses),
    mark=lambda s: f"{counted(s)}, measured every {s.record_every} steps",
)

FIGURE7 = replace(
    FIGURE5,
    name="figure7",
    title="Figure 7 of arXiv 2511.01938: updates of descent and the norm-minimising direction",
    about="figure 5 with accuracies instead of losses",
    panels=_panels("accuracies", _accuracies),
)
