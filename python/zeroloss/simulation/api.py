"""Simulations in memory: `simulate`, and runs that go on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from .. import _checks
from .._checks import ArgumentValueError
from .._choices import Every
from ..datasets import Dataset
from ..dynamics.registry import check_dynamics, dynamics_from_settings
from ..dynamics.stepper import Dynamics
from ..networks import Network, check_fits
from ..results import Measures, Run, trained
from .activity import warn_if_inactive, with_activity
from .conditions import parsed_events, parsed_stop
from .engine import Ended
from .interruption import Interruption
from .measures import checked_measures
from .progress import ShowProgress
from .simulation import Simulation, Watch, checked_end, further_end, run_settings, start
from .sizes import check_results_fit


@dataclasses.dataclass(frozen=True)
class Plan:
    """How far a simulation goes, and what is recorded and looked for: the arguments of `simulate`."""

    steps: int | None = None
    duration: float | None = None
    record_every: Every = 100
    snapshot_every: Every | None = None
    measures: Measures | None = None
    loss_extremes: bool = False
    events: Sequence[str] | None = None
    event_every: int | None = None
    stop: Sequence[str] | None = None


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
    events: Sequence[str] | None = None,
    event_every: int | None = None,
    stop: Sequence[str] | None = None,
    threads: int | None = None,
    progress: bool | None = None,
) -> Run:
    """Simulate a dynamics for a number of steps, or for a duration.

    Every step uses the full batch: all training samples, in double or single precision on the CPU.

    Parameters
    ----------
    dynamics : GradientDescent, AdamW, PredictedGradient, NormFlow or Dynamics
        What is simulated, with its settings. Your own dynamics: see `zeroloss.Dynamics`.
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
    events : sequence of str, optional
        Conditions on values that the dynamics records, as ``"test_accuracy >= 0.95"`` with one of <, <=, >, >=.
        ``Run.events`` says at which step each of them first held: the exact step, found by replaying the steps
        between two looks. Conditions that come to hold and cease to between two looks are missed.
    event_every : int, optional
        Steps between looks, ``record_every`` by default.
    stop : sequence of str, optional
        Conditions on recorded values, ``slow_time`` or ``gradient_norm`` (‖∇loss + weight_decay · θ‖, of descents), as
        ``"test_accuracy >= 1 for 3 records"``. The run ends at the first scheduled record after its first at which one
        of them holds, or has held for so many records in a row.
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
        step, and an error of your own dynamics at the last step before it: see ``outcome``.

    Raises
    ------
    ValueError, TypeError
        For arguments out of their range or of the wrong kind, or what cannot fit in memory, before any work.
    """
    plan = Plan(steps, duration, record_every, snapshot_every, measures, loss_extremes, events, event_every, stop)
    return carry_out(dynamics, data, network, plan, threads, progress, Interruption())


def carry_out(
    dynamics: Dynamics,
    data: Dataset,
    network: Network,
    plan: Plan,
    threads: int | None,
    progress: ShowProgress,
    interruption: Interruption,
) -> Run:
    """Simulate as `simulate` describes, until an interruption."""
    check_dynamics(dynamics)
    check_fits(network, data)
    end, watch = checked_end(dynamics, plan.steps, plan.duration), checked_watch(plan)
    settings = run_settings(dynamics, data, network, plan.record_every, plan.snapshot_every, plan.loss_extremes)
    settings |= watch_settings(watch)
    measures = checked_measures(plan.measures)
    if end.time is None:
        check_results_fit(settings, [network], 0, end.step)
    simulation = Simulation(start(dynamics, data, network, threads), settings, end, measures, watch)
    simulation.check_names()
    warn_if_inactive(network, data)
    return Run(
        dynamics=dynamics,
        settings=settings,
        data=data,
        extender=extend_run,
        measures=measures,
        **_results(simulation, simulation.run(interruption, progress), data),
    )


def checked_watch(plan: Plan) -> Watch:
    """Return the events and rules of a plan.

    Raises
    ------
    ValueError, TypeError
        If a text is no condition, or records on a logarithmic schedule leave open how often to look for events.
    """
    events = parsed_events(plan.events or ())
    every = None if plan.event_every is None else _checks.integer("event_every", plan.event_every, 1)
    if events and every is None and plan.record_every == "log":
        raise ArgumentValueError("event_every", 'expected an integer of at least 1 with record_every = "log", got none')
    return Watch(events, every, parsed_stop(plan.stop or ()))


def watch_settings(watch: Watch) -> dict[str, Any]:
    """Return what the settings of a run in memory hold of its events and rules; nothing where there are none."""
    settings: dict[str, Any] = {}
    if watch.events:
        settings |= {"events": [event.text for event in watch.events], "event_every": watch.event_every}
    if watch.stop:
        settings["stop"] = [rule.text for rule in watch.stop]
    return settings


def extend_run(
    run: Run, steps: int | None, duration: float | None, *, measures: Measures | None, progress: bool | None
) -> None:
    """Go on with a run in memory, in place: its records are those of one long run.

    All is computed before anything of the run changes, so an exception, also Ctrl-C at any moment, leaves it as it was.
    """
    dynamics = run.dynamics or dynamics_from_settings(run.settings["dynamics"])
    time = float(run.history.time[-1]) if "time" in run.history.coords else None
    begin, end = run.own_steps, further_end(dynamics, run.own_steps, time, steps, duration)
    if not run.outcome.ending.can_go_on:
        raise ArgumentValueError("run", f"expected one that can go on, got one that {run.outcome}")
    given = checked_measures(measures if measures is not None else run.measures)
    if end.time is None:
        check_results_fit(run.settings, [run.network], begin, end.step)
    watch = Watch(
        parsed_events(run.settings.get("events", ())),
        run.settings.get("event_every"),
        parsed_stop(run.settings.get("stop", ())),
    )
    before = {str(name): values.values[-1] for name, values in run.history.items()}
    stepper = start(dynamics, run.data, run.network, None)
    simulation = Simulation(stepper, run.settings, end, given, watch, begin, before)
    simulation.load(run.state, run.observers)
    if missing := simulation.unknown(map(str, run.history.data_vars)):
        raise ArgumentValueError("measures", f"expected {', '.join(sorted(missing))}, as the history holds, got none")
    results = _results(simulation, simulation.run(Interruption(), progress), run.data, run)
    results["network"] = trained(results["network"], run.settings, int(results["history"].step[-1]))
    vars(run).update({"dynamics": dynamics, "measures": given, **results})  # one operation, which no signal interrupts


def _results(simulation: Simulation, ended: Ended, data: Dataset, earlier: Run | None = None) -> dict[str, Any]:
    """Return what a run is left with, after an earlier part of it."""
    begin, watch = simulation.done or 0, simulation.watch
    network, found = ended.last.network, simulation.events.found
    pictures = earlier.snapshots if earlier else None
    if simulation.snapshots:
        pictures = simulation.snapshots.dataset(begin, pictures)
    return {
        "history": simulation.history.dataset(begin, earlier.history if earlier else None),
        "snapshots": pictures,
        "network": network,
        "state": ended.own.state,
        "own_steps": ended.own.step,
        "outcome": with_activity(ended.outcome, network, data),
        "observers": {name: observer.state_dict() for name, observer in simulation.observers.items()},
        "events": {event.text: found.get(event.text) for event in watch.events},
    }
