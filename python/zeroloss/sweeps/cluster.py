"""Workers of a Dask cluster.

All workers share a directory. A file in it exists as long as the sweep runs; when it disappears, the workers stop.

This module is imported on use, because Dask is an extra.
"""

from __future__ import annotations

import contextlib
import re
import signal
import time
import uuid
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client, Future, get_worker, wait
from distributed import TimeoutError as NotInTime
from distributed.client import FutureCancelledError
from distributed.protocol import pickle
from distributed.scheduler import KilledWorker

from .._checks import ZerolossWarning
from ..provenance import BIT_KEYS_IN_PYTHON, describe_build
from .cell import ClusterError
from .workers import Job

#: Seconds to wait for the answer of a scheduler.
_CONNECT_SECONDS = 7.0
#: Seconds between two checks for ended jobs, and between two checks of a worker for the file.
_POLL_SECONDS = 0.5
#: The greatest number of jobs that are submitted at a time.
_MAX_SUBMITTED = 1000


def connect(address: str) -> Client:
    """Return a client of the scheduler at an address.

    Raises
    ------
    ClusterError
        If it does not answer within ten seconds.
    """
    if not re.fullmatch(r"(\w+://)?[^\s/]+:\d+", address):
        raise ClusterError(f"scheduler: expected an address such as tcp://HOST:8786, got {address!r}")
    try:
        return Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
    except (OSError, NotInTime, ValueError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ClusterError(f"scheduler: no answer from {address}: {line}") from None


class ClusterWorkers:
    """The workers of a cluster, with the interface of `zeroloss.sweeps.workers.Workers`.

    Parameters
    ----------
    client : distributed.Client
        The client of the cluster.
    directory : Path
        A directory that all workers see.
    at_most : int or None
        The number of jobs at a time; None for as many as the cluster accepts.
    allow_different_bits : bool
        Whether workers may have another version or instruction-set level.
    """

    def __init__(self, client: Client, directory: Path, at_most: int | None, allow_different_bits: bool) -> None:
        self._client, self._allowed = client, allow_different_bits
        self._at_most = at_most or _MAX_SUBMITTED
        self._continue_file = (directory / f"wanted-{uuid.uuid4().hex}").resolve()
        self._refused: set[str] = set()

    def check(self) -> None:
        """Raise ClusterError unless the workers have this version and instruction-set level, and see the directory.

        An adaptive cluster may have no workers yet. Workers that join later are checked by their first job.
        """
        builds = {} if self._allowed else self._client.run(describe_build)
        if differences := [
            line for name, build in builds.items() if (line := _describe_difference(name, build, describe_build()))
        ]:
            raise ClusterError(f"{'; '.join(differences)}, so its bits may differ; --allow-different-bits accepts that")
        self._continue_file.touch()
        try:
            seen = self._client.run(_can_see, str(self._continue_file))
        finally:
            self._continue_file.unlink()
        if blind := [name for name, sees in seen.items() if not sees]:
            raise ClusterError(f"out: must be a directory that all workers see; {blind[0]} does not see it")

    def run_jobs(self, jobs: Sequence[Job], poll: Callable[[int], signal.Signals | None]) -> Iterator[Any]:
        """Run jobs, and yield the result of each one when it ends; see `zeroloss.sweeps.workers.Workers.run_jobs`.

        If a worker is lost, other workers take its jobs; runs in directories continue from the last checkpoint. A
        worker of another build gets no more jobs unless that is allowed, and a warning is printed.

        Raises
        ------
        ClusterError
            If several workers were lost with the same job, or if the scheduler was lost.
        """
        waiting = list(reversed(jobs))
        under_way: dict[Future, Job] = {}
        taken, stopping = 0.0, False
        self._continue_file.touch()
        try:
            while under_way or (waiting and not stopping):
                others = self._accepted_workers()
                while waiting and not stopping and len(under_way) < self._at_most and others != []:
                    under_way |= self._submit(waiting.pop(), others)
                self._wait(under_way)
                if not stopping and poll(int(taken)) is not None:
                    stopping = True
                    self._continue_file.unlink()
                for future in [future for future in under_way if future.done()]:
                    job = under_way.pop(future)
                    result = self._result(future)
                    if isinstance(result, _Refusal):
                        self._refuse(result)
                        waiting.append(job)
                    else:
                        taken += job.steps
                        poll(int(taken))
                        yield result
        finally:
            self._continue_file.unlink(missing_ok=True)  # Nobody reads further results.
            with contextlib.suppress(Exception):  # The scheduler may be lost.
                self._client.cancel(list(under_way))

    def _accepted_workers(self) -> list[str] | None:
        """Return the workers that are not refused, of which there may be none; None if no worker is refused."""
        if not self._refused:
            return None
        return [name for name in self._client.scheduler_info(n_workers=-1)["workers"] if name not in self._refused]

    def _submit(self, job: Job, workers: list[str] | None) -> dict[Future, Job]:
        build = None if self._allowed else {name: describe_build()[name] for name in BIT_KEYS_IN_PYTHON}
        content = pickle.dumps(job)  # The scheduler may not have the job's modules.
        future = self._client.submit(_carry_out, content, str(self._continue_file), build, pure=False, workers=workers)
        return {future: job}

    def _wait(self, futures: Collection[Future]) -> None:
        """Wait for one of the futures, for at most `_POLL_SECONDS`."""
        if not futures:
            time.sleep(_POLL_SECONDS)
            return
        with contextlib.suppress(NotInTime), self._client.as_current():
            wait(list(futures), timeout=_POLL_SECONDS, return_when="FIRST_COMPLETED")  # Dask ignores keys of a dict.

    def _refuse(self, refusal: _Refusal) -> None:
        if refusal.worker not in self._refused:
            self._refused.add(refusal.worker)
            warnings.warn(
                f"{refusal.difference}, so its bits may differ; it gets no cells", ZerolossWarning, stacklevel=2
            )

    @staticmethod
    def _result(future: Future) -> Any:
        try:
            return future.result()
        except (KilledWorker, FutureCancelledError) as error:
            raise ClusterError(f"the cluster lost a cell: {str(error).splitlines()[0]}") from error


@dataclass(frozen=True)
class _Refusal:
    """The answer of a worker whose build differs, instead of a result."""

    worker: str
    difference: str


def _carry_out(content: bytes, continue_file: str, build: Mapping[str, Any] | None) -> Any:
    """Run a job on a worker."""
    here = {name: describe_build()[name] for name in BIT_KEYS_IN_PYTHON}
    if build is not None and here != build:
        name = get_worker().address
        return _Refusal(name, _describe_difference(name, here, build))
    try:
        job: Job = pickle.loads(content)
    except ImportError as error:
        raise ClusterError(f"dynamics: its module must be importable on every worker: {error}") from None
    return job.carry_out(_FileWatch(Path(continue_file)), lambda taken: None)


class _FileWatch:
    """A function that returns SIGTERM after a file has disappeared. It checks at most every `_POLL_SECONDS`."""

    def __init__(self, path: Path) -> None:
        self._path, self._next, self._gone = path, 0.0, False

    def __call__(self) -> signal.Signals | None:
        if not self._gone and time.monotonic() >= self._next:
            self._gone, self._next = not self._path.exists(), time.monotonic() + _POLL_SECONDS
        return signal.SIGTERM if self._gone else None


def _describe_difference(name: str, build: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    parts = [
        f"{key} {build[key]} instead of {expected[key]}" for key in BIT_KEYS_IN_PYTHON if build[key] != expected[key]
    ]
    return f"{name} has {', '.join(parts)}" if parts else ""


def _can_see(path: str) -> bool:
    return Path(path).is_file()
