"""Rules that end a run before its last step."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..results import Ending, Outcome
from ..results.schedule import Schedule
from .conditions import Condition
from .observer import NEVER, Observer, View

#: A value for rules that is not recorded. It is computed only if a rule needs it.
GRADIENT_NORM = "gradient_norm"


class StoppingRules(Observer):
    """The observer that ends a run at the first scheduled record at which a condition holds, or after some minutes.

    A condition for several records ends the run at the last of these records.

    Parameters
    ----------
    conditions : sequence of Condition
        The rules.
    records : Schedule
        The schedule of the records.
    minutes : float, optional
        A wall-clock time. The run ends with the chunk during which it has passed.
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
        """Return an outcome if a rule holds. The first step of a run, or of its continuation, is not checked."""
        if view.is_start or view.is_interrupted or view.ahead:
            return None
        if view.values is not None and self._records.due(view.step):
            for rule in self._conditions:
                is_recorded = rule.name != GRADIENT_NORM
                value = float(view.values[rule.name]) if is_recorded else view.stepper.gradient_norm()
                count = self._in_a_row.get(rule.text, 0) + 1 if rule.holds(value) else 0
                self._in_a_row[rule.text] = count
                if count >= rule.records:
                    reached = f"{value:g}" if rule.records == 1 else f"{rule.level:g} for {rule.records} records"
                    sentence = f"{rule.name.replace('_', ' ')} {reached} at step {view.step}"
                    return Outcome(Ending.STOPPED_BY_A_RULE, sentence)
        self.out_of_time = self._is_time_up()
        return Outcome(Ending.STOPPED_BY_A_RULE, f"after {self._minutes:g} minutes") if self.out_of_time else None

    def state_dict(self) -> dict[str, Any]:
        """Return the number of records in a row at which each condition has held."""
        return {"in_a_row": dict(self._in_a_row)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state that `state_dict` returned."""
        self._in_a_row = dict(state.get("in_a_row", {}))

    def _is_time_up(self) -> bool:
        return self._minutes is not None and time.monotonic() - self._began >= 60 * self._minutes
