"""Chunks of steps: how far each goes, the records within it, and none beyond a divergence."""

from __future__ import annotations

import time

from ..dynamics.stepper import Chunk, ChunkStepper
from ..results import Outcome
from .divergence import RecentStates, SavedState, certain_steps, finite_record, last_finite_step
from .history import History
from .observer import View

CHUNK_SECONDS = 0.05  # so that Ctrl-C answers at once


def next_chunk(steps: int, seconds: float) -> int:
    """Return how many steps fill a chunk, growing carefully from the last one's time."""
    return max(1, min(int(steps * CHUNK_SECONDS / max(seconds, 1e-9)), 10 * steps + 100))


class Chunks:
    """Takes the steps of a stepper in chunks of about `CHUNK_SECONDS`, up to the last finite step of a run."""

    def __init__(self, stepper: ChunkStepper, history: History, want_losses: bool) -> None:
        self._stepper, self._history = stepper, history
        self._losses = want_losses and stepper.knows_losses
        self._recent, self._length = RecentStates(), 1
        self._certain = 0  # up to this step the run is known not to diverge

    def take(self, step: int, goal: int, end: int, single: bool = False) -> tuple[View | None, int]:
        """Take steps from ``step`` to ``goal`` at the furthest, one if ``single``.

        Returns
        -------
        View or None, int
            The state after the last of them, and its step. None if the run has diverged at that step, or before it:
            `stop` then finds out where.
        """
        stepper = self._stepper
        while True:
            before = SavedState(step, stepper.save())
            self._recent.add(before)
            target = min(step + (1 if single else self._length), goal)
            within = self._history.steps_within(step, target)
            due = bool(within) or target == goal
            if within:  # the chunk ends with a record
                *within, target = within
            began = time.perf_counter()
            chunk = stepper.advance(target - step, losses=self._losses, record_at=[at - step for at in within])
            seconds = time.perf_counter() - began
            if not chunk.finite:
                return None, target
            sure = self._certain_steps(chunk, step, target)
            if sure == target - step:
                self._length = next_chunk(sure, seconds)
                records = tuple(zip(within, chunk.records, strict=True))
                view = View(stepper, target, step, before.state, chunk.losses, records, last=target == end)
                return None if due and view.record is None else view, target
            stepper.restore(before.state)
            if sure == 0 and finite_record(stepper) is None:
                return None, step
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
        finite, outcome = last_finite_step(self._stepper, self._recent, failed_at)
        if finite <= step:
            return finite, finite, outcome
        self._stepper.restore(self._recent.up_to(step).state)
        self._certain = finite
        return step, finite, outcome

    def last_saved(self) -> View | None:
        """Put the stepper back to the last state that could be saved, and return it; None before the first chunk."""
        saved = self._recent.newest()
        if saved is None:
            return None
        self._stepper.restore(saved.state)
        view = View(self._stepper, saved.step, saved.step)
        view.state = saved.state
        return view

    def _certain_steps(self, chunk: Chunk, step: int, target: int) -> int:
        if chunk.losses is None or target <= self._certain:
            return target - step
        return certain_steps(chunk.losses)
