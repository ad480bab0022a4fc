"""What goes along with the loop of a run in a directory: events, stopping rules, checkpoints, the log."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import RunSettings
from ..dynamics.divergence import finite_record
from ..dynamics.monitor import Events, Look, Passed, StoppingRules
from ..dynamics.recorder import Recorder
from ..dynamics.stepper import Stepper
from ..results import Checkpoint, Outcome, RunDirectory

#: Takes the step and the values of every record as it is made.
Announce = Callable[[int, Mapping[str, Any]], None]


_MOST_PENDING = 32 * 2**20  # bytes of records and snapshots between two checkpoints


class Keeper:
    """A companion of the loop (`zeroloss.dynamics.companion.Companion`) that keeps a run in its directory."""

    signals: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM)

    def __init__(
        self,
        directory: RunDirectory,
        run: RunSettings,
        settings: dict[str, Any],
        data: str,
        end: Mapping[str, Any],
        announce: Announce | None = None,
        last: Checkpoint | None = None,
    ) -> None:
        self.directory, self._run, self._settings, self._data, self._end = directory, run, settings, data, end
        notes = last.notes if last else {}
        self._announce, self._announced = announce, last.step if last else -1
        found = (
            {} if last is None else {t: at for t, at in last.events.items() if t not in notes.get("provisional", ())}
        )
        self._events = Events(run.events, run.event_every or run.record_every, found)
        if last:
            state = last.look or last.state
            self._events.last = Look(
                notes.get("look_step", last.step), {name: array.copy() for name, array in state.items()}
            )
        self._rules = StoppingRules(
            run.stop_minutes,
            run.stop_test_accuracy,
            run.stop_records,
            run.stop_gradient_norm,
            run.stop_slow_time,
            notes.get("records_reached", 0),
        )
        self.wants_losses = any(text.startswith("train_loss") for text in run.events)
        self._records, self._snapshots = (last.records, last.snapshots) if last else (0, 0)
        self._seconds, self._began = last.seconds if last else 0.0, time.monotonic()
        self._last_step, self._last_time = last.step if last else -1, time.monotonic()
        self._told_decay = False
        self.step = last.step if last else 0
        self.received: signal.Signals | None = None
        self.out_of_time = False

    def begin(self, stepper: Stepper, recorder: Recorder, step: int, wanted: Callable[[], bool]) -> None:
        """Look at the first step and keep it, before any other is taken."""
        self._events.wanted = wanted
        if self._events.last is None or self._events.due(step):  # a look that a signal broke off
            self._events.look(stepper, step, self.wants_losses and stepper.knows_losses)
        if self._last_step < 0:
            self.checkpoint(stepper, recorder, step)
        self._tell(recorder)

    def next_due(self, step: int, end: int) -> int:
        """Return the step at which the next chunk has to end at the latest."""
        return min(self._events.next_due(step, end), self.next_checkpoint(step, end))

    def next_checkpoint(self, step: int, end: int) -> int:
        """Return the step at which the next checkpoint has to be at the latest."""
        every = self._run.checkpoint_every
        return end if every is None else min(end, (step // every + 1) * every)

    @property
    def takes_many(self) -> bool:
        """Whether a chunk may pass several records: none can end the run, and events are looked for at records."""
        at_records = self._run.event_every in {None, self._run.record_every}
        return at_records and self._announce is None and not self._rules.looks_at_records

    def after_chunk(
        self,
        stepper: Stepper,
        recorder: Recorder,
        step: int,
        goal: int,
        end: int,
        losses: NDArray[np.float64] | None,
        passed: Passed | None,
    ) -> Outcome | None:
        """Look at a chunk from ``step`` to ``goal``, recorded; return an outcome where a rule ends the run."""
        values = self._tell(recorder)
        known = len(self._events.found)
        self._events.after_chunk(stepper, step, goal, end, losses, values, passed)
        scheduled = values is not None and recorder.records_due.due(goal)
        outcome = self._rules.after_record(stepper, goal, values) if values is not None and scheduled else None
        if outcome is None and (outcome := self._rules.after_chunk()):
            self.out_of_time = True
        if outcome is not None and self._events.due(goal):  # A signal broke off the last search; no step follows.
            self._events.look_at_the_end(stepper, goal, losses is not None, values)
        for text, place in list(self._events.found.items())[known:]:
            self.directory.log(f"{text} at step {place}")
        self.step = goal
        due = self._due(goal) or recorder.pending() > _MOST_PENDING
        if outcome is None and goal < end and due:  # at the end comes the last one, with the last record
            self._checkpoint_if_finite(stepper, recorder, goal)
        return outcome

    def interrupted(self, stepper: Stepper, recorder: Recorder, step: int, number: signal.Signals) -> None:
        """Keep what a resumed run needs, and the signal."""
        self.received = number
        self._checkpoint_if_finite(stepper, recorder, step)
        self.directory.log(f"interrupted by {number.name} after {step} steps")

    def look_at_the_end(self, stepper: Stepper, recorder: Recorder, step: int) -> None:
        """Look at where a flow ended in time: at its last own step, and at the record beyond it, if there is one."""
        self._events.look_at_the_end(stepper, step)
        newest = recorder.newest()
        if newest is not None and newest[0] > step:
            self._events.look_beyond(newest[1], newest[0])

    def _due(self, step: int) -> bool:
        every, minutes = self._run.checkpoint_every, self._run.checkpoint_minutes
        by_steps = every is not None and step % every == 0
        by_time = minutes is not None and time.monotonic() - self._last_time >= 60 * minutes
        return by_steps or by_time

    def _tell(self, recorder: Recorder) -> Mapping[str, Any] | None:
        """Announce the newest record once, and return it."""
        newest = recorder.newest()
        if newest is None or newest[0] <= self._announced:
            return None
        self._announced, values = newest
        share = values.get("effective_decay", 1.0)
        if abs(share - 1) > 0.01 and not self._told_decay:
            self._told_decay = True
            self.directory.log(f"rounding leaves {share:.3g} of the weight decay at step {self._announced}")
        if self._announce is not None:
            self._announce(self._announced, values)
        return values

    def _checkpoint_if_finite(self, stepper: Stepper, recorder: Recorder, step: int) -> None:
        """Write a checkpoint, unless the run has diverged: it then ends at an earlier step."""
        if finite_record(stepper) is not None:  # for the predicted gradient this is what makes W = φ(E)
            self.checkpoint(stepper, recorder, step)

    def checkpoint(
        self,
        stepper: Stepper,
        recorder: Recorder,
        step: int,
        outcome: Outcome | None = None,
        last: Stepper | None = None,
    ) -> Checkpoint:
        """Write the rows made since the last checkpoint, and then a checkpoint that counts them."""
        records, snapshots = recorder.drain(step)
        if records:
            self.directory.history.append(self._records, records)
            self._records += len(records["step"])
        if snapshots:
            self.directory.snapshots.append(self._snapshots, snapshots)
            self._snapshots += len(snapshots["step"])
        last_record, last_snapshot = recorder.last_rows(step) if outcome else ({}, {})
        look = self._events.last
        written = Checkpoint(
            step=step,
            settings=self._settings,
            data=self._data,
            state=stepper.state,
            network=(last or stepper).network(),
            outcome=outcome,
            records=self._records,
            snapshots=self._snapshots,
            last_record=last_record,
            last_snapshot=last_snapshot,
            look=look.state if look and look.step != step else {},
            earlier=recorder.earlier(),
            events=self._events.found,
            notes={
                "look_step": look.step if look else step,
                "records_reached": self._rules.records,
                "extremes": recorder.extremes,
                "end": dict(self._end),
                "provisional": self._events.provisional,
                "out_of_time": self.out_of_time and outcome is not None and outcome.ending.can_go_on,
            },
            seconds=self._seconds + time.monotonic() - self._began,
            descriptions=recorder.descriptions(),
        )
        self.directory.write_checkpoint(written, self._run.keep_checkpoints)
        self._last_step, self._last_time = step, time.monotonic()
        return written
