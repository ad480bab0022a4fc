"""What the study of the direction follows: rules that give a direction in the tangent space, and paths along them."""

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

__all__ = ["CONTROLS", "MEASURED", "OPTIMAL", "RULES", "Path", "PathEnding", "Random", "follow", "measured"]

Vector = NDArray[np.float64]

_RETRACTION = 1e-10  # max|F − Y| on every path

#: What is measured on a path, by name.
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
    """The random vectors of a seed index; ``redraw_every`` is an interval of a path's own time."""

    def __init__(self, seed: int, size: int, span: int, redraw_every: float) -> None:
        self.held: Vector = np.random.default_rng([seed, 0]).standard_normal(size)
        self.span: Vector = np.random.default_rng([seed, 1]).standard_normal((span, size))
        self._seed, self._redraw_every = seed, redraw_every

    def draw(self, time: float) -> int:
        """Return which interval a time is in."""
        return int(time / self._redraw_every)

    def redrawn(self, time: float) -> Vector:
        """Return the vector of the interval that a time is in."""
        return np.random.default_rng([self._seed, 2, self.draw(time)]).standard_normal(self.held.size)


Rule = Callable[[TangentSpace, float, Random], Vector]


def _entries(space: TangentSpace, time: float, random: Random) -> Vector:
    size = np.abs(space.theta)
    return space.steepest_direction(size / size.mean())


OPTIMAL = "optimal"

#: The directions v by name, from the tangent space, the path's own time and random vectors. Along each ‖θ‖² falls.
RULES: Mapping[str, Rule] = {
    OPTIMAL: lambda space, time, random: space.steepest_direction(),
    "30° off": lambda space, time, random: space.tilt(30, random.held),
    "60° off": lambda space, time, random: space.tilt(60, random.held),
    "80° off": lambda space, time, random: space.tilt(80, random.held),
    "80° off, redrawn": lambda space, time, random: space.tilt(80, random.redrawn(time)),
    "a random direction": lambda space, time, random: space.project_on_span(random.held[None]),
    "random directions": lambda space, time, random: space.project_on_span(random.span),
    "first layer alone": lambda space, time, random: space.steepest_direction(space.layer_mobility("E")),
    "second layer alone": lambda space, time, random: space.steepest_direction(space.layer_mobility("W")),
    "layers balanced": lambda space, time, random: space.conserve(space.layer_balance()),
    "units balanced": lambda space, time, random: space.conserve(space.unit_balances()),
    "first layer × 10": lambda space, time, random: space.steepest_direction(0.1 + 0.9 * space.layer_mobility("E")),
    "metric of entries": _entries,
}

_PACE = np.tan(np.radians(80))  # of a control: that of the random part of "80° off"

#: The controls, which leave the part along g away: random directions along which ‖θ‖² stays, as fast as at 80°.
CONTROLS: Mapping[str, Rule] = {
    "norm kept": lambda space, time, random: _PACE * space.level_direction(random.redrawn(time)),
    "both layers' norms kept": lambda space, time, random: (
        _PACE * space.level_direction(random.redrawn(time), space.layer_balance())
    ),
}


class PathEnding(IntEnum):
    """How a path ended."""

    FOLLOWED = 0  # to the norm, or the time, that was asked for
    EXHAUSTED = 1  # in its direction the norm does not fall any further
    LATE = 2  # the norm was not reached in the most time
    FAILED = 3  # a step could not be taken


@dataclass(frozen=True)
class Path:
    """A path at the ends of its steps: its own times (m,), parameters, and the directions (m, d) of both steps there.

    The two directions differ where a vector was redrawn.
    """

    times: Vector
    theta: Vector
    arriving: Vector
    leaving: Vector
    ending: PathEnding

    @property
    def norms_squared(self) -> Vector:
        """Return ‖θ‖²."""
        return np.asarray(np.sum(self.theta**2, axis=1))

    def at(self, time: float) -> Vector:
        """Return θ at a time: cubic between the ends of a step."""
        after = int(np.searchsorted(self.times, time))
        if time == self.times[after]:
            return np.asarray(self.theta[after])
        step = slice(after - 1, after + 1)
        slopes = np.array([self.leaving[after - 1], self.arriving[after]])
        return np.asarray(CubicHermiteSpline(self.times[step], self.theta[step], slopes)(time))

    def times_of_norms(self, norms_squared: ArrayLike) -> Vector:
        """Return the times at which ‖θ‖² first has given values, NaN for those that it does not reach."""
        own = self.norms_squared
        times = np.full(np.shape(norms_squared), np.nan)
        for at, norm in enumerate(np.asarray(norms_squared)):
            if norm >= own[0]:
                times[at] = self.times[0]
            elif norm >= own.min():
                after = int(np.argmax(own <= norm))
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
    """Follow a rule from a network on the zero-loss set.

    Parameters
    ----------
    name : str
        Of a rule, or of a control.
    random : Random
        Its random vectors.
    data, start : Dataset, Network
        Where.
    flow : NormFlow
        The steps, explicit ones, and their retraction.
    most_time : float
        The path's own time at which it ends in any case.
    norm_squared : float, optional
        ‖θ‖² at which it ends before.
    least_rate : float
        −d ln‖θ‖²/dt below which the direction is exhausted.
    """
    rule = {**RULES, **CONTROLS}[name]
    stepper = DirectionStepper(lambda space, time: rule(space, time, random), flow, data, start)
    times: list[float] = []
    theta: list[Vector] = []
    arriving: list[Vector] = []
    leaving: list[Vector] = []
    while True:
        check_interruption()
        y, time = stepper.position(), float(stepper.state["time"])
        try:
            slope = stepper.slope(y)
            redrawn = bool(times) and random.draw(times[-1]) != random.draw(time)
            before = stepper.direction(y, times[-1]) if redrawn else slope
        except np.linalg.LinAlgError:
            if not times:
                raise
            ending = PathEnding.FAILED
            break
        times.append(time)
        theta.append(y)
        arriving.append(before)
        leaving.append(slope)
        if norm_squared is not None and y @ y <= norm_squared:
            ending = PathEnding.FOLLOWED
        elif time >= most_time:
            ending = PathEnding.FOLLOWED if norm_squared is None else PathEnding.LATE
        elif -2 * (y @ slope) < least_rate * (y @ y):
            ending = PathEnding.EXHAUSTED
        elif not stepper.advance(1).finite:
            ending = PathEnding.FAILED
        else:
            continue
        break
    return Path(np.array(times), np.array(theta), np.array(arriving), np.array(leaving), ending)


def measured(path: Path, times: ArrayLike, data: Dataset, like: Network) -> dict[str, Vector]:
    """Return what is measured at times of a path, each point retracted onto the set; NaN at those beyond its end."""
    zero_loss = ZeroLossConstraint(data, like, "auto")
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path.theta, axis=0), axis=1))])
    wanted = np.asarray(times)
    found = {name: np.full(wanted.shape, np.nan) for name in MEASURED}
    for at in np.flatnonzero(np.isfinite(wanted)):
        first, second = np.split(path.at(wanted[at]), [like.E.size])
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
            "length": float(np.interp(wanted[at], path.times, lengths)),
        }
        for name, value in values.items():
            found[name][at] = value
    return found
