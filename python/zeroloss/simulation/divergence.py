"""The step at which a run diverges, which does not depend on how the run is divided into chunks.

Step t *fails* if it cannot be taken (a matrix cannot be factored), or if it leaves a number in the state that is not
finite. Such a number never becomes finite again, so a chunk fails if one of its steps fails. The loss often overflows
a few steps earlier. A run therefore diverges at the first step of the unbroken series of losses that are not finite and
that ends at the failing step. This step is at most `LOOK_AHEAD` steps before the failure. The last finite step is the
step before it. A loss that is not finite but not followed by a failure is recorded unchanged.

This costs no time in a run that does not diverge. A run that diverges is replayed from an earlier state.
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
    """The state of a stepper at a step."""

    step: int
    state: State


class RecentStates:
    """The state at the beginning of the last chunk, and up to two earlier states.

    One of the earlier states is at least `LOOK_AHEAD` steps before, if there is one. The state at the beginning of the
    first chunk of a run is finite.
    """

    def __init__(self) -> None:
        self._states: list[SavedState] = []

    def add(self, saved: SavedState) -> None:
        """Add the state at the beginning of a chunk."""
        self._states = [state for state in self._states if state.step < saved.step]
        while len(self._states) > 1 and self._states[1].step <= saved.step - LOOK_AHEAD:
            del self._states[0]
        self._states[2:] = []
        self._states.append(saved)

    def newest_up_to(self, step: int) -> SavedState:
        """Return the newest state at or before a step; the oldest state if there is none."""
        return next((saved for saved in reversed(self._states) if saved.step <= step), self._states[0])


def finite_record(stepper: ChunkStepper) -> Record | None:
    """Return the record of the state, or None if the run has diverged there. The state does not change."""
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
    """Return the number of steps of a chunk at which the run has certainly not diverged, if no step of it failed.

    A step is certain if its loss, or a later loss, is finite, or if `LOOK_AHEAD` steps of the chunk follow.

    Parameters
    ----------
    losses : array (steps,)
        The loss before each step of the chunk.

    Returns
    -------
    int
        The number of steps.
    """
    if math.isfinite(losses[-1]):
        return len(losses)
    finite = np.flatnonzero(np.isfinite(losses))
    return max(int(finite[-1]) + 1 if finite.size else 0, len(losses) - LOOK_AHEAD, 0)


def last_finite_step(stepper: ChunkStepper, recent: RecentStates, failed_at: int) -> tuple[int, Outcome]:
    """Return a stepper, whose run has diverged at step ``failed_at`` or before it, to the last finite step.

    Returns
    -------
    int, Outcome
        The last finite step, and the outcome of the step after it.
    """
    reached, fails = recent.newest_up_to(failed_at), failed_at + LOOK_AHEAD
    while fails - reached.step > 1:  # Bisection. Each replay starts from the last finite state.
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
