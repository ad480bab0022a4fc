"""Rules that end a run before its last step."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..results import Ending, Outcome
from ..results.schedule import Schedule
from .conditions import Condition
from .observer import NEVER, Observer, View

#: What a rule can be on, beside recorded values: computed only where a rule asks for it.
GRADIENT_NORM = "gradient_norm"


class StoppingRules(Observer):
    """The observer that ends a run at the first scheduled record at which a condition holds, or after some minutes.

    Parameters
    ----------
    conditions : sequence of Condition
        A condition that has to hold for several records ends the run at the last of them.
    records : Schedule
        Of the records.
    minutes : float, optional
        Wall-clock time after which the run ends, at the end of a chunk.
    """

    def __init__(self, conditions: Sequence[Condition], records: Schedule, minutes: float | None = None) -> None:
        self._conditions, self._records = conditions, records
        self._minutes, self._began = minutes, time.monotonic()
        self._in_a_row: dict[str, int] = {}
        self.out_of_time = False

    def next_step(self, step: int) -> int:
        """Return the next step with a record."""
        return self._records.next_after(step) if self._conditions else NEVER

    def observe(self, view: View) -> Outcome | None:
        """Return an outcome if a rule holds. The step at which a run begins or goes on is not looked at."""
        if view.is_begin or view.interrupted or view.ahead:
            return None
        if view.values is not None and self._records.due(view.step):
            for rule in self._conditions:
                value = self._value(view, rule.name)
                count = self._in_a_row.get(rule.text, 0) + 1 if rule.holds(value) else 0
                self._in_a_row[rule.text] = count
                if count >= rule.records:
                    return Outcome(Ending.STOPPED_BY_A_RULE, f"{_reached(rule, value)} at step {view.step}")
        self.out_of_time = self._is_time_up()
        return Outcome(Ending.STOPPED_BY_A_RULE, f"after {self._minutes:g} minutes") if self.out_of_time else None

    def state_dict(self) -> dict[str, Any]:
        """Return for how many records in a row each condition has held."""
        return {"in_a_row": dict(self._in_a_row)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self._in_a_row = dict(state.get("in_a_row", {}))

    def _is_time_up(self) -> bool:
        return self._minutes is not None and time.monotonic() - self._began >= 60 * self._minutes

    def _value(self, view: View, name: str) -> float:
        if name == GRADIENT_NORM:
            return view.stepper.gradient_norm()
        assert view.values is not None
        return float(view.values[name])


def _reached(rule: Condition, value: float) -> str:
    """Say what a rule has reached: its level, or the value if a single record was asked for."""
    name = rule.name.replace("_", " ")
    return f"{name} {value:g}" if rule.records == 1 else f"{name} {rule.level:g} for {rule.records} records"
