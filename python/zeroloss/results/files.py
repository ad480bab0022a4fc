"""Files that are whole or not there: written beside, flushed with their directory, renamed into place.

A sealed file begins with a line of its name, the version of its format, the length of what follows and the SHA-256 of
all that; what follows are arrays in NumPy's npz format, one of them a JSON text.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from .._reading import is_special

__all__ = [
    "UNFINISHED",
    "DamagedError",
    "NewerFormatError",
    "UnreadableError",
    "encode_checksummed",
    "is_checksummed",
    "read_checksummed",
    "read_npz",
    "reading",
    "remove_unfinished",
    "sync_directory",
    "sync_file",
    "write_atomically",
    "write_checksummed",
]

Arrays = dict[str, NDArray[Any]]

#: The end of the name of a file that is being written.
UNFINISHED = ".zeroloss-new"

VERSION = 1  # of sealed files
_NAME = "zeroloss-sealed"
_ABOUT = "about"
_LONGEST_LINE = 200


class DamagedError(ValueError):
    """A file is not what was written: truncated, changed, or empty."""


class NewerFormatError(ValueError):
    """A file is of a format that came after this version."""


class UnreadableError(OSError):
    """A file cannot be read at the moment: no permission, locked, or a fault of the disk. It may be whole."""


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into an UnreadableError, which says that it is not about the content."""
    if is_special(path):
        line = "cannot be read (it is a pipe, a socket or a device); remove it, or copy a file to its place"
        raise UnreadableError(errno.EINVAL, line, str(path))
    try:
        yield
    except (FileNotFoundError, UnreadableError):
        raise
    except OSError as error:
        if error.errno is None:
            raise
        hint = "check its permissions, and whether another program holds it; its content may be whole"
        raise UnreadableError(error.errno, f"cannot be read ({error.strerror}); {hint}", str(path)) from None


def write_atomically(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Put a file into place in one step: after a failure, the file that was there before is still there.

    Parameters
    ----------
    path : Path
        The file.
    content : bytes, or function of a binary file
        What to write, or a function that writes it.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}{UNFINISHED}")
    try:
        with beside.open("w+b") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    sync_directory(path.parent)


def remove_unfinished(directory: Path, age: float = 0.0) -> None:
    """Remove files that a killed process left half written, if they are at least ``age`` seconds old.

    A directory without a lock needs an age: another process may be writing into it.
    """
    for path in directory.glob(f".*{UNFINISHED}"):
        if path.is_file() and time.time() - path.stat().st_mtime >= age:
            path.unlink(missing_ok=True)


def is_checksummed(path: Path) -> bool:
    """Whether a file begins as a sealed file, or is empty, as a power cut leaves one."""
    with reading(path), path.open("rb") as file:
        start = file.read(len(_NAME) + 1)
    return start in {b"", f"{_NAME} ".encode()}


def sync_directory(directory: Path) -> None:
    """Flush the names in a directory; Windows does so by itself, and cannot open one."""
    if sys.platform != "win32":
        sync_file(directory)


def sync_file(path: Path) -> None:
    """Flush a file."""
    descriptor = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)  # Windows has to write.
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def encode_checksummed(about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the bytes of a sealed file."""
    content = io.BytesIO()
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez(
        content, allow_pickle=False, **{_ABOUT: text, **{f"array_{name}": value for name, value in arrays.items()}}
    )
    body = content.getvalue()
    first = f"{_NAME} {VERSION} {len(body)} "
    return f"{first}{_digest(first, body)}\n".encode() + body


def _digest(first: str, body: bytes) -> str:
    """Return the SHA-256 of what a sealed file holds beside it."""
    found = hashlib.sha256(first.encode())
    found.update(body)
    return found.hexdigest()


def write_checksummed(path: Path, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Put a sealed file into place."""
    write_atomically(path, encode_checksummed(about, arrays))


def read_checksummed(path: Path) -> tuple[dict[str, Any], Arrays]:
    """Return the text and the arrays of a sealed file.

    Raises
    ------
    DamagedError
        Where it is not whole.
    NewerFormatError
        Where a later version wrote it.
    """
    with reading(path), path.open("rb") as file:
        words = file.readline(_LONGEST_LINE).decode("ascii", "replace").split()
        body = file.read()
    if len(words) != 4 or words[0] != _NAME or not (words[1] + words[2]).isdigit():
        raise DamagedError(f"{path.name}: expected a file of zeroloss, got {len(body)} bytes that begin otherwise")
    if len(body) != int(words[2]):
        raise DamagedError(f"{path.name}: expected {words[2]} bytes after the first line, got {len(body)}")
    if _digest(" ".join(words[:3]) + " ", body) != words[3]:
        raise DamagedError(f"{path.name}: its SHA-256 is not that of what was written")
    if int(words[1]) > VERSION:
        raise NewerFormatError(f"{path.name}: expected format {VERSION}, got {words[1]}, which a newer version wrote")
    try:
        arrays = read_npz(body)
        about = json.loads(arrays.pop(_ABOUT).tobytes())
    except Exception as error:  # Zipfile, zlib and json have errors of their own.
        raise DamagedError(f"{path.name}: its content is not that of a file of zeroloss: {error}") from None
    return about, {name.removeprefix("array_"): value for name, value in arrays.items()}


def read_npz(content: bytes) -> Arrays:
    """Return the arrays of an npz file that this package wrote, which is not compressed.

    Raises
    ------
    ValueError, KeyError, zipfile.BadZipFile, EOFError, …
        If it is something else, or expands to more than it holds.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        archive = stored.zip
        if any(entry.file_size > len(content) for entry in archive.infolist()):
            raise ValueError(f"its {len(content)} bytes expand to more than was written")
        return dict(stored)
