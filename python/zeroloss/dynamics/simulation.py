"""Simulations: a dynamics from a network on, in memory, and runs that go on."""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from collections.abc import Mapping
from typing import Any

from .. import _checks
from .._checks import ArgumentTypeError, ArgumentValueError
from .._choices import Every
from .._machine import check_memory, checked_threads
from ..build import build_of_results
from ..datasets import Dataset
from ..networks import Network, check_fits
from ..results import Measures, Run, read, trained
from ..results.schedule import Schedule
from .activity import warn_if_inactive, with_activity
from .adamw import AdamW
from .descent import DescentSettings
from .gradient_descent import GradientDescent
from .interruption import Interruption
from .loop import End, Progress, follow
from .norm_flow import NormFlow
from .predicted_gradient import PredictedGradient
from .recorder import Recorder, checked_measures
from .sizes import check_results_fit
from .stepper import Dynamics, State, Stepper

#: Up to this number float64 counts steps.
MOST_STEPS = 2**53

#: The dynamics by the name under which a saved run knows them.
DYNAMICS: Mapping[str, type[Any]] = {
    "gradient_descent": GradientDescent,
    "adamw": AdamW,
    "predicted_gradient": PredictedGradient,
    "norm_flow": NormFlow,
}


def simulate(
    dynamics: Dynamics,
    data: Dataset,
    network: Network,
    *,
    steps: int | None = None,
    duration: float | None = None,
    record_every: Every = 100,
    snapshot_every: Every | None = None,
    measures: Measures | None = None,
    loss_extremes: bool = False,
    threads: int | None = None,
    progress: bool | None = None,
) -> Run:
    """Simulate a dynamics for a number of steps, or for a duration.

    Every step uses the full batch: all training samples, in double or single precision on the CPU.

    Parameters
    ----------
    dynamics : GradientDescent, AdamW, PredictedGradient or NormFlow
        What is simulated, with its settings.
    data : Dataset
        Training samples, and test samples for the records.
    network : Network
        The start; its dtype is the precision of the simulation. It is not changed.
    steps : int
        Number of steps, at least 0.
    duration : float
        In place of steps: the time of the dynamics to cover. Fixed steps are taken until they have covered it; the
        last adaptive one is shortened to end there.
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
    loss_extremes : bool
        Whether descents record the least and greatest training loss since the record before.
    threads : int, optional
        Threads for one step; by default one for a small step, else every processor this process may use.
        ``ZEROLOSS_NUM_THREADS`` bounds them. The bits do not depend on it.
    progress : bool, optional
        Whether to show a progress bar. By default it is shown once a second has passed, if standard error is a
        terminal or the code runs in a notebook (a widget if ipywidgets is installed, else text).

    Returns
    -------
    Run
        With the history, the final network and the outcome. Ctrl-C ends the run with what there is; a second one
        raises. A loss or weight that is not finite, or a matrix that cannot be factored, ends it at the last finite
        step: see ``outcome``.

    Raises
    ------
    ValueError, TypeError
        For arguments out of their range or of the wrong kind, or what cannot fit in memory, before any work.
    """
    return simulated(
        dynamics,
        data,
        network,
        steps=steps,
        duration=duration,
        record_every=record_every,
        snapshot_every=snapshot_every,
        measures=measures,
        loss_extremes=loss_extremes,
        threads=threads,
        progress=progress,
    )


def simulated(
    dynamics: Dynamics,
    data: Dataset,
    network: Network,
    *,
    steps: int | None,
    duration: float | None,
    record_every: Every,
    snapshot_every: Every | None,
    measures: Measures | None,
    loss_extremes: bool,
    threads: int | None,
    progress: Progress,
    interruption: Interruption | None = None,
) -> Run:
    """Do what `simulate` describes, until an interruption by others where one is given."""
    check_dynamics(dynamics)
    check_fits(network, data)
    end = checked_end(dynamics, steps, duration)
    settings = run_settings(dynamics, data, network, record_every, snapshot_every, loss_extremes)
    recorder = Recorder(settings, checked_measures(measures), end.step)
    if end.time is None:
        check_results_fit(settings, [network], 0, end.step)
    stepper = start(dynamics, data, network, None, threads)
    warn_if_inactive(network, data)
    outcome, last = follow(stepper, recorder, 0, end, progress, interruption=interruption)
    final = last.network()
    return Run(
        history=recorder.history(),
        network=final,
        snapshots=recorder.snapshots(),
        outcome=with_activity(outcome, final, data),
        settings=settings,
        data=data,
        state=stepper.state,
        extender=extend_run,
        measures=recorder.measures,
        earlier=recorder.earlier(),
        notes={"extremes": recorder.extremes},
    )


def check_dynamics(dynamics: object) -> None:
    """Raise TypeError unless the dynamics is one of `DYNAMICS`."""
    if type(dynamics) not in DYNAMICS.values():
        names = " or ".join(kind.__name__ for kind in DYNAMICS.values())
        raise ArgumentTypeError("dynamics", f"expected a {names}, got {type(dynamics).__name__}")


def run_settings(
    dynamics: Dynamics,
    data: Dataset,
    network: Network,
    record_every: Every,
    snapshot_every: Every | None,
    loss_extremes: bool,
) -> dict[str, Any]:
    """Return what a run's settings hold: all that determines it."""
    return {
        "dynamics": {"kind": _kind(dynamics), **dataclasses.asdict(dynamics)},  # type: ignore[call-overload]
        "data": dict(data.settings),
        "network": {**network.settings, "activation": network.activation, "dtype": network.dtype.name},
        "record_every": Schedule("record_every", record_every).every,
        "snapshot_every": None if snapshot_every is None else Schedule("snapshot_every", snapshot_every).every,
        "loss_extremes": loss_extremes,
        "build": build_of_results(),
    }


def load(directory: str | os.PathLike[str]) -> Run:
    """Read a run that ``Run.save`` wrote; it can be extended.

    Raises
    ------
    FileNotFoundError, ValueError
        Where there is no saved run, or one of another format.
    """
    return read(directory, extend_run)


def extend_run(
    run: Run, steps: int | None, duration: float | None, *, measures: Measures | None, progress: bool | None
) -> None:
    """Go on with a run, in place: its records are those of one long run.

    All is computed before anything of the run changes, so an exception, also Ctrl-C at any moment, leaves it as it was.
    """
    dynamics = dynamics_from_settings(run.settings["dynamics"])
    further = checked_end(dynamics, steps, duration)
    begin = int(run.state.get("steps", run.step))  # a run that ended between two adaptive steps is one record ahead
    end = End(begin + further.step, None if further.time is None else float(run.history.time[-1]) + further.time)
    if not run.outcome.ending.can_go_on:
        raise ArgumentValueError("run", f"expected one that can go on, got one that {run.outcome}")
    given = checked_measures(measures if measures is not None else run.measures)
    recorder = Recorder(run.settings, given, end.step, run.earlier)
    if missing := {str(name) for name in run.history.data_vars if not recorder.knows(str(name))}:
        raise ArgumentValueError("measures", f"expected {', '.join(sorted(missing))}, as the history holds, got none")
    if end.time is None:
        check_results_fit(run.settings, [run.network], begin, end.step)
    recorder.extremes = extremes(run.notes)
    recorder.record_before = {str(name): values.values[-1] for name, values in run.history.items()}
    state = {name: array.copy() for name, array in run.state.items()}  # the run's own, should this not end well
    stepper = start(dynamics, run.data, run.network, state, None)
    outcome, last = follow(stepper, recorder, begin, end, progress)
    history = recorder.history(begin, run.history)
    network = trained(last.network(), run.settings, int(history.step[-1]))
    extended = {
        "history": history,
        "snapshots": recorder.snapshots(begin, run.snapshots),
        "network": network,
        "state": stepper.state,
        "outcome": with_activity(outcome, network, run.data),
        "measures": recorder.measures,
        "earlier": recorder.earlier(),
        "notes": {**run.notes, "extremes": recorder.extremes},
    }
    vars(run).update(extended)  # one operation, which no signal interrupts


def extremes(notes: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the extremes of the training loss since the last record that a run noted."""
    least, greatest = notes.get("extremes") or (None, None)
    return None if least is None or greatest is None else (least, greatest)


def checked_end(dynamics: Dynamics, steps: int | None, duration: float | None) -> End:
    """Return the end that is ``steps`` or ``duration`` away, exactly one of which is to be given."""
    if (steps is None) == (duration is None):
        got = "neither" if steps is None else f"both, {steps} and {duration}"
        raise ArgumentValueError(("steps", "duration"), f"give either the number of steps or a duration, got {got}")
    if duration is None:
        count = _checks.integer("steps", steps, 0)
        if count > MOST_STEPS:
            raise ArgumentValueError("steps", f"expected an integer of at most 2^53, got {count}")
        return End(count)
    duration = _checks.not_negative("duration", duration)
    if isinstance(dynamics, DescentSettings) and dynamics.schedule:
        raise ArgumentValueError(
            "duration", f"expected steps in its place with a learning-rate schedule, got {duration:g}"
        )
    size = dynamics.fixed_step()
    if size is None:
        return End(sys.maxsize, duration)
    if duration / size > MOST_STEPS:
        raise ArgumentValueError("duration", f"expected at most 2^53 steps, got {duration:g} in steps of {size:g}")
    return End(math.ceil(duration / size * (1 - 1e-12)))


def start(dynamics: Dynamics, data: Dataset, network: Network, state: State | None, threads: int | None) -> Stepper:
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
