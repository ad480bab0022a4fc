"""Workers of a Dask cluster, which write into the store as those of this machine do: a directory that all of them see.

Imported on use: Dask is an extra.
"""

from __future__ import annotations

import contextlib
import re
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from distributed import Client, Future, wait
from distributed import TimeoutError as NotInTime
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from ..build import build_of_results
from ..runs import DifferentBuildError
from .cell import ClusterError, Report, Task, carry_out

_REACHED = 8.0  # seconds in which a scheduler has to answer
_LOOK = 0.5  # seconds between two looks at what has ended, and of a worker at whether it is to stop
_LOST = 60.0  # seconds in which a cell's lock has to be free after its worker was lost
#: What of a build can change a result's bits.
_BUILD = ("zeroloss", "level", "compiler", "eigen", "numpy", "scipy")


def connect(address: str) -> Client:
    """Return a client of the scheduler at an address.

    Raises
    ------
    ClusterError
        Where it does not answer within ten seconds.
    """
    if not re.fullmatch(r"(\w+://)?[^\s/]+:\d+", address):
        raise ClusterError(f"scheduler: expected an address as tcp://HOST:8786, got {address!r}")
    try:
        return Client(address, timeout=_REACHED, set_as_default=False)
    except (OSError, NotInTime, ValueError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ClusterError(f"scheduler: expected one that answers at {address}, got: {line}") from None


class ClusterWorkers:
    """The workers of a cluster, as `zeroloss.sweeps.workers.Workers` are those of this machine."""

    def __init__(self, client: Client, store: Path, allow_different_bits: bool) -> None:
        self._client, self._allowed = client, allow_different_bits
        self._stop = (store / f"stop-{uuid.uuid4().hex}").resolve()
        self._known: set[str] = set()

    def check(self) -> None:
        """Raise ClusterError unless there are workers, of this version and instruction-set level, that see the store.

        Those that join later are checked by their first cell.
        """
        deadline = time.monotonic() + _REACHED
        while not (builds := self._client.run(build_of_results)):
            if time.monotonic() > deadline:
                raise ClusterError("scheduler: expected workers, got none")
            time.sleep(_LOOK)
        told = [] if self._allowed else [line for name, build in builds.items() if (line := _different(name, build))]
        if told:
            raise ClusterError(f"{'; '.join(told)}, so its bits may differ; --allow-different-bits allows that")
        seen = self._client.run(_sees, str(self._stop.parent / "sweep.toml"))
        if blind := [name for name, sees in seen.items() if not sees]:
            raise ClusterError(
                f"out: expected a directory that all workers see, {blind[0]} sees no {self._stop.parent}"
            )

    def reports(self, tasks: Sequence[Task], look: Callable[[int], signal.Signals | None]) -> Iterator[Report]:
        """Carry out tasks, and yield what became of each as it ends; as `zeroloss.sweeps.workers.Workers.reports`.

        A worker that is lost leaves its cells to others, which go on from the last checkpoint.

        Raises
        ------
        ClusterError
            Where a cell took several workers with it, or the scheduler went away.
        DifferentBuildError
            Where a worker is of another build.
        """
        build = None if self._allowed else {name: build_of_results()[name] for name in _BUILD}
        steps = {task.name: task.settings["run"]["steps"] or 0 for task in tasks}
        under_way: set[Future] = {
            self._client.submit(_carry_out, task, str(self._stop), build, pure=False) for task in tasks
        }
        taken, stopping = 0, False
        try:
            while under_way:
                with contextlib.suppress(NotInTime), self._client.as_current():
                    wait(under_way, timeout=_LOOK, return_when="FIRST_COMPLETED")
                ended = {future for future in under_way if future.done()}
                under_way -= ended
                if not stopping and look(taken) is not None:
                    stopping = True
                    self._stop.touch()
                for future in ended:
                    report = self._result(future)
                    taken += steps[report.name]
                    look(taken)
                    yield report
        finally:
            self._stop.touch()  # who looks no more wants no more
            with contextlib.suppress(Exception):  # of a scheduler that has gone
                self._client.cancel(list(under_way))
            if not under_way:
                self._stop.unlink()

    @staticmethod
    def _result(future: Future) -> Report:
        try:
            report: Report = future.result()
        except (KilledWorker, FutureCancelledError, OSError) as error:
            raise ClusterError(f"the cluster gave a cell up: {str(error).splitlines()[0]}") from error
        return report


def _carry_out(task: Task, stop: str, build: Mapping[str, Any] | None) -> Report:
    """Carry out a cell on a worker; where a lost worker may still hold it, wait for that to end."""
    here = {name: build_of_results()[name] for name in _BUILD}
    if build is not None and here != build:
        raise DifferentBuildError(f"{_different('a worker', here)}; --allow-different-bits allows that")
    asked = _Stop(Path(stop))
    deadline = time.monotonic() + _LOST
    while True:
        report = carry_out(task, asked, lambda taken: None)
        if report.outcome is not None or asked() or time.monotonic() > deadline:
            return report
        time.sleep(_LOOK)


class _Stop:
    """Whether a file is there, looked for now and then."""

    def __init__(self, path: Path) -> None:
        self._path, self._next, self._there = path, 0.0, False

    def __call__(self) -> signal.Signals | None:
        if not self._there and time.monotonic() >= self._next:
            self._there, self._next = self._path.exists(), time.monotonic() + _LOOK
        return signal.SIGTERM if self._there else None


def _different(name: str, build: Mapping[str, Any]) -> str:
    own = build_of_results()
    parts = [f"{key} {build[key]} in place of {own[key]}" for key in _BUILD if build[key] != own[key]]
    return f"{name} has {', '.join(parts)}" if parts else ""


def _sees(path: str) -> bool:
    return Path(path).is_file()
