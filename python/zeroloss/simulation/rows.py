"""Rows on a schedule, which records and snapshots share: one for each step, and one more for the last step of a run."""

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
    """An observer that makes rows, on the schedule ``every``, which is the argument ``name`` of `simulate`.

    The rows of an earlier part of the run, up to step ``done``, are stored elsewhere. A row of its last step that is
    not on the schedule is replaced when the run continues.
    """

    def __init__(self, name: str, every: Every, done: int | None = None) -> None:
        self.schedule = Schedule(name, every)
        self._steps: list[int] = []
        self._rows: list[Row] = []
        self._last = done if done is not None and self.schedule.due(done) else None
        self._stored = 0  # rows at the front that are stored already

    @abstractmethod
    def to_columns(self, steps: Sequence[int], rows: Sequence[Row]) -> Columns:
        """Return rows as columns; none if there are no rows."""

    @abstractmethod
    def pending_bytes(self) -> int:
        """Return the bytes of the rows in memory."""

    def is_due(self, view: View) -> bool:
        """Whether a row is to be made: on the schedule or at the last step, unless it was made before."""
        return (view.is_last or self.schedule.due(view.step)) and view.step != self._last

    def add(self, step: int, row: Row) -> None:
        """Add a row."""
        self._last = step
        self._steps.append(step)
        self._rows.append(row)

    def take_scheduled(self, end: int) -> Columns:
        """Return the new rows on the schedule up to step ``end``, and forget all but the last.

        A flow that ends at a time makes a row one step after its last own step, which an extension makes anew.
        """
        due = [at for at, step in enumerate(self._steps) if self.schedule.due(step) and step <= end]
        new = due[self._stored :]
        taken = self.to_columns([self._steps[at] for at in new], [self._rows[at] for at in new])
        if due:
            self._steps, self._rows, self._stored = self._steps[due[-1] :], self._rows[due[-1] :], 1
        return taken

    def unscheduled_columns(self, end: int) -> Columns:
        """Return the last row if it is not on the schedule, or after step ``end``."""
        last = self._steps[-1:]
        return self.to_columns(
            last, self._rows[-1:] if last and (last[0] > end or not self.schedule.due(last[0])) else []
        )

    def join_earlier(self, earlier: xr.Dataset | None, later: xr.Dataset | None, begin: int) -> xr.Dataset | None:
        """Return two parts of a run as one. The earlier one keeps its rows on the schedule up to step ``begin``."""
        if earlier is None:
            return later
        import xarray as xr  # noqa: PLC0415 — slow to import, and needed only with results

        kept = [step for step in earlier.step.values.tolist() if step <= begin and self.schedule.due(step)]
        first = earlier.sel(step=kept)
        if later is None or not later.sizes["step"]:
            return first
        rest = later.drop_vars(set(later.coords) - set(first.coords))  # Snapshots of version 0.1.0 have no times.
        return xr.concat([first, rest], dim="step", combine_attrs="override")
