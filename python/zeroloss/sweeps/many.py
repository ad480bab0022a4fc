"""Ensembles: many simulations in memory, carried out on the workers of a sweep."""

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
    """Simulate many dynamics side by side, each with the full batch as ``simulate`` does alone, to the same bits.

    Parameters
    ----------
    members : sequence of (dynamics, data, network)
        The same or different settings, over many seeds or splits.
    steps, duration, record_every, snapshot_every, loss_extremes, events, event_every, stop
        As for ``simulate``, the same for all.
    measures : mapping of name to function, or function, optional
        As for ``simulate``, or a function that returns such a mapping for a member's data. They are called on several
        threads.
    at_once : int, optional
        How many members to simulate at a time, by default one for every processor this process may use. If there
        are more processors, the steps of large networks share the others.
    progress : bool, optional
        One progress bar for all, as for ``simulate``.

    Returns
    -------
    Ensemble
        Its ``history`` is one dataset over "run" and "step", its ``runs`` are the members', as they ended: one that
        diverges does not end the others. Ctrl-C ends all of them with partial results; a second one raises.

    Raises
    ------
    ValueError, TypeError
        As for ``simulate``, before any work, with the member at fault.
    """
    plan = Plan(steps, duration, record_every, snapshot_every, None, loss_extremes, events, event_every, stop)
    if not isinstance(members, Iterable):
        raise ArgumentTypeError("members", f"expected (dynamics, data, network), one or more, got {members!r}")
    given = [_checked_member(place, member, plan, measures) for place, member in enumerate(members)]
    if not given:
        raise ArgumentValueError("members", "expected at least one (dynamics, data, network), got none")
    memory = sorted(cost(*member).memory for member in given)
    processors = available_processors()
    together = min(len(given), processors if at_once is None else checked_workers("at_once", at_once))
    share = max(1, processors // together)
    check_memory(f"{together} members at once", sum(memory[-together:]))
    if plan.duration is None:
        every = {"record_every": plan.record_every, "snapshot_every": plan.snapshot_every}
        check_results_fit(every, [network for _, _, network in given], 0, plan.steps or 0)
    jobs = [_Job(place, member, plan, measures, share) for place, member in enumerate(given)]
    total = None if plan.steps is None else plan.steps * len(given)
    bar = progress_bar(progress, desc=f"{len(given)} runs, {together} at once", total=total)
    runs: dict[int, Run] = {}
    with Interruption() as interruption, bar:

        def poll(steps: int) -> signal.Signals | None:
            bar.update(steps - bar.n)
            return interruption.stop_signal

        runs |= Workers(together, processes=False).run_jobs(jobs, poll)
    for job in jobs:
        if job.place not in runs:  # it was not begun, and ends at its first step
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
        """Return the place of the member, and its run."""
        needed = cost(*self.member)
        threads = min(self.share, checked_threads(None, needed.flops, needed.flops_for_threads))
        own = _member_plan(self.plan, self.measures, self.member[1])
        return self.place, carry_out(*self.member, own, threads, on_steps, ExternalStop(stop_signal))


def _member_plan(plan: Plan, measures: ManyMeasures, data: Dataset) -> Plan:
    """Return the plan of a member, with its measures."""
    found = measures(data) if callable(measures) else measures
    if not isinstance(found, Mapping | None):
        raise ArgumentTypeError(
            "measures", f"expected a mapping of names to functions, or a function that returns one, got {found!r}"
        )
    return replace(plan, measures=found)


def _checked_member(place: int, member: object, plan: Plan, measures: ManyMeasures) -> Member:
    """Return a member of which each part is what it should be, fits the others, and can be started."""
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
