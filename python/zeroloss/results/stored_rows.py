"""The rows of a run on disk: in pieces while it is under way, in a NetCDF file when it has ended.

They are read a few at a time, also while another process adds rows, joins pieces or ends the run.
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

_AT_A_TIME = 8 * 2**20  # bytes of rows that are read at a time


class StoredRows:
    """The rows on a schedule up to a checkpoint, ``count`` of them."""

    def __init__(self, table: Table, exported: Path, count: int, every: Every | None) -> None:
        self._table, self._exported, self._count = table, exported, count
        self._schedule = Schedule("every", "log" if every is None else every)

    def check(self) -> None:
        """Raise DamagedError unless all rows are there; those in pieces are read for that."""
        try:
            for _ in self._table.blocks(self._count):
                pass
        except DamagedError:
            if not self._exported.exists():
                raise
            with open_columns(self._exported) as columns:
                self._places(columns)

    def blocks(self, begin: int = 0, end: int | None = None) -> Iterator[Columns]:
        """Return the rows [begin, end) a few at a time."""
        end = self._count if end is None else end
        try:
            for block in self._table.blocks(end, begin):
                yield block
                begin += len(block["step"])
        except DamagedError:
            if not self._exported.exists():
                raise
            yield from self._exported_blocks(begin, end)

    def reopen(self) -> None:
        """Put the rows of an ended run back into pieces."""
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
        """Return where in the file the rows are, which also has the last row of the run, on the schedule or not."""
        with damage_of(self._exported):
            steps = columns["step"][()].tolist()
            places = np.flatnonzero([self._schedule.due(step) for step in steps])[: self._count]
        if len(places) < self._count:
            raise DamagedError(f"{self._exported.name}: expected {self._count} rows on the schedule, got {len(places)}")
        return places


def sliced(dataset: xr.Dataset) -> Iterator[xr.Dataset]:
    """Return a dataset a few steps at a time."""
    size = sum(variable.nbytes for variable in dataset.variables.values()) // max(dataset.sizes["step"], 1)
    step = max(1, _AT_A_TIME // max(size, 1))
    for begin in range(0, dataset.sizes["step"], step):
        yield dataset.isel(step=slice(begin, begin + step)).load()


def lazily(
    stored: Callable[[], StoredRows], count: int, last: Mapping[str, NDArray[Any]], sample: xr.Dataset
) -> xr.Dataset:
    """Return ``count`` rows, and a last one if there is one, as a dataset whose variables are read when asked for.

    ``stored`` returns the rows, and ``sample`` is a dataset of one row.
    """
    import xarray as xr  # noqa: PLC0415
    from xarray.backends import BackendArray  # noqa: PLC0415
    from xarray.core import indexing  # noqa: PLC0415

    total = count + (len(last["step"]) if last else 0)

    class Column(BackendArray):
        """One column of the rows."""

        def __init__(self, name: str, values: NDArray[Any]) -> None:
            self.name, self.shape, self.dtype = name, (total, *values.shape[1:]), values.dtype
            self._ahead = max(1, _AT_A_TIME // max(values.nbytes, 1))  # rows; ``values`` are one
            self._begin, self._rows = 0, np.empty((0, *values.shape[1:]), values.dtype)

        def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
            return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

        def _read(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
            wanted = np.arange(total)[key[0]]
            if wanted.ndim == 0:
                return self._row(int(wanted))[key[1:]].copy()
            found = np.empty((len(wanted), *self.shape[1:]), self.dtype)
            if len(wanted):
                self._fill(found, wanted)
            return found[(slice(None), *key[1:])]

        def _row(self, place: int) -> NDArray[Any]:
            """Return one row. Those after it are read, too, for who asks for one after the other."""
            if not self._begin <= place < self._begin + len(self._rows):
                wanted = np.arange(place, min(place + self._ahead, total))
                rows = np.empty((len(wanted), *self.shape[1:]), self.dtype)
                self._fill(rows, wanted)
                self._begin, self._rows = place, rows
            return self._rows[place - self._begin]  # type: ignore[no-any-return]

        def _fill(self, found: NDArray[Any], wanted: NDArray[np.intp]) -> None:
            begin, end = int(wanted.min()), min(int(wanted.max()) + 1, count)
            for block in stored().blocks(begin, end) if begin < end else ():
                here = (wanted >= begin) & (wanted < begin + len(block["step"]))
                found[here] = block[self.name][wanted[here] - begin]
                begin += len(block["step"])
            if last:
                found[wanted == count] = last[self.name][0]

    columns = {name: "step" if name == "step" else f"{TIME}{name}" for name in sample.coords}
    found: dict[str, list[NDArray[Any]]] = {column: [] for column in columns.values()}
    for block in itertools.chain(stored().blocks(), [last] if last else []):
        for column, values in found.items():
            values.append(block[column])
    coordinates = {
        name: xr.Variable("step", np.concatenate(found[column]), sample[name].attrs) for name, column in columns.items()
    }
    variables = {}
    for name, variable in sample.data_vars.items():
        data = indexing.LazilyIndexedArray(Column(str(name), variable.values))
        variables[name] = xr.Variable(variable.dims, data, variable.attrs)
    return xr.Dataset(variables, coordinates, sample.attrs)
