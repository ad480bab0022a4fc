"""Replace a run by another one. At every moment one of the two is complete in the directory.

1. The new run is written into the folder `NEW` of the directory.
2. `NEW` is renamed to `CURRENT`. From then on readers take the run in `CURRENT`.
3. The files of `CURRENT` are linked to their places in the directory.
4. `CURRENT` is renamed to `OLD`, and removed.

If the process is killed in between, `settle` completes or undoes the replacement. All steps happen under the lock.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from .files import UNFINISHED, sync_directory, sync_file

NEW, CURRENT, OLD = ".zeroloss-new", ".zeroloss-current", ".zeroloss-old"

#: The errors of the operating system on a file system that has no hard links.
_NO_LINKS = {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}

Files = Callable[[], Iterable[Path]]


def current(directory: Path) -> Path:
    """Return the folder with the complete run: the directory itself, except while a run is replaced."""
    return directory / CURRENT if (directory / CURRENT).is_dir() else directory


@contextlib.contextmanager
def replacing(directory: Path, files: Files) -> Iterator[Path]:
    """Yield a folder for a new run, which replaces the old one at the end of the context.

    ``files`` returns the files of the run in the directory. Files that the new run does not have are removed. `settle`
    has to be called before.
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
    """Complete a replacement that was interrupted after `NEW` was renamed, and undo one that was interrupted before."""
    for folder in (directory / NEW, directory / OLD):
        if folder.is_dir():
            shutil.rmtree(folder)
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
    """Link a file to a second path, and replace the file there."""
    temporary = target.with_name(f".{target.name}{UNFINISHED}")
    temporary.unlink(missing_ok=True)
    try:
        temporary.hardlink_to(source)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(source, temporary)
        sync_file(temporary)
    temporary.replace(target)
    temporary.unlink(missing_ok=True)  # It still exists if the target was a link to the same file.
