"""Events: the first step at which a condition on a recorded value holds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._choices import Every
from ..dynamics.stepper import ChunkStepper, State, copied
from ..results.schedule import Schedule
from .chunks import next_chunk
from .conditions import Condition
from .observer import NEVER, Observer, View


@dataclass
class Look:
    """The last step at which the conditions were evaluated, and the state there."""

    step: int
    state: State


class Events(Observer):
    """The observer that finds the first step at which each condition holds.

    The training loss of a descent is known at every step. Other values are looked at every ``every`` steps (or at the
    records). Where a condition has come to hold between two looks, the steps between are replayed by bisection until
    one is found at which it holds, and not at the one before. Conditions that come to hold and cease to between two
    looks are missed.

    A signal that asks for the end interrupts a replay. The look is then given up, and repeated when the run goes on,
    with the same look before it. The look at the end of a run is never given up, because nothing comes after it.

    The last step of a run is looked at even if it is not scheduled. Events found there are provisional: an extended
    run repeats the search from the last scheduled look.

    Parameters
    ----------
    conditions : sequence of Condition
    every : int or "log"
        Steps between looks.
    within_chunks : bool
        Whether looks are at records that a chunk makes within it.
    """

    def __init__(self, conditions: Sequence[Condition], every: Every, within_chunks: bool = False) -> None:
        self.conditions, self._within_chunks = conditions, within_chunks
        self._schedule = Schedule("event_every", every)
        self.found: dict[str, int] = {}
        self._provisional: list[str] = []
        self._last: Look | None = None
        self.wants_losses = any(event.name == "train_loss" for event in conditions)

    def next_step(self, step: int) -> int:
        """Return the next step to look at."""
        return NEVER if self._within_chunks or not self._open else self._schedule.next_after(step)

    def observe(self, view: View) -> None:
        """Look at a chunk of steps."""
        if not self._open or view.interrupted:
            return
        if view.ahead:
            return self._look_ahead(view)
        losses = view.losses if self.wants_losses else None
        if losses is not None:
            for event in self._open:
                if event.name == "train_loss" and (holds := event.holds(losses)).any():
                    self.found[event.text] = view.begin + int(holds.argmax())
        wanted = _always if view.is_final or view.ended is not None else lambda: not view.stop_requested()
        if view.within:
            self._look_back(view)
        if view.is_final or self._is_due(view.step):
            self._look(view, losses is not None, wanted)

    def state_dict(self) -> dict[str, Any]:
        """Return what was found, and the last scheduled look."""
        state = {f"state {name}": array for name, array in self._last.state.items()} if self._last else {}
        step = self._last.step if self._last else None
        return {"found": dict(self.found), "provisional": list(self._provisional), "look_step": step, **state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned; provisional events are looked for again."""
        provisional = state.get("provisional", ())
        self.found = {text: step for text, step in state.get("found", {}).items() if text not in provisional}
        if (step := state.get("look_step")) is not None:
            arrays = {name: array for name, array in state.items() if name.startswith("state ")}
            self._last = Look(step, copied({name.removeprefix("state "): array for name, array in arrays.items()}))

    @property
    def _open(self) -> list[Condition]:
        """The conditions that have not held yet."""
        return [event for event in self.conditions if event.text not in self.found]

    def _is_due(self, step: int) -> bool:
        """Whether to look at a step at which there has been no look."""
        return self._schedule.due(step) and (self._last is None or self._last.step != step)

    def _look(self, view: View, losses_known: bool, wanted: Callable[[], bool]) -> None:
        """Look at the state, and place what has happened since the look before."""
        values, here = view.values or view.record, view.state
        if values is None:
            return
        places: dict[str, int] = {}
        for event in self._open:
            if event.name not in values or not event.holds(values[event.name]):
                continue
            place: int | None = view.step
            known = losses_known and event.name == "train_loss"
            if self._last is not None and self._last.step != view.step and not known:
                place = _first_step(view.stepper, event, self._last, view.step, wanted)
                view.stepper.restore(here)
            if place is None:
                return
            places[event.text] = place
        self.found |= places
        if self._schedule.due(view.step):
            self._last = Look(view.step, here)
        else:
            self._provisional += places

    def _look_ahead(self, view: View) -> None:
        """Look at the record that a flow made at its end, one step after its last own step."""
        record = view.values or view.record
        assert record is not None
        for event in self._open:
            if event.name in record and event.holds(record[event.name]):
                self.found[event.text] = view.step
                self._provisional.append(event.text)

    def _look_back(self, view: View) -> None:
        """Place what has happened at the records within a chunk. They are few steps: what is begun is ended."""
        assert self._last is not None
        here = view.state
        records = [*view.within, (view.step, view.values or view.record or {})]
        for event in self._open:
            holds = event.holds(np.array([record.get(event.name, np.nan) for _, record in records]))
            if not holds.any():
                continue
            first = int(holds.argmax())
            before = self._last
            if first > 0:
                step = records[first - 1][0]
                view.stepper.restore(view.before)
                view.stepper.advance(step - view.begin)
                before = Look(step, view.stepper.save())
            place = _first_step(view.stepper, event, before, records[first][0], _always)
            assert place is not None
            self.found[event.text] = place
            view.stepper.restore(here)
        self._last = Look(view.step, here)


def _first_step(
    stepper: ChunkStepper, event: Condition, before: Look, step: int, wanted: Callable[[], bool]
) -> int | None:
    """Return a step after a look at which the condition holds, and not at the one before, by replays.

    Each goes on from the last step known not to hold, so that all of them together take at most the steps once.
    None if the replays are not wanted any more.
    """
    state, holds_not, holds = before.state, before.step, step
    while holds - holds_not > 1:
        middle = (holds_not + holds) // 2
        stepper.restore(state)
        if not _advance(stepper, middle - holds_not, wanted):
            return None
        reached = stepper.save()
        values = stepper.record()
        if values is not None and event.holds(values[event.name]):
            holds = middle
        else:
            state, holds_not = reached, middle
    return holds


def _advance(stepper: ChunkStepper, steps: int, wanted: Callable[[], bool]) -> bool:
    """Take steps in parts that take no longer than a chunk; false where they are not wanted any more."""
    taken, part = 0, 1
    while taken < steps:
        if not wanted():
            return False
        part = min(part, steps - taken)
        began = time.perf_counter()
        stepper.advance(part)
        taken, part = taken + part, next_chunk(part, time.perf_counter() - began)
    return True


def _always() -> bool:
    return True
