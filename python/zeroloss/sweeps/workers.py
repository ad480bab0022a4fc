"""Workers on this machine: processes or threads that run jobs side by side until they are stopped."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from multiprocessing.connection import wait as wait_for_end
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from distributed import Client

    from .cluster import ClusterWorkers

#: Seconds between two checks of the progress of the workers.
_POLL_SECONDS = 0.2


class Job(Protocol):
    """A job: a cell of a sweep or of a study, or a member of an ensemble.

    Processes and clusters pickle the job and its result.
    """

    @property
    def steps(self) -> float:
        """The number of steps of the job; 0 if it is unknown."""

    def carry_out(self, stop_signal: Callable[[], signal.Signals | None], on_steps: Callable[[int], None]) -> Any:
        """Do the work, and return the result.

        Parameters
        ----------
        stop_signal : function
            Returns the signal that stops the job, or None. A job that is stopped returns a partial result.
        on_steps : function
            Called with numbers of steps as they are taken.
        """


class Workers:
    """A pool of workers, with two shared numbers: the signal that stops the jobs, and the number of steps taken.

    Parameters
    ----------
    count : int
        The number of workers.
    processes : bool
        Whether the workers are processes instead of threads.
    """

    def __init__(self, count: int, processes: bool) -> None:
        self._pool: Executor
        self._count, self._processes = count, processes
        if processes:
            context = multiprocessing.get_context("spawn")
            self._signal: Any = context.Value(ctypes.c_int, 0)
            self._steps: Any = context.Value(ctypes.c_longlong, 0)
            self._ends = context.Pipe(duplex=False)  # Workers read the end of the pipe when the writer is closed.
            self._pool = ProcessPoolExecutor(count, context, _start_worker, (self._signal, self._steps, self._ends[0]))
            self._carry_out: Callable[[Job], Any] = _carry_out_in_process
        else:
            self._signal = SimpleNamespace(value=0)
            self._steps = SimpleNamespace(value=0, get_lock=functools.partial(_return_lock, threading.Lock()))
            self._pool = ThreadPoolExecutor(count, thread_name_prefix="zeroloss")
            self._carry_out = _SharedState(self._signal, self._steps).carry_out

    def run_jobs(self, jobs: Sequence[Job], poll: Callable[[int], signal.Signals | None]) -> Iterator[Any]:
        """Run jobs in their order, and yield the result of each one when it ends.

        Parameters
        ----------
        jobs : sequence of Job
            The jobs.
        poll : function
            Called often with the number of steps taken so far. It returns the signal that stops the jobs, or None.
            Running jobs are then stopped, and jobs that have not begun are dropped.

        Yields
        ------
        object
            The result of a job.

        Raises
        ------
        concurrent.futures.BrokenExecutor
            If a process ended unexpectedly.
        Exception
            If a job raises it. The other jobs are stopped.
        """
        waiting = list(reversed(jobs))
        under_way: set[Future[Any]] = set()
        try:
            while under_way or waiting:
                with _block_signals():  # The first tasks start the processes. Only this process handles signals.
                    while waiting and len(under_way) < 2 * self._count:
                        under_way.add(self._pool.submit(self._carry_out, waiting.pop()))
                ended, under_way = wait(under_way, _POLL_SECONDS, FIRST_COMPLETED)
                if (number := poll(self._steps.value)) is not None and not self._signal.value:
                    self._signal.value = int(number)
                    waiting = []
                    under_way = {job for job in under_way if not job.cancel()}
                for job in sorted(ended, key=lambda job: job.exception() is not None):  # Results before an error.
                    yield job.result()
        except BrokenExecutor:
            self._ends[1].close()  # From 3.12 on, the executor waits for processes that got a signal, which they block.
            raise
        finally:
            self._signal.value = self._signal.value or int(signal.SIGTERM)  # Nobody reads further results.
            self._pool.shutdown(wait=not (self._processes and under_way), cancel_futures=True)


def _return_lock(lock: threading.Lock) -> threading.Lock:
    return lock


def on_cluster(
    client: Client, directory: Path, at_most: int | None, allow_different_bits: bool = False
) -> ClusterWorkers:
    """Return the workers of a Dask cluster, which share a directory. Raise ClusterError if they cannot run the jobs."""
    from .cluster import ClusterWorkers  # noqa: PLC0415 — an extra

    workers = ClusterWorkers(client, directory, at_most, allow_different_bits)
    workers.check()
    return workers


@contextlib.contextmanager
def _block_signals() -> Iterator[None]:
    """Block signals in this thread for a while, and for good in processes that start meanwhile. Windows cannot."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _SharedState:
    """The shared numbers of a worker, through which its jobs are stopped and count their steps."""

    def __init__(self, number: Any, steps: Any) -> None:
        self._number, self._steps = number, steps
        self.orphaned = False
        self.busy = threading.Lock()

    def carry_out(self, job: Job) -> Any:
        """Run a job."""
        return job.carry_out(self._stop_signal, self._add_steps)

    def _stop_signal(self) -> signal.Signals | None:
        number = self._number.value
        return signal.Signals(number) if number else signal.SIGTERM if self.orphaned else None

    def _add_steps(self, taken: int) -> None:
        with self._steps.get_lock():
            self._steps.value += taken


#: The state of this process if it is a worker.
_shared: _SharedState | None = None


def _start_worker(number: Any, steps: Any, end: Any) -> None:
    """Make this process a worker. It ends when the process that started it has ended or has closed the pipe."""
    global _shared  # noqa: PLW0603 — the initialiser of an executor can only leave its result in a global
    _shared = _SharedState(number, steps)
    threading.Thread(target=_exit_with_parent, args=(_shared, end), daemon=True).start()


def _carry_out_in_process(job: Job) -> Any:
    assert _shared is not None
    with _shared.busy:
        return _shared.carry_out(job)


def _exit_with_parent(shared: _SharedState, end: Any) -> None:
    """Wait for the end of the parent process or of the pipe, then stop the job with a checkpoint, and exit."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait_for_end([parent.sentinel, end])
    shared.orphaned = True
    with shared.busy:
        time.sleep(_POLL_SECONDS)
    os._exit(1)
