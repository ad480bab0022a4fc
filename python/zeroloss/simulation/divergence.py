"""The step at which a run diverges, the same for every way to divide the run into chunks.

Step t *fails* if it cannot be taken (a matrix cannot be factored) or leaves a number in the state that is not finite.
Such a number stays, so a chunk of steps fails if one of its steps does. The loss often overflows a few steps earlier.
A run therefore diverges at the first step of an unbroken series of losses that are not finite, up to the step that
fails, but at most `LOOK_AHEAD` steps before it. The last finite step is the one before. A loss that is not finite and
not followed by a failure is recorded as it is.

Nothing of this costs time in a run that does not diverge. A run that does is replayed from a state shortly before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..dynamics.stepper import ChunkStepper, Record, State
from ..results import Outcome

LOOK_AHEAD = 10


@dataclass(frozen=True)
class SavedState:
    """The state after a step."""

    step: int
    state: State


class RecentStates:
    """The state at the beginning of the last chunk, and up to two earlier ones, one of them `LOOK_AHEAD` steps before.

    The first chunk of a run begins at a state that is known to be finite.
    """

    def __init__(self) -> None:
        self._states: list[SavedState] = []

    def add(self, saved: SavedState) -> None:
        """Keep the state at the beginning of a chunk."""
        self._states = [one for one in self._states if one.step < saved.step]
        while len(self._states) > 1 and self._states[1].step <= saved.step - LOOK_AHEAD:
            del self._states[0]
        self._states[2:] = []
        self._states.append(saved)

    def newest_up_to(self, step: int) -> SavedState:
        """Return the newest state at or before a step, or else the oldest."""
        return next((saved for saved in reversed(self._states) if saved.step <= step), self._states[0])


def finite_record(stepper: ChunkStepper) -> Record | None:
    """Return the record of the state, or None if the run has diverged there; the state stays as it is."""
    record = stepper.record()
    if record is None or _is_finite(record):
        return record
    here = stepper.save()
    try:
        for _ in range(LOOK_AHEAD):
            if not stepper.advance(1).finite:
                return None
            later = stepper.record()
            if later is not None and _is_finite(later):
                break
        return record
    finally:
        stepper.restore(here)


def certain_steps(losses: NDArray[np.float64]) -> int:
    """Return after how many steps of a chunk that did not fail all losses so far are those of steps before divergence.

    ``losses`` are those before each step of the chunk. At least the last loss has to be followed by a finite one, or
    by `LOOK_AHEAD` steps.
    """
    if math.isfinite(losses[-1]):
        return len(losses)
    finite = np.flatnonzero(np.isfinite(losses))
    return max(int(finite[-1]) + 1 if finite.size else 0, len(losses) - LOOK_AHEAD, 0)


def last_finite_step(stepper: ChunkStepper, recent: RecentStates, chunk_end: int) -> tuple[int, Outcome]:
    """Put a stepper whose run has diverged at ``chunk_end``, or on the way there, back to the last finite step.

    Returns
    -------
    int, Outcome
        The last finite step, and the outcome of the next.
    """
    reached, fails = recent.newest_up_to(chunk_end), chunk_end + LOOK_AHEAD
    while fails - reached.step > 1:  # bisection, each replay from the last state that was reached
        middle = (reached.step + fails) // 2
        stepper.restore(reached.state)
        if stepper.advance(middle - reached.step).finite:
            reached = SavedState(middle, stepper.save())
        else:
            fails = middle
    last = recent.newest_up_to(fails - LOOK_AHEAD - 1)
    stepper.restore(last.state)
    if (room := fails - LOOK_AHEAD - 1 - last.step) > 0:
        stepper.advance(room)
        last = SavedState(last.step + room, stepper.save())
    for step in range(last.step + 1, fails):
        stepper.advance(1)
        record = stepper.record()
        if record is not None and _is_finite(record):
            last = SavedState(step, stepper.save())
    stepper.restore(last.state)
    outcome = stepper.failure(last.step + 1, stepper.advance(1).error)
    stepper.restore(last.state)
    return last.step, outcome


def _is_finite(record: Record) -> bool:
    return math.isfinite(record["train_loss"] + record["norm_E"] + record["norm_W"])
