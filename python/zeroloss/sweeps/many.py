"""Ensembles: many simulations in memory, side by side on the workers of a sweep."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from .. import _checks
from .._checks import ArgumentTypeError, ArgumentValueError
from .._choices import Every
from .._progress import progress_bar
from .._resources import available_processors, check_memory, checked_threads, checked_workers
from ..datasets import Dataset
from ..dynamics.stepper import Dynamics
from ..dynamics.user import cost
from ..networks import Network
from ..results import Measures, Run
from ..results.ensemble import Ensemble
from ..simulation.api import carry_out, prepare
from ..simulation.interruption import ExternalStop, Interruption
from ..simulation.simulation import Plan
from ..simulation.sizes import check_results_fit
from .workers import Workers

ManyMeasures = Measures | Callable[[Dataset], Measures] | None
Member = tuple[Dynamics, Dataset, Network]


def simulate_many(
    members: Iterable[Member],
    *,
    steps: int | None = None,
    duration: float | None = None,
    record_every: Every = 100,
    snapshot_every: Every | None = None,
    measures: ManyMeasures = None,
    loss_extremes: bool = False,
    events: Sequence[str] | None = None,
    event_every: int | None = None,
    stop: Sequence[str] | None = None,
    at_once: int | None = None,
    progress: bool | None = None,
) -> Ensemble:
    """Simulate many dynamics side by side.

    Every member gives the same bits as `zeroloss.simulate` alone. Steps use the full batch unless a dynamics has
    a ``batch_size``. All arguments except ``members``, ``measures``, ``at_once`` and ``progress`` have the same meaning
    as for `zeroloss.simulate`, and apply to every member.

    Parameters
    ----------
    members : sequence of (dynamics, data, network)
        The simulations, for example over many seeds or splits. Their settings may differ.
    steps : int, optional
        The number of steps. Give either ``steps`` or ``duration``.
    duration : float, optional
        The time of the dynamics to cover.
    record_every : int or "log"
        The number of steps between records.
    snapshot_every : int or "log", optional
        The number of steps between snapshots.
    measures : mapping of str to function, or function, optional
        Functions of the network, by name, or a function that returns such a mapping for the data of a member. They are
        called on several threads.
    loss_extremes : bool
        Whether to record the extremes of the training loss between records.
    events : sequence of str, optional
        Conditions whose first step is found.
    event_every : int, optional
        The number of steps between checks for events.
    stop : sequence of str, optional
        Conditions that end a member.
    at_once : int, optional
        The number of members at a time; by default one for every processor that this process may use. If there are more
        processors than members, the steps of large networks use the others.
    progress : bool, optional
        Whether to show one progress bar for all members.

    Returns
    -------
    Ensemble
        ``history`` is one dataset over "run" and "step", and ``runs`` has the run of every member. A member that
        diverges does not end the others. Ctrl-C ends all of them with partial results; a second Ctrl-C raises
        KeyboardInterrupt.

    Raises
    ------
    ValueError, TypeError
        If an argument of a member is invalid. The message names the member, and no simulation has started.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(11, test_count=7)
    >>> nets = [zl.networks.uniform_fan_in(data, hidden=32, seed=seed) for seed in range(4)]
    >>> ensemble = zl.simulate_many([(zl.GradientDescent(lr=1.0), data, net) for net in nets], steps=100)
    >>> ensemble.history.sizes["run"]
    4
    """
    plan = Plan(steps, duration, record_every, snapshot_every, None, loss_extremes, events, event_every, stop)
    if not isinstance(members, Iterable):
        raise ArgumentTypeError("members", f"expected a sequence of (dynamics, data, network), got {members!r}")
    checked = [_checked_member(place, member, plan, measures) for place, member in enumerate(members)]
    if not checked:
        raise ArgumentValueError("members", "expected at least one (dynamics, data, network), got none")
    memory = sorted(cost(*member).memory for member in checked)
    processors = available_processors()
    together = min(len(checked), processors if at_once is None else checked_workers("at_once", at_once))
    share = max(1, processors // together)
    check_memory(f"{together} members at once", sum(memory[-together:]))
    if plan.duration is None:
        every = {"record_every": plan.record_every, "snapshot_every": plan.snapshot_every}
        check_results_fit(every, [network for _, _, network in checked], 0, plan.steps or 0)
    jobs = [_Job(place, member, plan, measures, share) for place, member in enumerate(checked)]
    total = None if plan.steps is None else plan.steps * len(checked)
    bar = progress_bar(progress, desc=f"{len(checked)} runs, {together} at once", total=total)
    runs: dict[int, Run] = {}
    with Interruption() as interruption, bar:

        def poll(steps: int) -> signal.Signals | None:
            bar.update(steps - bar.n)
            return interruption.stop_signal

        runs |= Workers(together, processes=False).run_jobs(jobs, poll)
    for job in jobs:
        if job.place not in runs:  # It has not begun, and ends at its first step.
            runs |= [job.carry_out(lambda: signal.SIGINT, lambda taken: None)]
    return Ensemble(tuple(runs[job.place] for job in jobs))


@dataclass(frozen=True, eq=False)
class _Job:
    """The simulation of a member: see `zeroloss.sweeps.workers.Job`."""

    place: int
    member: Member
    plan: Plan
    measures: ManyMeasures
    share: int

    @property
    def steps(self) -> float:
        return float(self.plan.steps or 0)

    def carry_out(
        self, stop_signal: Callable[[], signal.Signals | None], on_steps: Callable[[int], None]
    ) -> tuple[int, Run]:
        """Return the index of the member, and its run."""
        needed = cost(*self.member)
        threads = min(self.share, checked_threads(None, needed.flops, needed.flops_for_threads))
        plan = _member_plan(self.plan, self.measures, self.member[1])
        return self.place, carry_out(*self.member, plan, threads, on_steps, ExternalStop(stop_signal))


def _member_plan(plan: Plan, measures: ManyMeasures, data: Dataset) -> Plan:
    """Return the plan of a member, with its measures."""
    functions = measures(data) if callable(measures) else measures
    if not isinstance(functions, Mapping | None):
        raise ArgumentTypeError(
            "measures", f"expected a mapping of names to functions, or a function that returns one, got {functions!r}"
        )
    return replace(plan, measures=functions)


def _checked_member(place: int, member: object, plan: Plan, measures: ManyMeasures) -> Member:
    """Return a member, after a check that its parts have the right types, fit together, and can start."""
    if not isinstance(member, tuple | list) or len(member) != 3:
        raise ArgumentTypeError(f"members[{place}]", f"expected (dynamics, data, network), got {member!r}")
    dynamics, data, network = member
    try:
        _checks.check_instance("data", data, Dataset)
        _checks.check_instance("network", network, Network)
        prepare(dynamics, data, network, _member_plan(plan, measures, data), 1)
    except (ValueError, TypeError) as error:
        raise _checks.error_of_part(f"members[{place}]", error) from error
    return dynamics, data, network
