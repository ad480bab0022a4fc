"""Figure 6: the predicted gradient on modular addition; delayed generalisation, and circles in the embedding.

The network's first layer follows Eq. 20 alone. Shown are the test accuracy, and of the Fourier features F_k of the
initial and the final E (Sec. 7.3.2) the norms of Re F_k and Im F_k, the cosines among them, and the cosines among
their absolute values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import datasets, fourier, metrics, networks, plots
from .._progress import progress_bar
from ..datasets import Dataset
from ..dynamics import PredictedGradient
from ..fourier import FourierSummary
from ..networks import Network
from ..results import Run, labels
from ..simulation import simulate
from .ensemble import derived_seeds, simulate_seeds
from .output import Result, ranges, settings_of, spelled

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure, SubFigure

__all__ = ["FULL", "QUICK", "SPREADS", "Settings", "draw", "problem", "run"]

LEVELS = (0.5, 0.95, 0.999)  # of test accuracy, whose crossings are told
STAGES = ("initial", "final")

#: The two readings of N(0, p^(−1/2)): the standard deviation of the entries of E as a function of p.
SPREADS = {"std": lambda p: p**-0.5, "variance": lambda p: p**-0.25}


@dataclass(frozen=True)
class Settings:
    """What determines the numbers of the figure; the defaults are the paper's.

    ``spread`` is the reading of N(0, p^(−1/2)): p^(−1/2) is the standard deviation (``"std"``) or the variance.
    The ``flow_`` settings are not the paper's: the same equation integrated to a tolerance, for comparison.
    """

    p: int = 37
    hidden: int = 512
    activation: str = "relu"
    train_fraction: float = 0.7
    step_size: float = 1e-3
    steps: int = 5000
    record_every: int = 10
    seeds: int = 5
    spread: str = "std"
    flow_rtol: float = 1e-3
    flow_duration: float = 2.5
    quick: bool = False


FULL = Settings()
QUICK = replace(FULL, p=17, hidden=192, steps=4000, seeds=3, quick=True)


def problem(settings: Settings, index: int) -> tuple[Dataset, Network]:
    """Return the data and the initial network of a seed index."""
    seeds = derived_seeds(index)
    data = datasets.modular_addition(settings.p, train_fraction=settings.train_fraction, seed=seeds["data"])
    std = SPREADS[settings.spread](settings.p)
    return data, networks.normal(data, settings.hidden, std, seeds["network"], settings.activation)


def run(settings: Settings) -> Result:
    """Simulate and analyse the figure at given settings."""
    indices = range(settings.seeds)
    runs = simulate_seeds(
        PredictedGradient(settings.step_size),
        lambda index: problem(settings, index),
        indices,
        steps=settings.steps,
        record_every=settings.record_every,
    )
    initial = [fourier.summary(problem(settings, index)[1].E) for index in indices]
    final = [fourier.summary(run.network.E) for run in runs]
    flows = _flows(settings)
    per_seed = [_of_seed(*parts) for parts in zip(indices, runs, flows, initial, final, strict=True)]
    summary = {**ranges(per_seed), "per_seed": per_seed}
    return Result(
        numbers=_numbers(settings, runs, initial, final).assign(flow_test_accuracy=_on_grid(flows, runs)),
        settings=asdict(settings),
        seeds=[derived_seeds(index) for index in indices],
        summary=summary,
        line=_line(settings, summary),
        draw=draw,
    )


def _flows(settings: Settings) -> list[Run]:
    """Integrate the same equation in adaptive steps: the paper's fixed step is not converged at the start."""
    flow = PredictedGradient(rtol=settings.flow_rtol)
    return [
        simulate(flow, *problem(settings, index), duration=settings.flow_duration, record_every=1)
        for index in progress_bar(None, iterable=range(settings.seeds), desc="integrated", unit="seed", leave=False)
    ]


def _on_grid(flows: Sequence[Run], runs: Sequence[Run]) -> Any:
    """Return the flows' test accuracy at the times of the fixed steps' records, NaN beyond the flows' end."""
    times = runs[0].history.time.values
    curves = [
        np.interp(times, flow.history.time.values, flow.history.test_accuracy.values, right=np.nan) for flow in flows
    ]
    meaning = "test accuracy of the equation integrated to flow_rtol, linear between steps"
    return (("seed", "step"), np.array(curves), labels("flow_test_accuracy", "1", meaning))


def _crossing_time(flow: Run, level: float) -> float | None:
    step = metrics.crossing_step(flow.history.test_accuracy, level)
    return None if step is None else float(flow.history.time.sel(step=step))


def _of_seed(index: int, run: Run, flow: Run, initial: FourierSummary, final: FourierSummary) -> dict[str, Any]:
    """Return the summary numbers of one run."""
    last = run.history.isel(step=-1)
    condition = run.history.condition.values
    return {
        "seed": index,
        "crossing_steps": {str(level): metrics.crossing_step(run.history.test_accuracy, level) for level in LEVELS},
        "flow_crossing_times": {str(level): _crossing_time(flow, level) for level in LEVELS},
        "final_test_accuracy": float(last.test_accuracy),
        "final_norm_E_squared": float(last.norm_E) ** 2,
        "final_norm_W_squared": float(last.norm_W) ** 2,
        "condition_initial": float(condition[0]),
        "condition_final": float(condition[-1]),
        "fourier_initial": initial.numbers(),
        "fourier_final": final.numbers(),
    }


def _line(settings: Settings, summary: Mapping[str, Any]) -> str:
    def gap(stage: str) -> Any:
        return np.mean(
            [seed[f"fourier_{stage}"]["within"] - seed[f"fourier_{stage}"]["across"] for seed in summary["per_seed"]]
        )

    steps = summary["crossing_steps"]
    crossed = [
        f"{level} at {spelled(pair, 'd')}" if pair else f"{level} not in every run" for level, pair in steps.items()
    ]
    return (
        f"{settings.seeds} seed{'s' if settings.seeds > 1 else ''}; test accuracy reaches {', '.join(crossed)}; "
        f"final ‖E‖² {spelled(summary['final_norm_E_squared'], '.1f')}, "
        f"‖W‖² {spelled(summary['final_norm_W_squared'], '.1f')}; "
        f"cosine gap within − across frequencies {gap('initial'):z.2f} → {gap('final'):z.2f}"
    )


def _numbers(
    settings: Settings, runs: Sequence[Run], initial: Sequence[FourierSummary], final: Sequence[FourierSummary]
) -> xr.Dataset:
    """Return all numbers of the picture over seed, step, stage and vector."""
    import xarray as xr  # noqa: PLC0415 — slow to import

    def both(name: str) -> Any:
        return np.stack([[getattr(summary, name) for summary in stage] for stage in (initial, final)])

    histories = xr.concat([run.history for run in runs], dim="seed", combine_attrs="override")
    about_mean = labels("mean_test_accuracy", "1", "mean over seeds of the test accuracy")
    mean = histories.test_accuracy.mean("seed").assign_attrs(about_mean)
    frequency = initial[0].frequency
    part = np.where(np.diff(frequency, prepend=0) > 0, "Re", "Im").astype(object)
    features = {
        "norm": (("stage", "seed", "vector"), both("norms"), "norm of Re F_k or Im F_k"),
        "cosine": (("stage", "seed", "vector", "other"), both("cosines"), "cosine of two vectors Re F_k, Im F_k"),
        "absolute_cosine": (
            ("stage", "seed", "vector", "other"),
            both("absolute_cosines"),
            "cosine of the absolute values of two vectors Re F_k, Im F_k",
        ),
    }
    coordinates = {
        "seed": ("seed", np.arange(settings.seeds), labels("seed", "1", "seed index")),
        "stage": (
            "stage",
            np.array(STAGES, dtype=object),
            labels("stage", "", "embedding before the first and after the last step"),
        ),
        "frequency": ("vector", frequency, labels("frequency", "cycles per p", "frequency k of the vector")),
        "part": ("vector", part, labels("part", "", "real or imaginary part of F_k")),
    }
    variables = {name: (dims, values, labels(name, "1", text)) for name, (dims, values, text) in features.items()}
    about = {
        "title": "Figure 6 of arXiv 2511.01938: predicted gradient on modular addition",
        "settings": json.dumps(asdict(settings)),
    }
    return xr.Dataset(variables, coordinates, about).merge(histories.assign(mean_test_accuracy=mean))


def draw(numbers: xr.Dataset) -> Figure:
    """Draw the four panels; the matrices are those of the first seed."""
    settings = settings_of(numbers, Settings)
    figure = plots.new_figure(10.5, 6.3)
    a, b, c, d = figure.subfigures(2, 2, squeeze=False, wspace=0.05, hspace=0.03, height_ratios=(1, 0.83)).ravel()
    _accuracies(a, numbers, settings)
    _norms(b, numbers)
    vectors = r"$\mathrm{Re}\,F_k$, $\mathrm{Im}\,F_k$"
    absolute = r"$|\mathrm{Re}\,F_k|$, $|\mathrm{Im}\,F_k|$"
    plots.panel(a, "a", f"test accuracy, p = {settings.p}, h = {settings.hidden}")
    plots.panel(b, "b", f"norms of {vectors}")
    plots.panel(c, "c", f"cosines among {vectors} (seed 0)")
    plots.panel(d, "d", f"cosines among {absolute} (seed 0)")
    _matrices(c, numbers.cosine, np.linspace(-0.2, 0.2, 5), "RdBu_r")
    _matrices(d, numbers.absolute_cosine, np.linspace(0, 1, 5), "Blues")
    if settings.quick:
        plots.mark_quick(figure, f"p = {settings.p}, h = {settings.hidden}, {settings.steps} steps")
    return figure


def _accuracies(place: SubFigure, numbers: xr.Dataset, settings: Settings) -> None:
    axes = place.subplots()
    accuracy = numbers.test_accuracy.transpose("seed", "step")
    labels = (f"mean of {len(accuracy)} seeds", "single seeds")
    plots.runs_and_mean(axes, numbers.step, accuracy, plots.COLOURS["blue"], *labels)
    flow = numbers.flow_test_accuracy.transpose("seed", "step")
    flow_label = f"the equation integrated\nto rtol {settings.flow_rtol:g}, mean"
    plots.runs_and_mean(axes, numbers.step, flow, plots.COLOURS["orange"], flow_label)
    axes.axhline(
        1 / settings.p, color=plots.COLOURS["grey"], linewidth=0.8, linestyle="--", label=f"chance, 1/{settings.p}"
    )
    axes.set(xlabel="step", ylabel="test accuracy", xlim=(0, settings.steps), ylim=(-0.02, 1.03))
    axes.legend(loc="center right")
    plots.time_axis(axes, settings.step_size, r"time $t = \eta\,\cdot\,$step")


def _norms(place: SubFigure, numbers: xr.Dataset) -> None:
    """Draw the norms of every seed; both axes span the same share of their mean, so that the spreads compare."""
    mean = numbers.norm.mean(["seed", "vector"])
    reach = 1.1 * float(abs(numbers.norm / mean - 1).max())
    both = list(place.subplots(1, 2))
    for axes, stage in zip(both, STAGES, strict=True):
        norms, centre = numbers.norm.sel(stage=stage), float(mean.sel(stage=stage))
        for part, colour, aside in (("Re", "blue", -0.16), ("Im", "vermilion", 0.16)):
            of_part = norms.isel(vector=numbers.part.values == part).transpose("seed", "vector")
            place_k = of_part.frequency.values + aside
            for seed in of_part.values:
                axes.plot(
                    place_k, seed, "o", color=plots.COLOURS[colour], markersize=2.6, alpha=0.35, markeredgewidth=0
                )
            axes.plot(
                place_k,
                of_part.mean("seed"),
                "_",
                color=plots.COLOURS[colour],
                markersize=6,
                markeredgewidth=1.8,
                label=part,
            )
        spread = float((norms.std("vector") / norms.mean("vector")).mean())
        axes.set(
            xlabel="frequency k",
            xlim=(0.2, norms.frequency.max() + 0.8),
            ylim=(centre * (1 - reach), centre * (1 + reach)),
        )
        axes.set_title(f"{stage}: spread {100 * spread:.1f} %")
        axes.grid(visible=False, axis="x")
    both[0].set_ylabel(f"norm (both axes: mean ± {100 * reach:.0f} %)")
    both[1].legend(
        loc="lower left", ncols=2, title="mean over seeds; each seed faint", title_fontsize=8, alignment="left"
    )


def _matrices(place: SubFigure, cosines: xr.DataArray, ticks: NDArray[np.float64], colours: str) -> None:
    first = cosines.isel(seed=0)
    both = list(place.subplots(1, 2))
    for axes, stage in zip(both, STAGES, strict=True):
        image = plots.matrix(axes, first.sel(stage=stage), (ticks[0], ticks[-1]), colours, first.frequency)
        axes.set(title=stage, xlabel="frequency k")
    both[0].set_ylabel("frequency k")
    plots.colour_bar(place, image, both, "cosine", ticks)
