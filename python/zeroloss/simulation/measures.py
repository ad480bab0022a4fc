"""Measures: users' functions of the network, called with every record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._checks import ArgumentTypeError, ArgumentValueError
from ..networks import Network
from ..results import DESCRIPTIONS, Measures
from ..results.schedule import Schedule


class MeasureCalls:
    """Calls the measures, and stores the earlier networks with which measures with a lag compare.

    ``records`` is the schedule of the records, and ``end`` the last step.
    """

    def __init__(self, measures: Measures, records: Schedule, end: int) -> None:
        self.measures = measures
        self._lags = {lag for measure in measures.values() if (lag := getattr(measure, "lag", 0))}
        self._records, self._end = records, end
        self.earlier: dict[int, Network] = {}

    def next_compared(self, step: int) -> int:
        """Return the first step after ``step`` with whose network a measure compares; ``end`` if there is none."""
        return min((self._next_compared(step, lag) for lag in self._lags), default=self._end)

    def is_compared(self, step: int) -> bool:
        """Whether a measure will compare with the network at a step."""
        if not self._lags or step in self.earlier:
            return False
        return step == 0 or any(self._next_compared(step - 1, lag) == step for lag in self._lags)

    def store_network(self, step: int, network: Network) -> None:
        """Store a network to compare with, and forget those with which no coming record compares."""
        self.earlier = {at: net for at, net in self.earlier.items() if at >= step - max(self._lags)}
        self.earlier[step] = network

    def values(self, network: Network, step: int, before: Mapping[str, Any]) -> dict[str, Any]:
        """Return the values of the measures by name; a measure that returns a mapping has several.

        ``before`` is the record before this one, whose values have the same shapes.
        """
        found: dict[str, Any] = {}
        for name, measure in self.measures.items():
            lag = getattr(measure, "lag", 0)
            foreseen = self._records.due(step) or step == self._end or step <= lag
            compared = (self.earlier.get(max(0, step - lag)) if foreseen else None,) if lag else ()
            value = measure(network, *compared)
            named = {f"{name}_{key}": v for key, v in value.items()} if isinstance(value, Mapping) else {name: value}
            if taken := named.keys() & (found.keys() | DESCRIPTIONS.keys()):
                raise ArgumentValueError(
                    "measures", f"expected names of their own, got {', '.join(sorted(taken))} twice"
                )
            found |= named
        before = before or found
        for name, value in found.items():
            shape, expected = np.shape(value), np.shape(before.get(name, np.nan))
            if shape != expected:
                raise ArgumentValueError(
                    "measures", f"expected {name} of shape {expected}, as before, got {shape} at step {step}"
                )
        return found

    def descriptions(self) -> dict[str, tuple[str, str]]:
        """Return units and meaning of the values."""
        return {
            f"{name}_{key}": description
            for name, measure in self.measures.items()
            for key, description in getattr(measure, "descriptions", {}).items()
        }

    def has_variable(self, name: str) -> bool:
        """Whether a variable of a history is one that these measures make."""
        return any(name == own or name.startswith(f"{own}_") for own in self.measures)

    def _next_compared(self, step: int, lag: int) -> int:
        """Return the first step after ``step`` with which a record ``lag`` steps later compares.

        All of the last ``lag`` steps are stored, because an extension may end at any step.
        """
        return min(self._records.next_after(step + lag) - lag, max(step + 1, self._end - lag))


def checked_measures(measures: Measures | None) -> Measures:
    """Raise unless every measure is a function under a name of its own."""
    measures = {} if measures is None else dict(measures)
    for name, measure in measures.items():
        if not isinstance(name, str) or not name.isidentifier() or name in DESCRIPTIONS:
            raise ArgumentValueError("measures", f"expected an identifier that no record uses, got {name!r}")
        if not callable(measure):
            raise ArgumentTypeError(
                "measures", f"expected a function of the network for {name!r}, got {type(measure).__name__}"
            )
    return measures
