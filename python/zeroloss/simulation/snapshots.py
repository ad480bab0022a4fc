"""Snapshots of the parameters on a schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._choices import Every
from ..networks import Network
from ..results import TIME, TIMES, snapshot_dataset
from .observer import View
from .rows import Columns, RowObserver

if TYPE_CHECKING:
    import xarray as xr

Row = tuple[Mapping[str, float], Network]  # The time coordinates, and the network.


class Snapshots(RowObserver[Row]):
    """The observer that records E, W and biases. Parameters are as for `RowObserver`."""

    def __init__(self, every: Every, done: int | None = None) -> None:
        super().__init__("snapshot_every", every, done)

    def next_step(self, step: int) -> int:
        """Return the next step with a snapshot."""
        return self.schedule.next_after(step)

    def observe(self, view: View) -> None:
        """Make a snapshot if one is due."""
        if self.is_due(view):
            assert view.record is not None
            times = {name: view.record[name] for name in TIMES if name in view.record}
            self.add(view.step, (times, view.network))

    def pending_bytes(self) -> int:
        """Return the bytes that the snapshots in memory take."""
        return len(self._rows) * sum(network.nbytes for _, network in self._rows[:1])

    def to_columns(self, steps: Sequence[int], rows: Sequence[Row]) -> Columns:
        """Return snapshots as columns."""
        columns = _times(steps, rows)
        if rows:
            for name in rows[0][1].parameters:
                columns[name] = np.stack([network.parameters[name] for _, network in rows])
        return columns

    def to_dataset(self, begin: int = 0, earlier: xr.Dataset | None = None) -> xr.Dataset | None:
        """Return the snapshots of an earlier part up to step ``begin``, and of this part, which are then dropped."""
        return self.join_earlier(earlier, snapshot_dataset(self._take_all()) if self._rows else None, begin)

    def _take_all(self) -> Columns:
        """Return all snapshots as columns. Each one is dropped after it is copied, because two copies may not fit."""
        rows, columns = self._rows, _times(self._steps, self._rows)
        _, first = rows[0]
        for name, array in first.parameters.items():
            columns[name] = np.empty((len(rows), *array.shape), array.dtype)
        while rows:
            _, network = rows.pop()
            for name, array in network.parameters.items():
                columns[name][len(rows)] = array
        self._steps.clear()
        return columns


def _times(steps: Sequence[int], rows: Sequence[Row]) -> Columns:
    if not rows:
        return {}
    times = {f"{TIME}{name}": np.array([times[name] for times, _ in rows]) for name in rows[0][0]}
    return {"step": np.array(steps, np.int64), **times}
