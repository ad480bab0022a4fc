"""Ensembles: many simulations at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from .. import _checks
from .._checks import ArgumentTypeError, ArgumentValueError
from .._choices import Every
from .._machine import available_processors, check_memory, checked_threads, checked_workers
from .._progress import progress_bar
from ..datasets import Dataset
from ..dynamics.registry import check_dynamics
from ..dynamics.stepper import Dynamics
from ..dynamics.user import cost
from ..networks import Network, check_fits
from ..results import Measures, Run
from ..results.ensemble import Ensemble
from .api import carry_out
from .interruption import Interruption
from .measures import checked_measures
from .simulation import Plan, checked_end, start
from .sizes import check_results_fit
from .threads import on_threads

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
    return carry_out_many(members, plan, measures, at_once=at_once, progress=progress)


def carry_out_many(
    members: Iterable[Member],
    plan: Plan,
    measures: ManyMeasures = None,
    *,
    enough: Callable[[Run], bool] = lambda run: False,
    at_once: int | None = None,
    progress: bool | None = None,
) -> Ensemble:
    """Simulate as `simulate_many` describes; a run that is ``enough`` ends the others, as Ctrl-C does."""
    if not isinstance(members, Iterable):
        raise ArgumentTypeError("members", f"expected (dynamics, data, network), one or more, got {members!r}")
    given = [_checked(place, member, plan, measures) for place, member in enumerate(members)]
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
    stop = threading.Event()

    def follow(member: Member, tell: Callable[[int], None], interruption: Interruption) -> Run:
        needed = cost(*member)
        threads = min(share, checked_threads(None, needed.flops, needed.flops_for_threads))
        own = replace(plan, measures=_own(measures, member[1]))
        run = carry_out(*member, own, threads, tell, interruption)
        if enough(run):
            stop.set()
        return run

    total = None if plan.steps is None else plan.steps * len(given)
    bar = progress_bar(progress, desc=f"{len(given)} runs, {together} at once", total=total)
    return Ensemble(tuple(on_threads(follow, given, together, bar, stop)))


def _own(measures: ManyMeasures, data: Dataset) -> Measures:
    """Return the measures of a member."""
    found = measures(data) if callable(measures) else measures
    if not isinstance(found, Mapping | None):
        raise ArgumentTypeError(
            "measures", f"expected a mapping of names to functions, or a function that returns one, got {found!r}"
        )
    return checked_measures(found)


def _checked(place: int, member: object, plan: Plan, measures: ManyMeasures) -> Member:
    """Return a member of which each part is what it should be, fits the others, and can be started."""
    if not isinstance(member, tuple | list) or len(member) != 3:
        raise ArgumentTypeError(f"members[{place}]", f"expected (dynamics, data, network), got {member!r}")
    dynamics, data, network = member
    try:
        check_dynamics(dynamics)
        _checks.instance("data", data, Dataset)
        _checks.instance("network", network, Network)
        check_fits(network, data)
        checked_end(dynamics, plan.steps, plan.duration)
        start(dynamics, data, network, 1)
        _own(measures, data)
    except (ValueError, TypeError) as error:
        raise _checks.part_of(f"members[{place}]", error) from error
    return dynamics, data, network
