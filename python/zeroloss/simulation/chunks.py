"""Chunks of steps: their lengths, the records within them, and the last finite step of a run that diverges."""

from __future__ import annotations

import time

from ..dynamics.stepper import ChunkStepper
from ..results import Outcome
from .divergence import RecentStates, SavedState, certain_steps, finite_record, last_finite_step
from .history import History
from .observer import View

#: The time of a chunk in seconds. It is short, because Ctrl-C takes effect between two chunks.
CHUNK_SECONDS = 0.05


def plan_chunk(steps: int, seconds: float) -> int:
    """Return the length of the next chunk, from the number of steps and the seconds of the last one.

    The length grows by a factor of about ten at most.
    """
    return max(1, min(int(steps * CHUNK_SECONDS / max(seconds, 1e-9)), 10 * steps + 100))


class Chunks:
    """The steps of a run, in chunks of about `CHUNK_SECONDS`, up to its last finite step.

    Parameters
    ----------
    stepper : ChunkStepper
        The stepper.
    history : History
        The observer that says which records a chunk makes.
    end : int
        The last step of the run.
    needs_losses : bool
        Whether an observer needs the training loss before each step.

    Attributes
    ----------
    end : int
        The last step; the last finite step once the run is known to diverge.
    divergence : Outcome or None
        The outcome of the step after it if the run diverges.
    last_view : View or None
        The view after the last chunk whose state could be saved.
    """

    def __init__(self, stepper: ChunkStepper, history: History, end: int, needs_losses: bool) -> None:
        self._stepper, self._history = stepper, history
        self._losses = needs_losses and stepper.knows_losses
        self._recent, self._length = RecentStates(), 1
        self._certain = 0  # The run is known not to diverge up to this step.
        self.end = end
        self.divergence: Outcome | None = None
        self.last_view: View | None = None

    def advance(self, view: View, chunk_end: int, single: bool = False) -> View:
        """Take a chunk of steps.

        Parameters
        ----------
        view : View
            The view at which the stepper is.
        chunk_end : int
            The last step that the chunk may reach.
        single : bool
            Whether to take one step only.

        Returns
        -------
        View
            The view after the chunk. If the run diverges in the chunk, its step is not after the last finite step.
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
        """Return to the last finite step of a run that has diverged at step ``failed_at`` or before it."""
        self.end, self.divergence = last_finite_step(self._stepper, self._recent, failed_at)
        return View(self._stepper, self.end, self.end, is_last=True)

    def _attempt(self, view: View, chunk_end: int, single: bool) -> View | int | None:
        """Take a chunk. Return the view after it, the step at which the run has diverged, or None to try again."""
        stepper, step = self._stepper, view.step
        target = min(step + (1 if single else self._length), chunk_end)
        record_steps = self._history.inner_record_steps(step, target)
        is_due = bool(record_steps) or target == chunk_end
        if record_steps:  # The chunk ends at the last of these records.
            *record_steps, target = record_steps
        began = time.perf_counter()
        chunk = stepper.advance(target - step, losses=self._losses, record_at=[at - step for at in record_steps])
        seconds = time.perf_counter() - began
        if not chunk.finite:
            return target
        certain = target - step
        if chunk.losses is not None and target > self._certain:
            certain = certain_steps(chunk.losses)
        if certain < target - step:
            stepper.restore(view.state)
            if certain == 0 and finite_record(stepper) is None:
                return step
            self._length = max(certain, 1)
            self._certain = step + self._length
            return None
        self._length = plan_chunk(certain, seconds)
        records = tuple(zip(record_steps, chunk.records, strict=True))
        after = View(stepper, target, step, view.state, chunk.losses, records, is_last=target == self.end)
        if chunk.network is not None:
            after.network = chunk.network
        after.state  # noqa: B018 — an observer sees only states that can be saved
        return target if is_due and after.record is None else after
