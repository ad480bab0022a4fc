"""Run an implementation in its own process, pinned from the start, which answers questions over a pipe."""

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

from implementations import IMPLEMENTATIONS, OURS, SIMULATE
from step_cases import Problem

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ZEROLOSS_NUM_THREADS")

#: Baselines allocate memory at every step. With these settings of malloc the heap keeps its pages, which makes NumPy up
#: to 1.8 times faster.
_HEAP_SETTINGS = {"MALLOC_TRIM_THRESHOLD_": "1000000000", "MALLOC_MMAP_THRESHOLD_": "33554432"}


class ImplementationFailedError(Exception):
    """An implementation cannot run a case. The message says why."""


class Worker:
    """The parent's side. The child inherits the cores before it loads libraries, whose thread pools count them."""

    def __init__(self, implementation: str, cores: set[int]) -> None:
        context = multiprocessing.get_context("spawn")
        self._implementation, self._cores = implementation, cores
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, implementation), daemon=True)
        with _only(cores, {} if implementation in {OURS, SIMULATE} else _HEAP_SETTINGS):
            self._process.start()
        theirs.close()

    def ask(self, question: str, *arguments: Any, timeout: float = 300) -> Any:
        """Return the answer. End the process and raise ImplementationFailedError if it takes too long."""
        self._pipe.send((question, arguments))
        if not self._pipe.poll(timeout):
            self.close()
            raise ImplementationFailedError(f"{question} took more than {timeout:g} s")
        try:
            succeeded, answer = self._pipe.recv()
        except EOFError:
            raise ImplementationFailedError(f"{question} ended the process") from None
        if not succeeded:
            raise ImplementationFailedError(answer)
        return answer

    def pause(self) -> None:
        """Pause the process. Otherwise its threads may spin on the cores for a while after their work."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the process continue."""
        self._send(signal.SIGCONT)

    @property
    def alive(self) -> bool:
        """Whether the process is running."""
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


def _serve(pipe: Connection, implementation: str) -> None:
    child = _Child(implementation)
    while True:
        try:
            question, arguments = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            answer = True, getattr(child, question)(*arguments)
        except Exception as error:  # the table has "n/a" with this reason
            answer = False, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        pipe.send(answer)


class _Child:
    """The child's side: one method for each question."""

    def __init__(self, implementation: str) -> None:
        self._implementation = IMPLEMENTATIONS[implementation]

    def prepare(self, case: Any) -> None:
        self._problem = Problem(case)
        self._memory_before = _peak_memory()
        self._start = self._implementation(self._problem)

    def answer(self, steps: int) -> tuple[Any, ...]:
        """Return E and W after some steps, in float64."""
        return tuple(np.asarray(array, np.float64) for array in self._start(steps)())

    def start(self) -> tuple[Any, ...]:
        return tuple(np.asarray(array, np.float64) for array in self._problem.arrays[2:])

    def condition(self) -> float | None:
        """Return the condition number of K at the start, on which the accuracy of the predicted gradient depends."""
        record = self._problem.dynamics.start(self._problem.data, self._problem.net).record()
        return None if record is None else record.get("condition")

    def time_steps(self, steps: int, warm_up_steps: int = 0) -> tuple[float, float]:
        """Take steps and return their processor time (of all threads) and their elapsed time, in seconds.

        During the warm-up steps, sleeping threads wake up and spread over the cores.
        """
        if warm_up_steps:
            self._start(warm_up_steps)()
        run = self._start(steps)
        clock, processor = time.perf_counter(), time.process_time()
        run()
        return time.process_time() - processor, time.perf_counter() - clock

    def peak(self, bits: int, seconds: float) -> float:
        """Return the multiply-add peak of this core in flops per second, at our instruction-set level."""
        from zeroloss._kernels import kernels  # noqa: PLC0415

        measure = kernels.fma_peak32 if bits == 32 else kernels.fma_peak64
        return float(measure(seconds))

    def operation_costs(self, bits: int, seconds: float) -> dict[str, float]:
        """Return the costs of operations on registers of this core, in seconds, at our instruction-set level."""
        from zeroloss._kernels import kernels  # noqa: PLC0415

        measure = kernels.operation_costs32 if bits == 32 else kernels.operation_costs64
        return dict(measure(seconds))

    def registers(self) -> tuple[int, int]:
        """Return the bytes in a register and the number of registers, at our instruction-set level."""
        from zeroloss._kernels import kernels  # noqa: PLC0415

        return kernels.register_bytes, kernels.register_count

    def memory(self) -> tuple[float, float]:
        """Return the peak resident memory in MB, now and before the case was prepared."""
        return _peak_memory(), self._memory_before


def _peak_memory() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
