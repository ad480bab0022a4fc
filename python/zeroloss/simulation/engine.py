"""The loop of a run: chunks of steps in the kernels, and observers that record, store and end the run between them.

`run_loop` asks every observer for the next step that it has to see. It takes the steps up to the earliest of them, for
at most about 50 ms, and shows the state to each observer in turn. A run ends at its last step, with the outcome of an
observer, on a signal, or at the last finite step of a run that diverges.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..dynamics.flow import flow_outcome
from ..dynamics.stepper import ChunkStepper
from ..dynamics.user import DynamicsError
from ..results import Ending, Outcome
from .chunks import Chunks
from .history import History
from .observer import Observer, View


@dataclass(frozen=True)
class End:
    """The end of a run: a step or, with adaptive steps, a time that is reached before this step."""

    step: int
    time: float | None = None


@dataclass(frozen=True)
class Completion:
    """The completion of a run: its outcome, its last own step, and its end, which may be a time after this step."""

    outcome: Outcome
    last_step: View
    end: View


def run_loop(
    stepper: ChunkStepper,
    history: History,
    observers: Sequence[Observer],
    begin: View,
    end: End,
    stop_requested: Callable[[], bool],
) -> Completion:
    """Take the steps from ``begin``, the current view of the stepper, to ``end``.

    Every observer sees every chunk: first the history, whose records the others need, then the others in their order.
    An outcome of an observer ends the run. ``stop_requested`` is called between chunks.
    """
    everyone: Sequence[Observer] = (history, *observers)
    chunks = Chunks(stepper, history, end.step, any(observer.needs_losses for observer in everyone))

    def observe(view: View) -> Outcome | None:
        view.is_final, view.stop_requested = view.is_final or view.step == chunks.end, stop_requested
        for observer in everyone:
            view.outcome = observer.observe(view) or view.outcome
        return view.outcome

    view = begin
    view.is_last = view.step == end.step
    try:
        if view.record is None:
            return Completion(stepper.failure(view.step, None), view, view)
        outcome = observe(view)
        while outcome is None and view.step < chunks.end:
            if stop_requested():
                outcome = Outcome(Ending.STOPPED_BY_THE_USER, f"after {view.step} steps; continue with extend")
            elif end.time is not None and stepper.reaches(end.time):
                return _finish_at_time(stepper, view.step, end.time, observe)
            else:
                chunk_end = min(observer.next_step(view.step) for observer in everyone)
                view = chunks.advance(view, chunk_end, single=end.time is not None)
                outcome = observe(view)
            if outcome is not None and not view.is_last:  # Only now this step is known to be the last.
                view = View(stepper, view.step, view.step, is_last=True, outcome=outcome)
                if view.record is None:
                    view = chunks.restore_last_finite(view.step)
                    outcome = observe(view)
                else:
                    observe(view)
    except DynamicsError as error:  # The user's stepper cannot describe, save or restore a state.
        if (last := chunks.last_view) is None:
            raise
        outcome = Outcome(Ending.BROKEN_OFF, f"after step {last.step} {error}")
        with contextlib.suppress(DynamicsError):  # The last record, if the stepper can make it.
            stepper.restore(last.state)
            observe(View(stepper, last.step, last.step, is_last=True, is_final=True, outcome=outcome))
        return Completion(outcome, last, last)
    return Completion(outcome or chunks.divergence or _make_outcome(f"{end.step} steps", stepper), view, view)


def _finish_at_time(
    stepper: ChunkStepper, step: int, time: float, observe: Callable[[View], Outcome | None]
) -> Completion:
    """Observe the last own step and, one step later, the state at ``time``. An extension starts from the own step."""
    last_step, ahead, outcome = View(stepper, step, step, is_final=True), None, None
    if last_step.record is not None and last_step.record["time"] != time:
        try:
            ahead = View(stepper.copy_at(time), step + 1, step, is_last=True, is_final=True, ahead=True)
            if ahead.record is None:
                outcome, ahead = ahead.stepper.failure(step + 1, None), None
        except (ArithmeticError, np.linalg.LinAlgError) as error:
            outcome = flow_outcome(error, f"after step {step}", stepper.adaptive_only)
    last_step.is_last = ahead is None
    outcome = observe(last_step) or outcome
    if ahead is not None:
        outcome = observe(ahead) or outcome
    last = ahead or last_step
    return Completion(outcome or _make_outcome(f"time {time:g} in {last.step} steps", stepper), last_step, last)


def _make_outcome(end: str, stepper: ChunkStepper) -> Outcome:
    return Outcome(Ending.REACHED_THE_END, end + stepper.remark)
