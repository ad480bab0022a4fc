"""The one loop: chunks of steps in the kernels, and between them records, measures, progress and interruption."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from .. import _checks
from .._machine import check_memory, checked_threads
from ..build import build_of_results
from ..datasets import Dataset
from ..networks import Network, check_fits
from ..results import Ending, Measures, Outcome, Run, read
from .gradient_descent import GradientDescent
from .interruption import Interruption
from .predicted_gradient import PredictedGradient
from .recorder import Recorder, checked_measures
from .schedule import Schedule
from .stepper import Dynamics, State, Stepper

#: The dynamics by the name under which a saved run knows them.
DYNAMICS: Mapping[str, type[Any]] = {"gradient_descent": GradientDescent, "predicted_gradient": PredictedGradient}

_CHUNK_SECONDS = 0.05  # so that Ctrl-C answers at once


def simulate(
    dynamics: Dynamics,
    data: Dataset,
    network: Network,
    *,
    steps: int,
    record_every: int | str = 100,
    snapshot_every: int | str | None = None,
    measures: Measures | None = None,
    threads: int | None = None,
    progress: bool | None = None,
) -> Run:
    """Follow a dynamics for a number of steps.

    Parameters
    ----------
    dynamics : GradientDescent or PredictedGradient
        What is simulated, with its settings.
    data : Dataset
        Training samples, and test samples for the records.
    network : Network
        The start; its dtype is the precision of the simulation. It is not changed.
    steps : int
        Number of steps, at least 0.
    record_every : int or "log"
        Records are made at step 0, at the multiples, and at the last step; "log" records 20 steps a decade.
    snapshot_every : int or "log", optional
        Keeps E and W at step 0, at the multiples, and at the last step.
    measures : mapping of name to function, optional
        Each function is called with the network at every record; the number or array it returns is recorded, or
        several, each under its key, where it returns a mapping. One with an attribute ``lag`` is called with the
        network of ``lag`` steps before as its second argument, at first that of step 0 (None where an interruption
        lost it), and one with ``descriptions`` (key: unit, meaning) describes its variables: see
        `zeroloss.geometry.AlignmentMeasure`.
    threads : int, optional
        Threads for one step; by default one for a small step, else every processor this process may use.
        ``ZEROLOSS_NUM_THREADS`` bounds them. The bits do not depend on it.
    progress : bool, optional
        A progress bar on standard error; by default on a terminal, once a second has passed.

    Returns
    -------
    Run
        With the history, the final network and the outcome. Ctrl-C ends the run with what there is; a second one
        raises. A loss or weight that is not finite, or a matrix that cannot be factored, ends it at the last sound
        step: see ``outcome``.

    Raises
    ------
    ValueError, TypeError
        For arguments out of their range or of the wrong kind, or what cannot fit in memory, before any work.
    """
    if type(dynamics) not in DYNAMICS.values():
        names = " or ".join(kind.__name__ for kind in DYNAMICS.values())
        raise TypeError(f"dynamics: expected a {names}, got {type(dynamics).__name__}")
    check_fits(network, data)
    steps = _checks.integer("steps", steps, 0)
    settings = {
        "dynamics": {"kind": _kind(dynamics), **dataclasses.asdict(dynamics)},  # type: ignore[call-overload]
        "data": dict(data.settings),
        "network": {**network.settings, "activation": network.activation, "dtype": network.dtype.name},
        "record_every": Schedule("record_every", record_every).every,
        "snapshot_every": None if snapshot_every is None else Schedule("snapshot_every", snapshot_every).every,
        "build": build_of_results(),
    }
    recorder = Recorder(settings, checked_measures(measures), steps)
    stepper = _start(dynamics, data, network, None, threads)
    outcome = _follow(stepper, recorder, 0, steps, progress)
    return Run(
        history=recorder.history(),
        network=stepper.network(),
        snapshots=recorder.snapshots(),
        outcome=outcome,
        settings=settings,
        data=data,
        state=stepper.state,
        extender=_extend,
        measures=recorder.measures,
        earlier=recorder.earlier(),
    )


def load(directory: str | os.PathLike[str]) -> Run:
    """Read a run that ``Run.save`` wrote; it can be extended.

    Raises
    ------
    FileNotFoundError, ValueError
        Where there is no saved run, or one of another format.
    """
    return read(directory, _extend)


def _extend(run: Run, steps: int, *, measures: Measures | None, progress: bool | None) -> None:
    """Go on with a run, in place: its records are those of one long run."""
    steps = _checks.integer("steps", steps, 0)
    if run.outcome.ending not in (Ending.REACHED_THE_END, Ending.STOPPED_BY_THE_USER):
        raise ValueError(f"run: expected one that can go on, got one that {run.outcome}")
    given = checked_measures(measures if measures is not None else run.measures)
    recorder = Recorder(run.settings, given, run.step + steps, run.earlier)
    if missing := {str(name) for name in run.history.data_vars if not recorder.knows(str(name))}:
        raise ValueError(f"measures: expected {', '.join(sorted(missing))}, as the history holds, got none")
    dynamics = dynamics_from_settings(run.settings["dynamics"])
    stepper = _start(dynamics, run.data, run.network, run.state, None)
    begin = run.step
    outcome = _follow(stepper, recorder, begin, begin + steps, progress)
    run.history = recorder.history(earlier=run.history)
    run.snapshots = recorder.snapshots(earlier=run.snapshots)
    run.network, run.state, run.outcome, run.measures = stepper.network(), stepper.state, outcome, recorder.measures
    run.earlier = recorder.earlier()


def _start(dynamics: Dynamics, data: Dataset, network: Network, state: State | None, threads: int | None) -> Stepper:
    """Return the stepper, once it is known to fit the machine."""
    cost = dynamics.cost(data, network)
    check_memory(type(dynamics).__name__, cost.memory)
    return dynamics.start(data, network, state, checked_threads(threads, cost.flops, cost.flops_for_threads))


def dynamics_from_settings(settings: Mapping[str, Any]) -> Dynamics:
    """Return the dynamics that a run's settings describe."""
    numbers = dict(settings)
    found: Dynamics = DYNAMICS[numbers.pop("kind")](**numbers)
    return found


def _kind(dynamics: Dynamics) -> str:
    return next(name for name, kind in DYNAMICS.items() if isinstance(dynamics, kind))


def _follow(stepper: Stepper, recorder: Recorder, begin: int, end: int, progress: bool | None) -> Outcome:
    """Take the steps from ``begin`` to ``end`` in chunks, and keep what is due."""
    step, chunk = begin, 1
    disable, delay = (None, 1.0) if progress is None else (not progress, 0.0)
    bar = tqdm(total=end, initial=begin, disable=disable, delay=delay, unit="step", unit_scale=True, dynamic_ncols=True)
    with Interruption() as interruption, bar:
        if not recorder.keep(stepper, begin, last=begin == end):
            return stepper.failure(begin)
        if recorder.failure is not None:
            return recorder.failure
        while step < end:
            if interruption.requested:
                recorder.keep(stepper, step, last=True)
                return Outcome(Ending.STOPPED_BY_THE_USER, f"after {step} of {end} steps; extend goes on")
            goal = min(step + chunk, recorder.next_due(step), end)
            before = {name: array.copy() for name, array in stepper.state.items()}
            started = time.perf_counter()
            sound = stepper.advance(goal - step)
            elapsed = time.perf_counter() - started
            if not sound or not recorder.keep(stepper, goal, last=goal == end):
                sound_steps, outcome = _back_to_sound(stepper, before, step, goal)
                recorder.keep(stepper, step + sound_steps, last=True)
                return outcome
            if recorder.failure is not None:
                return recorder.failure
            bar.update(goal - step)
            if not bar.disable:
                bar.set_postfix_str(recorder.summary(), refresh=False)
            chunk = _next_chunk(goal - step, elapsed)
            step = goal
    return Outcome(Ending.REACHED_THE_END, f"{end} steps")


def _next_chunk(steps: int, seconds: float) -> int:
    """Return how many steps fill a chunk, growing carefully from the last one's time."""
    return max(1, min(int(steps * _CHUNK_SECONDS / max(seconds, 1e-9)), 10 * steps + 100))


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
