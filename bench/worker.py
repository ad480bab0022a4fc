"""A contestant in a process of its own, pinned from birth, asked over a pipe for one thing at a time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from contestants import CONTESTANTS, OURS, SIMULATE
from step_cases import Problem

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ZEROLOSS_NUM_THREADS")

#: For rivals that allocate by malloc at every step: a heap that keeps its pages saves NumPy up to 1.8 times.
_KEPT_HEAP = {"MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_MMAP_THRESHOLD_": "33554432"}


class ContestantFailedError(Exception):
    """A contestant cannot take part in a case; the message says why."""


class Worker:
    """The parent's end. The child inherits the cores before it loads any library: thread pools count them then."""

    def __init__(self, contestant: str, cores: set[int]) -> None:
        context = multiprocessing.get_context("spawn")
        self._contestant, self._cores = contestant, cores
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, contestant), daemon=True)
        with _only(cores, {} if contestant in {OURS, SIMULATE} else _KEPT_HEAP):
            self._process.start()
        theirs.close()

    def ask(self, question: str, *arguments: Any, timeout: float = 300) -> Any:
        """Return the answer, or raise ContestantFailedError; a worker that takes too long is ended."""
        self._pipe.send((question, arguments))
        if not self._pipe.poll(timeout):
            self.close()
            raise ContestantFailedError(f"{question} took more than {timeout:g} s")
        try:
            fine, answer = self._pipe.recv()
        except EOFError:
            raise ContestantFailedError(f"{question} ended the process") from None
        if not fine:
            raise ContestantFailedError(answer)
        return answer

    def pause(self) -> None:
        """Let the process rest: its threads, which may spin for a while after their work, leave the cores."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._send(signal.SIGCONT)

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process.is_alive()

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.terminate()
        self._process.join()

    def _send(self, number: signal.Signals) -> None:
        if self._process.pid is not None:
            os.kill(self._process.pid, number)


@contextmanager
def _only(cores: set[int], extra: dict[str, str]) -> Iterator[None]:
    before, environment = os.sched_getaffinity(0), dict(os.environ)
    os.sched_setaffinity(0, cores)
    os.environ.update(dict.fromkeys(_THREADS, str(len(cores))) | extra)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        os.environ.clear()
        os.environ.update(environment)


def _serve(pipe: Connection, contestant: str) -> None:
    child = _Child(contestant)
    while True:
        try:
            question, arguments = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answer = True, getattr(child, question)(*arguments)
        except Exception as error:  # whatever stops a rival is the table's "n/a", with its reason
            answer = False, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        pipe.send(answer)


class _Child:
    """What a worker can be asked."""

    def __init__(self, contestant: str) -> None:
        self._contestant = CONTESTANTS[contestant]

    def prepare(self, case: Any) -> None:
        self._problem = Problem(case)
        self._memory_before = _peak_memory()
        self._start = self._contestant(self._problem)

    def answer(self, steps: int) -> tuple[Any, ...]:
        """Return E and W after some steps, in float64."""
        return tuple(np.asarray(array, np.float64) for array in self._start(steps)())

    def start(self) -> tuple[Any, ...]:
        return tuple(np.asarray(array, np.float64) for array in self._problem.arrays[2:])

    def condition(self) -> float | None:
        """Return the condition number of K at the start, of which the predicted gradient's digits depend."""
        record = self._problem.dynamics.start(self._problem.data, self._problem.net).record()
        return None if record is None else record.get("condition")

    def timed(self, steps: int, untimed: int = 0) -> tuple[float, float]:
        """Take some steps; return seconds of processor time (all threads) and of the clock.

        In the `untimed` steps before, threads that slept wake up and spread over the cores.
        """
        if untimed:
            self._start(untimed)()
        run = self._start(steps)
        clock, processor = time.perf_counter(), time.process_time()
        run()
        return time.process_time() - processor, time.perf_counter() - clock

    def peak(self, bits: int, seconds: float) -> float:
        """Return the multiply-add peak of this core in flops per second, at our instruction-set level."""
        from zeroloss._kernels import kernels  # noqa: PLC0415

        measure = kernels.fma_peak32 if bits == 32 else kernels.fma_peak64
        return float(measure(seconds))

    def memory(self) -> tuple[float, float]:
        """Return the peak resident memory in MB, and what of it stood there before the case was prepared."""
        return _peak_memory(), self._memory_before


def _peak_memory() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
