"""The one loop: chunks of steps in the kernels, and between them records, measures, progress and interruption."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .._progress import progress_bar
from ..results import Ending, Outcome
from .chunk import Chunk, Chunks
from .companion import Companion
from .flow import FlowStepper, flow_outcome
from .interruption import Interruption
from .monitor import Passed
from .recorder import Recorder
from .stepper import Stepper

#: Whether to show a bar (None: the default of `simulate`), or what to tell of steps as they are taken.
Progress = bool | Callable[[int], None] | None


@dataclass(frozen=True)
class End:
    """Where a run ends: at a step, or, in adaptive steps, at a time before it."""

    step: int
    time: float | None = None


def follow(
    stepper: Stepper,
    recorder: Recorder,
    begin: int,
    end: End,
    progress: Progress,
    companion: Companion | None = None,
    interruption: Interruption | None = None,
) -> tuple[Outcome, Stepper]:
    """Take the steps from ``begin`` to the end in chunks, and keep what is due; return the last state recorded.

    Signals end it, or ``interruption`` in their place. A run that diverges ends at its last finite step.
    """
    step, last = begin, stepper
    chunks = Chunks(stepper, recorder, companion)
    outcome: Outcome | None = None
    diverged: Outcome | None = None  # after the step ``end``
    total = end.step if end.time is None else None
    bar = progress_bar(False if callable(progress) else progress, initial=begin, total=total)
    tell = progress if callable(progress) else bar.update
    interruption = interruption or Interruption(companion.signals if companion else (signal.SIGINT,))
    with interruption, bar:
        finite = recorder.keep(stepper, begin, last=begin == end.step)
        outcome = recorder.failure if finite else stepper.failure(begin)
        if companion and outcome is None:
            companion.begin(stepper, recorder, begin, lambda: interruption.requested is None)
        while outcome is None and step < end.step:
            failed_at = step
            if interruption.requested:
                if _interrupted(stepper, recorder, companion, step, interruption.requested):
                    outcome = Outcome(Ending.STOPPED_BY_THE_USER, f"after {step} steps; extend goes on")
                    break
            elif end.time is not None and isinstance(stepper, FlowStepper) and stepper.reaches(end.time):
                outcome, last = _finish(stepper, recorder, step, end.time)
                break
            else:
                chunk = chunks.take(step, end.step, single=end.time is not None)
                if isinstance(chunk, int):
                    failed_at = chunk
                else:
                    tell(chunk.goal - step)
                    outcome = _take_over(chunk, stepper, recorder, companion, step, end.step)
                    step = failed_at = chunk.goal
                    if not bar.disable:
                        bar.set_postfix_str(recorder.summary(), refresh=False)
                    if outcome is None or recorder.keep(stepper, step, last=True):
                        continue
            step, last_finite, diverged = chunks.stop(step, failed_at)
            outcome, end = None, End(last_finite)
            if step == last_finite:
                recorder.keep(stepper, step, last=True)
                if companion:
                    companion.after_chunk(stepper, recorder, step, step, step, None, None)
    reached = Outcome(Ending.REACHED_THE_END, f"{end.step} steps")
    return outcome or recorder.failure or diverged or reached, last


def _interrupted(
    stepper: Stepper, recorder: Recorder, companion: Companion | None, step: int, number: signal.Signals
) -> bool:
    """Keep what is needed to continue; false if the run has diverged and nobody but the caller has noticed."""
    if companion is None:
        return recorder.keep(stepper, step, last=True)
    companion.interrupted(stepper, recorder, step, number)
    return True


def _take_over(
    chunk: Chunk, stepper: Stepper, recorder: Recorder, companion: Companion | None, step: int, end: int
) -> Outcome | None:
    """Record a chunk and let the companion look at it; return an outcome if one of them ends the run."""
    recorder.take(stepper, step, chunk.within, chunk.records, chunk.losses)
    recorder.keep(stepper, chunk.goal, chunk.goal == end, chunk.record)
    if companion is None or recorder.failure is not None:
        return recorder.failure
    passed = Passed(chunk.before, recorder.newest_many(len(chunk.within) + 1)) if chunk.within else None
    return companion.after_chunk(stepper, recorder, step, chunk.goal, end, chunk.losses, passed)


def _finish(stepper: FlowStepper, recorder: Recorder, step: int, time: float) -> tuple[Outcome, Stepper]:
    """Record the state at ``time``, reached from the last full step beside the steps that an extension takes."""
    if float(stepper.state["time"]) == time:
        recorder.keep(stepper, step, last=True)
        return Outcome(Ending.REACHED_THE_END, f"time {time:g} in {step} steps"), stepper
    try:
        last = stepper.at(time)
    except (ArithmeticError, np.linalg.LinAlgError) as error:
        recorder.keep(stepper, step, last=True)
        return flow_outcome(error, f"after step {step}"), stepper
    if not recorder.keep(last, step + 1, last=True):
        recorder.keep(stepper, step, last=True)
        return last.failure(step + 1), stepper
    return Outcome(Ending.REACHED_THE_END, f"time {time:g} in {step + 1} steps"), last
