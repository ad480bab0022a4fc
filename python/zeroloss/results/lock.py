"""Locks on files, which only one process holds at a time."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path


class InUseError(ValueError):
    """Another process runs in the directory."""


class NoLocksError(ValueError):
    """The file system has no locks."""


#: The errors of the operating system on a file system that has no locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


#: Attempts to take a lock that another process may hold for a moment.
_TRIES = 10


@contextlib.contextmanager
def file_lock(path: Path, wait: bool = False) -> Iterator[None]:
    """Lock a file for this process.

    The operating system releases the lock when the process ends, also if it is killed. The file is not removed, because
    another process may be about to lock it. Its first byte, which Windows locks, is a space; the number of the process
    that holds the lock follows.

    Parameters
    ----------
    path : Path
        The file, which is created if it is missing.
    wait : bool, default False
        Whether to wait until the lock is free.

    Yields
    ------
    None
        The lock is held within the context.

    Raises
    ------
    InUseError
        If another process holds the lock and ``wait`` is false.
    NoLocksError
        If the file system has no locks.
    """
    from filelock import lock_descriptor  # noqa: PLC0415 — needed only when something is written

    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            free = lock_descriptor(descriptor, blocking=wait)
            for _ in range(0 if free else _TRIES):  # `holder` in another process takes the lock for a moment.
                time.sleep(0.01)
                if free := lock_descriptor(descriptor, blocking=False):
                    break
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise NoLocksError(
                f"{path.parent}: its file system has no locks ({error.strerror}), so two processes could write into "
                "it at the same time; choose a directory on another file system, such as a local disk"
            ) from None
        if not free:
            raise InUseError(f"{path.parent}: in use by process {_read_process(descriptor)}, which runs in it")
        with contextlib.suppress(OSError):  # The number is only for messages.
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f" {os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def holder(path: Path) -> str | None:
    """Return the number of the process that holds a lock, or "unknown"; None if no process does or it is not known."""
    from filelock import lock_descriptor  # noqa: PLC0415

    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # It may be a pipe.
    except OSError:
        return None
    try:
        return None if lock_descriptor(descriptor, blocking=False) else _read_process(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _read_process(descriptor: int) -> str:
    """Return the number in a lock file, or "unknown"."""
    try:
        os.lseek(descriptor, 1, os.SEEK_SET)
        return os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
    except OSError:
        return "unknown"
