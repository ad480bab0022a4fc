"""Snapshots of both layers on their schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .._choices import Every
from ..networks import Network
from ..results import TIME, TIMES, snapshot_dataset
from ..results.schedule import Schedule
from .observer import Observer, View
from .rows import Columns, Rows, joined

if TYPE_CHECKING:
    import xarray as xr

Row = tuple[Mapping[str, float], Network]  # with the time coordinates


class Snapshots(Observer):
    """The observer that keeps E and W. Parameters are as for `History`."""

    def __init__(self, every: Every, done: int | None = None) -> None:
        self.schedule = Schedule("snapshot_every", every)
        self._rows: Rows[Row] = Rows(self.schedule, done)

    def next_step(self, step: int) -> int:
        """Return the next step with a snapshot."""
        return self.schedule.next_after(step)

    def observe(self, view: View) -> None:
        """Keep a snapshot where one is due."""
        if self._rows.is_due(view.step, view.last):
            assert view.record is not None
            times = {name: view.record[name] for name in TIMES if name in view.record}
            self._rows.add(view.step, (times, view.network))

    def take_scheduled(self, end: int) -> Columns:
        """Return the new snapshots on the schedule up to step ``end``, and forget all but the last."""
        return _columns(*self._rows.take_scheduled(end))

    def unscheduled(self, end: int) -> Columns:
        """Return the last snapshot if it is not on the schedule, or beyond step ``end``."""
        return _columns(*self._rows.unscheduled(end))

    def pending(self) -> int:
        """Return the bytes of the snapshots in memory."""
        rows = self._rows.rows
        return len(rows) * sum(network.E.nbytes + network.W.nbytes for _, network in rows[:1])

    def dataset(self, begin: int = 0, earlier: xr.Dataset | None = None) -> xr.Dataset | None:
        """Return the snapshots, after those up to ``begin`` of an earlier part of the run; they are forgotten here."""
        later = snapshot_dataset(self._all()) if self._rows.rows else None
        return later if earlier is None else joined(earlier, later, self.schedule, begin)

    def _all(self) -> Columns:
        """Return all snapshots as columns; each is forgotten as it is copied, so that they are not in memory twice."""
        rows, columns = self._rows.rows, _columns(self._rows.steps, self._rows.rows, layers=False)
        _, first = rows[0]
        for name, layer in (("E", first.E), ("W", first.W)):
            columns[name] = np.empty((len(rows), *layer.shape), layer.dtype)
        while rows:
            _, network = rows.pop()
            columns["E"][len(rows)], columns["W"][len(rows)] = network.E, network.W
        self._rows.steps.clear()
        return columns


def _columns(steps: Sequence[int], rows: Sequence[Row], layers: bool = True) -> Columns:
    if not rows:
        return {}
    columns = {"step": np.array(steps, np.int64)}
    for name in rows[0][0]:
        columns[f"{TIME}{name}"] = np.array([times[name] for times, _ in rows])
    if layers:
        columns["E"] = np.stack([network.E for _, network in rows])
        columns["W"] = np.stack([network.W for _, network in rows])
    return columns
