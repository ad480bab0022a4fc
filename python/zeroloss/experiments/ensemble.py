"""The runs of an experiment, one for each seed, all of which have to reach their end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tqdm import tqdm

from ..datasets import Dataset
from ..dynamics import simulate
from ..dynamics.stepper import Dynamics
from ..networks import Network
from ..results import Ending, Run

__all__ = ["NumericalFailure", "simulate_seeds"]


class NumericalFailure(Exception):  # noqa: N818 — it is the name of what happened
    """A run that diverged or met a singular matrix; ``run`` is what was kept of it."""

    def __init__(self, run: Run, name: str) -> None:
        super().__init__(f"{name} {run.outcome}")
        self.run = run


def simulate_seeds(
    dynamics: Dynamics,
    problem: Callable[[int], tuple[Dataset, Network]],
    seeds: Sequence[int],
    *,
    steps: int,
    record_every: int | str,
    snapshot_every: int | str | None = None,
    unit: str = "seed",
) -> list[Run]:
    """Run a dynamics from the problem of each seed index, with a progress bar over the seeds on a terminal.

    Where the problems differ in something else, ``unit`` is what the indices count, such as ``"start"``.

    Raises
    ------
    NumericalFailure
        Where a run diverges or meets a singular matrix.
    KeyboardInterrupt
        Where the user stops a run.
    """
    runs = []
    alone = True if len(seeds) == 1 else None  # the run's own bar says it all; None is off where there is no terminal
    for seed in tqdm(seeds, f"{unit}s", disable=alone, unit=unit, dynamic_ncols=True, leave=False):
        run = simulate(dynamics, *problem(seed), steps=steps, record_every=record_every, snapshot_every=snapshot_every)
        if run.outcome.ending is Ending.STOPPED_BY_THE_USER:
            raise KeyboardInterrupt
        if run.outcome.ending is not Ending.REACHED_THE_END:
            raise NumericalFailure(run, f"{unit} {seed}")
        runs.append(run)
    return runs
