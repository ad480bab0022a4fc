"""Numbers read from a history: when a curve crosses a level, for once or for good, and how long after another."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import _checks
from ._checks import ArgumentValueError
from ._choices import Direction

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Crossing", "Delay", "Level", "crossing", "crossing_step", "delays"]

_DIRECTIONS = ("above", "below")


@dataclass(frozen=True)
class Crossing:
    """When a curve crosses a level, as far as records tell.

    Attributes
    ----------
    earliest : int
        The first step that the records leave possible: the one after the last record before the crossing.
    step : int or None
        The record that crosses; None where none does, so that the crossing, if there is one, is at ``earliest`` or
        later: it is censored.
    """

    earliest: int
    step: int | None


@dataclass(frozen=True)
class Level:
    """A curve of a history and the level that it has to reach.

    Attributes
    ----------
    curve : str
        The name of a variable of the history, such as ``"test_accuracy"``.
    level, sustained, direction
        As for `crossing`.
    """

    curve: str
    level: float
    sustained: int = 1
    direction: Direction = "above"

    def __post_init__(self) -> None:
        _checks.check_instance("curve", self.curve, str)
        _checks.set_fields(
            self,
            level=_checks.real("level", self.level),
            sustained=_checks.integer("sustained", self.sustained, 1),
            direction=_checks.choice("direction", self.direction, _DIRECTIONS),
        )

    def crossed(self, history: xr.Dataset) -> Crossing:
        """Return when the curve of a history crosses the level; ValueError where the history has no such curve."""
        if self.curve not in history:
            raise ArgumentValueError("curve", f"expected one of {', '.join(map(str, history))}, got {self.curve!r}")
        return crossing(history[self.curve], self.level, self.sustained, self.direction)


@dataclass(frozen=True)
class Delay:
    """How long after memorisation generalisation comes.

    Attributes
    ----------
    memorisation, generalisation : Crossing
        When either comes.
    """

    memorisation: Crossing
    generalisation: Crossing

    @property
    def memorised(self) -> bool:
        """Whether the run memorises; if not, there is no delay, and nothing to be censored."""
        return self.memorisation.step is not None

    @property
    def censored(self) -> bool:
        """Whether the run memorises and its records end before it generalises."""
        return self.memorised and self.generalisation.step is None

    @property
    def steps(self) -> int | None:
        """The delay from record to record; None without one of both. Negative where generalisation comes first."""
        first, then = self.memorisation.step, self.generalisation.step
        return None if first is None or then is None else then - first

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest delay that the records leave possible; inf for a censored one, NaN for none."""
        if self.memorisation.step is None:
            return math.nan, math.nan
        low = self.generalisation.earliest - self.memorisation.step
        then = self.generalisation.step
        return low, math.inf if then is None else then - self.memorisation.earliest


def crossing(series: xr.DataArray, level: float, sustained: int = 1, direction: Direction = "above") -> Crossing:
    """Return when a curve first is at a level or beyond, and how far the records leave that open.

    Between the last record before the crossing and the crossing one the step is not known, as if the curve crossed
    once. With ``sustained`` above 1, records at the level that the end of the series cuts short prove nothing: a
    crossing may be among them, and ``earliest`` is before them.

    Parameters
    ----------
    series : DataArray over "step"
        A curve of the history, such as ``run.history.test_accuracy``.
    level : float
        The level; NaN records are on this side of every level.
    sustained : int
        The number of records in a row, the crossing included, that must be at the level or beyond.
    direction : {"above", "below"}
        What is beyond: above, for an accuracy; below, for a loss.

    Raises
    ------
    ValueError, TypeError
        For a level that is not finite, sustained < 1, an unknown direction, or a series without exactly the dimension
        "step".
    """
    level, sustained = _checks.real("level", level), _checks.integer("sustained", sustained, 1)
    direction = _checks.choice("direction", direction, _DIRECTIONS)
    if getattr(series, "dims", None) != ("step",) or "step" not in series.coords:
        raise ArgumentValueError(
            "series", f'expected a DataArray over "step", got dimensions {getattr(series, "dims", None)}'
        )
    beyond = np.asarray(series.values >= level if direction == "above" else series.values <= level)
    steps = np.asarray(series.step.values)
    # past the end all is as well as it can be: the first window that may be beyond, and whether it is seen whole
    possible = np.concatenate([beyond, np.ones(sustained, bool)])
    first = int(np.argmax(np.lib.stride_tricks.sliding_window_view(possible, sustained).all(axis=1)))
    earliest = int(steps[first - 1]) + 1 if first else int(steps[:1].sum())
    return Crossing(earliest, int(steps[first]) if first + sustained <= len(beyond) else None)


def crossing_step(series: xr.DataArray, level: float, sustained: int = 1, direction: Direction = "above") -> int | None:
    """Return the first recorded step at which a curve is at a level or beyond, None where it never is.

    The step is only as exact as the records: the curve may have been at the level at any step since the record before.
    `crossing` also returns that earlier step. The exact step is found by ``events`` of `zeroloss.simulate`, which
    replays the steps between two looks: see ``Run.events``.

    Parameters and exceptions are those of `crossing`.
    """
    return crossing(series, level, sustained, direction).step


def delays(history: xr.Dataset, definitions: Mapping[str, tuple[Level, Level]]) -> dict[str, Delay]:
    """Return how long after memorisation a run generalises, by several definitions.

    Parameters
    ----------
    history : Dataset over "step"
        The history of a run.
    definitions : mapping of name to (Level, Level)
        What it takes to have memorised, and to have generalised: ``{"sustained": (Level("train_accuracy", 1.0),
        Level("test_accuracy", 0.5, sustained=3))}``, or by losses, with ``direction="below"``.

    Returns
    -------
    dict of name to Delay
        With steps, bounds, and whether the run ended before it generalised.

    Raises
    ------
    ValueError, TypeError
        As for `crossing`, and for a curve that the history does not have.
    """
    return {
        name: Delay(memorised.crossed(history), generalised.crossed(history))
        for name, (memorised, generalised) in definitions.items()
    }
