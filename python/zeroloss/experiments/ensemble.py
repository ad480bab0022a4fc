"""The runs of an experiment, one for each seed, all of which have to reach their end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .._progress import progress_bar
from ..datasets import Dataset
from ..dynamics import Dynamics
from ..networks import Network
from ..results import Ending, Measures, Run
from ..simulation import simulate
from ..simulation.many import carry_out_many
from ..simulation.simulation import Plan

__all__ = ["MOST_HOURS", "NumericalFailure", "derived_seeds", "hours_of", "simulate_seeds"]

MOST_HOURS = 24.0  # of one core that an experiment may take
_FLOPS = 2e10  # a second, on one slow core: what a step costs, told before long work


class NumericalFailure(Exception):  # noqa: N818 — it is the name of what happened
    """A run that diverged or met a singular matrix; ``run`` is what was kept of it."""

    def __init__(self, run: Run, name: str) -> None:
        super().__init__(f"{name} {run.outcome}")
        self.run = run


def derived_seeds(index: int) -> dict[str, int]:
    """Return the seeds of the data's split and of the initialisation for a seed index."""
    return {"seed": index, "data": index, "network": 1000 + index}


def hours_of(steps: float, flops: float) -> float:
    """Return the hours of one slow core that steps of so many flops take."""
    return steps * flops / _FLOPS / 3600


def simulate_seeds(
    dynamics: Dynamics,
    problem: Callable[[int], tuple[Dataset, Network]],
    seeds: Sequence[int],
    *,
    steps: int,
    record_every: int | str,
    snapshot_every: int | str | None = None,
    measures: Callable[[Dataset], Measures] | None = None,
    unit: str = "seed",
    at_once: int = 1,
) -> list[Run]:
    """Run a dynamics from the problem of each seed index, with a progress bar.

    Parameters
    ----------
    dynamics, steps, record_every, snapshot_every
        As for `zeroloss.simulate`.
    problem : function
        Returns the data and the initial network of a seed index.
    seeds : sequence of int
        The indices.
    measures : function, optional
        Returns the measures of a run from its data.
    unit : str
        What the indices count where the problems differ in something else, such as ``"start"``.
    at_once : int
        How many runs go on side by side, each on a thread of its own; for small steps, which do not share threads.
        The bits do not depend on it.

    Raises
    ------
    NumericalFailure
        Where a run diverges or meets a singular matrix.
    KeyboardInterrupt
        Where the user stops a run.
    """
    problems = [problem(seed) for seed in seeds]
    options: dict[str, Any] = {"steps": steps, "record_every": record_every, "snapshot_every": snapshot_every}
    found: list[Run] = []
    if min(at_once, len(problems)) > 1:
        members = [(dynamics, data, network) for data, network in problems]
        found += carry_out_many(members, Plan(**options), measures, enough=_failed, at_once=at_once)
    else:
        several = False if len(seeds) == 1 else None  # A single run has a bar of its own.
        for data, network in progress_bar(several, iterable=problems, desc=f"{unit}s", unit=unit, leave=False):
            own = measures(data) if measures is not None else None
            found.append(simulate(dynamics, data, network, measures=own, **options))
            if found[-1].outcome.ending is not Ending.REACHED_THE_END:
                break
    for seed, run in zip(seeds, found, strict=False):
        if _failed(run):
            raise NumericalFailure(run, f"{unit} {seed}")
    if any(run.outcome.ending is Ending.STOPPED_BY_THE_USER for run in found):
        raise KeyboardInterrupt
    return found


def _failed(run: Run) -> bool:
    return not run.outcome.ending.can_go_on
