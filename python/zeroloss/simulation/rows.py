"""Rows on a schedule, one for each recorded step, with one more at the last step of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from numpy.typing import NDArray

from ..results.schedule import Schedule

if TYPE_CHECKING:
    import xarray as xr

Columns = dict[str, NDArray[Any]]
Row = TypeVar("Row")


class Rows(Generic[Row]):
    """Rows by step. The rows up to step ``done`` of an earlier part of the run are kept elsewhere.

    A row at the last step of a part that is not on the schedule gives way when the run goes on.
    """

    def __init__(self, schedule: Schedule, done: int | None = None) -> None:
        self.schedule = schedule
        self.steps: list[int] = []
        self.rows: list[Row] = []
        self._last = done if done is not None and schedule.due(done) else None
        self._handed = 0  # rows at the front that are stored already

    def is_due(self, step: int, last: bool) -> bool:
        """Whether a row is to be made at a step: on the schedule, or at the last step, and not made before."""
        return (last or self.schedule.due(step)) and step != self._last

    def add(self, step: int, row: Row) -> None:
        """Add a row."""
        self._last = step
        self.steps.append(step)
        self.rows.append(row)

    def take_scheduled(self, end: int) -> tuple[list[int], list[Row]]:
        """Return the rows on the schedule up to step ``end`` that were not taken before, and forget all but the last.

        A flow that ended between two steps has made a row one step later, which an extension takes anew.
        """
        due = [at for at, step in enumerate(self.steps) if self.schedule.due(step) and step <= end]
        new = due[self._handed :]
        taken = [self.steps[at] for at in new], [self.rows[at] for at in new]
        if due:
            last, self._handed = due[-1], 1
            self.steps, self.rows = self.steps[last:], self.rows[last:]
        return taken

    def unscheduled(self, end: int) -> tuple[list[int], list[Row]]:
        """Return the last row if it is not on the schedule, or beyond step ``end``."""
        if self.steps and (self.steps[-1] > end or not self.schedule.due(self.steps[-1])):
            return self.steps[-1:], self.rows[-1:]
        return [], []


def joined(earlier: xr.Dataset, later: xr.Dataset | None, schedule: Schedule, begin: int) -> xr.Dataset:
    """Return two parts of a run as one; rows of the earlier one that are not on the schedule give way."""
    import xarray as xr  # noqa: PLC0415 — slow to import, and needed only with results

    kept = [step for step in earlier.step.values.tolist() if step <= begin and schedule.due(step)]
    first = earlier.sel(step=kept)
    if later is None or not later.sizes["step"]:
        return first
    rest = later.drop_vars(set(later.coords) - set(first.coords))  # Snapshots of version 0.1.0 have no times.
    return xr.concat([first, rest], dim="step", combine_attrs="override")
