"""Chunks of steps: how many steps each takes, the records within it, and none beyond a divergence."""

from __future__ import annotations

import time

from ..dynamics.stepper import ChunkStepper
from ..results import Outcome
from .divergence import RecentStates, SavedState, certain_steps, finite_record, last_finite_step
from .history import History
from .observer import View

CHUNK_SECONDS = 0.05  # so that Ctrl-C is answered at once


def plan_chunk(steps: int, seconds: float) -> int:
    """Return how many steps fill a chunk, from the time that the last one took; at most ten times as many."""
    return max(1, min(int(steps * CHUNK_SECONDS / max(seconds, 1e-9)), 10 * steps + 100))


class Chunks:
    """Takes the steps of a run in chunks of about `CHUNK_SECONDS`, up to its last finite step.

    ``end`` is the last step: that of the run, or the last finite one once the run is known to diverge; ``divergence``
    is then the outcome of the step after it. ``last_view`` is the view after the last chunk whose state could be saved.
    """

    def __init__(self, stepper: ChunkStepper, history: History, end: int, needs_losses: bool) -> None:
        self._stepper, self._history = stepper, history
        self._losses = needs_losses and stepper.knows_losses
        self._recent, self._length = RecentStates(), 1
        self._certain = 0  # up to this step the run is known not to diverge
        self.end = end
        self.divergence: Outcome | None = None
        self.last_view: View | None = None

    def advance(self, view: View, chunk_end: int, single: bool = False) -> View:
        """Take steps from a view up to ``chunk_end`` at most, one if ``single``, and return the view after them.

        If the run diverges on the way, the view is at most at the last finite step.
        """
        stepper, step = self._stepper, view.step
        self._recent.add(SavedState(step, view.state))
        self.last_view = view
        while True:
            after = self._attempt(view, min(chunk_end, self.end), single)
            if isinstance(after, View):
                self.last_view = after
                return after
            if after is not None:
                last = self.restore_last_finite(after)
                if last.step <= step:
                    return last
                self._certain = last.step
            stepper.restore(view.state)

    def restore_last_finite(self, failed_at: int) -> View:
        """Return to the last finite step of a run that has diverged at a step, or before it."""
        self.end, self.divergence = last_finite_step(self._stepper, self._recent, failed_at)
        return View(self._stepper, self.end, self.end, is_last=True)

    def _attempt(self, view: View, chunk_end: int, single: bool) -> View | int | None:
        """Return the view after a chunk; the step at which the run has diverged; None to try fewer steps."""
        stepper, step = self._stepper, view.step
        target = min(step + (1 if single else self._length), chunk_end)
        within = self._history.inner_record_steps(step, target)
        due = bool(within) or target == chunk_end
        if within:  # the chunk ends with a record
            *within, target = within
        began = time.perf_counter()
        chunk = stepper.advance(target - step, losses=self._losses, record_at=[at - step for at in within])
        seconds = time.perf_counter() - began
        if not chunk.finite:
            return target
        sure = target - step
        if chunk.losses is not None and target > self._certain:
            sure = certain_steps(chunk.losses)
        if sure < target - step:
            stepper.restore(view.state)
            if sure == 0 and finite_record(stepper) is None:
                return step
            self._length = max(sure, 1)
            self._certain = step + self._length
            return None
        self._length = plan_chunk(sure, seconds)
        records = tuple(zip(within, chunk.records, strict=True))
        after = View(stepper, target, step, view.state, chunk.losses, records, is_last=target == self.end)
        if chunk.network is not None:
            after.network = chunk.network
        after.state  # noqa: B018 — an observer sees only a state that can be saved
        return target if due and after.record is None else after
