"""Atomic writes, and files with a checksum.

`write_atomically` writes a temporary file in the same directory, flushes it and renames it. A file with a checksum has
a first line with a name, the version of the format, the number of bytes after that line, and the SHA-256 of the rest of
the line and of these bytes. The bytes are arrays in NumPy's npz format, one of which is a JSON text.
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

Arrays = dict[str, NDArray[Any]]

#: The end of the name of a temporary file.
UNFINISHED = ".zeroloss-new"

#: The version of the format of files with a checksum.
VERSION = 1
_NAME = "zeroloss-sealed"
_ABOUT = "about"
_LONGEST_LINE = 200


class DamagedError(ValueError):
    """A file is damaged: truncated, changed, or empty."""


class NewerFormatError(ValueError):
    """A file has the format of a newer version of the package."""


class UnreadableError(OSError):
    """A file cannot be read at the moment: no permission, a lock, or a fault of the disk. It may be valid."""


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into an `UnreadableError`, because it says nothing about the content."""
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
        hint = "check its permissions, and whether another program has locked it; its content may be valid"
        raise UnreadableError(error.errno, f"cannot be read ({error.strerror}); {hint}", str(path)) from None


def write_atomically(path: Path, content: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file in one step. After a failure the earlier file is unchanged.

    Parameters
    ----------
    path : Path
        The file.
    content : bytes, or function of a binary file
        The content, or a function that writes it into the file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}{UNFINISHED}")
    try:
        with temporary.open("w+b") as file:
            if isinstance(content, bytes):
                file.write(content)
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def remove_unfinished(directory: Path, age: float = 0.0) -> None:
    """Remove temporary files of killed processes that are at least ``age`` seconds old.

    In a directory without a lock ``age`` has to be above 0, because another process may be writing into it.
    """
    for path in directory.glob(f".*{UNFINISHED}"):
        if path.is_file() and time.time() - path.stat().st_mtime >= age:
            path.unlink(missing_ok=True)


def is_checksummed(path: Path) -> bool:
    """Return whether a file has a checksum, judged by its first bytes, or is empty, as after a power cut."""
    with reading(path), path.open("rb") as file:
        start = file.read(len(_NAME) + 1)
    return start in {b"", f"{_NAME} ".encode()}


def sync_directory(directory: Path) -> None:
    """Flush the names in a directory. Windows does so by itself, and cannot open a directory."""
    if sys.platform != "win32":
        sync_file(directory)


def sync_file(path: Path) -> None:
    """Flush a file to the disk."""
    descriptor = os.open(
        path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY
    )  # Windows flushes only files that are open for writing.
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def encode_checksummed(about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the bytes of a file with a checksum."""
    content = io.BytesIO()
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez(
        content, allow_pickle=False, **{_ABOUT: text, **{f"array_{name}": value for name, value in arrays.items()}}
    )
    body = content.getvalue()
    first = f"{_NAME} {VERSION} {len(body)} "
    return f"{first}{_digest(first, body)}\n".encode() + body


def _digest(first: str, body: bytes) -> str:
    """Return the SHA-256 of the first line without the checksum, and of the bytes after that line."""
    digest = hashlib.sha256(first.encode())
    digest.update(body)
    return digest.hexdigest()


def write_checksummed(path: Path, about: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a JSON text and arrays into a file with a checksum, atomically."""
    write_atomically(path, encode_checksummed(about, arrays))


def read_checksummed(path: Path) -> tuple[dict[str, Any], Arrays]:
    """Read the JSON text and the arrays of a file with a checksum.

    Raises
    ------
    DamagedError
        If the file is damaged.
    NewerFormatError
        If a newer version wrote it.
    """
    with reading(path), path.open("rb") as file:
        words = file.readline(_LONGEST_LINE).decode("ascii", "replace").split()
        body = file.read()
    if len(words) != 4 or words[0] != _NAME or not (words[1] + words[2]).isdigit():
        raise DamagedError(f"{path.name}: expected a file of zeroloss, got {len(body)} bytes of another format")
    if len(body) != int(words[2]):
        raise DamagedError(f"{path.name}: expected {words[2]} bytes after the first line, got {len(body)}")
    if _digest(" ".join(words[:3]) + " ", body) != words[3]:
        raise DamagedError(f"{path.name}: its SHA-256 does not match its content")
    if int(words[1]) > VERSION:
        raise NewerFormatError(f"{path.name}: expected at most format {VERSION}, got {words[1]} of a newer version")
    try:
        arrays = read_npz(body)
        about = json.loads(arrays.pop(_ABOUT).tobytes())
    except Exception as error:  # Zipfile, zlib and json raise many types of errors.
        raise DamagedError(f"{path.name}: its content is not valid: {error}") from None
    return about, {name.removeprefix("array_"): value for name, value in arrays.items()}


def read_npz(content: bytes) -> Arrays:
    """Read the arrays of an npz file that this package wrote, without compression.

    Raises
    ------
    ValueError, KeyError, zipfile.BadZipFile, EOFError, …
        If the content is something else, or is compressed.
    """
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        archive = stored.zip
        if any(entry.file_size > len(content) for entry in archive.infolist()):
            raise ValueError(f"its {len(content)} bytes expand to a larger size")
        return dict(stored)
