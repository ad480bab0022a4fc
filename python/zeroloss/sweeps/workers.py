"""Workers on this machine: processes or threads that carry out jobs side by side, until they are asked to stop."""

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
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from multiprocessing.connection import wait as wait_for_end
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from distributed import Client

    from .cluster import ClusterWorkers

_POLL_SECONDS = 0.2  # seconds between two looks at how far the workers are


class Job(Protocol):
    """A piece of work: a cell of a sweep or of a study, or a member of an ensemble.

    Processes and clusters pickle it, and what it returns.
    """

    @property
    def steps(self) -> float:
        """The number of steps that it takes, as far as that is known."""

    def carry_out(self, stop_signal: Callable[[], signal.Signals | None], on_steps: Callable[[int], None]) -> Any:
        """Do the work, and return the result.

        Parameters
        ----------
        stop_signal : function
            Returns the signal that asks for the end, or None. A job that is asked ends early, with a partial result.
        on_steps : function
            Called with numbers of steps as they are taken.
        """


class Workers:
    """A pool of workers, and two numbers that they share with it: the signal that asks for an end, and steps taken."""

    def __init__(self, count: int, processes: bool) -> None:
        self._pool: Executor
        self._count, self._processes = count, processes
        if processes:
            context = multiprocessing.get_context("spawn")
            self._signal: Any = context.Value(ctypes.c_int, 0)
            self._steps: Any = context.Value(ctypes.c_longlong, 0)
            self._pool = ProcessPoolExecutor(count, context, _start_worker, (self._signal, self._steps))
            self._carry_out: Callable[[Job], Any] = _carry_out_in_process
        else:
            self._signal = SimpleNamespace(value=0)
            self._steps = SimpleNamespace(value=0, get_lock=functools.partial(_return_lock, threading.Lock()))
            self._pool = ThreadPoolExecutor(count, thread_name_prefix="zeroloss")
            self._carry_out = _SharedState(self._signal, self._steps).carry_out

    def run_jobs(self, jobs: Sequence[Job], poll: Callable[[int], signal.Signals | None]) -> Iterator[Any]:
        """Carry out jobs in their order, and yield the result of each as it ends.

        ``poll`` is called with the number of steps taken so far, often, and returns the signal that asks for an end:
        jobs under way are then asked to end, and those not begun yet are dropped.

        Raises
        ------
        concurrent.futures.BrokenExecutor
            If a process ended unexpectedly.
        Exception
            What a job raises. The others are asked to end.
        """
        waiting = list(reversed(jobs))
        under_way: set[Future[Any]] = set()
        try:
            while under_way or waiting:
                with _block_signals():  # for processes that start with the first tasks: signals are for this one
                    while waiting and len(under_way) < 2 * self._count:
                        under_way.add(self._pool.submit(self._carry_out, waiting.pop()))
                ended, under_way = wait(under_way, _POLL_SECONDS, FIRST_COMPLETED)
                if (number := poll(self._steps.value)) is not None and not self._signal.value:
                    self._signal.value = int(number)
                    waiting = []
                    under_way = {job for job in under_way if not job.cancel()}
                for job in sorted(ended, key=lambda job: job.exception() is not None):  # results before an error
                    yield job.result()
        finally:
            self._signal.value = self._signal.value or int(signal.SIGTERM)  # who looks no more wants no more
            self._pool.shutdown(wait=not (self._processes and under_way), cancel_futures=True)


def _return_lock(lock: threading.Lock) -> threading.Lock:
    return lock


def on_cluster(
    client: Client, directory: Path, at_most: int | None, allow_different_bits: bool = False
) -> ClusterWorkers:
    """Return the workers of a Dask cluster that see a directory; ClusterError if they cannot do the work."""
    from .cluster import ClusterWorkers  # noqa: PLC0415 — an extra

    workers = ClusterWorkers(client, directory, at_most, allow_different_bits)
    workers.check()
    return workers


@contextlib.contextmanager
def _block_signals() -> Iterator[None]:
    """Let signals wait, here and for good in processes that start meanwhile; Windows cannot."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _SharedState:
    """The shared numbers, as a job sees them."""

    def __init__(self, number: Any, steps: Any) -> None:
        self._number, self._steps = number, steps
        self.orphaned = False
        self.busy = threading.Lock()

    def carry_out(self, job: Job) -> Any:
        """Carry out a job."""
        return job.carry_out(self._stop_signal, self._add_steps)

    def _stop_signal(self) -> signal.Signals | None:
        number = self._number.value
        return signal.Signals(number) if number else signal.SIGTERM if self.orphaned else None

    def _add_steps(self, taken: int) -> None:
        with self._steps.get_lock():
            self._steps.value += taken


_shared: _SharedState | None = None  # of this process, where it is a worker


def _start_worker(number: Any, steps: Any) -> None:
    """Make a process a worker, which does not outlive the one that started it."""
    global _shared  # noqa: PLW0603 — what an executor's initialiser leaves has no other place
    _shared = _SharedState(number, steps)
    threading.Thread(target=_exit_with_parent, args=(_shared,), daemon=True).start()


def _carry_out_in_process(job: Job) -> Any:
    assert _shared is not None
    with _shared.busy:
        return _shared.carry_out(job)


def _exit_with_parent(shared: _SharedState) -> None:
    """Wait for the end of the parent process, and end this one, with a checkpoint of what is under way."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait_for_end([parent.sentinel])
    shared.orphaned = True
    with shared.busy:
        time.sleep(_POLL_SECONDS)
    os._exit(1)
