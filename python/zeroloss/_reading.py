"""Read files from other programs safely: only regular files, with bounded memory.

A compressed file may expand to at most 64 MiB plus 100 times its own size, and to at most the free memory. An archive
of NumPy that needs more can be written again without compression (``numpy.savez``).
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

from ._checks import ArgumentTypeError, format_path, format_value, to_one_line
from ._resources import check_memory

Arrays = dict[str, NDArray[Any]]

_FREE_EXPANSION, _EXPANSION = 64 * 2**20, 100
#: Bytes of the list of entries of an archive.
_LARGEST_DIRECTORY = 4 * 2**20
_MOST_ARRAYS = 2000
#: Characters of the description of an array.
_LONGEST_HEADER = 1000
#: Bytes that are read at a time.
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
    """The content of a file is rejected. The message says why: "expected …, got …"."""


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], what: str) -> Iterator[BinaryIO]:
    """Open a regular file. Errors within the context are raised again with the name of the file.

    Parameters
    ----------
    path : path
        The file. Pipes, sockets and devices are rejected, because opening one may block.
    what : str
        The expected content, such as "a checkpoint".

    Raises
    ------
    OSError
        If the file does not exist or cannot be read. Its content may be valid.
    ValueError
        If it is not a regular file, or its content is damaged or rejected.
    TypeError
        If ``path`` is not a path.
    """
    if not isinstance(path, str | os.PathLike):
        raise ArgumentTypeError("path", f"expected the name of {what}, got {format_value(path)}")
    name = format_path(path)
    try:
        with _open_regular(path, what) as file:
            yield file
    except RefusedError as error:
        raise ValueError(f"{name}: {error}") from None
    except FileNotFoundError:
        raise FileNotFoundError(f"{name}: expected {what}, found no such file") from None
    except MemoryError:
        raise ValueError(f"{name}: expected {what} that fits in memory") from None
    except UnicodeEncodeError as error:  # Only names of files are encoded.
        raise ValueError(
            f"{name}: cannot be opened, because names of files are {error.encoding} here; set LC_ALL=C.UTF-8"
        ) from None
    except Exception as error:  # NumPy, zipfile, zlib, struct and json raise many types.
        if isinstance(error, OSError) and error.errno not in (
            None,
            errno.EINVAL,
        ):  # EINVAL: a seek to an invalid position
            raise type(error)(f"{name}: cannot be read: {error.strerror}") from None
        reason = to_one_line(str(error)[:120]) or type(error).__name__
        raise ValueError(f"{name}: expected {what}, got a damaged file ({reason})") from None


def _open_regular(path: str | os.PathLike[str], what: str) -> BinaryIO:
    if "\0" in os.fspath(path):
        raise RefusedError(f"expected the name of {what}, got a name with a NUL character")
    _check_regular(Path(path).stat().st_mode, what)  # before the file is opened, because opening can act on a device
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
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "something else")
        raise RefusedError(f"expected {what}, got {kind}")


#: The first bytes of files of other kinds, with the name of the kind and what to do.
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


def describe_kind(head: bytes) -> str:
    """Return the kind of a file by its first bytes, and what to do with it."""
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
    text = head.decode("utf-8", "replace")[:-4] or "\0"  # The last character may be cut in two.
    return "a text file" if all(c.isprintable() or c.isspace() for c in text) else "a file of another kind"


class _Reader(io.BufferedReader):
    """A file with a limit on the size of a single read."""

    #: The limit in bytes.
    most: int | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes. RefusedError is raised for more than ``most`` bytes."""
        if self.most is not None:
            requested = file_size(self) - self.tell() if size is None or size < 0 else size
            if requested > self.most:
                raise RefusedError(
                    f"expected an archive whose list of entries takes at most {self.most} bytes, got {requested}"
                )
        return super().read(size)


def is_special(path: Path) -> bool:
    """Return whether a path is a pipe, a socket or a device, which may block when it is opened."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def file_size(file: BinaryIO) -> int:
    """Return the size of an open file in bytes."""
    return os.fstat(file.fileno()).st_size


@contextlib.contextmanager
def open_zip(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive. It is rejected if it would expand to too many bytes, or has a name twice."""
    if isinstance(file, _Reader):
        file.most = _LARGEST_DIRECTORY  # Python reads the whole list of entries at once.
    with zipfile.ZipFile(file) as archive:
        if isinstance(file, _Reader):
            file.most = None
        entries = archive.infolist()
        names = {entry.filename for entry in entries}
        if len(names) < len(entries):
            raise RefusedError("expected different names in the archive, got a name twice")
        if any(entry.flag_bits & 1 or entry.compress_type not in _COMPRESSIONS for entry in entries):
            raise RefusedError("expected an archive without a password, stored or deflated, got another")
        expanded = sum(entry.file_size for entry in entries)
        most = _FREE_EXPANSION + _EXPANSION * file_size(file)
        if expanded > most:
            raise RefusedError(
                f"expected an archive that expands to at most {most / 2**20:.0f} MiB "
                f"(64 MiB and {_EXPANSION} times its size), got {expanded / 2**20:.0f} MiB; "
                "write it without compression, as numpy.savez does"
            )
        check_fits_in_memory(expanded)
        yield archive


def read_npz(file: BinaryIO, select: Callable[[str], bool] = bool) -> Arrays:
    """Return the arrays of numbers and strings in an npz file.

    ``select`` decides by the name whether an array is read; by default all are.
    """
    head = file.read(512)
    if head[:2] != b"PK":
        raise RefusedError(f"expected an npz file, got {describe_kind(head)}")
    with open_zip(file) as archive:
        if wrong := [name for name in archive.namelist() if not name.endswith(".npy")]:
            raise RefusedError(f"expected an npz file, got another zip archive, with {format_value(wrong[0])}")
        if len(archive.namelist()) > _MOST_ARRAYS:
            raise RefusedError(f"expected at most {_MOST_ARRAYS} arrays, got {len(archive.namelist())}")
        names = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
        arrays = {}
        for name, entry in names.items():
            if not select(name):
                continue
            with archive.open(entry) as stream:
                arrays[name] = read_npy(stream, entry.file_size, name)  # type: ignore[arg-type]
        return arrays


def read_npy(stream: BinaryIO, size: int, name: str) -> NDArray[Any]:
    """Return the array of an npy file of ``size`` bytes. Its header is checked before memory is allocated."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, _LONGEST_HEADER)
        header = 10
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream, _LONGEST_HEADER)
        header = 12
    else:
        raise RefusedError(f"expected npy format 1.0 or 2.0, got {version[0]}.{version[1]} in {format_value(name)}")
    if dtype.kind not in "biufcSU":
        what = "Python objects" if dtype.hasobject else f"dtype {format_value(str(dtype))}"
        raise RefusedError(f"expected arrays of numbers, got {what} in {format_value(name)}")
    if any(n < 0 for n in shape) or dtype.itemsize == 0:
        raise RefusedError(f"expected an array, got shape {format_value(shape)} and {dtype.itemsize} bytes an entry")
    needed = math.prod(shape) * dtype.itemsize
    if not 0 <= size - header - needed <= 2**16:
        raise RefusedError(
            f"expected {size - header} bytes, got a header that says {format_value(needed)} in {format_value(name)}"
        )
    array = np.empty(needed, np.uint8)
    fill_array(stream, array)
    if stream.read(1):
        raise RefusedError(f"expected nothing after the {needed} bytes of {format_value(name)}, got more")
    entries = array.view(dtype)
    return entries.reshape(shape[::-1]).T if fortran else entries.reshape(shape)


def check_fits_in_memory(size: int) -> None:
    """Raise RefusedError if ``size`` bytes do not fit in memory."""
    try:
        check_memory("its content", size)
    except ValueError as error:
        raise RefusedError(str(error)) from None


def fill_array(stream: BinaryIO, array: NDArray[np.uint8]) -> None:
    """Fill an array with the next bytes of a stream. EOFError is raised if the stream ends before."""
    position, target = 0, array.data
    while position < len(target):
        count = stream.readinto(target[position : position + _CHUNK])  # type: ignore[attr-defined]
        if not count:
            raise EOFError(f"it ends {len(target) - position} bytes early")
        position += count
