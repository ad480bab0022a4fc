"""Interleaved rounds: each contestant in its own process on the same cores, asked in turn for a timed stretch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from contestants import OURS, SIMULATE
from step_cases import Case, bound, movement_error
from worker import ContestantFailedError, Worker

#: How long a contestant may take to prepare: torch.compile is the one that needs it.
PATIENCE = 90.0


@dataclass(frozen=True)
class Effort:
    """How much time to give a case: a stretch per contestant and round, and all its rounds together, in seconds."""

    stretch: float = 0.06
    total: float = 5.0
    fewest: int = 3
    most: int = 7


@dataclass
class Row:
    """A case as measured. Lists have an entry a round, the same round for every contestant."""

    case: Case
    cores: int
    bound: float
    condition: float | None
    memory: float  # peak resident MB of our process after a few steps
    memory_before: float  # before the case was prepared: interpreter and libraries
    seconds: dict[str, list[float]] = field(default_factory=dict)  # per step; see `clocks`
    clocks: dict[str, list[float]] = field(default_factory=dict)  # per step by the clock on the wall
    peaks: list[float] = field(default_factory=list)  # flops per second of one core
    errors: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def step(self, name: str = OURS) -> float | None:
        """Return the median seconds of a step."""
        return float(np.median(self.seconds[name])) if name in self.seconds else None

    def rate(self) -> float:
        """Return our useful flops per second."""
        return self.case.flops / float(np.median(self.seconds[OURS]))

    def shares(self) -> list[float]:
        """Return our share of the peak of all the cores, round by round."""
        pairs = zip(self.seconds[OURS], self.peaks, strict=True)
        return [self.case.flops / seconds / (peak * self.cores) for seconds, peak in pairs]

    def ratios(self, name: str) -> list[float] | None:
        """Return another's time over ours, round by round."""
        if name not in self.seconds:
            return None
        return [theirs / ours for theirs, ours in zip(self.seconds[name], self.seconds[OURS], strict=True)]

    def wrong(self) -> list[str]:
        """Say whose answer lies beyond the bound."""
        return [
            f"{self.case.title}: {name} differs from ours by {error:.1e}, more than {self.bound:.1e}"
            for name, error in self.errors.items()
            if not error <= self.bound
        ]


class Team:
    """The processes. Rivals stay alive between cases; ours is new for each, so that its peak memory is the case's."""

    def __init__(self, cores: Iterable[int]) -> None:
        self.cores = set(cores)
        self._workers: dict[str, Worker] = {}

    def worker(self, name: str) -> Worker:
        """Return a contestant's process, a new one where there is none alive."""
        if name not in self._workers or not self._workers[name].alive:
            self._workers[name] = Worker(name, self.cores)
        return self._workers[name]

    @contextmanager
    def alone(self, name: str) -> Iterator[Worker]:
        """Give a contestant's process, while the others rest."""
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
        """End a contestant's process."""
        if name in self._workers:
            self._workers.pop(name).close()

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._workers):
            self.dismiss(name)


def measure(case: Case, team: Team, names: Iterable[str], effort: Effort) -> Row:
    """Prepare the contestants, compare their answers with ours, and time them in turn."""
    few = 20 if case.dynamics == "descent" else 3 if case.n < 1500 else 1
    team.dismiss(OURS)
    ours = team.worker(OURS)
    ours.ask("prepare", case)
    expected, memory = ours.ask("answer", few), ours.ask("memory")  # before anything but steps needs memory
    beginning, condition = ours.ask("start"), ours.ask("condition")
    row = Row(case, len(team.cores), bound(case, condition), condition, *memory)
    steps: dict[str, int] = {}
    costs: dict[str, float] = {}
    for name in (OURS, *names):
        try:
            worker = team.worker(name)
            if name != OURS:
                worker.ask("prepare", case, timeout=PATIENCE)
                row.errors[name] = movement_error(case, expected, worker.ask("answer", few), beginning)
            stretch = effort.stretch * (6 if name == SIMULATE else 1)  # so that its start-up does not show
            seconds = max(worker.ask("timed", few)) / few
            guess = max(1, math.ceil(stretch / seconds))
            seconds = max(worker.ask("timed", guess)) / guess if guess > few else seconds
            steps[name] = max(1, round(stretch / seconds))
            costs[name] = steps[name] * seconds
            if steps[name] != few:
                worker.ask("timed", steps[name])  # compiled and warm
        except ContestantFailedError as failure:
            row.failures[name] = str(failure)
    if OURS in row.failures:
        raise ContestantFailedError(row.failures[OURS])
    _rounds(row, team, steps, min(effort.most, max(effort.fewest, int(effort.total / sum(costs.values())))))
    return row


def _rounds(row: Row, team: Team, steps: dict[str, int], rounds: int) -> None:
    """Time the contestants in turn, the first of a round changing.

    On one core a time is the processor time of the whole process, all its threads together: what the clock would show
    had the core no other work. (A pinned core is never idle while a thread of the process could run.) On several cores
    it is the clock's.
    """
    names = list(steps)
    for turn in range(rounds):
        with team.alone(OURS) as ours:
            row.peaks.append(ours.ask("peak", row.case.bits, 0.01))
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            with team.alone(name) as worker:
                processor, clock = worker.ask("timed", steps[name], steps[name] if row.cores > 1 else 0)
            row.seconds.setdefault(name, []).append((processor if row.cores == 1 else clock) / steps[name])
            row.clocks.setdefault(name, []).append(clock / steps[name])
