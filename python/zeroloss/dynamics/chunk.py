"""Chunks of steps: how far each goes, the records that the kernel makes on its way, and none beyond a divergence."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels import kernels
from ..results import Outcome
from .companion import Companion
from .descent import DescentStepper
from .divergence import RecentStates, SavedState, certain_steps, copied, finite_record, stop_before_divergence
from .monitor import next_chunk
from .recorder import Recorder
from .stepper import State, Stepper

Records = list[dict[str, Any]]


@dataclass(frozen=True)
class Chunk:
    """Steps that were taken.

    Attributes
    ----------
    before : mapping of arrays
        The state at the beginning.
    goal : int
        The last step.
    within : list of int
        Steps on the way that have a record.
    records : list of mapping
        The records of the steps ``within``.
    record : mapping or None
        The record of the last step, if something is due there.
    losses : array (steps,) or None
        The training loss before each step, if it is wanted.
    """

    before: State
    goal: int
    within: list[int]
    records: Records
    record: Mapping[str, float] | None
    losses: NDArray[np.float64] | None


class Chunks:
    """Takes the steps of a stepper in chunks of about `CHUNK_SECONDS`, up to the last finite step of a run."""

    def __init__(self, stepper: Stepper, recorder: Recorder, companion: Companion | None) -> None:
        self._stepper, self._recorder, self._companion = stepper, recorder, companion
        self._recent, self._length = RecentStates(), 1
        self._certain = 0  # up to this step the run is known not to diverge

    def take(self, step: int, end: int, single: bool) -> Chunk | int:
        """Take steps from ``step`` on, one if ``single``.

        Returns
        -------
        Chunk or int
            A step at which the run has diverged, or diverged before; `stop` then finds out where.
        """
        stepper, recorder = self._stepper, self._recorder
        wants_losses = recorder.wants_extremes or (self._companion is not None and self._companion.wants_losses)
        while True:
            before = SavedState(step, copied(stepper.state))
            self._recent.add(before)
            goal, within = self._plan(step, min(step + (1 if single else self._length), end))
            losses = np.empty(goal - step) if stepper.knows_losses and wants_losses else None
            began = time.perf_counter()
            finite, records = self._advance(step, goal, losses, within)
            seconds = time.perf_counter() - began
            if not finite:
                return goal
            sure = goal - step if losses is None or goal <= self._certain else certain_steps(losses)
            if sure == goal - step:
                due = recorder.is_due(goal, last=goal == end)
                record = finite_record(stepper) if due else None
                self._length = next_chunk(goal - step, seconds)
                return goal if due and record is None else Chunk(before.state, goal, within, records, record, losses)
            before.restore(stepper)
            if sure == 0 and finite_record(stepper) is None:
                return step
            self._length = max(sure, 1)
            self._certain = step + self._length

    def stop(self, step: int, failed_at: int) -> tuple[int, int, Outcome]:
        """Find where a run diverged that had come to ``step`` without a sign of it, and no further than ``failed_at``.

        Returns
        -------
        int, int, Outcome
            The step at which the stepper is now, ``step`` or before; the last finite step, which is left to reach;
            and what happened at the next one.
        """
        finite, outcome = stop_before_divergence(self._stepper, self._recent, failed_at)
        if finite <= step:
            return finite, finite, outcome
        self._recent.up_to(step).restore(self._stepper)
        self._certain = finite
        return step, finite, outcome

    def _plan(self, step: int, goal: int) -> tuple[int, list[int]]:
        """Return where a chunk from ``step`` ends, at ``goal`` at the latest, and the steps of records on its way.

        A chunk ends at the next step at which something is due. A descent without measures goes on to the last record
        before ``goal``, and its kernel makes those between, unless something looks at the parameters there.
        """
        recorder, companion = self._recorder, self._companion
        simple = recorder.takes_many and (companion is None or companion.takes_many)
        if simple and isinstance(self._stepper, DescentStepper) and self._stepper.records_many:
            furthest = goal if companion is None else min(goal, companion.next_checkpoint(step, goal))
            within = recorder.steps_due(step, furthest)
            if len(within) > 1:
                return within[-1], within[:-1]
        goal = min(goal, recorder.next_due(step))
        return goal if companion is None else min(goal, companion.next_due(step, goal)), []

    def _advance(
        self, step: int, goal: int, losses: NDArray[np.float64] | None, within: list[int]
    ) -> tuple[bool, Records]:
        """Take the steps to ``goal``; return whether none failed, and the records of the steps on the way."""
        stepper = self._stepper
        if not within:
            return stepper.advance(goal - step, losses), []
        assert isinstance(stepper, DescentStepper)
        records = np.empty(len(within), kernels.record_dtype)
        finite = stepper.advance(goal - step, losses, np.array(within) - step, records)
        return finite, stepper.described(records)
