"""Rows on a schedule and at the last step of a run: the common part of records and snapshots."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from numpy.typing import NDArray

from .._choices import Every
from ..results.schedule import Schedule
from .observer import Observer, View

if TYPE_CHECKING:
    import xarray as xr

Columns = dict[str, NDArray[Any]]
Row = TypeVar("Row")


class RowObserver(Observer, Generic[Row]):
    """An observer that makes rows on a schedule.

    Parameters
    ----------
    name : str
        The argument of `simulate` that sets the schedule, for error messages.
    every : int or "log"
        The schedule.
    done : int, optional
        The last step of an earlier part of the run. The rows up to it are stored elsewhere. A row of this step that is
        not on the schedule is replaced when the run continues.
    """

    def __init__(self, name: str, every: Every, done: int | None = None) -> None:
        self.schedule = Schedule(name, every)
        self._steps: list[int] = []
        self._rows: list[Row] = []
        self._last = done if done is not None and self.schedule.due(done) else None
        self._stored = 0  # The number of rows at the front that are already stored.

    @abstractmethod
    def to_columns(self, steps: Sequence[int], rows: Sequence[Row]) -> Columns:
        """Return rows as columns. There are no columns without rows."""

    @abstractmethod
    def pending_bytes(self) -> int:
        """Return the bytes that the rows in memory take."""

    def is_due(self, view: View) -> bool:
        """Whether a row is due: the step is on the schedule or the last one, and has no row yet."""
        return (view.is_last or self.schedule.due(view.step)) and view.step != self._last

    def add(self, step: int, row: Row) -> None:
        """Add a row."""
        self._last = step
        self._steps.append(step)
        self._rows.append(row)

    def take_scheduled(self, end: int) -> Columns:
        """Return the new rows on the schedule up to step ``end``, and drop all stored rows except the last one.

        A flow that ends at a time makes a row one step after its last own step. An extension makes this row again.
        """
        due = [at for at, step in enumerate(self._steps) if self.schedule.due(step) and step <= end]
        new = due[self._stored :]
        taken = self.to_columns([self._steps[at] for at in new], [self._rows[at] for at in new])
        if due:
            self._steps, self._rows, self._stored = self._steps[due[-1] :], self._rows[due[-1] :], 1
        return taken

    def unscheduled_columns(self, end: int) -> Columns:
        """Return the last row as columns if it is not on the schedule or is after step ``end``, else no columns."""
        last = self._steps[-1:]
        is_unscheduled = bool(last) and (last[0] > end or not self.schedule.due(last[0]))
        return self.to_columns(last, self._rows[-1:] if is_unscheduled else [])

    def join_earlier(self, earlier: xr.Dataset | None, later: xr.Dataset | None, begin: int) -> xr.Dataset | None:
        """Return two parts of a run as one dataset: of the earlier part, the scheduled rows up to step ``begin``."""
        if earlier is None:
            return later
        import xarray as xr  # noqa: PLC0415 — slow to import, and only needed for results

        scheduled = [step for step in earlier.step.values.tolist() if step <= begin and self.schedule.due(step)]
        first = earlier.sel(step=scheduled)
        if later is None or not later.sizes["step"]:
            return first
        rest = later.drop_vars(set(later.coords) - set(first.coords))  # Snapshots of version 0.1.0 have no times.
        return xr.concat([first, rest], dim="step", combine_attrs="override")
