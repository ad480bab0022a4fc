"""Figure 6: the predicted gradient on modular addition; delayed generalisation, and circles in the embedding.

The first layer of the network follows Eq. 20 alone. The figure shows the test accuracy and, for the Fourier features
F_k of the initial and the final E (Sec. 7.3.2), the norms of Re F_k and Im F_k, the cosines among them, the cosines
among their absolute values, and the rows of E in the planes of three frequencies.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ... import datasets, fourier, metrics, networks, plots
from ...datasets import Dataset
from ...dynamics import PredictedGradient
from ...fourier import FourierSummary
from ...networks import Network
from ...results import labels
from ...simulation import simulate
from ...sweeps.sealed import Arrays
from .. import Cube, Grid, Layout, Places, Study, checked_run, derive_seeds, select_settings
from .._drawing import draw_curves
from .._words import count_seeds, find_ranges, format_range

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

LEVELS = (0.5, 0.95, 0.999)  # The summary has the crossings of these test accuracies.
STAGES = ("initial", "final")
CIRCLES = 3  # frequencies whose planes are drawn

#: The units of the progress of a flow.
_PARTS = 1000
#: An adaptive flow took about this number of steps in a unit of time, times rtol √h, at p = 37, 59 and 97.
_STEPS_OF_FLOW = 6.0

#: The two readings of N(0, p^(−1/2)): the standard deviation of the entries of E as a function of p.
SPREADS = {"std": lambda p: p**-0.5, "variance": lambda p: p**-0.25}


@dataclass(frozen=True)
class Settings:
    """Settings of the figure. The defaults are the paper's.

    ``spread`` is the reading of N(0, p^(−1/2)): p^(−1/2) is the standard deviation (``"std"``) or the variance. The
    ``flow_`` settings are not the paper's. They integrate the same equation to a tolerance, for comparison. Without
    ``fixed_steps``, the figure shows only the integrated equation, which saves most of the time for large p.
    """

    p: int = 37
    hidden: int = 512
    activation: str = "relu"
    train_fraction: float = 0.7
    step_size: float = 1e-3
    steps: int = 5000
    fixed_steps: bool = True
    record_every: int = 10
    seeds: int = 5
    spread: str = "std"
    flow_rtol: float = 1e-3
    flow_duration: float = 2.5
    quick: bool = False


def make_problem(s: Settings, index: int) -> tuple[Dataset, Network]:
    """Return the data and the initial network of a seed index."""
    seeds = derive_seeds(index)
    data = datasets.modular_addition(s.p, train_fraction=s.train_fraction, seed=seeds["data"])
    std = SPREADS[s.spread](s.p)
    return data, networks.normal(data, s.hidden, std, seeds["network"], s.activation)


def predict(
    settings: Mapping[str, Any], seed: int, dynamics: Mapping[str, Any], end: Mapping[str, Any], every: int
) -> xr.Dataset:
    """Follow the predicted gradient from the start of a seed, and return the history with the final first layer."""
    data, net = make_problem(Settings(**settings), seed)
    run = checked_run(simulate(PredictedGradient(**dynamics), data, net, record_every=every, **end))
    return run.history.assign(E=(("input", "unit"), run.network.E))


def grids(s: Settings) -> list[Grid]:
    """Return the paper's fixed steps, and adaptive ones, because the fixed step is not converged at the start."""
    problem = select_settings(s, "p hidden activation train_fraction spread")
    fixed = {"dynamics": {"step_size": s.step_size}, "end": {"steps": s.steps}, "every": s.record_every}
    flow = {"dynamics": {"rtol": s.flow_rtol}, "end": {"duration": s.flow_duration}, "every": 1}
    n, seeds = int(s.train_fraction * s.p * (s.p + 1) / 2), range(s.seeds if s.fixed_steps else 0)
    one = float(n**2 * s.hidden + n**3 / 3 + 2 * n**2 * s.p + 4 * n * s.hidden * s.p)

    def grid(over: range, kind: Mapping[str, Any], steps: float, flops: float) -> Grid:
        def arguments(seed: int) -> Mapping[str, Any]:
            return {"settings": problem, "seed": seed, **kind}

        return Grid(predict, {"seed": over}, arguments, lambda **_: steps, flops=flops)

    evaluations = 3 * _STEPS_OF_FLOW * s.flow_duration / s.flow_rtol / s.hidden**0.5
    return [
        grid(seeds, fixed, s.steps, one * (1 + 1 / s.record_every)),
        grid(range(s.seeds), flow, _PARTS, one * evaluations / _PARTS),
    ]


def analyse(s: Settings, fixed: Cube, flows: Cube) -> tuple[xr.Dataset, dict[str, Any]]:
    """Return all numbers of the picture over seed, step, stage and vector, and the summary."""
    import xarray as xr  # noqa: PLC0415 — xarray takes long to import.

    fixed = fixed if s.fixed_steps else _interpolate(s, flows)
    embeddings = [[make_problem(s, seed)[1].E for seed in range(s.seeds)], [cell["E"] for cell in fixed]]
    initial, final = ([fourier.summary(E) for E in stage] for stage in embeddings)
    planes = [[[fourier.circle(E, k) for k in range(1, s.p // 2 + 1)] for E in stage] for stage in embeddings]
    histories = fixed.dataset().drop_vars("E")

    def stack_stages(name: str) -> Any:
        return np.stack([[getattr(summary, name) for summary in stage] for stage in (initial, final)])

    about_mean = labels("mean_test_accuracy", "1", "mean over seeds of the test accuracy")
    mean = histories.test_accuracy.mean("seed").assign_attrs(about_mean)
    times = histories.time.values
    on_grid = [np.interp(times, cell["time"], cell["test_accuracy"], right=np.nan) for cell in flows]
    frequency = initial[0].frequency
    part = np.where(np.diff(frequency, prepend=0) > 0, "Re", "Im").astype(object)
    pairs = ("stage", "seed", "vector", "other")
    about_absolute = "cosine of the absolute values of two vectors Re F_k, Im F_k"
    about_position = "coordinate of a row of E in the plane of Re F_k and Im F_k"
    about_flow = "test accuracy of the equation integrated to flow_rtol, linear between steps"
    features = {
        "norm": (pairs[:3], stack_stages("norms"), "norm of Re F_k or Im F_k"),
        "cosine": (pairs, stack_stages("cosines"), "cosine of two vectors Re F_k, Im F_k"),
        "absolute_cosine": (pairs, stack_stages("absolute_cosines"), about_absolute),
        "position": (("stage", "seed", "plane", "number", "axis"), np.array(planes), about_position),
        "flow_test_accuracy": (("seed", "step"), np.array(on_grid), about_flow),
    }
    coordinates = {
        "seed": ("seed", np.arange(s.seeds), "1", "seed index"),
        "stage": ("stage", np.array(STAGES, object), "", "embedding before the first and after the last step"),
        "frequency": ("vector", frequency, "cycles per p", "frequency k of the vector"),
        "plane": ("plane", np.arange(1, s.p // 2 + 1), "cycles per p", "frequency k of the plane"),
        "number": ("number", np.arange(s.p), "1", "number whose row of E it is"),
        "axis": ("axis", np.array(("Re", "Im"), object), "", "along Re F_k, or along the part of -Im F_k across it"),
        "part": ("vector", part, "", "real or imaginary part of F_k"),
    }
    numbers = xr.Dataset(
        {name: (dims, values, labels(name, "1", text)) for name, (dims, values, text) in features.items()},
        {name: (dim, values, labels(name, unit, text)) for name, (dim, values, unit, text) in coordinates.items()},
    ).merge(histories.assign(mean_test_accuracy=mean), combine_attrs="override")
    per_seed = [
        _summarise_seed(numbers.sel(seed=seed), _find_crossings(flows[seed]), initial[seed], final[seed])
        for seed in range(s.seeds)
    ]
    return numbers, {**find_ranges(per_seed), "per_seed": per_seed}


def _interpolate(s: Settings, flows: Cube) -> Cube:
    """Return the flows at the times of the fixed steps, linear between their own steps."""
    steps = np.arange(0, round(s.flow_duration / s.step_size) + 1, s.record_every)
    times = steps * s.step_size

    def interpolate(flow: Arrays) -> Arrays:
        curves = {name: values for name, values in flow.items() if values.shape == flow["step"].shape}
        return {
            **flow,
            **{name: np.interp(times, flow["time"], values) for name, values in curves.items()},
            "step": steps,
        }

    return Cube(flows.over, [interpolate(flow) for flow in flows])


def _find_crossings(flow: Mapping[str, NDArray[Any]]) -> dict[str, float | None]:
    """Return the times at which a flow crosses the levels."""
    import xarray as xr  # noqa: PLC0415 — xarray takes long to import.

    accuracy = xr.DataArray(flow["test_accuracy"], {"step": flow["step"]}, ("step",))
    steps = {level: metrics.crossing_step(accuracy, level) for level in LEVELS}
    times = dict(zip(flow["step"].tolist(), flow["time"].tolist(), strict=True))
    return {str(level): None if step is None else times[step] for level, step in steps.items()}


def _summarise_seed(
    numbers: xr.Dataset, crossing_times: Mapping[str, float | None], initial: FourierSummary, final: FourierSummary
) -> dict[str, Any]:
    last = numbers.isel(step=-1)
    condition = numbers.condition.values
    return {
        "seed": int(numbers.seed),
        "crossing_steps": {str(level): metrics.crossing_step(numbers.test_accuracy, level) for level in LEVELS},
        "flow_crossing_times": dict(crossing_times),
        "final_test_accuracy": float(last.test_accuracy),
        "final_norm_E_squared": float(last.norm_E) ** 2,
        "final_norm_W_squared": float(last.norm_W) ** 2,
        "condition_initial": float(condition[0]),
        "condition_final": float(condition[-1]),
        "fourier_initial": initial.numbers(),
        "fourier_final": final.numbers(),
    }


def _format_line(s: Settings, summary: Mapping[str, Any]) -> str:
    def gap(stage: str) -> Any:
        features = [seed[f"fourier_{stage}"] for seed in summary["per_seed"]]
        return np.mean([numbers["within"] - numbers["across"] for numbers in features])

    key, form, at = ("crossing_steps", "d", "at") if s.fixed_steps else ("flow_crossing_times", ".2f", "at time")
    crossed = [
        f"{level} {at} {format_range(pair, form)}" if pair else f"{level} not in every run"
        for level, pair in summary[key].items()
    ]
    return (
        f"{count_seeds(s.seeds)}; test accuracy reaches {', '.join(crossed)}; "
        f"final ‖E‖² {format_range(summary['final_norm_E_squared'], '.1f')}, "
        f"‖W‖² {format_range(summary['final_norm_W_squared'], '.1f')}; "
        f"cosine gap within − across frequencies {gap('initial'):z.2f} → {gap('final'):z.2f}"
    )


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw the five panels. The matrices and the planes belong to seed 0."""
    vectors = r"$\mathrm{Re}\,F_k$, $\mathrm{Im}\,F_k$"
    absolute = r"$|\mathrm{Re}\,F_k|$, $|\mathrm{Im}\,F_k|$"
    _draw_accuracies(place("a", f"test accuracy, p = {s.p}, h = {s.hidden}"), numbers, s)
    _draw_norms(place.part("b", f"norms of {vectors}"), numbers)
    c = place.part("c", f"cosines among {vectors} (seed 0)")
    _draw_matrices(c, numbers.cosine, np.linspace(-0.2, 0.2, 5), "RdBu_r")
    d = place.part("d", f"cosines among {absolute} (seed 0)")
    _draw_matrices(d, numbers.absolute_cosine, np.linspace(0, 1, 5), "Blues")
    planes = rf"$\mathrm{{Re}}\,F_k$ and $\mathrm{{Im}}\,F_k$ (seed 0): the numbers 0 … {s.p - 1}"
    _draw_circles(place.part("e", f"rows of E in the planes of {planes}"), numbers)


def _draw_accuracies(axes: Axes, numbers: xr.Dataset, s: Settings) -> None:
    if s.fixed_steps:
        accuracy = numbers.test_accuracy.transpose("seed", "step")
        texts = (f"mean of {len(accuracy)} seeds", "single seeds")
        plots.draw_runs(axes, numbers.step, accuracy, plots.COLOURS["blue"], *texts)
    flow = numbers.flow_test_accuracy.transpose("seed", "step")
    flow_label = f"the equation integrated\nto rtol {s.flow_rtol:g}, mean"
    plots.draw_runs(axes, numbers.step, flow, plots.COLOURS["orange"], flow_label)
    axes.axhline(1 / s.p, color=plots.COLOURS["grey"], linewidth=0.8, linestyle="--", label=f"chance, 1/{s.p}")
    axes.set(xlabel="step", ylabel="test accuracy", xlim=(0, numbers.step[-1]), ylim=(-0.02, 1.03))
    axes.legend(loc="center right")
    plots.add_time_axis(axes, s.step_size, r"time $t = \eta\,\cdot\,$step")


def _draw_norms(place: SubFigure, numbers: xr.Dataset) -> None:
    """Draw the norms of every seed. Both axes span the same share of their mean, which makes the spreads comparable."""
    mean = numbers.norm.mean(["seed", "vector"])
    reach = 1.1 * float(abs(numbers.norm / mean - 1).max())
    both = list(place.subplots(1, 2))
    for axes, stage in zip(both, STAGES, strict=True):
        norms, centre = numbers.norm.sel(stage=stage), float(mean.sel(stage=stage))
        for part, colour, aside in (("Re", "blue", -0.16), ("Im", "vermilion", 0.16)):
            of_part = norms.isel(vector=numbers.part.values == part).transpose("seed", "vector")
            place_k = of_part.frequency.values + aside
            draw_curves(axes, place_k, of_part, colour, None, "o", markersize=2.6, alpha=0.35, markeredgewidth=0)
            draw_curves(axes, place_k, of_part.mean("seed"), colour, part, "_", markersize=6, markeredgewidth=1.8)
        spread = float((norms.std("vector") / norms.mean("vector")).mean())
        limits = {"xlim": (0.2, norms.frequency.max() + 0.8), "ylim": (centre * (1 - reach), centre * (1 + reach))}
        axes.set(xlabel="frequency k", title=f"{stage}: spread {100 * spread:.1f} %", **limits)
        axes.grid(visible=False, axis="x")
    both[0].set_ylabel(f"norm (both axes: mean ± {100 * reach:.0f} %)")
    title: Any = {"title": "mean over seeds; each seed faint", "title_fontsize": 8, "alignment": "left"}
    both[1].legend(loc="lower left", ncols=2, **title)


def _draw_matrices(place: SubFigure, cosines: xr.DataArray, ticks: NDArray[np.float64], colours: str) -> None:
    first = cosines.isel(seed=0)
    both = list(place.subplots(1, 2))
    for axes, stage in zip(both, STAGES, strict=True):
        image = plots.draw_matrix(axes, first.sel(stage=stage), (ticks[0], ticks[-1]), colours, first.frequency)
        axes.set(title=stage, xlabel="frequency k")
    both[0].set_ylabel("frequency k")
    plots.add_colour_bar(place, image, both, "cosine", ticks)


def _draw_circles(place: SubFigure, numbers: xr.Dataset) -> None:
    """Draw the planes of the frequencies that are strongest at the end."""
    positions = numbers.position.isel(seed=0)
    sizes = (positions.sel(stage="final") ** 2).sum(["number", "axis"])
    shown = sorted(sizes.plane.values[np.argsort(-sizes.values, kind="stable")[:CIRCLES]].tolist())
    panels = place.subplots(1, len(STAGES) * len(shown))
    for axes, (stage, k) in zip(panels, itertools.product(STAGES, shown), strict=True):
        points = positions.sel(stage=stage, plane=k).transpose("number", "axis").values
        radius = np.hypot(*points.T)
        plots.draw_circle(axes, points, k, numbers.number.values.tolist())
        axes.set_title(f"{stage}, k = {k}\nradius ± {100 * radius.std() / radius.mean():.1f} %", fontsize=8)


STUDY = Study(
    name="figure6",
    title="Figure 6 of arXiv 2511.01938: predicted gradient on modular addition",
    description="the predicted gradient on modular addition: delayed generalisation, and circles",
    expected_time="2 min",
    full=Settings(),
    quick=replace(Settings(), p=17, hidden=192, steps=4000, seeds=3, quick=True),
    grids=grids,
    analyse=analyse,
    line=_format_line,
    layout=Layout("ab cd ee", 10.5, 8.6, {"wspace": 0.05, "hspace": 0.03, "height_ratios": (1, 0.83, 0.7)}),
    panels=panels,
    mark=lambda s: f"p = {s.p}, h = {s.hidden}, {s.steps} steps",
)
