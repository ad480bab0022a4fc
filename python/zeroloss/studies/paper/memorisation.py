"""Figures 5 and 7: descent on modular addition, and the alignment of its updates with the norm-minimising direction.

Both layers are trained, with weight decay. After the training samples are memorised, the updates should align with the
norm-minimising direction −(I − J⁺J) θ at the projection of θ on the zero-loss set. Figure 5 shows this with the losses,
figure 7 with the accuracies. Both use the same simulations. Two more curves, not in the paper, explain why the cosine
is not 1: the kink-aware direction of the same networks, and a smooth activation instead of ReLU.
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
from .. import Cube, Grid, Layout, Places, Study, checked_run, select_settings
from .._memorised import AdditionSettings, make_addition
from .._words import count_seeds, find_ranges, format_range
from ._kink_alignment import KinkAlignment

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

COSINE_STEPS = (300, 1000, 2500, 5000, 10_000, 30_000)  # The summary has the cosines at these steps.

#: The events of the pictures and of the summary: their text, the accuracy, and the level that it reaches. Seven test
#: samples have an accuracy of 1/2 or above exactly if more than half of them are correct.
EVENTS = {
    "train_accuracy_1": ("train accuracy 1", "train_accuracy", 1.0),
    "test_accuracy_above_half": ("test accuracy > 1/2", "test_accuracy", 0.5),
    "test_accuracy_1": ("test accuracy 1", "test_accuracy", 1.0),
}

#: The variables of a history, and of its measure, that the pictures and the summary need.
CURVES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")
MEASURED = ("cosine", "decay_cosine", "tangent_share", "distance", "smallest_singular_value", "reason")


@dataclass(frozen=True)
class Settings(AdditionSettings):
    """Settings of the figures. The defaults are the paper's.

    The loss is the mean over all entries, and ``weight_decay`` multiplies θ in the update. The update over ``lag``
    steps is compared. ``projection`` is that of `zeroloss.geometry.alignment`; ``"momentum"`` is the paper's. The kink-
    aware cosine (of updates over ``window`` steps) and the cosine with ``smooth_activation`` are measured every
    ``compared_every`` steps.
    """

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


def descend(
    p: int, hidden: int, activation: str, test_count: int, seed: int, lr: float, weight_decay: float, steps: int,
    every: int, measure: str, measured: Mapping[str, Any],
) -> xr.Dataset:  # fmt: skip
    """Descend from the start of a seed, and return the records with the values of one measure."""
    data, net = make_addition(p, hidden, activation, seed, test_count=test_count)
    descent = GradientDescent(lr, weight_decay)
    if measure == "kinks":
        function: Any = KinkAlignment(data, descent, measured["window"], measured["lag"])
    else:
        function = AlignmentMeasure(data, measured["projection"], lag=measured["lag"], lr=lr)
    run = checked_run(simulate(descent, data, net, steps=steps, record_every=every, measures={measure: function}))
    names = dict.fromkeys(f"{measure}_{name}" for name in (*MEASURED, *KinkAlignment.descriptions))
    return run.history[[name for name in (*CURVES, *names) if name in run.history]]


def grids(s: Settings) -> list[Grid]:
    """Return the descents of the figures, the same with the kink-aware direction, and descents of a smooth network."""
    common = select_settings(s, "p hidden test_count lr weight_decay steps")
    alignment, window = ({"measured": select_settings(s, names)} for names in ("projection lag", "window lag"))
    kinds: tuple[dict[str, Any], ...] = (
        {"activation": s.activation, "every": s.record_every, "measure": "alignment", **alignment},
        {"activation": s.activation, "every": s.compared_every, "measure": "kinks", **window},
        {"activation": s.smooth_activation, "every": s.compared_every, "measure": "smooth", **alignment},
    )

    def descents(kind: Mapping[str, Any]) -> Grid:
        over = {"seed": range(s.seeds)}
        return Grid(descend, over, lambda seed: {**common, "seed": seed, **kind}, lambda steps, **_: steps)

    return [descents(kind) for kind in kinds]


def analyse(s: Settings, descents: Cube, kinks: Cube, smooth: Cube) -> xr.Dataset:
    """Return losses, accuracies and alignment over seed and step, and the two comparisons over ``compared_step``."""
    numbers = descents.dataset()
    for cube, measure, names in ((kinks, "kinks", KinkAlignment.descriptions), (smooth, "smooth", ["cosine"])):
        compared = cube.dataset().drop_vars("slow_time").rename(step="compared_step")
        for name in names:
            numbers[f"{measure}_{name}"] = compared[f"{measure}_{name}"]
    return numbers.assign_coords(seed=("seed", np.arange(s.seeds), labels("seed", "1", "seed index")))


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return the numbers of every seed, and their ranges."""
    per_seed = [_summarise_seed(s, index, numbers.isel(seed=index)) for index in range(s.seeds)]
    return {**find_ranges(per_seed), "per_seed": per_seed}


def find_first_steps(numbers: xr.Dataset) -> dict[str, int | None]:
    """Return the first step of each event for one seed."""
    return {name: metrics.crossing_step(numbers[curve], level) for name, (_, curve, level) in EVENTS.items()}


def _summarise_seed(s: Settings, index: int, numbers: xr.Dataset) -> dict[str, Any]:
    step, test_loss, cosine = numbers.step.values, numbers.test_loss.values, numbers.alignment_cosine.values
    first_steps = find_first_steps(numbers)
    memorised = first_steps["train_accuracy_1"]
    since = step >= (s.steps if memorised is None else memorised)
    best = int(np.argmax(np.where(since & np.isfinite(cosine), cosine, -np.inf)))
    peak = int(np.argmax(np.where(since, test_loss, -np.inf)))
    return {
        "seed": index,
        "first_steps": first_steps,
        "peak_test_loss": float(test_loss[peak]),
        "peak_test_loss_step": int(step[peak]),
        "final_test_loss": float(test_loss[-1]),
        "final_train_loss": float(numbers.train_loss[-1]),
        "cosine": _at_cosine_steps(numbers.alignment_cosine),
        "decay_cosine": _at_cosine_steps(numbers.alignment_decay_cosine),
        "kink_cosine": _at_cosine_steps(numbers.kinks_cosine),
        "kink_cosine_short": _at_cosine_steps(numbers.kinks_short_cosine),
        "kink_share": _at_cosine_steps(numbers.kinks_share),
        "smooth_cosine": _at_cosine_steps(numbers.smooth_cosine),
        "peak_cosine": float(cosine[best]),
        "peak_cosine_step": int(step[best]),
        "smallest_singular_value": float(numbers.alignment_smallest_singular_value.min()),
        "records_not_measured": int((numbers.alignment_reason.sel(step=slice(COSINE_STEPS[0], None)) != 0).sum()),
    }


def _at_cosine_steps(values: xr.DataArray) -> dict[str, float]:
    """Return the values at those of the cosine steps that have a record."""
    (dim,) = values.dims
    return {str(at): float(values.sel({dim: at})) for at in COSINE_STEPS if at in values[dim]}


def _format_line(s: Settings, summary: Mapping[str, Any]) -> str:
    steps = [
        _format_steps(text, [seed["first_steps"][name] for seed in summary["per_seed"]])
        for name, (text, *_) in EVENTS.items()
    ]
    cosines = [f"{format_range(pair, 'z.2f')} at {step}" for step, pair in summary["cosine"].items()]
    others = [
        f"{word} {', '.join(texts)}; "
        for word, name in (("kink-aware", "kink_cosine"), ("smooth", "smooth_cosine"))
        if (texts := [f"{format_range(pair, 'z.3f')} at {step}" for step, pair in summary[name].items()])
    ]
    return (
        f"{count_seeds(s.seeds)}; {', '.join(steps)}; "
        f"test loss {format_range(summary['peak_test_loss'], '.3f')} at its peak, "
        f"{format_range(summary['final_test_loss'], '.3f')} at the end; cosine {', '.join(cosines)}; "
        f"{''.join(others)}"
        f"smallest singular value {format_range(summary['smallest_singular_value'], '.2f')}"
    )


def _format_steps(event: str, steps: list[int | None]) -> str:
    """Return the range and the median of the steps of an event, and in how many runs it occurred if not in all.

    All runs have the same length. The median counts the runs without the event as later.
    """
    reached = [step for step in steps if step is not None]
    if not reached:
        return f"{event} in no run"
    median = survival.median(steps, np.inf)
    text = f"{event} at {format_range([min(reached), max(reached)], 'd')}"
    if np.isfinite(median) and len(steps) > 1:
        text += f" (median {median:.0f})"
    return text if len(reached) == len(steps) else f"{text} in {len(reached)} of {len(steps)} runs"


def _make_panels(title: str, draw_left: Callable[[Axes, xr.Dataset, Settings], None]) -> Callable[..., None]:
    """Return the function that draws one of the figures: its left panel, the cosines, and the events on both."""

    def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
        both = [place("a", f"{title}, addition modulo {s.p}"), place("b", "alignment of the updates")]
        draw_left(both[0], numbers, s)
        _draw_cosines(both[1], numbers, s)
        for axes in both:
            axes.set(xscale="log", xlabel="step", xlim=(max(s.record_every, s.lag), s.steps))
            _mark_events(axes, numbers)

    return panels


def _draw_losses(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    _draw_curve(axes, numbers.train_loss, "green", "train loss")
    _draw_curve(axes, numbers.test_loss, "vermilion", "test loss")
    axes.set(ylabel="mean squared error", ylim=(0, None))
    _add_legend(axes, s, (0.4, 0.3))


def _draw_accuracies(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    _draw_curve(axes, numbers.train_accuracy, "green", "train accuracy")
    _draw_curve(axes, numbers.test_accuracy, "vermilion", "test accuracy")
    axes.set(ylabel="accuracy", ylim=(-0.02, 1.03))
    _add_legend(axes, s, (0.38, 0.45))


def _draw_curve(axes: Axes, variable: xr.DataArray, colour: str, label: str) -> None:
    """Draw a variable over the steps: faint for each network, and the mean."""
    shown = variable.isel(step=variable.step.values > 0)  # A logarithmic axis has no 0.
    plots.draw_runs(axes, shown.step, shown.transpose("seed", "step"), plots.COLOURS[colour], label)


def _add_legend(axes: Axes, s: Settings, place: tuple[float, float], remark: str = "") -> None:
    text = f"mean of {count_seeds(s.seeds)}; each seed faint{remark}"
    axes.legend(loc=place, title=text, title_fontsize=8, alignment="left")


def _draw_cosines(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    projection = {"chord": "Gauss–Newton (chord)", "gauss_newton": "Gauss–Newton"}.get(s.projection, "momentum")
    _draw_curve(axes, numbers.alignment_cosine, "blue", r"with $-(I - J^+J)\,\theta$")
    _draw_curve(axes, numbers.alignment_decay_cosine, "orange", r"with $-\theta$")
    window = f"kink-aware, over {s.window} steps"
    _draw_curve(axes, numbers.kinks_cosine.rename(compared_step="step"), "green", window)
    smooth = f"the first with {s.smooth_activation}"
    _draw_curve(axes, numbers.smooth_cosine.rename(compared_step="step"), "purple", smooth)
    axes.axhline(0, color=plots.COLOURS["grey"], linewidth=0.8)
    axes.set(ylabel=rf"cosine of $\theta_t - \theta_{{t-{s.lag}}}$", ylim=(-1, 1))
    every = "every step" if s.record_every == 1 else f"every {s.record_every} steps"
    _add_legend(axes, s, (0.02, 0.64), f"\n{every}, not smoothed\n$J$ at the {projection} projection")


def _mark_events(axes: Axes, numbers: xr.Dataset) -> None:
    """Shade the steps in which the networks memorise and generalise, up to the end if one of them does not."""
    first_steps = [find_first_steps(numbers.isel(seed=index)) for index in range(numbers.sizes["seed"])]
    spans = {
        "memorised:\ntrain accuracy 1": ("train_accuracy_1", "train_accuracy_1"),
        "generalising:\ntest accuracy ½ to 1": ("test_accuracy_above_half", "test_accuracy_1"),
    }
    for text, (begin, end) in spans.items():
        if starts := [step for steps in first_steps if (step := steps[begin]) is not None]:
            last = max(int(numbers.step[-1]) if (step := steps[end]) is None else step for steps in first_steps)
            plots.shade_span(axes, max(1, min(starts)), last, text)


FIGURE5 = Study(
    name="figure5",
    title="Figure 5 of arXiv 2511.01938: updates of descent and the norm-minimising direction",
    description="losses of descent on modular addition, and the alignment of its updates",
    expected_time="11 min",
    full=Settings(),
    quick=replace(Settings(), seeds=3, record_every=50, compared_every=1000, quick=True),
    grids=grids,
    analyse=analyse,
    summarise=summarise,
    line=_format_line,
    layout=Layout("ab", 10.5, 4.5),
    panels=_make_panels("losses", _draw_losses),
    mark=lambda s: f"{count_seeds(s.seeds)}, measured every {s.record_every} steps",
)

FIGURE7 = replace(
    FIGURE5,
    name="figure7",
    title="Figure 7 of arXiv 2511.01938: updates of descent and the norm-minimising direction",
    description="figure 5 with accuracies instead of losses",
    panels=_make_panels("accuracies", _draw_accuracies),
)
