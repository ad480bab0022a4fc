"""Simulations in memory: `simulate`, and runs that continue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._checks import ArgumentValueError
from .._choices import Every
from ..datasets import Dataset
from ..dynamics.registry import check_dynamics, dynamics_from_settings
from ..dynamics.stepper import Dynamics
from ..networks import Network, check_fits
from ..results import Measures, Run, describe_origin
from .activity import mention_inactivity, warn_if_inactive
from .interruption import Interruption
from .progress import ShowProgress
from .simulation import EarlierPart, Plan, Simulation, checked_end, start_stepper
from .sizes import check_results_fit


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
        Instead of steps: the time of the dynamics to cover. Fixed steps are taken until they have covered it; the
        last adaptive one is shortened to end there.
    record_every : int or "log"
        Records are made at step 0, at the multiples, and at the last step; "log" records 20 steps a decade.
    snapshot_every : int or "log", optional
        E and W are recorded at step 0, at the multiples, and at the last step.
    measures : mapping of name to function, optional
        Each function is called with the network at every record; the number or array it returns is recorded, or
        several, each under its key, if it returns a mapping. One with an attribute ``lag`` is called with the
        network of ``lag`` steps before as its second argument, at first that of step 0 (None if an interruption
        lost it), and one with ``descriptions`` (key: unit, meaning) describes its variables: see
        `zeroloss.geometry.AlignmentMeasure`.
    loss_extremes : bool
        Whether descents record the least and greatest training loss since the record before.
    events : sequence of str, optional
        Conditions on values that the dynamics records, as ``"test_accuracy >= 0.95"`` with one of <, <=, >, >=.
        ``Run.events`` says at which step each of them first held: the exact step, found by replaying the steps
        between two checks. A condition that begins and ceases to hold between two checks is missed.
    event_every : int, optional
        Steps between checks for events, ``record_every`` by default.
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
        With the history, the final network and the outcome. Ctrl-C ends the run with partial results; a second one
        raises. A loss or weight that is not finite, or a matrix that cannot be factored, ends it at the last finite
        step, and an error of your own dynamics at the last step before it: see ``outcome``.

    Raises
    ------
    ValueError, TypeError
        Before any work, for arguments out of their range or of the wrong kind, and for results that cannot fit in
        memory.
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
    simulation = prepare(dynamics, data, network, plan, threads)
    warn_if_inactive(network, data)
    results = _collect_results(simulation, progress, interruption, data)
    return Run(dynamics=dynamics, settings=simulation.settings, data=data, extender=extend_run, **results)


def prepare(dynamics: Dynamics, data: Dataset, network: Network, plan: Plan, threads: int | None) -> Simulation:
    """Check all arguments of `simulate`, and start the dynamics."""
    check_dynamics(dynamics)
    check_fits(network, data)
    end = checked_end(dynamics, plan.steps, plan.duration)
    settings = plan.settings(dynamics, data, network)
    if plan.conditions:
        settings |= {"events": [event.text for event in plan.conditions], "event_every": plan.event_every}
    if plan.rules:
        settings["stop"] = [rule.text for rule in plan.rules]
    if end.time is None:
        check_results_fit(settings, [network], 0, end.step)
    return Simulation(start_stepper(dynamics, data, network, threads), settings, end, plan)


def extend_run(
    run: Run, steps: int | None, duration: float | None, *, measures: Measures | None, progress: bool | None
) -> None:
    """Continue a run in memory, in place: its records are those of one long run.

    All is computed before anything of the run changes, so an exception, also Ctrl-C at any moment, leaves it as it was.
    """
    dynamics = run.dynamics or dynamics_from_settings(run.settings["dynamics"])
    time = float(run.history.time[-1]) if "time" in run.history.coords else 0.0
    begin, end = run.own_steps, checked_end(dynamics, steps, duration, run.own_steps, time)
    if not run.outcome.ending.can_continue:
        raise ArgumentValueError("run", f"cannot continue a run that failed ({run.outcome})")
    conditions: dict[str, Any] = {name: run.settings.get(name) for name in ("events", "event_every", "stop")}
    plan = Plan(steps, duration, measures=measures if measures is not None else run.measures, **conditions)
    if end.time is None:
        check_results_fit(run.settings, [run.network], begin, end.step)
    before = {str(name): values.values[-1] for name, values in run.history.items()}
    stepper = start_stepper(dynamics, run.data, run.network, None)
    simulation = Simulation(stepper, run.settings, end, plan, EarlierPart(begin, run.state, run.observers, before))
    if missing := simulation.find_unrecorded(map(str, run.history.data_vars)):
        raise ArgumentValueError("measures", f"expected {', '.join(sorted(missing))}, as the history holds, got none")
    results = _collect_results(simulation, progress, Interruption(), run.data, run)
    results["network"] = describe_origin(results["network"], run.settings, int(results["history"].step[-1]))
    vars(run).update({"dynamics": dynamics, **results})  # one operation, which no signal interrupts


def _collect_results(
    simulation: Simulation,
    progress: ShowProgress,
    interruption: Interruption,
    data: Dataset,
    earlier: Run | None = None,
) -> dict[str, Any]:
    """Take the steps, and return the results of the run, an earlier part of it included."""
    ended = simulation.run(interruption, progress)
    begin, network, snapshots = simulation.earlier_step or 0, ended.last.network, earlier.snapshots if earlier else None
    if simulation.snapshots:
        snapshots = simulation.snapshots.to_dataset(begin, snapshots)
    return {
        "history": simulation.history.to_dataset(begin, earlier.history if earlier else None),
        "snapshots": snapshots,
        "network": network,
        "state": ended.own.state,
        "own_steps": ended.own.step,
        "outcome": mention_inactivity(ended.outcome, network, data),
        "measures": simulation.plan.measures,
        "observers": simulation.state_dict(),
        "events": {event.text: simulation.events.first_steps.get(event.text) for event in simulation.plan.conditions},
    }
