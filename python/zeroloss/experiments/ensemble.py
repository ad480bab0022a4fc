"""The runs of an experiment, one for each seed, all of which have to reach their end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

from tqdm import tqdm

from ..datasets import Dataset
from ..dynamics import simulate
from ..dynamics.stepper import Dynamics
from ..networks import Network
from ..results import Ending, Measures, Run
from ..results.schedule import Schedule

__all__ = ["NumericalFailure", "Watch", "derived_seeds", "side_by_side", "simulate_seeds"]

Item = TypeVar("Item")
Found = TypeVar("Found")


class NumericalFailure(Exception):  # noqa: N818 — it is the name of what happened
    """A run that diverged or met a singular matrix; ``run`` is what was kept of it."""

    def __init__(self, run: Run, name: str) -> None:
        super().__init__(f"{name} {run.outcome}")
        self.run = run


def derived_seeds(index: int) -> dict[str, int]:
    """Return the seeds of the data's split and of the initialisation for a seed index."""
    return {"seed": index, "data": index, "network": 1000 + index}


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
    """Run a dynamics from the problem of each seed index, with a progress bar on a terminal.

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

    def follow(seed: int, watch: Measures, **options: Any) -> Run:
        data, network = problem(seed)
        own = measures(data) if measures is not None else {}
        run = simulate(
            dynamics,
            data,
            network,
            steps=steps,
            record_every=record_every,
            snapshot_every=snapshot_every,
            measures={**own, **watch},
            **options,
        )
        if run.outcome.ending is Ending.STOPPED_BY_THE_USER:
            raise KeyboardInterrupt
        if run.outcome.ending is not Ending.REACHED_THE_END:
            raise NumericalFailure(run, f"{unit} {seed}")
        return run

    if min(at_once, len(seeds)) > 1:
        records = len(seeds) * _records(steps, record_every)
        title = f"{len(seeds)} runs, {min(at_once, len(seeds))} at once"
        return side_by_side(
            lambda seed, watch: follow(seed, {"watch": watch}, threads=1, progress=False),
            seeds,
            at_once,
            records,
            title,
        )
    alone = True if len(seeds) == 1 else None  # the run's own bar says it all; None is off where there is no terminal
    bar = tqdm(seeds, f"{unit}s", disable=alone, unit=unit, dynamic_ncols=True, leave=False)
    return [follow(seed, {}) for seed in bar]


class _Stopped(Exception):  # noqa: N818 — no error: the others failed, or the user stopped them all
    """Ends a run whose result nobody wants any more."""


class Watch:
    """A measure that records nothing: it moves the bar that the runs share, and ends its run once ``stop`` is set."""

    def __init__(self, bar: tqdm[Any]) -> None:
        self.stop = threading.Event()
        self._bar, self._lock = bar, threading.Lock()

    def __call__(self, network: Network) -> dict[str, float]:
        """Move the bar, or end the run."""
        if self.stop.is_set():
            raise _Stopped
        with self._lock:
            self._bar.update()
        return {}


def side_by_side(
    follow: Callable[[Item, Watch], Found], items: Sequence[Item], at_once: int, records: int | None, title: str
) -> list[Found]:
    """Follow runs on threads. Ctrl-C comes to the main one; like a failure, it ends them all at their next record.

    Parameters
    ----------
    follow : function
        Carries out the run of an item; the watch is to be one of its measures.
    items : sequence
        What tells the runs apart; they are begun in this order.
    at_once : int
        The number of threads.
    records : int, optional
        How many records all runs make; without it the bar counts them.
    title : str
        Of the bar.

    Returns
    -------
    list
        What ``follow`` returned for each item.
    """
    bar = tqdm(None, title, records, disable=None, unit="record", unit_scale=True, dynamic_ncols=True, leave=False)
    watch = Watch(bar)
    with bar, ThreadPoolExecutor(at_once) as pool:
        try:
            runs = [pool.submit(follow, item, watch) for item in items]
            for ended in as_completed(runs):
                ended.result()
        except BaseException:
            watch.stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [run.result() for run in runs]


def _records(steps: int, record_every: int | str) -> int:
    """Return how many records a run makes: at step 0, at the multiples or on the logarithmic grid, and at the last."""
    if isinstance(record_every, int):
        return 1 + -(-steps // record_every)
    schedule, step, count = Schedule("record_every", record_every), 0, 1
    while step < steps:
        step, count = schedule.next_after(step), count + 1
    return count
