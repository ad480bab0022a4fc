"""NetCDF files that are written in pieces and read without the locks of HDF5."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np

from .files import DamagedError, reading

if TYPE_CHECKING:
    import h5py
    import xarray as xr


Answer = TypeVar("Answer")

#: Bytes of snapshots in an HDF5 chunk, which has one checksum and is in memory as a whole.
_CHUNK = 2**20

#: The prefix that NetCDF gives to a variable with the name of another variable's dimension.
RENAMED = "_nc4_non_coord_"

#: The start of the attribute NAME of a dimension without a variable of its name.
NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable."


def netcdf_content(dataset: xr.Dataset) -> bytes:
    """Return the content of a NetCDF file. Numbers have checksums, which HDF5 verifies when they are read.

    HDF5 would write a small file in about a hundred pieces, so the content is made in memory. ``Dataset.to_netcdf`` of
    xarray is not used, because on a Dask worker it would ask the cluster for a lock, and takes five times as long.
    """
    import h5py  # noqa: PLC0415

    content = io.BytesIO()
    with h5py.File(content, "w", track_order=True) as stored:
        variables = _encode(stored, dataset)
        for name, created in _create_variables(stored, variables, dataset.sizes).items():
            if created.size:
                created[...] = variables[name].values
    return content.getvalue()


def write_netcdf_in_pieces(file: BinaryIO, steps: int, pieces: Iterable[xr.Dataset]) -> None:
    """Write datasets that are pieces along the dimension "step", whose total size is ``steps``.

    Numbers have checksums, as with `netcdf_content`.
    """
    with _new_file(file) as stored:
        begin = 0
        for piece in pieces:
            if begin == 0:
                sizes = {**piece.sizes, "step": steps}
                created = _create_variables(stored, _encode(stored, piece), sizes, _CHUNK)
            end = begin + piece.sizes["step"]
            for name, variable in piece.variables.items():
                created[str(name)][(slice(begin, end), ...) if "step" in variable.dims else ...] = variable.values
            begin = end


def _encode(stored: h5py.File, dataset: xr.Dataset) -> dict[str, xr.Variable]:
    """Write the attributes of a dataset, and return its variables as NetCDF stores them."""
    import xarray as xr  # noqa: PLC0415 — half of the package's import time

    variables, attributes = xr.conventions.encode_dataset_coordinates(dataset.drop_encoding())
    _write_attributes(stored, attributes)
    encoded = {}
    for name, variable in variables.items():
        found = xr.conventions.encode_cf_variable(variable, name=name)
        if found.dtype.kind == "S":  # Letters have an axis of their own.
            length = found.dtype.itemsize
            letters = np.ascontiguousarray(found.values)[..., None].view("S1")
            found = xr.Variable((*found.dims, f"string{length}"), letters, found.attrs)
        encoded[str(name)] = found
    return encoded


def _create_variables(
    stored: h5py.File, variables: Mapping[str, xr.Variable], sizes: Mapping[Any, int], chunk: int | None = None
) -> dict[str, h5py.Dataset]:
    """Create variables and dimensions as the NetCDF library does, without values.

    A dimension is a dimension scale of HDF5: the variable of its name or, without one, an empty dataset. A dimension
    of size 0 can grow, because in NetCDF no other dimension has this size.
    """
    import h5py  # noqa: PLC0415 — slow to import, and needed only with results

    for variable in variables.values():
        sizes = {**dict(zip(variable.dims, variable.shape, strict=True)), **sizes}
    scales, created = {}, {}
    for name, size in sizes.items():
        if name not in variables or variables[name].dims != (name,):
            scales[name] = stored.create_dataset(
                str(name), (size,), ">f4", maxshape=None if size else (None,), track_order=True
            )
            h5py.h5ds.set_scale(scales[name].id, NO_VARIABLE + f"{size:10}".encode())
    for name, variable in variables.items():
        shape = tuple(sizes[dimension] for dimension in variable.dims)
        attributes, options = dict(variable.attrs), {}
        if "_FillValue" in attributes:
            options["fillvalue"] = attributes["_FillValue"]
        if 0 in shape:
            options["maxshape"] = tuple(size or None for size in shape)
        elif shape and variable.dtype.kind in "biuf":
            rows = None if chunk is None else min(shape[0], max(1, chunk * len(variable) // max(1, variable.nbytes)))
            options |= {"fletcher32": True, "chunks": True if rows is None else (rows, *shape[1:])}
        dtype = h5py.string_dtype() if variable.dtype.kind in "OU" else variable.dtype
        is_scale = variable.dims == (name,)
        place = f"{RENAMED}{name}" if name in sizes and not is_scale else name
        created[name] = stored.create_dataset(place, shape, dtype, track_order=True, **options)
        if is_scale:
            scales[name] = created[name]
            h5py.h5ds.set_scale(created[name].id, name.encode())
        _write_attributes(created[name], attributes)
    for number, name in enumerate(sizes):
        scales[name].attrs.create("_Netcdf4Dimid", number, dtype=np.int32)
    for name, variable in variables.items():
        for axis, dimension in enumerate(variable.dims):
            if dimension != name:
                h5py.h5ds.attach_scale(created[name].id, scales[dimension].id, axis)
    return created


def _write_attributes(owner: h5py.File | h5py.Dataset, attributes: Mapping[Any, Any]) -> None:
    """Write attributes. NetCDF has texts, and arrays of numbers or texts."""
    import h5py  # noqa: PLC0415

    for name, value in attributes.items():
        if isinstance(value, str):
            owner.attrs[name] = value
        else:
            values = np.atleast_1d(value)
            owner.attrs.create(name, values, dtype=h5py.string_dtype() if values.dtype.kind == "U" else None)


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
def _new_file(file: BinaryIO) -> Iterator[h5py.File]:
    """Open an empty file for writing through `_Guarded`, and raise the error that it stored."""
    import h5py  # noqa: PLC0415

    guarded = _Guarded(file)
    try:
        with h5py.File(guarded, "w", track_order=True) as stored:
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
