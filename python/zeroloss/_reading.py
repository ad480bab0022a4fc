"""Read files that others wrote: regular files only, and no more memory than their content is worth.

A compressed file may expand to 64 MiB plus 100 times its own size, and to no more than the free memory. NumPy's
archives that need more can be written again without compression (``numpy.savez``).
"""

from __future__ import annotations

import contextlib
import errno
import io
import math
import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ._checks import ArgumentTypeError, one_line, shown, shown_path
from ._resources import check_memory

Arrays = dict[str, NDArray[Any]]

_FREE_EXPANSION, _EXPANSION = 64 * 2**20, 100
_LARGEST_DIRECTORY = 4 * 2**20  # bytes of an archive's list of entries
_MOST_ARRAYS = 2000
_LONGEST_HEADER = 1000  # characters of an array's description
_CHUNK = 2**20
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a named pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class RefusedError(ValueError):
    """The content of a file cannot be read: a sentence, expected … got …."""


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], what: str) -> Iterator[BinaryIO]:
    """Open a regular file, and name it in the errors of those who read it.

    Parameters
    ----------
    path : path
        The file. Pipes, sockets and devices are refused, so that opening never blocks.
    what : str
        What is expected in it, as "a checkpoint".

    Raises
    ------
    OSError
        If it does not exist or cannot be read. This never means that it is damaged.
    ValueError, TypeError
        If it is no regular file, or its content is damaged or refused.
    """
    if not isinstance(path, str | os.PathLike):
        raise ArgumentTypeError("path", f"expected the name of {what}, got {shown(path)}")
    where = shown_path(path)
    try:
        with _opened(path, what) as file:
            yield file
    except RefusedError as refused:
        raise ValueError(f"{where}: {refused}") from None
    except FileNotFoundError:
        raise FileNotFoundError(f"{where}: expected {what}, found no such file") from None
    except MemoryError:
        raise ValueError(f"{where}: expected {what} that fits in memory, got one that does not") from None
    except Exception as error:  # of NumPy, zipfile, zlib, struct and json, whose errors are many
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # EINVAL: sought at an odd place
            raise type(error)(f"{where}: cannot be read: {error.strerror}") from None
        reason = one_line(str(error)[:120]) or type(error).__name__
        raise ValueError(f"{where}: expected {what}, got a damaged one ({reason})") from None


def _opened(path: str | os.PathLike[str], what: str) -> BinaryIO:
    if "\0" in os.fspath(path):
        raise RefusedError(f"expected the name of {what}, got one with a NUL character")
    _check_regular(Path(path).stat().st_mode, what)  # before it is opened: that alone can act on a device
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
    file = _Reader(io.FileIO(descriptor))
    try:
        _check_regular(os.fstat(descriptor).st_mode, what)
    except RefusedError:
        file.close()
        raise
    return file


def _check_regular(mode: int, what: str) -> None:
    if not stat.S_ISREG(mode):
        kind = next((name for holds, name in _KINDS if holds(mode)), "something else")
        raise RefusedError(f"expected {what}, got {kind}")


#: How files of other kinds begin, what they are, and how to continue.
_FOREIGN = (
    (b"\x89HDF\r\n", "an HDF5 file (as of Keras); write its arrays with numpy.savez(FILE, E=…, W=…)"),
    (b"\x93NUMPY", "a single array (npy); write all arrays with numpy.savez"),
    (b"GGUF", "a GGUF file; write its tensors with safetensors"),
    (b"\x1f\x8b", "a gzip file; unpack it first"),
    (b"BZh", "a bzip2 file; unpack it first"),
    (b"\xfd7zXZ", "an xz file; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd file; unpack it first"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it first"),
    (b"MATLAB", "a MATLAB file; write its arrays with numpy.savez"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"%PDF", "a PDF"),
    (b"\x7fELF", "a program"),
    (b"SQLite format", "a database"),
    (b"PK\x03\x04", "a zip archive"),
    (b"version https://git-lfs", "a pointer of Git LFS; fetch the file itself with git lfs pull"),
)


def kind_of(head: bytes) -> str:
    """Say what a file is, by its first bytes, and how to continue with it."""
    for start, kind in _FOREIGN:
        if head.startswith(start):
            return kind
    if head[:1] == b"\x08" and any(word in head for word in (b"onnx", b"pytorch", b"tf2onnx", b"skl2onnx")):
        return "an ONNX model; write its initializers with numpy.savez(FILE, E=…, W=…)"
    if head[:1] in (b"\xde", b"\xdf") or (b"\x80" <= head[:1] <= b"\x8f" and b"\xa0" <= head[1:2] <= b"\xd9"):
        return "a msgpack file (as of Flax); write its arrays with numpy.savez(FILE, E=…, W=…)"
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it first"
    if not head:
        return "an empty file"
    text = head.decode("utf-8", "replace")[:-4] or "\0"  # a character that is cut in two is no sign
    return "a text file" if all(c.isprintable() or c.isspace() for c in text) else "a file of another kind"


class _Reader(io.BufferedReader):
    """A file whose single reads can be bounded."""

    most: int | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes; RefusedError for more than ``most`` at once."""
        if self.most is not None:
            wanted = size_of(self) - self.tell() if size is None or size < 0 else size
            if wanted > self.most:
                raise RefusedError(
                    f"expected an archive whose list of entries takes at most {self.most} bytes, got {wanted}"
                )
        return super().read(size)


def is_special(path: Path) -> bool:
    """Whether there is a pipe, a socket or a device at a path: to open one may block."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def size_of(file: BinaryIO) -> int:
    """Return the size of an open file in bytes."""
    return os.fstat(file.fileno()).st_size


@contextlib.contextmanager
def zip_archive(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive, unless it would expand too far or holds a name twice."""
    if isinstance(file, _Reader):
        file.most = _LARGEST_DIRECTORY  # Python reads the list at once, whatever its size
    with zipfile.ZipFile(file) as archive:
        if isinstance(file, _Reader):
            file.most = None
        entries = archive.infolist()
        names = {entry.filename for entry in entries}
        if len(names) < len(entries):
            raise RefusedError("expected every entry once in the archive, got a name twice")
        if any(entry.flag_bits & 1 or entry.compress_type not in _COMPRESSIONS for entry in entries):
            raise RefusedError("expected an archive without a password, stored or deflated, got another")
        expanded = sum(entry.file_size for entry in entries)
        most = _FREE_EXPANSION + _EXPANSION * size_of(file)
        if expanded > most:
            raise RefusedError(
                f"expected an archive that expands to at most {most / 2**20:.0f} MiB "
                f"(64 MiB and {_EXPANSION} times its size), got {expanded / 2**20:.0f} MiB; "
                "write it without compression, as numpy.savez does"
            )
        check_fits(expanded)
        yield archive


def read_npz(file: BinaryIO, wanted: Callable[[str], bool] = bool) -> Arrays:
    """Return the arrays of numbers and texts in an npz file whose names are wanted; by default all."""
    head = file.read(512)
    if head[:2] != b"PK":
        raise RefusedError(f"expected an npz file, got {kind_of(head)}")
    with zip_archive(file) as archive:
        if wrong := [name for name in archive.namelist() if not name.endswith(".npy")]:
            raise RefusedError(f"expected an npz file, got another zip archive, with {shown(wrong[0])}")
        if len(archive.namelist()) > _MOST_ARRAYS:
            raise RefusedError(f"expected at most {_MOST_ARRAYS} arrays, got {len(archive.namelist())}")
        names = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        arrays = {}
        for name, entry in names.items():
            if not wanted(name):
                continue
            with archive.open(entry) as stream:
                arrays[name] = read_npy(stream, entry.file_size, name)  # type: ignore[arg-type]
        return arrays


def read_npy(stream: BinaryIO, size: int, name: str) -> NDArray[Any]:
    """Return the array of an npy file of ``size`` bytes; nothing is allocated before its header has been checked."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, _LONGEST_HEADER)
        header = 10
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream, _LONGEST_HEADER)
        header = 12
    else:
        raise RefusedError(f"expected npy format 1.0 or 2.0, got {version[0]}.{version[1]} in {shown(name)}")
    if dtype.kind not in "biufcSU":
        what = "Python objects" if dtype.hasobject else f"dtype {shown(str(dtype))}"
        raise RefusedError(f"expected arrays of numbers, got {what} in {shown(name)}")
    if any(n < 0 for n in shape) or dtype.itemsize == 0:
        raise RefusedError(f"expected an array, got shape {shown(shape)} and {dtype.itemsize} bytes an entry")
    needed = math.prod(shape) * dtype.itemsize
    if not 0 <= size - header - needed <= 2**16:
        raise RefusedError(f"expected {size - header} bytes, got a header that says {shown(needed)} in {shown(name)}")
    array = np.empty(needed, np.uint8)
    fill(stream, array)
    if stream.read(1):
        raise RefusedError(f"expected nothing after the {needed} bytes of {shown(name)}, got more")
    entries = array.view(dtype)
    return entries.reshape(shape[::-1]).T if fortran else entries.reshape(shape)


def check_fits(size: int) -> None:
    """Raise RefusedError if so many bytes do not fit in memory."""
    try:
        check_memory("what it holds", size)
    except ValueError as error:
        raise RefusedError(str(error)) from None


def fill(stream: BinaryIO, array: NDArray[np.uint8]) -> None:
    """Fill an array with the next bytes of a stream; EOFError if it ends before."""
    at, into = 0, array.data
    while at < len(into):
        got = stream.readinto(into[at : at + _CHUNK])  # type: ignore[attr-defined]
        if not got:
            raise EOFError(f"it ends {len(into) - at} bytes early")
        at += got
