"""Simulations in memory: `simulate`, and the extension of runs."""

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

    Steps are taken in double or single precision on the CPU. They use the full batch, which is all training samples,
    unless the dynamics has a ``batch_size``.

    Parameters
    ----------
    dynamics : GradientDescent, AdamW, PredictedGradient, NormFlow, GradientFlow or Dynamics
        The dynamics with its settings. For dynamics of your own see `zeroloss.Dynamics`.
    data : Dataset
        The training samples, and the test samples for the records.
    network : Network
        The start. Its dtype is the precision of the simulation. It is not changed.
    steps : int
        The number of steps, at least 0. Give either ``steps`` or ``duration``.
    duration : float
        The time of the dynamics to cover, at least 0. The last of several fixed steps may exceed it. The last adaptive
        step is shortened to end there.
    record_every : int or "log"
        The number of steps between records, at least 1, or "log" for 20 records per decade of steps. Step 0 and the
        last step are always recorded.
    snapshot_every : int or "log", optional
        The number of steps between snapshots of E and W, at least 1, or "log". By default there are no snapshots.
    measures : mapping of str to function, optional
        Functions of the network that are called at every record, by name. Their values are recorded; see the notes.
    loss_extremes : bool
        Whether gradient descent and AdamW record the least and the greatest training loss since the last record. With
        minibatches or label noise they do not, because the loss of all samples is computed in records only.
    events : sequence of str, optional
        Conditions on recorded values, such as ``"test_accuracy >= 0.95"``, with one of <, <=, >, >=. ``Run.events`` has
        the exact first step at which each of them holds. See the notes.
    event_every : int, optional
        The number of steps between checks for events, at least 1; by default ``record_every``.
    stop : sequence of str, optional
        Conditions that end the run, such as ``"test_accuracy >= 1 for 3 records"``: on recorded values, ``slow_time``
        or ``gradient_norm`` (‖∇loss + weight_decay · θ‖ of gradient descent, AdamW and the gradient flow). They are
        checked at every scheduled record after the first one.
    threads : int, optional
        Threads for one step, at least 1. By default a small step uses one thread, and a larger one every processor that
        this process may use. ``ZEROLOSS_NUM_THREADS`` limits them. The bits of the results do not depend on it.
    progress : bool, optional
        Whether to show a progress bar. By default it is shown after one second if standard error is a terminal or
        the code runs in a notebook (as a widget if ipywidgets is installed).

    Returns
    -------
    Run
        The history, the final network and the outcome. Ctrl-C ends the run with partial results; a second Ctrl-C raises
        KeyboardInterrupt. If a loss or a weight is not finite, or a matrix cannot be factored, the run ends at the last
        finite step. If dynamics of your own raise an error, it ends at the last step before. ``Run.outcome`` has the
        reason.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range or of the wrong type, or if the results cannot fit in memory. These errors
        are raised before the first step.

    Notes
    -----
    A measure returns a number, an array, or a mapping of several values. It may have two attributes. With ``lag``, it
    is also called with the network of ``lag`` steps earlier: of step 0 in the first steps, and None if an interruption
    lost it. ``descriptions`` maps keys to units and meanings. See `zeroloss.geometry.AlignmentMeasure`.

    The step of an event is found by replaying the steps between two checks. A condition that becomes true and false
    again between two checks is not detected.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(11, test_count=7)
    >>> net = zl.networks.uniform_fan_in(data, hidden=128, seed=1)
    >>> run = zl.simulate(zl.GradientDescent(lr=1.0, weight_decay=1e-4), data, net, steps=1000, record_every=100)
    >>> run.history.train_loss.sizes["step"]
    11
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
    """Simulate like `simulate`, until the end or an interruption."""
    simulation = prepare(dynamics, data, network, plan, threads)
    warn_if_inactive(network, data)
    results = _collect_results(simulation, progress, interruption, data)
    return Run(dynamics=dynamics, settings=simulation.settings, data=data, extender=extend_run, **results)


def prepare(dynamics: Dynamics, data: Dataset, network: Network, plan: Plan, threads: int | None) -> Simulation:
    """Check all arguments of `simulate`, and return the simulation, ready to run."""
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
    """Continue a run in memory, in place. Its records are the same as in one long run.

    The run changes only after everything is computed. An exception, including Ctrl-C at any moment, leaves it
    unchanged.
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
        names = ", ".join(sorted(missing))
        raise ArgumentValueError("measures", f"the history has {names}, so the measures must be given again")
    results = _collect_results(simulation, progress, Interruption(), run.data, run)
    results["network"] = describe_origin(results["network"], run.settings, int(results["history"].step[-1]))
    vars(run).update({"dynamics": dynamics, **results})  # One operation, which no signal interrupts.


def _collect_results(
    simulation: Simulation,
    progress: ShowProgress,
    interruption: Interruption,
    data: Dataset,
    earlier: Run | None = None,
) -> dict[str, Any]:
    """Take the steps, and return the results of the whole run, including the earlier part."""
    completion = simulation.run(interruption, progress)
    begin, network, snapshots = (
        simulation.earlier_step or 0,
        completion.end.network,
        earlier.snapshots if earlier else None,
    )
    if simulation.snapshots:
        snapshots = simulation.snapshots.to_dataset(begin, snapshots)
    return {
        "history": simulation.history.to_dataset(begin, earlier.history if earlier else None),
        "snapshots": snapshots,
        "network": network,
        "state": completion.last_step.state,
        "own_steps": completion.last_step.step,
        "outcome": mention_inactivity(completion.outcome, network, data),
        "measures": simulation.plan.measures,
        "observers": simulation.state_dict(),
        "events": {event.text: simulation.events.first_steps.get(event.text) for event in simulation.plan.conditions},
    }
