"""Put a complete run in place of another one, so that at every moment one of them is complete under the name.

The new run is written into the folder ``NEW`` of the directory, which is then renamed to ``CURRENT``: from that moment
on it is the run that readers take. Then its files are linked to their places, and ``CURRENT`` is renamed to ``OLD`` and
removed. Whatever a killed process left of this, `settle` completes or removes. All of it happens under the lock.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from .files import UNFINISHED, sync_directory, sync_file

NEW, CURRENT, OLD = ".zeroloss-new", ".zeroloss-current", ".zeroloss-old"

#: What the operating system answers if a file system has no hard links.
_NO_LINKS = {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}

Files = Callable[[], Iterable[Path]]


def current(directory: Path) -> Path:
    """Return the folder that holds the complete run: the directory itself, except while a run is replaced."""
    return directory / CURRENT if (directory / CURRENT).is_dir() else directory


@contextlib.contextmanager
def replacing(directory: Path, files: Files) -> Iterator[Path]:
    """Return a folder for a new run, which takes the place of the old one at the end of the context.

    ``files`` returns the files of the run in the directory. Those that the new run does not have are removed. The
    directory has to be settled.
    """
    new = directory / NEW
    try:
        new.mkdir()
        yield new
        for folder in (new, *(path for path in new.rglob("*") if path.is_dir())):
            sync_directory(folder)
        new.rename(directory / CURRENT)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    sync_directory(directory)
    settle(directory, files)


def settle(directory: Path, files: Files) -> None:
    """Complete a replacement that was interrupted after its decisive step, and remove what is left of others."""
    for left in (directory / NEW, directory / OLD):
        if left.is_dir():
            shutil.rmtree(left)
    source = directory / CURRENT
    if not source.is_dir():
        return
    new = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
    for path in files():
        if path.relative_to(directory) not in new:
            path.unlink()
    folders = {(directory / name).parent for name in new}
    for folder in sorted(folders):
        folder.mkdir(exist_ok=True)
    for name in sorted(new):
        _link(source / name, directory / name)
    for folder in folders:
        sync_directory(folder)
    source.rename(directory / OLD)
    sync_directory(directory)
    shutil.rmtree(directory / OLD)


def _link(source: Path, target: Path) -> None:
    """Put a file into another place, too, in place of what is there."""
    beside = target.with_name(f".{target.name}{UNFINISHED}")
    beside.unlink(missing_ok=True)
    try:
        beside.hardlink_to(source)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, beside)
        sync_file(beside)
    beside.replace(target)
    beside.unlink(missing_ok=True)  # It is still there if the target was this file already.
