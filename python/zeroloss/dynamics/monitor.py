"""Events and stopping rules: what is looked for while a simulation runs."""

from __future__ import annotations

import operator
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._checks import ArgumentValueError
from .._choices import Every
from ..results import DESCRIPTIONS, Ending, Outcome
from ..results.schedule import Schedule
from .divergence import copied, finite_record
from .stepper import State, Stepper

_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}


CHUNK_SECONDS = 0.05  # so that Ctrl-C answers at once


@dataclass(frozen=True)
class Event:
    """A condition on a recorded value, as ``test_accuracy >= 0.95``; it happens at the first step where it holds."""

    text: str
    name: str
    comparison: str
    level: float

    @staticmethod
    def parse(text: str) -> Event:
        """Return the event that a text describes; ValueError where it is none."""
        found = re.fullmatch(r"\s*(\w+)\s*(<=|>=|<|>)\s*(\S+)\s*", text)
        try:
            if found is None or found[1] not in DESCRIPTIONS:
                raise ValueError
            return Event(" ".join(found.groups()), found[1], found[2], float(found[3]))
        except ValueError:
            raise ArgumentValueError(
                "events", f"expected a condition on a recorded value, as test_accuracy >= 0.95, got {text!r}"
            ) from None

    def holds(self, values: Any) -> Any:
        """Whether the condition holds, for a number or each of an array."""
        return _COMPARISONS[self.comparison](values, self.level)


@dataclass
class Look:
    """The last step that was looked at, and the state there."""

    step: int
    state: State


@dataclass
class Passed:
    """A chunk with several records: the state at its beginning, and steps and values of the records up to its end."""

    before: State
    records: tuple[Sequence[int], Sequence[Mapping[str, Any]]]


class Events:
    """Finds the first step at which each condition holds.

    The training loss of a descent is known at every step. All else is looked at every ``every`` steps (or at the
    records); where a condition has come to hold between two looks, the steps between are replayed by bisection until
    one is found at which it holds, and not at the one before. Conditions that come to hold and cease to between two
    looks are missed.

    ``wanted`` is asked between the parts of a replay. Where it says no, the look is given up: what it would have found
    is found by a look at the same step, with the same look before it. The look at the end of a run is never given up,
    because nothing comes after it.

    A look at a last step that is not on the schedule is none for an extension, which is to find what one long run
    does: what it finds is ``provisional``, and the look before it stays the last.
    """

    def __init__(self, texts: Sequence[str], every: Every, found: Mapping[str, int] | None = None) -> None:
        self._schedule = Schedule("event_every", every)
        self.found: dict[str, int] = dict(found or {})
        self._open = [event for text in texts if (event := Event.parse(text)).text not in self.found]
        self.last: Look | None = None
        self.provisional: list[str] = []
        self.wanted: Callable[[], bool] = lambda: True

    def next_due(self, step: int, end: int) -> int:
        """Return the next step to look at."""
        return min(self._schedule.next_after(step), end) if self._open else end

    def due(self, step: int) -> bool:
        """Whether to look at a step at which there has been no look."""
        return bool(self._open) and self._schedule.due(step) and (self.last is None or self.last.step != step)

    def after_chunk(
        self,
        stepper: Stepper,
        step: int,
        goal: int,
        end: int,
        losses: NDArray[np.float64] | None,
        values: Mapping[str, Any] | None = None,
        passed: Passed | None = None,
    ) -> None:
        """Look at a chunk of steps that led from ``step`` to ``goal``.

        ``losses`` are those before each of its steps, ``values`` what was recorded at its end, if anything was, and
        ``passed`` all records of a chunk with several.
        """
        if not self._open:
            return
        if losses is not None:
            for event in list(self._open):
                if event.name == "train_loss" and (holds := event.holds(losses)).any():
                    self._find(event, step + int(holds.argmax()))
        if passed is not None:
            self._look_back(stepper, step, passed)
        elif goal == end:
            self.look_at_the_end(stepper, goal, losses is not None, values)
        elif self._schedule.due(goal):
            self.look(stepper, goal, losses is not None, values)

    def look_at_the_end(
        self, stepper: Stepper, step: int, losses_known: bool = False, values: Mapping[str, Any] | None = None
    ) -> None:
        """Look at the last step of a run."""
        wanted, self.wanted = self.wanted, lambda: True
        self.look(stepper, step, losses_known, values)
        self.wanted = wanted

    def look(
        self, stepper: Stepper, step: int, losses_known: bool = False, values: Mapping[str, Any] | None = None
    ) -> None:
        """Look at a step, and place what has happened since the look before."""
        if not self._open:
            return
        before, state = self.last, copied(stepper.state)
        values = finite_record(stepper) if values is None else values
        if values is None:
            return
        came = [event for event in self._open if event.name in values and event.holds(values[event.name])]
        places: dict[Event, int | None] = {}
        for event in came:
            if before is None or before.step == step or (losses_known and event.name == "train_loss"):
                places[event] = step
            else:
                places[event] = self._first_step(stepper, event, before, step)
                stepper.state.update(copied(state))
                stepper.record()  # for the predicted gradient this is what makes W = φ(E)
        if None in places.values():
            return
        for event, place in places.items():
            assert place is not None
            self._find(event, place)
        if self._schedule.due(step):
            self.last = Look(step, state)
        else:
            self.provisional += [event.text for event in places]

    def look_beyond(self, values: Mapping[str, Any], step: int) -> None:
        """Look at a record that a flow made beside its own steps, one step after the last look."""
        for event in [event for event in self._open if event.name in values and event.holds(values[event.name])]:
            self._find(event, step)
            self.provisional.append(event.text)

    def _look_back(self, stepper: Stepper, step: int, passed: Passed) -> None:
        """Place what has happened at the records of a chunk from ``step`` on, the last of them at its end."""
        assert self.last is not None
        state, (steps, records) = copied(stepper.state), passed.records
        wanted, self.wanted = self.wanted, lambda: True  # they are few steps: what is begun is ended
        for event in list(self._open):
            holds = event.holds(np.array([record.get(event.name, np.nan) for record in records]))
            if not holds.any():
                continue
            first = int(holds.argmax())
            before = self.last
            if first > 0:
                stepper.state.update(copied(passed.before))
                stepper.advance(steps[first - 1] - step)
                before = Look(steps[first - 1], copied(stepper.state))
            place = self._first_step(stepper, event, before, steps[first])
            assert place is not None
            self._find(event, place)
            stepper.state.update(copied(state))
        self.wanted = wanted
        self.last = Look(steps[-1], state)

    def _find(self, event: Event, step: int) -> None:
        self.found[event.text] = step
        self._open.remove(event)

    def _first_step(self, stepper: Stepper, event: Event, before: Look, step: int) -> int | None:
        """Return a step after the look at which the condition holds, and not at the one before, by replays.

        Each goes on from the last step known not to hold, so that all of them together take at most the steps once.
        """
        state, holds_not, holds = before.state, before.step, step
        while holds - holds_not > 1:
            middle = (holds_not + holds) // 2
            stepper.state.update(copied(state))
            if not self._advance(stepper, middle - holds_not):
                return None
            reached = copied(stepper.state)
            values = stepper.record()
            if values is not None and event.holds(values[event.name]):
                holds = middle
            else:
                state, holds_not = reached, middle
        return holds

    def _advance(self, stepper: Stepper, steps: int) -> bool:
        """Take steps in parts that take no longer than a chunk; false where they are not wanted any more."""
        taken, part = 0, 1
        while taken < steps:
            if not self.wanted():
                return False
            part = min(part, steps - taken)
            began = time.perf_counter()
            stepper.advance(part)
            taken, part = taken + part, next_chunk(part, time.perf_counter() - began)
        return True


def next_chunk(steps: int, seconds: float) -> int:
    """Return how many steps fill a chunk, growing carefully from the last one's time."""
    return max(1, min(int(steps * CHUNK_SECONDS / max(seconds, 1e-9)), 10 * steps + 100))


@dataclass
class StoppingRules:
    """When to stop before the end; looked at with every record, minutes with every chunk.

    ``records`` counts how many records in a row had the test accuracy.
    """

    minutes: float | None = None
    test_accuracy: float | None = None
    sustained: int = 1
    gradient_norm: float | None = None
    slow_time: float | None = None
    records: int = 0

    @property
    def looks_at_records(self) -> bool:
        """Whether a record can end the simulation."""
        return not (self.test_accuracy is None and self.gradient_norm is None and self.slow_time is None)

    def __post_init__(self) -> None:
        self._begin = time.monotonic()

    def after_chunk(self) -> Outcome | None:
        """Say whether time is up."""
        if self.minutes is None or time.monotonic() - self._begin < 60 * self.minutes:
            return None
        return Outcome(Ending.STOPPED_BY_A_RULE, f"after {self.minutes:g} minutes")

    def after_record(self, stepper: Stepper, step: int, values: Mapping[str, Any]) -> Outcome | None:
        """Say whether a record meets a rule."""
        reached = self.test_accuracy is not None and values["test_accuracy"] >= self.test_accuracy
        self.records = self.records + 1 if reached else 0
        if reached and self.records >= self.sustained:
            said = f"test accuracy {self.test_accuracy:g} for {self.records} records at step {step}"
            return Outcome(Ending.STOPPED_BY_A_RULE, said)
        passed = stepper.times(step).get("slow_time", 0.0)
        if self.slow_time is not None and passed >= self.slow_time:
            return Outcome(Ending.STOPPED_BY_A_RULE, f"slow time {passed:g} at step {step}")
        if self.gradient_norm is not None and (norm := stepper.gradient_norm()) <= self.gradient_norm:  # type: ignore[attr-defined]
            return Outcome(Ending.STOPPED_BY_A_RULE, f"gradient norm {norm:.3g} at step {step}")
        return None
