"""Study: label noise moves a memorised network along the zero-loss set, and it generalises while its norm rises.

Descent with fresh label noise at every step starts on the zero-loss set, and the flow of label noise follows it at the
same time. Minibatches without label noise are the control. The norm flow, which is the limit of small weight decay,
starts at the same points. The study compares the trace of the Hessian, the norm, test accuracy and loss, and the
Fourier structure of the embedding. For a small problem, it measures how the difference between descent and flow
depends on the learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import _checks
from ..._checks import ArgumentValueError
from ...dynamics import GradientDescent, NoiseFlow
from ...networks import has_kink
from .. import Cube, Grid, Layout, Study, label_numbers, select_settings
from .._memorised import AdditionSettings, estimate_flops, make_addition
from .._words import find_ranges, fit_log_slope, format_range, format_table
from ._label_noise_picture import WAYS, panels
from ._label_noise_runs import MEASURED, descend, follow, follow_to, simulate_to

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Settings(AdditionSettings):
    """Settings of the study.

    All start after ``start_steps`` steps of descent without noise or weight decay, at lr 0.5, and a projection onto the
    set. ``times`` numbers are measured along each way. The norm flow continues to the slow time ``slow_time``. The
    settings that begin with ``rate`` describe the small problem, which is simulated with each of the ``learning_rates``
    and with ``rate_seeds`` seeds of the noise.
    """

    activation: str = "softplus(5)"
    lr: float = 0.5
    label_noise_std: float = 0.5
    steps: int = 200_000
    batch_size: int = 16
    slow_time: float = 3.0
    times: int = 40
    start_steps: int = 5000
    rtol: float = 1e-4
    rate_p: int = 5
    rate_hidden: int = 24
    rate_test_count: int = 2
    rate_noise_std: float = 0.5
    rate_time: float = 0.5
    rate_seeds: int = 20
    learning_rates: tuple[float, ...] = (0.32, 0.16, 0.08, 0.04)


def check(s: Settings) -> None:
    """Raise ValueError for values that are out of range, and for learning rates that are equal or too few."""
    _checks.check_distinct("learning_rates", s.learning_rates, at_least=2)
    for name in ("lr", "label_noise_std", "slow_time", "rtol", "rate_noise_std", "rate_time"):
        _checks.positive(name, getattr(s, name))
    for lr in s.learning_rates:
        _checks.positive("learning_rates", lr)
    least = {"times": 1, "steps": s.times, "start_steps": 1, "rate_seeds": 2, "rate_p": 2, "rate_hidden": 1}
    for name, at_least in {**least, "rate_test_count": 0}.items():
        _checks.integer(name, getattr(s, name), at_least)
    samples = s.rate_p * (s.rate_p + 1) // 2
    if s.rate_test_count >= samples:
        raise ArgumentValueError(
            "rate_test_count", f"expected less than {samples}, the number of samples, got {s.rate_test_count}"
        )
    least_hidden = math.ceil((samples - s.rate_test_count) / 2)  # 2 p h parameters, n p outputs
    if s.rate_hidden < least_hidden:
        raise ArgumentValueError(
            "rate_hidden", f"expected at least {least_hidden}, so that all samples can be fitted, got {s.rate_hidden}"
        )
    data, net = make_addition(s.p, s.hidden, s.activation, 0)
    if has_kink(net):
        raise ArgumentValueError("activation", f"expected a smooth one, which the flow needs, got {s.activation}")
    n = data.train_count
    if not 1 <= s.batch_size <= n:
        raise ArgumentValueError("batch_size", f"expected 1 to {n}, the number of training samples, got {s.batch_size}")


def _flow_duration(s: Settings) -> float:
    """Return the time of the flow that the descents with label noise cover."""
    data, _ = make_addition(s.p, s.hidden, s.activation, 0)
    descent = GradientDescent(s.lr, label_noise_std=s.label_noise_std)
    return NoiseFlow.time_per_step(descent, data) * (s.steps // s.times * s.times)


def grids(s: Settings) -> list[Grid]:
    """Return the descents with noise and with minibatches, both flows, and the runs of the small problem."""
    common = select_settings(s, "p hidden activation start_steps times")
    durations = {"noise flow": _flow_duration(s), "norm flow": s.slow_time}
    descents: dict[str, dict[str, Any]] = {
        "label noise": {"label_noise_std": s.label_noise_std, "batch_size": None},
        "minibatches": {"label_noise_std": 0.0, "batch_size": s.batch_size},
    }
    small = {"p": s.rate_p, "hidden": s.rate_hidden, "test_count": s.rate_test_count, "time": s.rate_time}
    small |= select_settings(s, "activation start_steps")
    small_train = s.rate_p * (s.rate_p + 1) // 2 - s.rate_test_count
    steps_of_rate = 2 * small_train * s.rate_p * s.rate_time / s.rate_noise_std**2

    def steps_to(lr: float, **_: Any) -> float:
        return s.start_steps + steps_of_rate / lr**2

    return [
        Grid(
            descend,
            {"way": list(descents), "seed": range(s.seeds)},
            lambda way, seed: {**common, **descents[way], "seed": seed, "lr": s.lr, "steps": s.steps},
            lambda steps, start_steps, **_: steps + start_steps,
            flops=estimate_flops(s.p, s.hidden, s.activation),
        ),
        Grid(
            follow,
            {"flow": list(durations), "seed": range(s.seeds)},
            lambda flow, seed: {**common, "flow": flow, "seed": seed, "rtol": s.rtol, "duration": durations[flow]},
        ),
        Grid(
            simulate_to,
            {"lr": s.learning_rates, "noise_seed": range(s.rate_seeds)},
            lambda lr, noise_seed: {
                **small,
                "lr": lr,
                "noise_seed": noise_seed,
                "label_noise_std": s.rate_noise_std,
            },
            steps_to,
            flops=estimate_flops(s.rate_p, s.rate_hidden, s.activation),
        ),
        Grid(follow_to, {"only": [0]}, lambda only: small),
    ]


def analyse(s: Settings, descents: Cube, flows: Cube, ends: Cube, end_of_flow: Cube) -> xr.Dataset:
    """Return the numbers along all ways, and the differences of the small problem from the flow."""
    axes = ("way", "seed", "part")
    expected = float(end_of_flow["trace"][0])
    along: dict[str, Any] = {}
    for name, meaning in MEASURED.items():
        values = {"label noise": descents[name][0], "minibatches": descents[name][1]}
        values |= {"noise flow": flows[name][0], "norm flow": flows[name][1]}
        along[name] = (axes, np.array([values[way] for way in WAYS]), meaning)
    return label_numbers(
        {
            **along,
            "own_test_accuracy": (axes[1:], descents["own_test_accuracy"][0], "test accuracy with noise, off the set"),
            "difference": (
                ("lr", "noise_seed"),
                ends["trace"] / expected - 1,
                "relative difference of tr H to the flow",
            ),
            "own_difference": (
                ("lr", "noise_seed"),
                ends["own_trace"] / expected - 1,
                "the same without the projection onto the set",
            ),
            "sharpness": ((), float(end_of_flow["sharpness"][0]), "sharpness at the start of the small problem"),
            "first_trace": ((), float(end_of_flow["first_trace"][0]), "tr H at the start of the small problem"),
            "last_trace": ((), expected, "tr H at the end of the flow of the small problem"),
            "duration": ((), _flow_duration(s), "time of the flow at the last step of descent"),
        },
        {
            "way": (list(WAYS), "way along the zero-loss set"),
            "seed": (np.arange(s.seeds), "seed index"),
            "part": (np.linspace(0, 1, s.times + 1), "share of the duration"),
            "lr": (s.learning_rates, "learning rate of the small problem"),
            "noise_seed": (np.arange(s.rate_seeds), "seed of the noise"),
        },
    )


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return ranges over the seeds at the start and at the ends, and the differences by learning rate.

    ``tr H`` of descent with label noise is also given relative to the flow, at the end. ``first_accuracy_1`` is the
    number of seeds with a test accuracy of 1 at some time.
    """
    per_seed = [
        {
            "start": _values_at(numbers.sel(way="noise flow", seed=seed), 0),
            **{way: _values_at(numbers.sel(way=way, seed=seed), -1) for way in WAYS},
        }
        for seed in numbers.seed.values
    ]
    noise, flow = (numbers.trace.sel(way=way) for way in ("label noise", "noise flow"))
    relative = noise.isel(part=-1) / flow.isel(part=-1) - 1
    mean = numbers.difference.mean("noise_seed")
    error = numbers.difference.std("noise_seed", ddof=1) / np.sqrt(s.rate_seeds)
    own = numbers.own_difference.mean("noise_seed")
    own_error = numbers.own_difference.std("noise_seed", ddof=1) / np.sqrt(s.rate_seeds)
    reached = (numbers.test_accuracy.max("part") == 1).sum("seed")
    return {
        "ranges": find_ranges(per_seed),
        "relative_trace": [float(relative.min()), float(relative.max())],
        "first_accuracy_1": {way: int(reached.sel(way=way)) for way in WAYS},
        "mean_accuracy": {way: float(numbers.test_accuracy.sel(way=way).isel(part=-1).mean()) for way in WAYS},
        "largest_drift": float(numbers.distance.sel(way="minibatches").max()),
        "rate": {
            f"{lr:g}": {
                "lr_times_sharpness": lr * float(numbers.sharpness),
                "difference": float(mean[at]),
                "standard_error": float(error[at]),
                "own_difference": float(own[at]),
                "own_standard_error": float(own_error[at]),
            }
            for at, lr in enumerate(s.learning_rates)
        },
        "order": fit_log_slope(s.learning_rates, np.abs(mean.values)),
        "small_trace": [float(numbers.first_trace), float(numbers.last_trace)],
    }


def _values_at(numbers: xr.Dataset, part: int) -> dict[str, float]:
    return {name: float(numbers[name][part]) for name in MEASURED}


#: The columns of the table: a heading, a number and its format.
_COLUMNS = (
    ("tr H", "trace", ".2f"),
    ("‖θ‖²", "norm_squared", ".0f"),
    ("test accuracy", "test_accuracy", ".2f"),
    ("test loss", "test_loss", ".4f"),
    ("strongest share", "strongest_share", ".2f"),
    ("distance", "distance", ".2g"),
)


def list_rows(summary: Mapping[str, Any]) -> list[list[str]]:
    """Return the rows of the table: the start and the ends of all ways, as ranges over the seeds."""
    return [
        [way, *(format_range(values[name], form) for _, name, form in _COLUMNS)]
        for way, values in summary["ranges"].items()
    ]


def list_rates(summary: Mapping[str, Any]) -> list[list[str]]:
    """Return a row for each learning rate: both differences in per cent, with their standard errors."""

    def per_cent(mean: float, error: float) -> str:
        return f"{100 * mean:.2f} ± {100 * error:.2f}".replace("-", "−")

    return [
        [
            lr,
            f"{rate['lr_times_sharpness']:.2f}",
            per_cent(rate["difference"], rate["standard_error"]),
            per_cent(rate["own_difference"], rate["own_standard_error"]),
        ]
        for lr, rate in summary["rate"].items()
    ]


HEAD = ("", *(heading for heading, _, _ in _COLUMNS))
RATE_HEAD = ("lr", "lr·λ", "difference of tr H on the set, %", "without projection, %")


def _format_table(s: Settings, numbers: xr.Dataset, summary: Mapping[str, Any]) -> str:
    return format_table(HEAD, list_rows(summary)) + "\n\n" + format_table(RATE_HEAD, list_rates(summary))


def _format_line(s: Settings, summary: Mapping[str, Any]) -> str:
    ranges = summary["ranges"]

    def change(way: str, name: str, form: str) -> str:
        return f"{format_range(ranges['start'][name], form)} to {format_range(ranges[way][name], form)}"

    last = list(summary["rate"].values())[-1]
    difference, at = f"{100 * last['difference']:.2f}".replace("-", "−"), f"{last['lr_times_sharpness']:.2f}"
    relative = format_range([100 * value for value in summary["relative_trace"]], ".1f")
    return (
        f"label noise: tr H {change('label noise', 'trace', '.1f')} ({relative} % from the flow), ‖θ‖² "
        f"{change('label noise', 'norm_squared', '.0f')}, test accuracy "
        f"{change('label noise', 'test_accuracy', '.2f')}, once 1 in {summary['first_accuracy_1']['label noise']} of "
        f"{s.seeds} seeds; norm flow: ‖θ‖² {change('norm flow', 'norm_squared', '.0f')}, tr H "
        f"{change('norm flow', 'trace', '.1f')}; minibatches drift by at most {summary['largest_drift']:.0e}; "
        f"difference {difference} % at lr·λ {at}, order {summary['order']:.2f}"
    )


STUDY = Study(
    name="label_noise",
    title="Label noise on the zero-loss set",
    description="label noise moves along the zero-loss set: it generalises while the norm rises",
    expected_time="1 min",
    full=Settings(),
    quick=replace(
        Settings(),
        p=7,
        hidden=48,
        steps=20_000,
        times=10,
        slow_time=1.0,
        learning_rates=(0.32, 0.16),
        rate_seeds=8,
        seeds=2,
        quick=True,
    ),
    check=check,
    budget="steps",
    grids=grids,
    analyse=analyse,
    summarise=summarise,
    table=_format_table,
    line=_format_line,
    layout=Layout("abc def", 14.0, 8.0, {"wspace": 0.03, "hspace": 0.03}),
    panels=panels,
    mark=lambda s: f"p = {s.p}, {s.steps} steps",
)
