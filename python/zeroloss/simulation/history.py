"""Records on a schedule, with the values of measures and the extremes of the training loss between records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..networks import Network
from ..results import TIME, TIMES, Ending, Measures, Outcome, history_dataset
from .measures import MeasureCalls
from .observer import NEVER, View
from .rows import Columns, RowObserver
from .sizes import RECORD

if TYPE_CHECKING:
    import xarray as xr


class History(RowObserver[dict[str, Any]]):
    """The observer that makes the records of a run.

    Parameters
    ----------
    settings : mapping
        The settings of the run.
    measures : mapping of str to function
        The measures, by name.
    end : int
        The last step.
    makes_inner_records : bool
        Whether the stepper can make records within a chunk.
    earlier_step : int, optional
        The last step of an earlier part of the run.
    before : mapping, optional
        The last record of an earlier part of the run. Measured values keep its shapes.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        measures: Measures,
        end: int,
        makes_inner_records: bool,
        done: int | None = None,
        before: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__("record_every", settings["record_every"], done)
        self._settings = settings
        self.measures = MeasureCalls(measures, self.schedule, end)
        self.needs_losses = bool(settings.get("loss_extremes", False))
        self.makes_inner_records = makes_inner_records and isinstance(self.schedule.every, int) and not measures
        self._before = before or {}
        self._extremes: tuple[float, float] | None = None  # The extremes of the training loss since the last record.

    def next_step(self, step: int) -> int:
        """Return the next step with a record, or with a network that a later measure needs."""
        if self.makes_inner_records:
            return NEVER
        return min(self.schedule.next_after(step), self.measures.next_compared(step))

    def inner_record_steps(self, step: int, chunk_end: int) -> list[int]:
        """Return the steps after ``step``, up to ``chunk_end``, at which a chunk can make records."""
        if not self.makes_inner_records:
            return []
        assert isinstance(self.schedule.every, int)
        return list(range(self.schedule.next_after(step), chunk_end + 1, self.schedule.every))

    def observe(self, view: View) -> Outcome | None:
        """Make the records of a chunk. Return an outcome if a measure needs a singular matrix."""
        self._add_inner_records(view)
        if self.measures.is_compared(view.step):
            self.measures.store_network(view.step, view.network)
        if not self.is_due(view):
            return None
        assert view.record is not None
        record, before, failure = dict(view.record), self._rows[-1] if self._rows else self._before, None
        try:
            if self.measures.measures:
                record |= self.measures.values(view.network, view.step, before, view.record.keys())
        except np.linalg.LinAlgError as error:
            failure = Outcome(Ending.SINGULAR, f"at step {view.step} a measure failed: {error}")
            if not before:
                return failure
            record = {**{name: _missing_value(value) for name, value in before.items()}, **record}
        if self.needs_losses and view.stepper.knows_losses:
            loss = record["train_loss"]
            least, greatest = self._extremes or (loss, loss)
            least, greatest = min(least, loss), max(greatest, loss)
            record |= {"train_loss_min": least, "train_loss_max": greatest}
            # The extremes up to the next record include this one, unless it is replaced when the run continues.
            self._extremes = (loss, loss) if self.schedule.due(view.step) else (least, greatest)
        self.add(view.step, record)
        view.values = record
        return failure

    def state_dict(self) -> dict[str, Any]:
        """Return the extremes since the last record, and the networks that later measures need."""
        networks = {
            f"{name} {step}": array
            for step, network in self.measures.earlier.items()
            for name, array in network.parameters.items()
        }
        return {"extremes": self._extremes, **networks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state that `state_dict` returned."""
        least, greatest = state.get("extremes") or (None, None)
        self._extremes = None if least is None or greatest is None else (least, greatest)
        steps = sorted(int(name.removeprefix("E ")) for name in state if name.startswith("E "))
        activation = self._settings["network"]["activation"]
        names = ("E", "W", "bias_hidden", "bias_output")
        self.measures.earlier = {
            at: Network(
                **{name: state[f"{name} {at}"] for name in names if f"{name} {at}" in state}, activation=activation
            )
            for at in steps
        }

    def pending_bytes(self) -> int:
        """Return the bytes that the records in memory take."""
        return RECORD * len(self._rows)

    def to_columns(self, steps: Sequence[int], rows: Sequence[Mapping[str, Any]]) -> Columns:
        """Return records as columns. Time coordinates come first, and their names have a prefix."""
        if not rows:
            return {}
        columns: Columns = {"step": np.array(steps, np.int64)}
        for name in sorted(rows[0], key=lambda name: name not in TIMES):
            columns[f"{TIME}{name}" if name in TIMES else name] = np.asarray([row[name] for row in rows])
        return columns

    def to_dataset(self, begin: int = 0, earlier: xr.Dataset | None = None) -> xr.Dataset:
        """Return the records of an earlier part of the run up to step ``begin``, and of this part."""
        columns = self.to_columns(self._steps, self._rows)
        later = history_dataset(columns, self._settings, self.measures.descriptions())
        whole = self.join_earlier(earlier, later, begin)
        assert whole is not None
        return whole

    def _add_inner_records(self, view: View) -> None:
        """Add the records within a chunk, with the extremes of the losses between them."""
        if view.losses is not None and self.needs_losses:
            bounds = [0, *(step - view.begin for step, _ in view.inner_records)]
            least, greatest = np.minimum.reduceat(view.losses, bounds), np.maximum.reduceat(view.losses, bounds)
            if self._extremes is not None:
                least[0], greatest[0] = min(least[0], self._extremes[0]), max(greatest[0], self._extremes[1])
            self._extremes = float(least[-1]), float(greatest[-1])
            losses = np.array([record["train_loss"] for _, record in view.inner_records])
            lows, highs = np.minimum(least[:-1], losses).tolist(), np.maximum(greatest[:-1], losses).tolist()
            for (_, record), low, high in zip(view.inner_records, lows, highs, strict=True):
                record["train_loss_min"], record["train_loss_max"] = low, high
        for step, record in view.inner_records:
            self.add(step, record)


def _missing_value(value: Any) -> Any:
    """Return an array of NaN in the shape of a value; of −1 if the value has integers."""
    array = np.asarray(value)
    return np.full_like(array, -1 if array.dtype.kind in "biu" else np.nan)
