"""NetCDF files that are written in pieces and read without the locks of HDF5."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from .files import DamagedError, reading

if TYPE_CHECKING:
    import h5netcdf
    import xarray as xr


Answer = TypeVar("Answer")

#: Bytes of snapshots in an HDF5 chunk, which has one checksum and is in memory as a whole.
_CHUNK = 2**20


def netcdf_content(dataset: xr.Dataset) -> bytes:
    """Return the content of a NetCDF file. Numbers have checksums, which HDF5 verifies when they are read.

    HDF5 would write a small file in about a hundred pieces, so the content is made in memory. ``Dataset.to_netcdf`` of
    xarray is not used, because on a Dask worker it would ask the cluster for a lock.
    """
    import h5netcdf  # noqa: PLC0415
    import xarray as xr  # noqa: PLC0415 — half of the package's import time

    content = io.BytesIO()
    with h5netcdf.File(content, "w") as stored:
        numbers = [n for n, v in dataset.variables.items() if v.size and v.ndim and v.dtype.kind in "biuf"]
        checked = {name: {"fletcher32": True} for name in numbers}
        dataset.dump_to_store(xr.backends.H5NetCDFStore(stored), encoding=checked)
    return content.getvalue()


def write_netcdf_in_pieces(file: BinaryIO, steps: int, pieces: Iterable[xr.Dataset]) -> None:
    """Write datasets that are pieces along the dimension "step", whose total size is ``steps``.

    Numbers have checksums, as with `netcdf_content`.
    """
    import xarray as xr  # noqa: PLC0415

    with _new_file(file) as stored:
        begin = 0
        for piece in pieces:
            if begin == 0:
                variables, attributes = xr.conventions.encode_dataset_coordinates(piece)
                stored.attrs.update(attributes)
                stored.dimensions = {**{str(name): size for name, size in piece.sizes.items()}, "step": steps}
                for name, variable in variables.items():
                    encoded = xr.conventions.encode_cf_variable(variable, name=name)
                    rows = min(steps, max(1, _CHUNK * len(encoded) // max(1, encoded.nbytes)))
                    chunks = (rows, *encoded.shape[1:])
                    created = stored.create_variable(
                        str(name), encoded.dims, encoded.dtype, chunks=chunks, fletcher32=True
                    )
                    created.attrs.update(encoded.attrs)
            end = begin + piece.sizes["step"]
            for name, variable in piece.variables.items():
                values = variable.values
                stored[str(name)][(slice(begin, end), ...) if "step" in variable.dims else ...] = values
            begin = end


@contextlib.contextmanager
def damage_of(path: Path) -> Iterator[None]:
    """Turn an error of HDF5 into a `DamagedError`. Errors of the operating system become an `UnreadableError`."""
    with reading(path):
        try:
            yield
        except DamagedError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise DamagedError(f"{path.name}: it cannot be read: {error}") from None


@contextlib.contextmanager
def _new_file(file: BinaryIO) -> Iterator[h5netcdf.File]:
    """Open an empty file for writing through `_Guarded`, and raise the error that it stored."""
    import h5netcdf  # noqa: PLC0415

    guarded = _Guarded(file)
    try:
        with h5netcdf.File(guarded, "w") as stored:
            yield stored
    finally:
        if guarded.error is not None:
            raise guarded.error


class _Guarded(io.RawIOBase):
    """A file that stores its first error, and from then on only pretends to write.

    HDF5 may end the process if it cannot write a file completely when it closes it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: BaseException | None = None
        self._position = self._end = 0  # the position and the size that the file would have without errors

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        start = (0, self._position, self._end)[whence]
        self._position = start + offset
        return self._try(lambda: self._file.seek(self._position), self._position)  # Seeking flushes the buffer.

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        count: int = self._try(lambda: self._file.readinto(buffer), -1)  # type: ignore[attr-defined]
        if count < 0:
            count, buffer[:] = len(buffer), bytes(len(buffer))
        self._position += count
        return count

    def write(self, content: Any) -> int:
        self._try(lambda: self._file.write(content), 0)
        self._position += len(content)
        self._end = max(self._end, self._position)
        return len(content)

    def truncate(self, size: int | None = None) -> int:
        self._end = self._position if size is None else size
        return self._try(lambda: self._file.truncate(self._end), self._end)

    def flush(self) -> None:
        self._try(self._file.flush, None)

    def _try(self, call: Callable[[], Answer], otherwise: Answer) -> Answer:
        """Return the result of a call. After the first error, which is stored, return ``otherwise`` without a call."""
        if self.error is None:
            try:
                return call()
            except BaseException as error:
                self.error = error
        return otherwise
