"""Workers of a Dask cluster, which write into the store as those of this machine do: a directory that all of them see.

Imported on use: Dask is an extra.
"""

from __future__ import annotations

import contextlib
import re
import signal
import time
import uuid
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from distributed import Client, Future, get_worker, wait
from distributed import TimeoutError as NotInTime
from distributed.client import FutureCancelledError
from distributed.protocol import pickle
from distributed.scheduler import KilledWorker

from .._checks import ZerolossWarning
from ..build import BITS_IN_PYTHON, build_of_results
from .cell import ClusterError, Report, Task, carry_out

_REACHED = 7.0  # seconds in which a scheduler has to answer
_LOOK = 0.5  # seconds between two looks at what has ended, and of a worker at whether it is to stop
_MOST = 1000  # cells that are submitted at a time
_LOST = 60.0  # seconds in which a cell's lock has to be free after its worker was lost


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
    """The workers of a cluster, as `zeroloss.sweeps.workers.Workers` are those of this machine.

    ``at_most`` cells are carried out at a time, or as many as the cluster takes.
    """

    def __init__(self, client: Client, store: Path, at_most: int | None, allow_different_bits: bool) -> None:
        self._client, self._allowed = client, allow_different_bits
        self._at_most = at_most or _MOST
        self._wanted = (store / f"wanted-{uuid.uuid4().hex}").resolve()  # while this sweep is
        self._refused: set[str] = set()

    def check(self) -> None:
        """Raise ClusterError unless the workers are of this version and instruction-set level, and see the store.

        There may be none yet, as an adaptive cluster starts them with the work; those that come later are checked by
        their first cell.
        """
        builds = {} if self._allowed else self._client.run(build_of_results)
        if told := [line for name, build in builds.items() if (line := _different(name, build, build_of_results()))]:
            raise ClusterError(f"{'; '.join(told)}, so its bits may differ; --allow-different-bits allows that")
        seen = self._client.run(_sees, str(self._wanted.parent / "sweep.toml"))
        if blind := [name for name, sees in seen.items() if not sees]:
            raise ClusterError(f"out: expected a directory that all workers see, {blind[0]} does not")

    def reports(self, tasks: Sequence[Task], look: Callable[[int], signal.Signals | None]) -> Iterator[Report]:
        """Carry out tasks, and yield what became of each as it ends; as `zeroloss.sweeps.workers.Workers.reports`.

        A worker that is lost leaves its cells to others, which go on from the last checkpoint. One of another build,
        unless that is allowed, is told and gets no more cells.

        Raises
        ------
        ClusterError
            Where a cell took several workers with it, or the scheduler went away.
        """
        waiting = list(reversed(tasks))
        under_way: dict[Future, Task] = {}
        taken, stopping = 0, False
        self._wanted.touch()
        try:
            while under_way or (waiting and not stopping):
                others = self._others()
                while waiting and not stopping and len(under_way) < self._at_most and others != []:
                    under_way |= self._submitted(waiting.pop(), others)
                self._wait(under_way)
                if not stopping and look(taken) is not None:
                    stopping = True
                    self._wanted.unlink()
                for future in [future for future in under_way if future.done()]:
                    task = under_way.pop(future)
                    report = self._result(future)
                    if isinstance(report, _Refusal):
                        self._refuse(report)
                        waiting.append(task)
                    else:
                        taken += task.settings["run"]["steps"] or 0
                        look(taken)
                        yield report
        finally:
            self._wanted.unlink(missing_ok=True)  # who looks no more wants no more
            with contextlib.suppress(Exception):  # of a scheduler that has gone
                self._client.cancel(list(under_way))

    def _others(self) -> list[str] | None:
        """Return the workers that are not refused, once one is; None for all. There may be none for the time being."""
        if not self._refused:
            return None
        return [name for name in self._client.scheduler_info(n_workers=-1)["workers"] if name not in self._refused]

    def _submitted(self, task: Task, workers: list[str] | None) -> dict[Future, Task]:
        build = None if self._allowed else {name: build_of_results()[name] for name in BITS_IN_PYTHON}
        users = pickle.dumps(task.users_dynamics)  # the scheduler reads the task, and may not know their modules
        plain = replace(task, users_dynamics={})
        future = self._client.submit(_carry_out, plain, users, str(self._wanted), build, pure=False, workers=workers)
        return {future: task}

    def _wait(self, futures: Collection[Future]) -> None:
        """Wait for one of the futures, or a little while."""
        if not futures:
            time.sleep(_LOOK)
            return
        with contextlib.suppress(NotInTime), self._client.as_current():
            wait(futures, timeout=_LOOK, return_when="FIRST_COMPLETED")

    def _refuse(self, refusal: _Refusal) -> None:
        if refusal.worker not in self._refused:
            self._refused.add(refusal.worker)
            warnings.warn(
                f"{refusal.difference}, so its bits may differ: it gets no cells", ZerolossWarning, stacklevel=2
            )

    @staticmethod
    def _result(future: Future) -> Report | _Refusal:
        try:
            found: Report | _Refusal = future.result()
        except (KilledWorker, FutureCancelledError) as error:
            raise ClusterError(f"the cluster gave a cell up: {str(error).splitlines()[0]}") from error
        return found


@dataclass(frozen=True)
class _Refusal:
    """A worker of another build."""

    worker: str
    difference: str


def _carry_out(task: Task, users: bytes, wanted: str, build: Mapping[str, Any] | None) -> Report | _Refusal:
    """Carry out a cell on a worker; where a lost worker may still hold it, wait for that to end."""
    here = {name: build_of_results()[name] for name in BITS_IN_PYTHON}
    if build is not None and here != build:
        name = get_worker().address
        return _Refusal(name, _different(name, here, build))
    try:
        task = replace(task, users_dynamics=pickle.loads(users))
    except ImportError as error:
        raise ClusterError(f"dynamics: expected a module that every worker can import, got: {error}") from None
    asked = _Stop(Path(wanted))
    deadline = time.monotonic() + _LOST
    while True:
        report = carry_out(task, asked, lambda taken: None)
        if report.outcome is not None or asked() or time.monotonic() > deadline:
            return report
        time.sleep(_LOOK)


class _Stop:
    """Asks for an end once a file is gone, looked for now and then."""

    def __init__(self, path: Path) -> None:
        self._path, self._next, self._gone = path, 0.0, False

    def __call__(self) -> signal.Signals | None:
        if not self._gone and time.monotonic() >= self._next:
            self._gone, self._next = not self._path.exists(), time.monotonic() + _LOOK
        return signal.SIGTERM if self._gone else None


def _different(name: str, build: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    parts = [f"{key} {build[key]} in place of {expected[key]}" for key in BITS_IN_PYTHON if build[key] != expected[key]]
    return f"{name} has {', '.join(parts)}" if parts else ""


def _sees(path: str) -> bool:
    return Path(path).is_file()
