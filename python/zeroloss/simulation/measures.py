"""Measures: functions of the network that are called with every record."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from .._checks import ArgumentTypeError, ArgumentValueError, format_value, is_storable_name
from ..networks import Network
from ..results import DESCRIPTIONS, Measures
from ..results.schedule import Schedule

#: The kinds of NumPy dtypes that files store: numbers and texts.
_KINDS = "biufcSU"


class MeasureCalls:
    """The measures of a run, and the earlier networks that measures with a lag need.

    Parameters
    ----------
    measures : mapping of str to function
        The measures, by name.
    records : Schedule
        The schedule of the records.
    end : int
        The last step.
    """

    def __init__(self, measures: Measures, records: Schedule, end: int) -> None:
        self.measures = measures
        self._lags = {lag for measure in measures.values() if (lag := getattr(measure, "lag", 0))}
        self._records, self._end = records, end
        self.earlier: dict[int, Network] = {}

    def next_compared(self, step: int) -> int:
        """Return the first step after ``step`` whose network a later measure needs; ``end`` if there is none."""
        return min((self._next_compared(step, lag) for lag in self._lags), default=self._end)

    def is_compared(self, step: int) -> bool:
        """Whether a later measure needs the network at a step."""
        if not self._lags or step in self.earlier:
            return False
        return step == 0 or any(self._next_compared(step - 1, lag) == step for lag in self._lags)

    def store_network(self, step: int, network: Network) -> None:
        """Store a network for later measures, and drop the networks that no later record needs."""
        self.earlier = {at: net for at, net in self.earlier.items() if at >= step - max(self._lags)}
        self.earlier[step] = network

    def values(
        self, network: Network, step: int, before: Mapping[str, Any], recorded: Collection[str]
    ) -> dict[str, Any]:
        """Return the values of the measures by name.

        Parameters
        ----------
        network : Network
            The network at the step.
        step : int
            The step.
        before : mapping
            The record before this one. Its values have the same names and shapes.
        recorded : collection of str
            The names of the values that the dynamics records.

        Returns
        -------
        dict of str to number or array
            The values. A measure that returns a mapping has a value for each key.
        """
        values: dict[str, Any] = {}
        for name, measure in self.measures.items():
            lag = getattr(measure, "lag", 0)
            is_stored = self._records.due(step) or step == self._end or step <= lag
            earlier = (self.earlier.get(max(0, step - lag)) if is_stored else None,) if lag else ()
            value = measure(network, *earlier)
            named = {f"{name}_{key}": v for key, v in value.items()} if isinstance(value, Mapping) else {name: value}
            if repeated := named.keys() & {*values, *DESCRIPTIONS, *recorded}:
                raise ArgumentValueError("measures", f"two recorded values have the name {', '.join(sorted(repeated))}")
            values |= named
        before = before or values
        if different := sorted(values.keys() ^ (before.keys() - {*DESCRIPTIONS, *recorded})):
            what = "a new value" if different[0] in values else "no value"
            raise ArgumentValueError(
                "measures", f"must return the same values at every record, got {what} {different[0]} at step {step}"
            )
        for name, value in values.items():
            _check_value(name, value, step)
            shape, expected = np.shape(value), np.shape(before[name])
            if shape != expected:
                raise ArgumentValueError(
                    "measures", f"{name} must always have the same shape, {expected}, got {shape} at step {step}"
                )
        return values

    def descriptions(self) -> dict[str, tuple[str, str]]:
        """Return the unit and the meaning of each value. The key of a single value is empty."""
        return {
            f"{name}_{key}" if key else name: description
            for name, measure in self.measures.items()
            for key, description in getattr(measure, "descriptions", {}).items()
        }

    def has_variable(self, name: str) -> bool:
        """Whether a variable of a history is a value of these measures."""
        return any(name == measure or name.startswith(f"{measure}_") for measure in self.measures)

    def _next_compared(self, step: int, lag: int) -> int:
        """Return the first step after ``step`` whose network a record ``lag`` steps later needs.

        The networks of the last ``lag`` steps are all stored, because an extension may end at any step.
        """
        return min(self._records.next_after(step + lag) - lag, max(step + 1, self._end - lag))


def _check_value(name: str, value: Any, step: int) -> None:
    """Raise ValueError or TypeError unless files can store a value under its name."""
    if not is_storable_name(name) or "/" in name:
        raise ArgumentValueError(
            "measures", f"expected names of at most 200 printable characters without /, got {format_value(name)}"
        )
    try:
        kind = np.asarray(value).dtype.kind
    except ValueError:  # lists of different lengths
        kind = "O"
    if kind not in _KINDS:
        raise ArgumentTypeError(
            "measures",
            f"expected numbers, arrays of numbers or texts, got {name} = {format_value(value)} at step {step}",
        )


def checked_measures(measures: Measures | None) -> Measures:
    """Return the measures as a dictionary. Raise unless each one is a function, and its name is free."""
    measures = {} if measures is None else dict(measures)
    for name, measure in measures.items():
        if not isinstance(name, str) or not name.isidentifier() or name in DESCRIPTIONS:
            raise ArgumentValueError("measures", f"expected an identifier that no recorded value has, got {name!r}")
        if not callable(measure):
            raise ArgumentTypeError(
                "measures", f"{name!r} must be a function of the network, got {type(measure).__name__}"
            )
    return measures
