"""Events: the first step at which a condition on a recorded value holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .._choices import Every
from ..dynamics.stepper import ChunkStepper, copy_state
from ..results.schedule import Schedule
from .chunks import plan_chunk
from .conditions import Condition
from .divergence import SavedState
from .observer import NEVER, Observer, View

#: The prefix of the names of the stepper's arrays in `Events.state_dict`.
_STATE = "state "


class Events(Observer):
    """The observer that finds the first step at which each condition holds.

    The training loss of a descent is known at every step. Other values are checked every ``every`` steps. If a
    condition holds at a check and not at the check before, bisection replays the steps between them, until it finds a
    step at which the condition holds and not at the step before. A condition that becomes true and false again between
    two checks is not detected.

    A signal interrupts a replay. The check is then repeated when the run continues. The check at the end of a run is
    not interrupted, because no later check could repeat it.

    The last step of a run is checked even if it is not scheduled. Events that are found there are provisional: an
    extended run repeats the search from the last scheduled check, so that it agrees with one long run.

    Parameters
    ----------
    conditions : sequence of Condition
        The events.
    every : int or "log"
        The steps between two checks.
    checks_inner_records : bool
        Whether the scheduled checks are at the records that a chunk makes within it.
    """

    def __init__(self, conditions: Sequence[Condition], every: Every, checks_inner_records: bool = False) -> None:
        self.conditions, self._checks_inner_records = conditions, checks_inner_records
        self._schedule = Schedule("event_every", every)
        self.first_steps: dict[str, int] = {}
        self._provisional: list[str] = []
        self._last: SavedState | None = None  # The state at the last scheduled check.
        self.needs_losses = any(event.name == "train_loss" for event in conditions)

    def next_step(self, step: int) -> int:
        """Return the next step to check."""
        return NEVER if self._checks_inner_records or not self._pending else self._schedule.next_after(step)

    def observe(self, view: View) -> None:
        """Check a chunk of steps."""
        if not self._pending or view.is_interrupted:
            return
        if view.losses is not None:
            for event in self._pending:
                if event.name == "train_loss" and (holds := event.holds(view.losses)).any():
                    self.first_steps[event.text] = view.begin + int(holds.argmax())
        if view.inner_records and self._checks_inner_records:
            self._check_inner_records(view)
        is_due = self._schedule.due(view.step) and (self._last is None or self._last.step != view.step)
        if view.is_final or is_due:
            self._check(view)

    def state_dict(self) -> dict[str, Any]:
        """Return the first steps so far, and the stepper's state at the last scheduled check."""
        last = self._last
        state = {} if last is None else {f"{_STATE}{name}": array for name, array in last.state.items()}
        step = None if last is None else last.step
        return {"found": dict(self.first_steps), "provisional": list(self._provisional), "look_step": step, **state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state that `state_dict` returned. Provisional events are dropped, and searched again."""
        provisional = state.get("provisional", ())
        self.first_steps = {text: step for text, step in state.get("found", {}).items() if text not in provisional}
        if (step := state.get("look_step")) is not None:
            arrays = {name: array for name, array in state.items() if name.startswith(_STATE)}
            self._last = SavedState(
                step, copy_state({name.removeprefix(_STATE): array for name, array in arrays.items()})
            )

    @property
    def _pending(self) -> list[Condition]:
        """The conditions that have not held so far."""
        return [event for event in self.conditions if event.text not in self.first_steps]

    def _check(self, view: View) -> None:
        """Check the state of a view, and find the first step of each condition that holds."""
        values = view.values or view.record
        if values is None:
            return
        first_steps: dict[str, int] = {}
        for event in self._pending:
            if event.name not in values or not event.holds(values[event.name]):
                continue
            # The end of a flow at a time is one step after its last own step. Losses were checked at every step.
            is_first = view.ahead or (event.name == "train_loss" and view.losses is not None)
            if is_first or self._last is None or self._last.step == view.step:
                first_steps[event.text] = view.step
            elif (step := self._first_step(view, event, self._last, view.step)) is not None:
                first_steps[event.text] = step
            else:
                return
        self.first_steps |= first_steps
        if self._schedule.due(view.step) and not view.ahead:
            self._last = SavedState(view.step, view.state)
        else:
            self._provisional += first_steps

    def _check_inner_records(self, view: View) -> None:
        """Check the records within a chunk, and find the first step of each condition that holds."""
        assert self._last is not None
        here = view.state
        records = [*view.inner_records, (view.step, view.values or view.record or {})]
        for event in self._pending:
            holds = event.holds(np.array([record.get(event.name, np.nan) for _, record in records]))
            if not holds.any():
                continue
            first, before = int(holds.argmax()), self._last
            if first > 0:
                before_step, _ = records[first - 1]
                view.stepper.restore(view.before)
                view.stepper.advance(before_step - view.begin)
                before = SavedState(before_step, view.stepper.save())
            step = self._first_step(view, event, before, records[first][0])
            assert step is not None
            self.first_steps[event.text] = step
        self._last = SavedState(view.step, here)

    def _first_step(self, view: View, event: Condition, before: SavedState, step: int) -> int | None:
        """Return a step at which a condition holds and not at the step before; None after a signal.

        Each replay starts from the last step at which the condition is known not to hold. All replays together take
        each step at most once. Replays within a chunk are short and are not interrupted.

        Parameters
        ----------
        view : View
            The view whose stepper replays the steps. Its state is restored.
        event : Condition
            The condition.
        before : SavedState
            A state at which the condition does not hold.
        step : int
            A later step at which it holds.
        """
        here, stepper = view.state, view.stepper
        never_stops = view.is_final or view.outcome is not None or view.inner_records
        should_continue = (lambda: True) if never_stops else (lambda: not view.stop_requested())
        while step - before.step > 1:
            middle = (before.step + step) // 2
            stepper.restore(before.state)
            if not _advance(stepper, middle - before.step, should_continue):
                stepper.restore(here)
                return None
            reached, values = SavedState(middle, stepper.save()), stepper.record()
            if values is not None and event.holds(values[event.name]):
                step = middle
            else:
                before = reached
        stepper.restore(here)
        return step


def _advance(stepper: ChunkStepper, steps: int, should_continue: Callable[[], bool]) -> bool:
    """Take steps in parts as short as chunks. Return False as soon as ``should_continue`` returns False."""
    taken, part = 0, 1
    while taken < steps:
        if not should_continue():
            return False
        part = min(part, steps - taken)
        began = time.perf_counter()
        stepper.advance(part)
        taken, part = taken + part, plan_chunk(part, time.perf_counter() - began)
    return True
