"""Ensembles: many simulations at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

from .. import _checks
from .._checks import ArgumentTypeError, ArgumentValueError
from .._choices import Every
from .._machine import available_processors, check_memory, checked_threads, checked_workers
from .._progress import progress_bar
from ..datasets import Dataset
from ..networks import Network, check_fits
from ..results import Measures, Run
from ..results.ensemble import Ensemble
from ..results.schedule import Schedule
from .interruption import Interruption
from .recorder import checked_measures
from .simulation import check_dynamics, checked_end, simulated, start
from .sizes import check_results_fit
from .stepper import Dynamics
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
    at_once: int | None = None,
    progress: bool | None = None,
) -> Ensemble:
    """Simulate many dynamics side by side, each with the full batch as ``simulate`` does alone, to the same bits.

    Parameters
    ----------
    members : sequence of (dynamics, data, network)
        The same or different settings, over many seeds or splits.
    steps, duration, record_every, snapshot_every, loss_extremes
        As for ``simulate``, the same for all.
    measures : mapping of name to function, or function, optional
        As for ``simulate``, or a function that returns such a mapping for a member's data. They are called on several
        threads.
    at_once : int, optional
        How many members to simulate at a time, by default one for every processor this process may use. Where there
        are more processors, the steps of large networks share what is left.
    progress : bool, optional
        One progress bar for all, as for ``simulate``.

    Returns
    -------
    Ensemble
        Its ``history`` is one dataset over "run" and "step", its ``runs`` are the members', as they ended: one that
        diverges does not end the others. Ctrl-C ends all of them with what there is; a second one raises.

    Raises
    ------
    ValueError, TypeError
        As for ``simulate``, before any work, with the member at fault.
    """
    return followed(
        members,
        lambda run: False,
        steps=steps,
        duration=duration,
        record_every=record_every,
        snapshot_every=snapshot_every,
        measures=measures,
        loss_extremes=loss_extremes,
        at_once=at_once,
        progress=progress,
    )


def followed(
    members: Iterable[Member],
    enough: Callable[[Run], bool],
    *,
    steps: int | None,
    record_every: Every,
    duration: float | None = None,
    snapshot_every: Every | None = None,
    measures: ManyMeasures = None,
    loss_extremes: bool = False,
    at_once: int | None = None,
    progress: bool | None = None,
) -> Ensemble:
    """Do what `simulate_many` describes; a run that is ``enough`` ends the others, as Ctrl-C does."""
    if not isinstance(members, Iterable):
        raise ArgumentTypeError("members", f"expected (dynamics, data, network), one or more, got {members!r}")
    Schedule("record_every", record_every)
    given = [_checked(place, member, steps, duration, measures) for place, member in enumerate(members)]
    if not given:
        raise ArgumentValueError("members", "expected at least one (dynamics, data, network), got none")
    costs = sorted(dynamics.cost(data, network).memory for dynamics, data, network in given)
    processors = available_processors()
    together = min(len(given), processors if at_once is None else checked_workers("at_once", at_once))
    share = max(1, processors // together)
    check_memory(f"{together} members at once", sum(costs[-together:]))
    if duration is None:
        every = {"record_every": record_every, "snapshot_every": snapshot_every}
        check_results_fit(every, [network for _, _, network in given], 0, steps or 0)
    stop = threading.Event()

    def follow(member: Member, tell: Callable[[int], None], interruption: Interruption) -> Run:
        dynamics, data, network = member
        cost = dynamics.cost(data, network)
        run = simulated(
            dynamics,
            data,
            network,
            steps=steps,
            duration=duration,
            record_every=record_every,
            snapshot_every=snapshot_every,
            measures=_own(measures, data),
            loss_extremes=loss_extremes,
            threads=min(share, checked_threads(None, cost.flops, cost.flops_for_threads)),
            progress=tell,
            interruption=interruption,
        )
        if enough(run):
            stop.set()
        return run

    total = None if steps is None else steps * len(given)
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


def _checked(place: int, member: object, steps: int | None, duration: float | None, measures: ManyMeasures) -> Member:
    """Return a member of which each part is what it should be, fits the others, and can be started."""
    if not isinstance(member, tuple | list) or len(member) != 3:
        raise ArgumentTypeError(f"members[{place}]", f"expected (dynamics, data, network), got {member!r}")
    dynamics, data, network = member
    try:
        check_dynamics(dynamics)
        _checks.instance("data", data, Dataset)
        _checks.instance("network", network, Network)
        check_fits(network, data)
        checked_end(dynamics, steps, duration)
        start(dynamics, data, network, None, 1)
        _own(measures, data)
    except (ValueError, TypeError) as error:
        raise _checks.part_of(f"members[{place}]", error) from error
    return dynamics, data, network
