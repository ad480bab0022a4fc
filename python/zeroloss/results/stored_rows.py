"""The stored rows of a run: in pieces while it is in progress, and in a NetCDF file when it has ended.

A few rows are read at a time, also while another process adds rows, joins pieces or ends the run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._choices import Every
from .files import DamagedError
from .history import TIME, open_columns, read_column
from .netcdf import damage_of
from .schedule import Schedule
from .table import Table

if TYPE_CHECKING:
    import h5py
    import xarray as xr

Columns = dict[str, NDArray[Any]]

#: Bytes of rows that are read at a time.
_AT_A_TIME = 8 * 2**20


class StoredRows:
    """The scheduled rows up to a checkpoint.

    Parameters
    ----------
    table : Table
        The pieces of a run in progress.
    exported : Path
        The NetCDF file of a run that has ended.
    count : int
        The number of rows.
    every : int, "log" or None
        The schedule.
    """

    def __init__(self, table: Table, exported: Path, count: int, every: Every | None) -> None:
        self._table, self._exported, self._count = table, exported, count
        self._schedule = Schedule("every", "log" if every is None else every)

    def check(self) -> None:
        """Raise DamagedError unless all rows exist. Rows in pieces are read to check them."""
        try:
            for _ in self._table.blocks(self._count):
                pass
        except DamagedError as error:
            if not self._exported.exists():
                raise self._lack_of_rows(error) from None
            with open_columns(self._exported) as columns:
                self._places(columns)

    def blocks(self, begin: int = 0, end: int | None = None) -> Iterator[Columns]:
        """Yield the rows [begin, end), a few at a time."""
        end = self._count if end is None else end
        try:
            for block in self._table.blocks(end, begin):
                yield block
                begin += len(block["step"])
        except DamagedError as error:
            if not self._exported.exists():
                raise self._lack_of_rows(error) from None
            yield from self._exported_blocks(begin, end)

    def _lack_of_rows(self, error: DamagedError) -> DamagedError:
        """Return the error of the pieces or, without pieces, that the file of a run that has ended is missing."""
        return error if self._table.paths() else DamagedError(f"{self._exported.name} is missing")

    def reopen(self) -> None:
        """Write the rows of a run that has ended as pieces again."""
        if not self._table.holds(self._count):
            first = 0
            for block in self._exported_blocks(0, self._count):
                self._table.append(first, block)
                first += len(block["step"])

    def _exported_blocks(self, begin: int, end: int) -> Iterator[Columns]:
        with open_columns(self._exported) as columns:
            places = self._places(columns)
            size = sum(column.nbytes for column in columns.values()) // max(len(columns["step"]), 1)
            for first in range(begin, end, step := max(1, _AT_A_TIME // max(size, 1))):
                rows = places[first : min(first + step, end)]
                with damage_of(self._exported):
                    block = {
                        name: read_column(column, rows[0], rows[-1] + 1)[rows - rows[0]]
                        for name, column in columns.items()
                    }
                yield block

    def _places(self, columns: Mapping[str, h5py.Dataset]) -> NDArray[np.intp]:
        """Return the positions of the rows in the file, which may also have a last row that is not scheduled."""
        with damage_of(self._exported):
            steps = columns["step"][()].tolist()
            places = np.flatnonzero([self._schedule.due(step) for step in steps])[: self._count]
        if len(places) < self._count:
            raise DamagedError(f"{self._exported.name}: expected {self._count} scheduled rows, got {len(places)}")
        return places


def slice_steps(dataset: xr.Dataset) -> Iterator[xr.Dataset]:
    """Yield the pieces of a dataset with a few steps each."""
    size = sum(variable.nbytes for variable in dataset.variables.values()) // max(dataset.sizes["step"], 1)
    step = max(1, _AT_A_TIME // max(size, 1))
    for begin in range(0, dataset.sizes["step"], step):
        yield dataset.isel(step=slice(begin, begin + step)).load()


def open_lazily(
    stored: Callable[[], StoredRows], count: int, last: Mapping[str, NDArray[Any]], sample: xr.Dataset
) -> xr.Dataset:
    """Return a dataset whose variables are read when they are needed.

    Parameters
    ----------
    stored : function
        Returns the stored rows.
    count : int
        The number of stored rows.
    last : mapping of str to array
        A last row that is not stored there; may be empty.
    sample : xarray.Dataset
        A dataset of one row, from which shapes, types and attributes are taken.
    """
    import xarray as xr  # noqa: PLC0415
    from xarray.backends import BackendArray  # noqa: PLC0415
    from xarray.core import indexing  # noqa: PLC0415

    total = count + (len(last["step"]) if last else 0)

    class Column(BackendArray):
        """A column of the rows."""

        def __init__(self, name: str, values: NDArray[Any]) -> None:
            self.name, self.shape, self.dtype = name, (total, *values.shape[1:]), values.dtype
            self._ahead = max(1, _AT_A_TIME // max(values.nbytes, 1))  # number of rows; ``values`` is one row
            self._begin, self._rows = 0, np.empty((0, *values.shape[1:]), values.dtype)

        def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
            return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

        def _read(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
            indices = np.arange(total)[key[0]]
            if indices.ndim == 0:
                return self._row(int(indices))[key[1:]].copy()
            rows = np.empty((len(indices), *self.shape[1:]), self.dtype)
            if len(indices):
                self._fill(rows, indices)
            return rows[(slice(None), *key[1:])]

        def _row(self, place: int) -> NDArray[Any]:
            """Return a row. The rows after it are read, too, because rows are often read in order."""
            if not self._begin <= place < self._begin + len(self._rows):
                indices = np.arange(place, min(place + self._ahead, total))
                rows = np.empty((len(indices), *self.shape[1:]), self.dtype)
                self._fill(rows, indices)
                self._begin, self._rows = place, rows
            return self._rows[place - self._begin]  # type: ignore[no-any-return]

        def _fill(self, rows: NDArray[Any], indices: NDArray[np.intp]) -> None:
            begin, end = int(indices.min()), min(int(indices.max()) + 1, count)
            for block in stored().blocks(begin, end) if begin < end else ():
                selected = (indices >= begin) & (indices < begin + len(block["step"]))
                rows[selected] = block[self.name][indices[selected] - begin]
                begin += len(block["step"])
            if last:
                rows[indices == count] = last[self.name][0]

    columns = {name: "step" if name == "step" else f"{TIME}{name}" for name in sample.coords}
    parts: dict[str, list[NDArray[Any]]] = {column: [] for column in columns.values()}
    for block in itertools.chain(stored().blocks(), [last] if last else []):
        for column, values in parts.items():
            values.append(block[column])
    coordinates = {
        name: xr.Variable("step", np.concatenate(parts[column]), sample[name].attrs) for name, column in columns.items()
    }
    variables = {}
    for name, variable in sample.data_vars.items():
        data = indexing.LazilyIndexedArray(Column(str(name), variable.values))
        variables[name] = xr.Variable(variable.dims, data, variable.attrs)
    return xr.Dataset(variables, coordinates, sample.attrs)
