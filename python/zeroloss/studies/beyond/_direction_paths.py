"""Paths on the zero-loss set for the study of the direction: rules that give a tangent direction, and their paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import scipy.optimize
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicHermiteSpline

from ... import fourier
from ...datasets import Dataset
from ...dynamics import NormFlow
from ...dynamics.along_direction import DirectionStepper
from ...dynamics.zero_loss import ZeroLossConstraint
from ...geometry.directions import TangentSpace
from ...networks import Network
from ...simulation.context import check_interruption

__all__ = ["CONTROLS", "MEASURED", "OPTIMAL", "RULES", "Path", "PathEnding", "Random", "follow", "measure"]

Vector = NDArray[np.float64]

_RETRACTION = 1e-10  # max|F − Y| on every path

#: The numbers that `measure` returns, by name.
MEASURED: Mapping[str, str] = {
    "test_accuracy": "test accuracy",
    "test_loss": "test loss",
    "strongest_share": "share of a unit's power in its strongest frequency, see zeroloss.fourier",
    "cosine_gap": "mean cosine of absolute Fourier vectors within a frequency, less that across",
    "norm_E_squared": "squared norm of the first layer",
    "norm_W_squared": "squared norm of the second layer",
    "length": "length of the path",
}


class Random:
    """The random vectors of a seed index. ``redraw_every`` is an interval of a path's own time."""

    def __init__(self, seed: int, size: int, span: int, redraw_every: float) -> None:
        self.fixed: Vector = np.random.default_rng([seed, 0]).standard_normal(size)
        self.span: Vector = np.random.default_rng([seed, 1]).standard_normal((span, size))
        self._seed, self._redraw_every = seed, redraw_every

    def interval(self, time: float) -> int:
        """Return the number of the interval that contains a time."""
        return int(time / self._redraw_every)

    def redraw(self, time: float) -> Vector:
        """Return the vector of the interval that contains a time."""
        return np.random.default_rng([self._seed, 2, self.interval(time)]).standard_normal(self.fixed.size)


Rule = Callable[[TangentSpace, float, Random], Vector]


def _steepest_in_entries(space: TangentSpace, time: float, random: Random) -> Vector:
    size = np.abs(space.theta)
    return space.steepest_direction(size / size.mean())


OPTIMAL = "optimal"

#: The directions v by name, from the tangent space, the path's own time and random vectors. ‖θ‖² falls along each.
RULES: Mapping[str, Rule] = {
    OPTIMAL: lambda space, time, random: space.steepest_direction(),
    "30° off": lambda space, time, random: space.tilt(30, random.fixed),
    "60° off": lambda space, time, random: space.tilt(60, random.fixed),
    "80° off": lambda space, time, random: space.tilt(80, random.fixed),
    "80° off, redrawn": lambda space, time, random: space.tilt(80, random.redraw(time)),
    "a random direction": lambda space, time, random: space.project_on_span(random.fixed[None]),
    "random directions": lambda space, time, random: space.project_on_span(random.span),
    "first layer alone": lambda space, time, random: space.steepest_direction(space.layer_mobility("E")),
    "second layer alone": lambda space, time, random: space.steepest_direction(space.layer_mobility("W")),
    "layers balanced": lambda space, time, random: space.conserve(space.layer_balance()),
    "units balanced": lambda space, time, random: space.conserve(space.unit_balances()),
    "first layer × 10": lambda space, time, random: space.steepest_direction(0.1 + 0.9 * space.layer_mobility("E")),
    "metric of entries": _steepest_in_entries,
}

_PACE = np.tan(np.radians(80))  # The speed of the random part of "80° off", and of the controls.

#: The controls, which leave out the part along g: random directions along which ‖θ‖² is constant, as fast as at 80°.
CONTROLS: Mapping[str, Rule] = {
    "norm kept": lambda space, time, random: _PACE * space.level_direction(random.redraw(time)),
    "both layers' norms kept": lambda space, time, random: (
        _PACE * space.level_direction(random.redraw(time), space.layer_balance())
    ),
}


class PathEnding(IntEnum):
    """How a path ended."""

    FOLLOWED = 0  # It reached the requested norm, or the requested time.
    EXHAUSTED = 1  # The norm does not fall any further in its direction.
    LATE = 2  # It did not reach the norm in the most time.
    FAILED = 3  # A step could not be taken.


@dataclass(frozen=True)
class Path:
    """A path at the ends of its steps: its own times (m,), parameters (m, d), and the directions (m, d) of both steps.

    The directions of the arriving and the leaving step differ if a vector was redrawn between them.
    """

    times: Vector
    theta: Vector
    arriving: Vector
    leaving: Vector
    ending: PathEnding

    @property
    def norms_squared(self) -> Vector:
        """The values of ‖θ‖²."""
        return np.asarray(np.sum(self.theta**2, axis=1))

    def at(self, time: float) -> Vector:
        """Return θ at a time, by cubic interpolation between the ends of a step."""
        after = int(np.searchsorted(self.times, time))
        if time == self.times[after]:
            return np.asarray(self.theta[after])
        step = slice(after - 1, after + 1)
        slopes = np.array([self.leaving[after - 1], self.arriving[after]])
        return np.asarray(CubicHermiteSpline(self.times[step], self.theta[step], slopes)(time))

    def times_of_norms(self, norms_squared: ArrayLike) -> Vector:
        """Return the times at which ‖θ‖² first has some values. NaN for values that it does not reach."""
        norms = self.norms_squared
        times = np.full(np.shape(norms_squared), np.nan)
        for at, norm in enumerate(np.asarray(norms_squared)):
            if norm >= norms[0]:
                times[at] = self.times[0]
            elif norm >= norms.min():
                after = int(np.argmax(norms <= norm))
                ends = self.times[after - 1], self.times[after]
                times[at] = scipy.optimize.brentq(lambda t, norm=norm: np.sum(self.at(t) ** 2) - norm, *ends)
        return times


def follow(
    name: str,
    random: Random,
    data: Dataset,
    start: Network,
    flow: NormFlow,
    *,
    most_time: float,
    norm_squared: float | None = None,
    least_rate: float = -np.inf,
) -> Path:
    """Follow a rule or a control from a network on the zero-loss set, in the explicit steps of ``flow``.

    The path ends when ‖θ‖² reaches ``norm_squared``, when −d ln‖θ‖²/dt falls below ``least_rate``, and at ``most_time``
    of its own time at the latest.
    """
    rule = {**RULES, **CONTROLS}[name]
    stepper = DirectionStepper(lambda space, time: rule(space, time, random), flow, data, start)
    points: list[tuple[float, Vector, Vector, Vector]] = []
    while True:
        check_interruption()
        y, time = stepper.position(), float(stepper.state["time"])
        try:
            leaving = arriving = stepper.slope(y)
            if points and random.interval(points[-1][0]) != random.interval(time):
                arriving = stepper.direction(y, points[-1][0])
        except np.linalg.LinAlgError:
            if not points:
                raise
            ending = PathEnding.FAILED
            break
        points.append((time, y, arriving, leaving))
        if norm_squared is not None and y @ y <= norm_squared:
            ending = PathEnding.FOLLOWED
        elif time >= most_time:
            ending = PathEnding.FOLLOWED if norm_squared is None else PathEnding.LATE
        elif -2 * (y @ leaving) < least_rate * (y @ y):
            ending = PathEnding.EXHAUSTED
        elif not stepper.advance(1).finite:
            ending = PathEnding.FAILED
        else:
            continue
        break
    times, theta, arriving, leaving = map(np.array, zip(*points, strict=True))
    return Path(times, theta, arriving, leaving, ending)


def measure(path: Path, times: ArrayLike, data: Dataset, like: Network) -> dict[str, Vector]:
    """Return the numbers of `MEASURED` at times of a path, each point retracted onto the set. NaN beyond its end."""
    zero_loss = ZeroLossConstraint(data, like, "auto")
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path.theta, axis=0), axis=1))])
    times = np.asarray(times)
    numbers = {name: np.full(times.shape, np.nan) for name in MEASURED}
    for at in np.flatnonzero(np.isfinite(times)):
        first, second = np.split(path.at(times[at]), [like.E.size])
        E, W = first.reshape(like.E.shape).copy(), second.reshape(like.W.shape).copy()
        zero_loss.retract(E, W, _RETRACTION)
        record = zero_loss.record({"E": E, "W": W})
        assert record is not None
        circles = fourier.summary(E)
        values = {
            "test_accuracy": record["test_accuracy"],
            "test_loss": record["test_loss"],
            "strongest_share": circles.strongest_share,
            "cosine_gap": circles.within - circles.across,
            "norm_E_squared": record["norm_E"] ** 2,
            "norm_W_squared": record["norm_W"] ** 2,
            "length": float(np.interp(times[at], path.times, lengths)),
        }
        for name, value in values.items():
            numbers[name][at] = value
    return numbers
