"""Workers on this machine: processes or threads that carry out cells side by side, until they are asked to stop."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from multiprocessing.connection import wait as wait_for_end
from typing import Any

from .cell import Report, Task, carry_out

_LOOK = 0.2  # seconds between two looks at how far the workers are


class Workers:
    """A pool of workers, and two numbers that they share with it: the signal that asks for an end, and steps taken."""

    def __init__(self, count: int, processes: bool) -> None:
        self._pool: Executor
        self._count = count
        if processes:
            context = multiprocessing.get_context("spawn")
            self._signal: Any = context.Value(ctypes.c_int, 0)
            self._steps: Any = context.Value(ctypes.c_longlong, 0)
            self._pool = ProcessPoolExecutor(count, context, _begin, (self._signal, self._steps))
            self._carry_out: Callable[[Task], Report] = _in_process
        else:
            self._signal, self._steps = multiprocessing.Value(ctypes.c_int, 0), multiprocessing.Value(ctypes.c_longlong)
            self._pool = ThreadPoolExecutor(count, thread_name_prefix="zeroloss")
            self._carry_out = _Shared(self._signal, self._steps).carry_out

    def reports(self, tasks: Sequence[Task], look: Callable[[int], signal.Signals | None]) -> Iterator[Report]:
        """Carry out tasks, and yield what became of each as it ends.

        ``look`` is called with the number of steps taken so far, often, and returns the signal that asks for an end:
        tasks under way then stop with a checkpoint, and those not begun yet are dropped.

        Raises
        ------
        concurrent.futures.BrokenExecutor
            Where a process ended unexpectedly.
        """
        waiting = list(reversed(tasks))
        under_way: set[Future[Report]] = set()
        try:
            while under_way or waiting:
                with _blocked():  # for processes that start with the first tasks: signals are for this one
                    while waiting and len(under_way) < 2 * self._count:
                        under_way.add(self._pool.submit(self._carry_out, waiting.pop()))
                ended, under_way = wait(under_way, _LOOK, FIRST_COMPLETED)
                if (number := look(self._steps.value)) is not None and not self._signal.value:
                    self._signal.value = int(number)
                    waiting = []
                    under_way = {task for task in under_way if not task.cancel()}
                for task in ended:
                    yield task.result()
        finally:
            self._signal.value = self._signal.value or int(signal.SIGTERM)  # who looks no more wants no more
            self._pool.shutdown(wait=not under_way, cancel_futures=True)


@contextlib.contextmanager
def _blocked() -> Iterator[None]:
    """Let signals wait, here and for good in processes that start meanwhile; Windows cannot."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Shared:
    """What a worker asks and tells."""

    def __init__(self, number: Any, steps: Any) -> None:
        self._number, self._steps = number, steps
        self.orphaned = False
        self.busy = threading.Lock()

    def carry_out(self, task: Task) -> Report:
        """Carry out a cell."""
        return carry_out(task, self._asked, self._tell)

    def _asked(self) -> signal.Signals | None:
        number = self._number.value
        return signal.Signals(number) if number else signal.SIGTERM if self.orphaned else None

    def _tell(self, taken: int) -> None:
        with self._steps.get_lock():
            self._steps.value += taken


_shared: _Shared | None = None  # of this process, where it is a worker


def _begin(number: Any, steps: Any) -> None:
    """Make a process a worker, which does not outlive the one that started it."""
    global _shared  # noqa: PLW0603 — what an executor's initialiser leaves has no other place
    _shared = _Shared(number, steps)
    threading.Thread(target=_follow_parent, args=(_shared,), daemon=True).start()


def _in_process(task: Task) -> Report:
    assert _shared is not None
    with _shared.busy:
        return _shared.carry_out(task)


def _follow_parent(shared: _Shared) -> None:
    """Wait for the end of the parent process, and end this one, with a checkpoint of what is under way."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait_for_end([parent.sentinel])
    shared.orphaned = True
    with shared.busy:
        time.sleep(_LOOK)
    os._exit(1)
