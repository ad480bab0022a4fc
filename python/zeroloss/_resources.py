"""What this process may use of the machine: processors and memory, within affinity and control-group limits."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

from . import _checks
from ._checks import ArgumentValueError

_MOST_THREADS = 1024
_CGROUP = Path("/sys/fs/cgroup")


def available_processors() -> int:
    """Return the processors this process may run on; ``ZEROLOSS_NUM_THREADS`` bounds them."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _words(_CGROUP / "cpu.max")
    if len(quota) == 2 and quota[0] != "max":
        count = min(count, math.ceil(int(quota[0]) / int(quota[1])))
    bound = os.environ.get("ZEROLOSS_NUM_THREADS")
    if bound:
        if not (bound.isascii() and bound.isdigit()) or int(bound) < 1:
            raise ValueError(f"ZEROLOSS_NUM_THREADS: expected an integer of at least 1, got {bound!r}")
        count = min(count, int(bound))
    return max(count, 1)


def available_memory() -> int:
    """Return the bytes that can still be allocated without swapping."""
    import psutil  # noqa: PLC0415 — needed only with the first step

    free = [psutil.virtual_memory().available]
    limit, used = _words(_CGROUP / "memory.max"), _words(_CGROUP / "memory.current")
    if limit and used and limit[0] != "max":
        free.append(max(int(limit[0]) - int(used[0]), 0))
    return min(free)


def check_memory(what: str, needed: int) -> None:
    """Raise ValueError where ``needed`` bytes cannot fit."""
    available = available_memory()
    if needed > available:
        gib = 2**30
        least = "" if needed < 2**80 else "more than "  # a number beyond the floats cannot be divided
        raise ValueError(
            f"{what}: expected to fit in {available / gib:.1f} GiB of free memory, "
            f"needs {least}{min(needed, 2**80) / gib:.1f} GiB"
        )


def check_disk(what: str, directory: Path, needed: int) -> None:
    """Raise ValueError if ``needed`` bytes cannot fit on the disk of a directory, which may not exist yet."""
    place = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise ValueError(
            f"{what}: expected to fit in {free / 2**30:.1f} GiB of free space on the disk of {directory}, "
            f"needs {needed / 2**30:.1f} GiB"
        )


def checked_threads(threads: object, work: float, worthwhile: float) -> int:
    """Return a number of threads: as asked for, within what is available, or by the flops of a step.

    By default it is 1 for a step of less than ``worthwhile`` flops, and every available processor above.
    """
    available = available_processors()
    if threads is None:
        return available if work >= worthwhile else 1
    wanted = _checks.integer("threads", threads, 1)
    if wanted > _MOST_THREADS:
        raise ArgumentValueError("threads", f"expected at most {_MOST_THREADS}, got {wanted}")
    return min(wanted, available) if os.environ.get("ZEROLOSS_NUM_THREADS") else wanted


def checked_workers(name: str, workers: object) -> int:
    """Return how many things to do at a time: as asked for, within ``ZEROLOSS_NUM_THREADS``."""
    wanted = _checks.integer(name, workers, 1)
    return min(wanted, available_processors()) if os.environ.get("ZEROLOSS_NUM_THREADS") else wanted


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except OSError:
        return []
