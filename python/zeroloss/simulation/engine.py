"""The one loop: chunks of steps in the kernels, and between them observers that record, look, store and stop.

`run` asks the observers for the next step that one of them has to see, takes the steps up to there (or for 50 ms), and
shows the state to each observer in turn. It ends at the last step, with the outcome of an observer, on a signal, or at
the last finite step of a run that diverges. Where nothing is left to do it says what happened, and which state is the
last: what remains is then with the observers.
"""

from __future__ import annotations

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
    """Where a run ends: at a step, or, in adaptive steps, at a time before it."""

    step: int
    time: float | None = None


@dataclass(frozen=True)
class Ended:
    """How a run ended: its last own step, and its last state, which an end in time reaches beside the own steps."""

    outcome: Outcome
    own: View
    last: View


def run(
    stepper: ChunkStepper,
    history: History,
    observers: Sequence[Observer],
    begin: int,
    end: End,
    stop_requested: Callable[[], bool],
) -> Ended:
    """Take the steps from ``begin`` to the end.

    Parameters
    ----------
    stepper : ChunkStepper
        At step ``begin``.
    history : History
        The first observer, whose records the others see.
    observers : sequence of Observer
        The others, in their order. The first outcome of one of them ends the run.
    begin : int
        The first step.
    end : End
        Where the run ends.
    stop_requested : function
        Whether a signal asks for the end; called between chunks.
    """
    everyone: Sequence[Observer] = (history, *observers)
    chunks = Chunks(stepper, history, any(observer.wants_losses for observer in everyone))
    try:
        return _loop(
            stepper, chunks, everyone, View(stepper, begin, begin, last=begin == end.step), end, stop_requested
        )
    except DynamicsError as error:  # outside of steps; the steps of the last chunk are lost
        last = chunks.last_saved()
        if last is None:
            raise
        return Ended(Outcome(Ending.BROKEN_OFF, f"after step {last.step} {error}"), last, last)


def _loop(
    stepper: ChunkStepper,
    chunks: Chunks,
    observers: Sequence[Observer],
    view: View,
    end: End,
    stop_requested: Callable[[], bool],
) -> Ended:
    diverged: Outcome | None = None  # after the step ``end``

    def observed(view: View) -> Outcome | None:
        view.is_final, view.stop_requested = view.is_final or view.step == end.step, stop_requested
        for observer in observers:
            view.ended = observer.observe(view) or view.ended
        return view.ended

    if view.record is None:
        return Ended(stepper.failure(view.step, None), view, view)
    outcome = observed(view)
    while outcome is None and view.step < end.step:
        failed_at: int | None = None
        if stop_requested():
            outcome = Outcome(Ending.STOPPED_BY_THE_USER, f"after {view.step} steps; extend goes on")
        elif end.time is not None and stepper.reaches(end.time):
            return _at_the_end_in_time(stepper, view.step, end.time, observed)
        else:
            goal = min(end.step, *(observer.next_step(view.step) for observer in observers))
            taken, step = chunks.take(view.step, goal, end.step, single=end.time is not None)
            if taken is None:
                failed_at = step
            else:
                view, outcome = taken, observed(taken)
        if outcome is not None and not view.last:  # this is the last step, which was not known before
            interrupted = outcome.ending is Ending.STOPPED_BY_THE_USER
            last = View(stepper, view.step, view.step, last=True, interrupted=interrupted, ended=outcome)
            if last.record is None:
                failed_at = view.step
            else:
                view = last
                observed(view)
        if failed_at is not None:
            step, last_finite, diverged = chunks.stop(view.step, failed_at)
            end = End(last_finite)
            view = View(stepper, step, step, last=step == last_finite)
            outcome = observed(view) if view.last else None
    return Ended(outcome or diverged or Outcome(Ending.REACHED_THE_END, f"{end.step} steps"), view, view)


def _at_the_end_in_time(
    stepper: ChunkStepper, step: int, time: float, observed: Callable[[View], Outcome | None]
) -> Ended:
    """Observe the last own step, and the state at ``time``, reached beside the steps that an extension takes."""
    own, ahead, outcome = View(stepper, step, step, is_final=True), None, None
    if own.record is not None and own.record["time"] != time:
        try:
            ahead = View(stepper.at(time), step + 1, step, last=True, is_final=True, ahead=True)
            if ahead.record is None:
                outcome, ahead = ahead.stepper.failure(step + 1, None), None
        except (ArithmeticError, np.linalg.LinAlgError) as error:
            outcome = flow_outcome(error, f"after step {step}")
    own.last = ahead is None
    outcome = observed(own) or outcome
    if ahead is not None:
        outcome = observed(ahead) or outcome
    last = ahead or own
    return Ended(outcome or Outcome(Ending.REACHED_THE_END, f"time {time:g} in {last.step} steps"), own, last)
