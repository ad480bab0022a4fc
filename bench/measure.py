"""Time the implementations in interleaved rounds, each in its own process on the same cores."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from implementations import OURS, SIMULATE
from operation_counts import Registers, count_operations, is_counted
from step_cases import Case, bound, movement_error
from worker import ImplementationFailedError, Worker

#: Seconds that an implementation may take to prepare. Only torch.compile needs as long.
PATIENCE = 90.0

#: The share of the rate that counting operations allows, from which on a row meets the goal.
GOAL = 0.9


@dataclass(frozen=True)
class TimeBudget:
    """The time to spend on a case, in seconds: `stretch` for each implementation in a round, `total` for all rounds."""

    stretch: float = 0.06
    total: float = 5.0
    fewest: int = 3
    most: int = 7


@dataclass
class Row:
    """The measurements of a case. Lists have one entry for each round, in the same order for every implementation."""

    case: Case
    cores: int
    bound: float
    condition: float | None
    memory: float  # peak resident MB of our process after a few steps
    memory_before: float  # the same before the case was prepared: interpreter and libraries
    seconds: dict[str, list[float]] = field(
        default_factory=dict
    )  # per step: processor time on one core, else elapsed time
    clocks: dict[str, list[float]] = field(default_factory=dict)  # per step, elapsed time
    peaks: list[float] = field(default_factory=list)  # flops per second of one core
    least_seconds: list[float] = field(default_factory=list)  # that counting operations allows one core; maybe empty
    errors: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def step(self, name: str = OURS) -> float | None:
        """Return the median seconds of a step."""
        return float(np.median(self.seconds[name])) if name in self.seconds else None

    def rate(self) -> float:
        """Return our rate in useful flops per second."""
        return self.case.flops / float(np.median(self.seconds[OURS]))

    def shares(self) -> list[float]:
        """Return our share of the peak of all cores in each round."""
        pairs = zip(self.seconds[OURS], self.peaks, strict=True)
        return [self.case.flops / seconds / (peak * self.cores) for seconds, peak in pairs]

    def shares_of_bound(self) -> list[float]:
        """Return the share of the rate that counting operations allows in each round. Empty if they are not counted."""
        if not self.least_seconds:
            return []
        pairs = zip(self.seconds[OURS], self.least_seconds, strict=True)
        return [least / self.cores / seconds for seconds, least in pairs]

    def meets_goal(self) -> bool | None:
        """Whether the share of the bound reaches the goal; None if operations are not counted."""
        shares = self.shares_of_bound()
        return float(np.median(shares)) >= GOAL if shares else None

    def ratios(self, name: str) -> list[float] | None:
        """Return the time of another implementation divided by ours in each round, or None if it was not timed."""
        if name not in self.seconds:
            return None
        return [theirs / ours for theirs, ours in zip(self.seconds[name], self.seconds[OURS], strict=True)]

    def wrong(self) -> list[str]:
        """Return a sentence for each implementation whose answer differs from ours by more than the bound."""
        return [
            f"{self.case.title}: {name} differs from ours by {error:.1e}, more than {self.bound:.1e}"
            for name, error in self.errors.items()
            if not error <= self.bound
        ]


class ProcessPool:
    """The processes of the implementations.

    Baselines stay alive between cases. Our process is new for each case, so its peak memory is that of the case.
    """

    def __init__(self, cores: Iterable[int]) -> None:
        self.cores = set(cores)
        self._workers: dict[str, Worker] = {}

    def worker(self, name: str) -> Worker:
        """Return the process of an implementation; start one if there is none."""
        if name not in self._workers or not self._workers[name].alive:
            self._workers[name] = Worker(name, self.cores)
        return self._workers[name]

    @contextmanager
    def alone(self, name: str) -> Iterator[Worker]:
        """Return the process of an implementation as a context in which the others are paused."""
        mine = self.worker(name)
        others = [worker for worker in self._workers.values() if worker is not mine and worker.alive]
        for worker in others:
            worker.pause()
        try:
            yield mine
        finally:
            for worker in others:
                worker.resume()

    def dismiss(self, name: str) -> None:
        """End the process of an implementation."""
        if name in self._workers:
            self._workers.pop(name).close()

    def __enter__(self) -> ProcessPool:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._workers):
            self.dismiss(name)


def measure(case: Case, pool: ProcessPool, names: Iterable[str], budget: TimeBudget) -> Row:
    """Prepare the implementations, compare their answers with ours, and time them in turn."""
    few = 20 if case.dynamics == "descent" else 3 if case.n < 1500 else 1
    pool.dismiss(OURS)
    ours = pool.worker(OURS)
    ours.ask("prepare", case)
    expected, memory = ours.ask("answer", few), ours.ask("memory")  # before anything else needs memory
    beginning, condition = ours.ask("start"), ours.ask("condition")
    row = Row(case, len(pool.cores), bound(case, condition), condition, *memory)
    steps: dict[str, int] = {}
    costs: dict[str, float] = {}
    for name in (OURS, *names):
        try:
            worker = pool.worker(name)
            if name != OURS:
                worker.ask("prepare", case, timeout=PATIENCE)
                row.errors[name] = movement_error(case, expected, worker.ask("answer", few), beginning)
            stretch = budget.stretch * (6 if name == SIMULATE else 1)  # longer, because it has a start-up time
            seconds = max(worker.ask("time_steps", few)) / few
            guess = max(1, math.ceil(stretch / seconds))
            seconds = max(worker.ask("time_steps", guess)) / guess if guess > few else seconds
            steps[name] = max(1, round(stretch / seconds))
            costs[name] = steps[name] * seconds
            if steps[name] != few:
                worker.ask("time_steps", steps[name])  # to compile and to fill the caches
        except ImplementationFailedError as failure:
            row.failures[name] = str(failure)
    if OURS in row.failures:
        raise ImplementationFailedError(row.failures[OURS])
    _time_rounds(row, pool, steps, min(budget.most, max(budget.fewest, int(budget.total / sum(costs.values())))))
    return row


def _time_rounds(row: Row, pool: ProcessPool, steps: dict[str, int], rounds: int) -> None:
    """Time the implementations in turn. Each round starts with another one.

    On one core, the time is the processor time of the process with all its threads. It equals the elapsed time on a
    core without other work, because a pinned core is never idle while a thread of the process can run. On several
    cores, it is the elapsed time.
    """
    names = list(steps)
    registers = Registers(*pool.worker(OURS).ask("registers"), row.case.bits)
    operations = count_operations(row.case, registers) if is_counted(row.case) else None
    for turn in range(rounds):
        with pool.alone(OURS) as ours:
            row.peaks.append(ours.ask("peak", row.case.bits, 0.01))
            if operations:
                row.least_seconds.append(operations.seconds(ours.ask("operation_costs", row.case.bits, 0.01)))
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            with pool.alone(name) as worker:
                processor, clock = worker.ask("time_steps", steps[name], steps[name] if row.cores > 1 else 0)
            row.seconds.setdefault(name, []).append((processor if row.cores == 1 else clock) / steps[name])
            row.clocks.setdefault(name, []).append(clock / steps[name])
