"""The one loop: chunks of steps in the kernels, and between them records, measures, progress and interruption."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .._progress import progress_bar
from ..results import Ending, Outcome
from .chunk import advanced, planned
from .companion import Companion
from .flow import FlowStepper, flow_outcome
from .interruption import Interruption
from .monitor import Passed, copied, next_chunk
from .recorder import Recorder
from .stepper import State, Stepper

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

    Signals end it, or ``interruption`` in their place.
    """
    step, chunk, many = begin, 1, True
    last = stepper
    outcome: Outcome | None = None
    total = end.step if end.time is None else None
    bar = progress_bar(False if callable(progress) else progress, initial=begin, total=total)
    tell = progress if callable(progress) else bar.update
    interruption = interruption or Interruption(companion.signals if companion else (signal.SIGINT,))
    with interruption, bar:
        sound = recorder.keep(stepper, begin, last=begin == end.step)
        outcome = recorder.failure if sound else stepper.failure(begin)
        if companion and outcome is None:
            companion.begin(stepper, recorder, begin, lambda: interruption.requested is None)
        while outcome is None and step < end.step:
            if interruption.requested:
                outcome = Outcome(Ending.STOPPED_BY_THE_USER, f"after {step} steps; extend goes on")
                if companion:
                    companion.interrupted(stepper, recorder, step, interruption.requested)
                else:
                    recorder.keep(stepper, step, last=True)
            elif end.time is not None and isinstance(stepper, FlowStepper) and stepper.reaches(end.time):
                outcome, last = _finish(stepper, recorder, step, end.time)
            else:
                furthest = min(step + (chunk if end.time is None else 1), end.step)
                goal, within = planned(stepper, recorder, companion, step, furthest, many)
                before, extremes = copied(stepper.state), recorder.extremes
                losses = np.empty(goal - step) if _losses_wanted(stepper, recorder, companion) else None
                started = time.perf_counter()
                sound, records = advanced(stepper, step, goal, losses, within)
                if within and not sound:
                    stepper.state.update(before)
                    many = False  # record by record, to where it fails
                    continue
                chunk = next_chunk(goal - step, time.perf_counter() - started)
                recorder.take(stepper, step, within, records, losses)
                if sound and recorder.keep(stepper, goal, last=goal == end.step):
                    tell(goal - step)
                    outcome = recorder.failure
                    if companion and outcome is None:
                        passed = Passed(before, recorder.newest_many(len(within) + 1)) if within else None
                        outcome = companion.after_chunk(stepper, recorder, step, goal, end.step, losses, passed)
                    step = goal
                    if not bar.disable:
                        bar.set_postfix_str(recorder.summary(), refresh=False)
                else:
                    recorder.extremes = extremes
                    sound_steps, outcome = _back_to_sound(stepper, before, step, goal)
                    recorder.keep(stepper, step + sound_steps, last=True)
    return outcome or Outcome(Ending.REACHED_THE_END, f"{end.step} steps"), last


def _losses_wanted(stepper: Stepper, recorder: Recorder, companion: Companion | None) -> bool:
    return stepper.knows_losses and (recorder.wants_extremes or (companion is not None and companion.wants_losses))


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
    recorder.keep(last, step + 1, last=True)
    return Outcome(Ending.REACHED_THE_END, f"time {time:g} in {step + 1} steps"), last


def _back_to_sound(stepper: Stepper, before: State, step: int, goal: int) -> tuple[int, Outcome]:
    """Replay a chunk that failed: leave the stepper at its last sound step, and say what happened at the next."""

    def replay(steps: int) -> bool:
        for name, array in before.items():
            stepper.state[name] = array.copy()
        return stepper.advance(steps) and stepper.record() is not None

    sound, unsound = 0, goal - step
    while unsound - sound > 1:
        middle = (sound + unsound) // 2
        sound, unsound = (middle, unsound) if replay(middle) else (sound, middle)
    replay(unsound)
    outcome = stepper.failure(step + unsound)
    replay(sound)
    return sound, outcome
