"""The processors, the memory and the disk space that this process may use.

The affinity of the process, its limits (``ulimit -v``) and the limits of its control group are respected.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import sys
from pathlib import Path

from . import _checks
from ._checks import ArgumentValueError

_MOST_THREADS = 1024
_CGROUP = Path("/sys/fs/cgroup")


def available_processors() -> int:
    """Return the number of processors for this process, at most ``ZEROLOSS_NUM_THREADS`` if that is set."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _read_words(_CGROUP / "cpu.max")
    if len(quota) == 2 and quota[0] != "max":
        count = min(count, math.ceil(int(quota[0]) / int(quota[1])))
    bound = os.environ.get("ZEROLOSS_NUM_THREADS")
    if bound:
        if not (bound.isascii() and bound.isdigit()) or int(bound) < 1:
            raise ValueError(f"ZEROLOSS_NUM_THREADS: expected an integer of at least 1, got {bound!r}")
        count = min(count, int(bound))
    return max(count, 1)


def available_memory() -> int:
    """Return the number of bytes that can be allocated without swapping."""
    import psutil  # noqa: PLC0415 — needed only for the first step

    free = [psutil.virtual_memory().available]
    limit, used = _read_words(_CGROUP / "memory.max"), _read_words(_CGROUP / "memory.current")
    if limit and used and limit[0] != "max":
        free.append(max(int(limit[0]) - int(used[0]), 0))
    if sys.platform != "win32":
        with contextlib.suppress(ImportError):
            import resource  # noqa: PLC0415 — not every platform has it

            most, _ = resource.getrlimit(resource.RLIMIT_AS)
            if most != resource.RLIM_INFINITY:
                free.append(max(most - psutil.Process().memory_info().vms, 0))
    return min(free)


def check_memory(what: str, needed: int) -> None:
    """Raise ValueError if ``needed`` bytes do not fit in the free memory. ``what`` is the start of the message."""
    available = available_memory()
    if needed > available:
        gib = 2**30
        least = "" if needed < 2**80 else "more than "  # An integer above the range of floats cannot be divided.
        raise ValueError(
            f"{what}: expected to fit in {available / gib:.1f} GiB of free memory, "
            f"needs {least}{min(needed, 2**80) / gib:.1f} GiB"
        )


def check_disk(what: str, directory: Path, needed: int) -> None:
    """Raise ValueError if ``needed`` bytes do not fit on the disk of a directory, which may not exist yet."""
    place = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise ValueError(
            f"{what}: expected to fit in {free / 2**30:.1f} GiB of free space on the disk of {directory}, "
            f"needs {needed / 2**30:.1f} GiB"
        )


def checked_threads(threads: object, work: float, worthwhile: float) -> int:
    """Return the number of threads for a step.

    Parameters
    ----------
    threads : int or None
        The requested number. ``ZEROLOSS_NUM_THREADS`` limits it. None stands for 1 if ``work`` is below ``worthwhile``,
        and otherwise for all available processors.
    work : float
        Floating-point operations of a step.
    worthwhile : float
        Operations from which on several threads are faster than one.
    """
    available = available_processors()
    if threads is None:
        return available if work >= worthwhile else 1
    count = _checks.integer("threads", threads, 1)
    if count > _MOST_THREADS:
        raise ArgumentValueError("threads", f"expected at most {_MOST_THREADS}, got {count}")
    return min(count, available) if os.environ.get("ZEROLOSS_NUM_THREADS") else count


def checked_workers(name: str, workers: object) -> int:
    """Return the number of workers. ``ZEROLOSS_NUM_THREADS`` limits it."""
    count = _checks.integer(name, workers, 1)
    return min(count, available_processors()) if os.environ.get("ZEROLOSS_NUM_THREADS") else count


def _read_words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except OSError:
        return []
