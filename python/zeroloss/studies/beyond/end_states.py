"""Study: where gradient descent, the gradient flow and the norm flow end.

From a memorised network, `zeroloss.stationary_point` finds a certified stationary point of loss +
(weight_decay/2) ‖θ‖² at several weight decays. The study compares it with the ends of descent (where its number of
steps is affordable), of the gradient flow and of the norm flow at the same slow time, and shows how the point changes
with the weight decay: its distance to the end of the norm flow, loss/weight_decay², the active units, the rank of J,
the Fourier structure and the test loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ... import _checks, fourier
from ...datasets import Dataset
from ...dynamics import Dynamics, GradientDescent, GradientFlow, NormFlow, loss_and_gradient
from ...end_states import stationary_point
from ...networks import Network
from ...simulation import simulate
from ...simulation.context import check_interruption
from .. import Cube, Grid, Layout, Places, Study, checked_run, label_numbers, select_settings
from .._drawing import LOG_LOG, choose_colour, draw_curves, finish_axes
from .._memorised import AdditionSettings, estimate_flops, memorise
from .._words import count_seeds, format_range

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

State = dict[str, Any]

#: The numbers that describe a network, by name.
DESCRIBED: Mapping[str, str] = {
    "train_loss": "training loss",
    "test_loss": "test loss",
    "test_accuracy": "test accuracy",
    "norm_squared": "squared norm of the parameters",
    "strongest_share": "share of a unit's power in its strongest frequency, see zeroloss.fourier",
}
#: The numbers of the certificate of a stationary point.
CERTIFIED: Mapping[str, str] = {
    "objective": "loss + (weight_decay/2) ‖θ‖² at the point",
    "kkt": "KKT residual of the point",
    "smallest_curvature": "smallest generalised curvature of the point",
    "is_minimum": "whether the point is certified to be a strict local minimum",
    "active_units": "active units of the point",
    "rank": "rank of J at the point",
    "new_unit_gain": "gain of a new unit, with kinks",
}
WAYS = ("descent", "gradient flow", "norm flow")


@dataclass(frozen=True)
class Settings(AdditionSettings):
    """Settings of the study.

    The flows end at ``slow_time``. Descent takes as many steps, and at most ``most_steps``: it is left out at smaller
    weight decays. ``rtol_smooth`` and ``rtol_kinked`` are the tolerances of the flows.
    """

    activations: tuple[str, ...] = ("softplus(5)", "relu")
    weight_decays: tuple[float, ...] = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
    slow_time: float = 60.0
    most_steps: float = 1e6
    rtol_smooth: float = 1e-4
    rtol_kinked: float = 1e-2


def check(s: Settings) -> None:
    """Raise ValueError for values that are equal, and for weight decays or a slow time that are not above 0."""
    _checks.check_distinct("activations", s.activations, at_least=1)
    _checks.check_distinct("weight_decays", s.weight_decays, at_least=1)
    for decay in s.weight_decays:
        _checks.positive("weight_decays", decay)
    _checks.positive("slow_time", s.slow_time)


def _describe(data: Dataset, net: Network) -> State:
    outputs = net.outputs(data.rows_test)
    return {
        "theta": np.concatenate([net.E.ravel(), net.W.ravel()]),
        "train_loss": float(loss_and_gradient(net, data)[0]),
        "test_loss": float(np.mean((outputs - data.Y_test) ** 2)),
        "test_accuracy": float(np.mean(outputs.argmax(axis=1) == data.Y_test.argmax(axis=1))),
        "norm_squared": float((net.E**2).sum() + (net.W**2).sum()),
        "strongest_share": float(fourier.summary(net.E, data).strongest_share),
    }


def find_point(p: int, hidden: int, activation: str, seed: int, weight_decay: float) -> State:
    """Find the stationary point from a memorised network, and return its numbers. Dead units stay dead."""
    data, net = memorise(p, hidden, activation, seed)
    point = stationary_point(net, data, weight_decay, revive=False, threads=1)
    check_interruption()
    return {**_describe(data, point.network), **{name: float(getattr(point, name)) for name in CERTIFIED}}


def follow_norm_flow(p: int, hidden: int, activation: str, seed: int, rtol: float, slow_time: float) -> State:
    """Follow the norm flow from a network on the set, and return the numbers of its end."""
    flow = NormFlow(rtol=rtol, method="proximal" if "relu" in activation else None)
    return _follow(flow, slow_time, memorise(p, hidden, activation, seed))


def follow_gradient_flow(
    p: int, hidden: int, activation: str, seed: int, weight_decay: float, rtol: float, slow_time: float
) -> State:
    """Follow the gradient flow from a network on the set, and return the numbers of its end."""
    flow = GradientFlow(weight_decay, rtol, method="proximal" if "relu" in activation else None)
    return _follow(flow, slow_time / weight_decay, memorise(p, hidden, activation, seed))


def descend(p: int, hidden: int, activation: str, seed: int, weight_decay: float, slow_time: float) -> State:
    """Descend from a network on the set, and return the numbers of the end."""
    descent = GradientDescent(1.0, weight_decay)
    return _follow(descent, slow_time / weight_decay, memorise(p, hidden, activation, seed))


def _follow(dynamics: Dynamics, time: float, problem: tuple[Dataset, Network]) -> State:
    data, net = problem
    run = checked_run(simulate(dynamics, data, net, duration=time, record_every=10**9, threads=1))
    check_interruption()
    return _describe(data, run.network)


def grids(s: Settings) -> list[Grid]:
    """Return the searches, the norm flows, the gradient flows and the descents."""
    common = select_settings(s, "p hidden")
    over = {"activation": s.activations, "seed": range(s.seeds)}
    decays = {**over, "weight_decay": s.weight_decays}

    def point(**labels: Any) -> dict[str, Any]:
        return {**common, **labels}

    def descent(**labels: Any) -> dict[str, Any]:
        return {**point(**labels), "slow_time": s.slow_time}

    def flow(**labels: Any) -> dict[str, Any]:
        rtol = s.rtol_kinked if "relu" in labels["activation"] else s.rtol_smooth
        return {**descent(**labels), "rtol": rtol}

    return [
        Grid(find_point, decays, point),
        Grid(follow_norm_flow, over, flow),
        Grid(follow_gradient_flow, decays, flow),
        Grid(
            descend,
            {**over, "weight_decay": descent_decays(s)},
            descent,
            lambda weight_decay, **_: s.slow_time / weight_decay,
            flops=estimate_flops(s.p, s.hidden, s.activations[0]),
        ),
    ]


def descent_decays(s: Settings) -> tuple[float, ...]:
    """Return the weight decays at which descent takes at most the most steps; at least the greatest one."""
    few = tuple(decay for decay in s.weight_decays if s.slow_time / decay <= s.most_steps)
    return few or (max(s.weight_decays),)


def analyse(s: Settings, points: Cube, norm_flows: Cube, gradient_flows: Cube, descents: Cube) -> xr.Dataset:
    """Return the numbers of the points, and the distances of all ends to them."""
    theta, axes = points["theta"], ("activation", "seed", "weight_decay")
    few = [s.weight_decays.index(decay) for decay in descent_decays(s)]

    def distances(ends: NDArray[np.float64], to: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.linalg.norm(ends - to, axis=-1))

    variables: dict[str, Any] = {
        "distance_norm_flow": (axes, distances(norm_flows["theta"][:, :, None], theta), "norm flow to the point"),
        "distance_gradient_flow": (axes, distances(gradient_flows["theta"], theta), "gradient flow to the point"),
        "distance_descent": (
            (*axes[:2], "descent_decay"),
            distances(descents["theta"], theta[:, :, few]),
            "descent to the point",
        ),
    }
    for name, text in {**DESCRIBED, **CERTIFIED}.items():
        variables[name] = (axes, points[name], text)
    for name, text in DESCRIBED.items():
        variables[f"norm_flow_{name}"] = (axes[:2], norm_flows[name], f"end of the norm flow: {text}")
    coordinates: dict[str, tuple[Any, str]] = {
        "activation": (s.activations, "activation"),
        "seed": (np.arange(s.seeds), "seed index"),
        "weight_decay": (s.weight_decays, "weight decay"),
        "descent_decay": (descent_decays(s), "weight decay of descent"),
    }
    return label_numbers(variables, coordinates)


def summarise(s: Settings, numbers: xr.Dataset) -> dict[str, Any]:
    """Return the medians over seeds at every weight decay, and counts of certified minima."""
    ratio = numbers.train_loss / numbers.weight_decay**2
    summary: dict[str, Any] = {}
    for name in s.activations:
        part, median = numbers.sel(activation=name), {}
        for decay in s.weight_decays:
            point = part.sel(weight_decay=decay)
            values = {
                "minima": int((point.is_minimum == 1).sum()),
                "greatest_kkt": float(point.kkt.max()),
                "loss_over_decay_squared": float(ratio.sel(activation=name, weight_decay=decay).median()),
                **{key: float(point[key].median()) for key in (*DESCRIBED, "active_units", "rank", "new_unit_gain")},
                "distance_norm_flow": float(point.distance_norm_flow.median()),
                "distance_gradient_flow": float(point.distance_gradient_flow.median()),
            }
            if decay in descent_decays(s):
                values["distance_descent"] = float(part.distance_descent.sel(descent_decay=decay).median())
            median[f"{decay:g}"] = values
        norm_flow = {key: float(part[f"norm_flow_{key}"].median()) for key in DESCRIBED}
        summary[name] = {"points": median, "norm_flow": norm_flow}
    return summary


def _format_line(s: Settings, summary: Mapping[str, Any]) -> str:
    parts = []
    for name, both in summary.items():
        points = both["points"]
        minima = sum(point["minima"] for point in points.values())
        ratios = sorted(point["loss_over_decay_squared"] for point in points.values())
        ends = format_range((ratios[0], ratios[-1]), ".0f")
        last = points[f"{min(s.weight_decays):g}"]
        parts.append(
            f"{name}: {minima} of {len(points) * s.seeds} points certified as minima, L/wd² {ends}, at "
            f"{min(s.weight_decays):g} {last['active_units']:.0f} units active, rank {last['rank']:.0f}, test loss "
            f"{last['test_loss']:.1e} (norm flow {both['norm_flow']['test_loss']:.1e})"
        )
    return f"{count_seeds(s.seeds)}, medians; {'; '.join(parts)}"


def panels(place: Places, numbers: xr.Dataset, s: Settings) -> None:
    """Draw loss/weight_decay², distances to the points, active units and rank, and the test losses."""
    ratio = numbers.train_loss / numbers.weight_decay**2
    axes = {letter: place(letter, title) for letter, title in zip("abcd", _TITLES, strict=True)}
    for name in s.activations:
        colour, part = choose_colour(name), numbers.sel(activation=name)
        draw_curves(axes["a"], s.weight_decays, ratio.sel(activation=name).transpose("seed", ...), colour, name, "o-")
        _draw_distances(axes["b"], part, s, colour, name)
        draw_curves(axes["c"], s.weight_decays, part.active_units, colour, f"{name}, active units", "o-")
        draw_curves(axes["c"], s.weight_decays, part["rank"], colour, f"{name}, rank of J", "s--", linewidth=0.8)
        draw_curves(axes["d"], s.weight_decays, part.test_loss, colour, f"{name}, point", "o-")
        for number, value in enumerate(part.norm_flow_test_loss.values):
            label = None if number else f"{name}, norm flow at s = {s.slow_time:g}"
            axes["d"].axhline(value, color=axes["d"].lines[-1].get_color(), linewidth=0.7, linestyle=":", label=label)
    labels = ("loss / weight decay²", "distance in parameters", "number", "test loss")
    for one, label in zip(axes.values(), labels, strict=True):
        finish_axes(one, "best", xlabel="weight decay", ylabel=label, **LOG_LOG)


_TITLES = (
    "the loss at the stationary point",
    "distance of the ends to it",
    "active units, and rank of J",
    "test loss at the stationary point",
)


def _draw_distances(axes: Axes, part: xr.Dataset, s: Settings, colour: str, name: str) -> None:
    medians = part.median("seed")
    for way, style, decays in zip(
        WAYS, ("x:", "s--", "o-"), (descent_decays(s), s.weight_decays, s.weight_decays), strict=True
    ):
        values = medians[f"distance_{way.replace(' ', '_')}"]
        draw_curves(axes, decays, values, colour, f"{name}, {way}", style, markersize=5, linewidth=1.0)


STUDY = Study(
    name="end_states",
    title="End states of descent, the gradient flow and the norm flow",
    description="where descent, the gradient flow and the norm flow end, next to certified stationary points",
    expected_time="15 min",
    full=Settings(),
    quick=replace(Settings(), p=5, hidden=24, weight_decays=(1e-3, 1e-4), slow_time=10.0, seeds=1, quick=True),
    check=check,
    budget="weight_decays",
    stores=True,
    processes=True,
    grids=grids,
    analyse=analyse,
    summarise=summarise,
    line=_format_line,
    layout=Layout("ab cd", 11.0, 8.0, {"wspace": 0.03, "hspace": 0.03}),
    panels=panels,
    mark=lambda s: f"{len(s.weight_decays)} decays, to s = {s.slow_time:g}",
)
