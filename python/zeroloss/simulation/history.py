"""Records on their schedule, with the values of measures and the extremes of the training loss between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..networks import Network
from ..results import DESCRIPTIONS, TIME, TIMES, Ending, Measures, Outcome, history_dataset
from ..results.schedule import Schedule
from .measures import MeasureCalls
from .observer import NEVER, Observer, View
from .rows import Columns, Rows, joined
from .sizes import RECORD

if TYPE_CHECKING:
    import xarray as xr

Values = dict[str, Any]


class History(Observer):
    """The observer that makes the records.

    Parameters
    ----------
    settings : mapping
        Of the run: ``record_every`` and ``loss_extremes`` are read here, and all of it stands in the history.
    measures : mapping of name to function
        Called with every record.
    end : int
        The last step.
    within_chunks : bool
        Whether the stepper can make records within a chunk.
    done : int, optional
        The step up to which the records of an earlier part are kept elsewhere.
    before : mapping
        The last of those records, which fixes the shapes of measured values.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        measures: Measures,
        end: int,
        within_chunks: bool,
        done: int | None = None,
        before: Mapping[str, Any] | None = None,
    ) -> None:
        self.schedule = Schedule("record_every", settings["record_every"])
        self.measures = MeasureCalls(measures, self.schedule, end)
        self.wants_losses = bool(settings.get("loss_extremes", False))
        self.within_chunks = within_chunks and isinstance(self.schedule.every, int) and not measures
        self._settings = settings
        self._rows: Rows[Values] = Rows(self.schedule, done)
        self._before = before or {}
        self._extremes: tuple[float, float] | None = None  # of the training loss since the last record

    def next_step(self, step: int) -> int:
        """Return the next step with a record, or whose network a measure compares with."""
        if self.within_chunks:
            return NEVER
        return min(self.schedule.next_after(step), self.measures.next_compared(step))

    def steps_within(self, step: int, goal: int) -> list[int]:
        """Return the steps after ``step`` up to ``goal`` whose records one chunk can make."""
        if not self.within_chunks:
            return []
        every = self.schedule.every
        assert isinstance(every, int)
        return list(range(self.schedule.next_after(step), goal + 1, every))

    def observe(self, view: View) -> Outcome | None:
        """Make the records of a chunk; return an outcome if a measure meets a singular matrix."""
        self._take(view)
        if self.measures.is_compared(view.step):
            self.measures.keep(view.step, view.network)
        if not self._rows.is_due(view.step, view.last):
            return None
        assert view.record is not None
        record, failure = dict(view.record), None
        try:
            record |= self.measures.values(view.network, view.step, self._last_values) if self.measures.measures else {}
        except np.linalg.LinAlgError as error:
            failure = Outcome(Ending.SINGULAR, f"at step {view.step} a measure failed: {error}")
            if not self._last_values:
                return failure
            record = {**{name: _unknown(value) for name, value in self._last_values.items()}, **record}
        if self.wants_losses and view.stepper.knows_losses:
            record |= self._extremes_up_to(record["train_loss"], self.schedule.due(view.step))
        self._rows.add(view.step, record)
        view.values = record
        return failure

    def state_dict(self) -> dict[str, Any]:
        """Return the extremes since the last record, and the networks that measures compare with."""
        networks = {f"E {step}": network.E for step, network in self.measures.earlier.items()}
        networks |= {f"W {step}": network.W for step, network in self.measures.earlier.items()}
        return {"extremes": self._extremes, **networks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        least, greatest = state.get("extremes") or (None, None)
        self._extremes = None if least is None or greatest is None else (least, greatest)
        steps = sorted(int(name.removeprefix("E ")) for name in state if name.startswith("E "))
        activation = self._settings["network"]["activation"]
        self.measures.earlier = {at: Network(state[f"E {at}"], state[f"W {at}"], activation) for at in steps}

    def knows(self, name: str) -> bool:
        """Whether a variable of a history is one that every record has, or that the measures make."""
        return name in DESCRIPTIONS or self.measures.makes(name)

    def take_scheduled(self, end: int) -> Columns:
        """Return the new records on the schedule up to step ``end``, and forget all but the last."""
        return self._columns(*self._rows.take_scheduled(end))

    def unscheduled(self, end: int) -> Columns:
        """Return the last record if it is not on the schedule, or beyond step ``end``."""
        return self._columns(*self._rows.unscheduled(end))

    def pending(self) -> int:
        """Return the bytes of the records in memory."""
        return RECORD * len(self._rows.rows)

    def dataset(self, begin: int = 0, earlier: xr.Dataset | None = None) -> xr.Dataset:
        """Return the records, after those up to ``begin`` of an earlier part of the run."""
        descriptions = self.measures.descriptions()
        later = history_dataset(self._columns(self._rows.steps, self._rows.rows), self._settings, descriptions)
        return later if earlier is None else joined(earlier, later, self.schedule, begin)

    @property
    def _last_values(self) -> Mapping[str, Any]:
        """The last record, also of the part before; empty if there is none."""
        return self._rows.rows[-1] if self._rows.rows else self._before

    def _take(self, view: View) -> None:
        """Take over the records within a chunk, and note its losses."""
        losses = view.losses if self.wants_losses else None
        if losses is None or not len(losses):
            extremes: list[tuple[float, float]] = []
        else:
            extremes = self._extremes_between(losses, view)
        for place, (step, record) in enumerate(view.within):
            if extremes:
                record["train_loss_min"], record["train_loss_max"] = extremes[place]
            self._rows.add(step, record)

    def _extremes_between(self, losses: NDArray[np.float64], view: View) -> list[tuple[float, float]]:
        """Return the extremes for each record within a chunk, and keep those since the last of them."""
        bounds = [0, *(step - view.begin for step, _ in view.within)]
        least, greatest = np.minimum.reduceat(losses, bounds), np.maximum.reduceat(losses, bounds)
        if self._extremes is not None:
            least[0], greatest[0] = min(least[0], self._extremes[0]), max(greatest[0], self._extremes[1])
        own = np.array([record["train_loss"] for _, record in view.within])
        self._extremes = float(least[-1]), float(greatest[-1])
        if not len(own):
            return []
        lows, highs = np.minimum(least[:-1], own).tolist(), np.maximum(greatest[:-1], own).tolist()
        return list(zip(lows, highs, strict=True))

    def _extremes_up_to(self, loss: float, due: bool) -> dict[str, float]:
        """Return the extremes up to a record's own loss, with which the next ones begin if the record is to stay."""
        least, greatest = self._extremes or (loss, loss)
        least, greatest = min(least, loss), max(greatest, loss)
        self._extremes = (loss, loss) if due else (least, greatest)
        return {"train_loss_min": least, "train_loss_max": greatest}

    def _columns(self, steps: Sequence[int], rows: Sequence[Values]) -> Columns:
        """Return records as columns, time coordinates under marked names."""
        if not rows:
            return {}
        names = {name: f"{TIME}{name}" if name in TIMES else name for name in rows[0]}
        ordered = sorted(names, key=lambda name: name not in TIMES)
        columns = {names[name]: np.asarray([row[name] for row in rows]) for name in ordered}
        return {"step": np.array(steps, np.int64), **columns}


def _unknown(value: Any) -> Any:
    """Return NaN in the shape of a value, or −1 where it is an integer."""
    array = np.asarray(value)
    return np.full_like(array, -1 if array.dtype.kind in "biu" else np.nan)
