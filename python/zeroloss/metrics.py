"""Numbers that describe a run or a network.

For a run: when a curve crosses a level, the delay between crossings, and values at a step. For a network: margins,
active units and effective ranks, from ``zeroloss._network_measures``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from . import _checks
from ._checks import ArgumentValueError
from ._choices import Direction
from ._deprecated import warn_renamed
from ._network_measures import active_units, effective_rank, margins, normalised_margin, participation_ratio

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "Crossing",
    "Delay",
    "Level",
    "active_units",
    "crossing",
    "crossing_step",
    "delays",
    "effective_rank",
    "margins",
    "normalised_margin",
    "participation_ratio",
    "value_at",
]

_DIRECTIONS = ("above", "below")


@dataclass(frozen=True)
class Crossing:
    """The step at which a curve crosses a level, as far as the records determine it.

    Attributes
    ----------
    earliest : int
        The first possible step of the crossing: the step after the last record before the crossing.
    step : int or None
        The step of the record that is at the level. None if there is none. The crossing is then censored: if it
        happens, it is at ``earliest`` or later.
    """

    earliest: int
    step: int | None


@dataclass(frozen=True)
class Level:
    """A curve of a history, and the level that it has to reach.

    Parameters
    ----------
    curve : str
        The name of a variable of the history, such as ``"test_accuracy"``.
    level : float
        The level.
    sustained : int
        The number of consecutive records that have to be at the level or beyond, at least 1, by default 1.
    direction : {"above", "below"}
        The side that is beyond the level: above for an accuracy, below for a loss.

    Raises
    ------
    ValueError, TypeError
        If the level is not finite, ``sustained`` is below 1, or the direction is unknown.
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

    def find_crossing(self, history: xr.Dataset) -> Crossing:
        """Find the crossing of the level in a history.

        Parameters
        ----------
        history : Dataset over "step"
            The history of a run.

        Returns
        -------
        Crossing
            The crossing, see `crossing`.

        Raises
        ------
        ValueError
            If the history does not have the curve.
        """
        if self.curve not in history:
            raise ArgumentValueError("curve", f"expected one of {', '.join(map(str, history))}, got {self.curve!r}")
        return crossing(history[self.curve], self.level, self.sustained, self.direction)

    def crossed(self, history: xr.Dataset) -> Crossing:
        """Find the crossing of the level in a history. This is the old name of ``find_crossing``.

        Parameters
        ----------
        history : Dataset over "step"
            The history of a run.

        Returns
        -------
        Crossing
            The crossing.
        """
        warn_renamed("Level.crossed", "Level.find_crossing")
        return self.find_crossing(history)


@dataclass(frozen=True)
class Delay:
    """The delay between memorisation and generalisation.

    Attributes
    ----------
    memorisation : Crossing
        The crossing at which the run memorises.
    generalisation : Crossing
        The crossing at which the run generalises.
    """

    memorisation: Crossing
    generalisation: Crossing

    @property
    def memorised(self) -> bool:
        """Whether the run memorises. If it does not, there is no delay, and it is not censored."""
        return self.memorisation.step is not None

    @property
    def censored(self) -> bool:
        """Whether the run memorises, and its records end before it generalises."""
        return self.memorised and self.generalisation.step is None

    @property
    def steps(self) -> int | None:
        """The delay between the two records, or None if one is missing. Negative if generalisation comes first."""
        first, then = self.memorisation.step, self.generalisation.step
        return None if first is None or then is None else then - first

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest possible delay. The greatest is inf if censored; both are NaN without a delay."""
        if self.memorisation.step is None:
            return math.nan, math.nan
        low = self.generalisation.earliest - self.memorisation.step
        then = self.generalisation.step
        return low, math.inf if then is None else then - self.memorisation.earliest


def crossing(series: xr.DataArray, level: float, sustained: int = 1, direction: Direction = "above") -> Crossing:
    """Find when a curve first is at a level or beyond, and the steps that the records leave possible.

    Between the last record before the crossing and the record at the level, the step is unknown; the curve is assumed
    to cross once. If ``sustained`` is above 1 and the series ends within a sequence of records at the level, the
    crossing is undecided, and ``earliest`` is before this sequence.

    Parameters
    ----------
    series : DataArray over "step"
        The curve, such as ``run.history.test_accuracy``.
    level : float
        The level, a finite number. Records that are NaN are not at any level.
    sustained : int
        The number of consecutive records that have to be at the level or beyond, at least 1, by default 1.
    direction : {"above", "below"}
        The side that is beyond the level: above for an accuracy, below for a loss.

    Returns
    -------
    Crossing
        The earliest possible step, and the step of the record.

    Raises
    ------
    ValueError, TypeError
        If the level is not finite, ``sustained`` is below 1, the direction is unknown, or the series does not have
        exactly the dimension "step".
    """
    level, sustained = _checks.real("level", level), _checks.integer("sustained", sustained, 1)
    direction = _checks.choice("direction", direction, _DIRECTIONS)
    _check_over_steps(series)
    beyond = np.asarray(series.values >= level if direction == "above" else series.values <= level)
    steps = np.asarray(series.step.values)
    # Records after the end are taken to be beyond. Find the first window that may be beyond; it may not be complete.
    possible = np.concatenate([beyond, np.ones(sustained, bool)])
    first = int(np.argmax(np.lib.stride_tricks.sliding_window_view(possible, sustained).all(axis=1)))
    earliest = int(steps[first - 1]) + 1 if first else int(steps[:1].sum())
    return Crossing(earliest, int(steps[first]) if first + sustained <= len(beyond) else None)


def crossing_step(series: xr.DataArray, level: float, sustained: int = 1, direction: Direction = "above") -> int | None:
    """Find the first recorded step at which a curve is at a level or beyond.

    The step is only as exact as the records: the curve may have reached the level at any step after the record before.
    `crossing` also returns the first of these steps. To find the exact step, use ``events`` of `zeroloss.simulate`,
    which replays the steps between two checks; see ``Run.events``.

    Parameters
    ----------
    series : DataArray over "step"
        The curve, such as ``run.history.test_accuracy``.
    level : float
        The level, a finite number. Records that are NaN are not at any level.
    sustained : int
        The number of consecutive records that have to be at the level or beyond, at least 1, by default 1.
    direction : {"above", "below"}
        The side that is beyond the level: above for an accuracy, below for a loss.

    Returns
    -------
    int or None
        The step, or None if no record is at the level.

    Raises
    ------
    ValueError, TypeError
        As for `crossing`.
    """
    return crossing(series, level, sustained, direction).step


def delays(history: xr.Dataset, definitions: Mapping[str, tuple[Level, Level]]) -> dict[str, Delay]:
    """Compute the delay between memorisation and generalisation of a run, by several definitions.

    Parameters
    ----------
    history : Dataset over "step"
        The history of a run.
    definitions : mapping of name to (Level, Level)
        The levels that define memorisation and generalisation: ``{"sustained": (Level("train_accuracy", 1.0),
        Level("test_accuracy", 0.5, sustained=3))}``, or levels of losses, with ``direction="below"``.

    Returns
    -------
    dict of name to Delay
        The delays. Each has steps and bounds, and shows whether the run ended before it generalised.

    Raises
    ------
    ValueError, TypeError
        As for `crossing`, or if the history does not have a curve.
    """
    return {
        name: Delay(memorised.find_crossing(history), generalised.find_crossing(history))
        for name, (memorised, generalised) in definitions.items()
    }


def value_at(series: xr.DataArray, step: float | None) -> float:
    """Return the value of a curve at a step, such as the step of an event.

    Parameters
    ----------
    series : DataArray over "step"
        The curve, such as ``run.history.norm_E``.
    step : int or float, optional
        The step, such as ``run.events["test_accuracy >= 0.95"]``. None for an event that did not happen.

    Returns
    -------
    float
        The value of the record at this step. Between two records it is interpolated linearly. NaN for None, and before
        the first and after the last record.

    Raises
    ------
    ValueError, TypeError
        If the series does not have exactly the dimension "step", or the step is not a finite number.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(11, test_count=7, seed=4)
    >>> net = zl.networks.uniform_fan_in(data, hidden=128, seed=104)
    >>> run = zl.simulate(zl.GradientDescent(lr=1.0), data, net, steps=300, events=["train_accuracy >= 0.5"])
    >>> zl.metrics.value_at(run.history.train_accuracy, run.events["train_accuracy >= 0.5"]) > 0
    True
    """
    _check_over_steps(series)
    if step is None:
        return math.nan
    at = _checks.real("step", step)
    return float(np.interp(at, series.step.values, series.values, left=math.nan, right=math.nan))


def _check_over_steps(series: xr.DataArray) -> None:
    """Raise ValueError unless a series has exactly the dimension "step"."""
    if getattr(series, "dims", None) != ("step",) or "step" not in series.coords:
        raise ArgumentValueError(
            "series", f'expected a DataArray over "step", got dimensions {getattr(series, "dims", None)}'
        )
