"""What a simulation keeps on its way: records and snapshots, each on its schedule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._checks import ArgumentTypeError, ArgumentValueError
from ..networks import Network
from ..results import DESCRIPTIONS, TIME, Ending, Measures, Outcome, history_dataset, snapshot_dataset
from ..results.schedule import Schedule
from .divergence import finite_record
from .sizes import RECORD
from .stepper import Stepper

if TYPE_CHECKING:
    import xarray as xr


Columns = dict[str, NDArray[Any]]
Losses = NDArray[np.float64] | None


class Recorder:
    """Records and snapshots, each on its schedule, and the networks that measures with a lag compare with.

    ``earlier`` are networks by step that a part of the run before left, ``end`` is the last step of this part;
    ``failure`` is the outcome where a measure met a singular matrix. Up to the step ``done`` all is kept elsewhere.
    ``extremes`` are the least and greatest training loss since the last record, where they are wanted and known;
    ``record_before`` is the last record of the part before, whose variables and shapes the records here have, too.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        measures: Measures,
        end: int,
        earlier: Mapping[int, Network] | None = None,
        done: int | None = None,
    ) -> None:
        self.measures = measures
        self.failure: Outcome | None = None
        self._lags = {lag for measure in measures.values() if (lag := getattr(measure, "lag", 0))}
        self._end, self._earlier = end, dict(earlier or {})
        self.records_due = Schedule("record_every", settings["record_every"])
        every = settings["snapshot_every"]
        self.snapshots_due = None if every is None else Schedule("snapshot_every", every)
        self._settings = settings
        self._last_recorded = self._last_pictured = None
        if done is not None:  # what is recorded at a last step alone gives way
            self._last_recorded = done if self.records_due.due(done) else None
            self._last_pictured = done if self.snapshots_due and self.snapshots_due.due(done) else None
        self.extremes: tuple[float, float] | None = None
        self.record_before: Mapping[str, Any] = {}
        self.wants_extremes = bool(settings.get("loss_extremes", False))
        self._steps: list[int] = []
        self._times: list[Mapping[str, float]] = []
        self._records: list[dict[str, Any]] = []
        self._handed = 0  # records at the front that are handed over already
        self._snapshot_steps: list[int] = []
        self._snapshots: list[tuple[Mapping[str, float], Network]] = []  # with their times

    def next_due(self, step: int) -> int:
        """Return the first step after ``step`` at which there is something to keep."""
        due = self.records_due.next_after(step)
        if self.snapshots_due is not None:
            due = min(due, self.snapshots_due.next_after(step))
        return min(due, *(self._next_compared(step, lag) for lag in self._lags), self._end)

    def knows(self, name: str) -> bool:
        """Whether a history's variable is one that these measures, or every record, make."""
        return name in DESCRIPTIONS or any(name == own or name.startswith(f"{own}_") for own in self.measures)

    def earlier(self) -> dict[int, Network]:
        """Return the networks that an extension's measures compare with."""
        return self._earlier

    def _next_compared(self, step: int, lag: int) -> int:
        """Return the first step after ``step`` that a record ``lag`` steps later compares with.

        The last steps are all kept: the end of an extension may be any.
        """
        return min(self.records_due.next_after(step + lag) - lag, max(step + 1, self._end - lag))

    def _is_compared(self, step: int) -> bool:
        """Whether a measure with a lag will compare with the network at a step."""
        if not self._lags or step in self._earlier:
            return False
        return step == 0 or any(self._next_compared(step - 1, lag) == step for lag in self._lags)

    def _due(self, step: int, last: bool) -> tuple[bool, bool, bool]:
        """Return whether a step is one to compare with, to record, and to take a snapshot of."""
        recorded = (last or self.records_due.due(step)) and step != self._last_recorded
        wanted = self.snapshots_due is not None and (last or self.snapshots_due.due(step))
        return self._is_compared(step), recorded, wanted and step != self._last_pictured

    def is_due(self, step: int, last: bool) -> bool:
        """Whether there is something to keep at a step."""
        return any(self._due(step, last))

    def keep(self, stepper: Stepper, step: int, last: bool = False, record: Mapping[str, float] | None = None) -> bool:
        """Keep what is due at a step, all of it at the last; false if the run has diverged there.

        ``record`` is that of the state, from `finite_record`, if it was made already.
        """
        compared, recorded, pictured = self._due(step, last)
        if not (compared or recorded or pictured):
            return True
        record = record or finite_record(stepper)  # for the predicted gradient this is what makes W = φ(E)
        if record is None:
            return False
        if compared:
            self._earlier = {at: net for at, net in self._earlier.items() if at >= step - max(self._lags)}
            self._earlier[step] = stepper.network()
        if recorded:
            try:
                record = {**record, **self._measured(stepper, step)}
            except np.linalg.LinAlgError as error:
                self.failure = Outcome(Ending.SINGULAR, f"at step {step} a measure failed: {error}")
                if not self._record_before:
                    return True
                record = {**{name: _unknown(value) for name, value in self._record_before.items()}, **record}
            if self.wants_extremes and stepper.knows_losses:
                record = {**record, **self._extremes_up_to(record["train_loss"], self.records_due.due(step))}
            self._last_recorded = step
            self._steps.append(step)
            self._times.append(stepper.times(step))
            self._records.append(dict(record))
        if pictured:
            self._last_pictured = step
            self._snapshot_steps.append(step)
            self._snapshots.append((stepper.times(step), stepper.network()))
        return True

    @property
    def takes_many(self) -> bool:
        """Whether records can come many at a time: at regular steps, without measures."""
        return isinstance(self.records_due.every, int) and not self.measures

    def steps_due(self, step: int, goal: int) -> list[int]:
        """Return the steps after ``step`` up to ``goal`` at which a record is due and no snapshot was before."""
        if self.snapshots_due is not None:
            goal = min(goal, self.snapshots_due.next_after(step))
        every = self.records_due.every
        assert isinstance(every, int)
        return list(range(self.records_due.next_after(step), goal + 1, every))

    def take(
        self, stepper: Stepper, begin: int, steps: Sequence[int], records: Sequence[dict[str, Any]], losses: Losses
    ) -> None:
        """Take note of the losses of a chunk from ``begin`` on, and take over the records of steps within it."""
        if not steps:
            return self._saw(losses)
        if losses is not None and self.wants_extremes:
            own = np.array([record["train_loss"] for record in records])
            bounds = [0, *(step - begin for step in steps)]
            least, greatest = np.minimum.reduceat(losses, bounds), np.maximum.reduceat(losses, bounds)
            if self.extremes is not None:
                least[0], greatest[0] = min(least[0], self.extremes[0]), max(greatest[0], self.extremes[1])
            lows, highs = np.minimum(least[:-1], own).tolist(), np.maximum(greatest[:-1], own).tolist()
            for record, low, high in zip(records, lows, highs, strict=True):
                record["train_loss_min"], record["train_loss_max"] = low, high
            self.extremes = float(least[-1]), float(greatest[-1])
        self._last_recorded = steps[-1]
        self._steps.extend(steps)
        self._times.extend(stepper.times(step) for step in steps)
        self._records.extend(records)

    def newest_many(self, count: int) -> tuple[Sequence[int], Sequence[Mapping[str, Any]]]:
        """Return the steps of the last records, and the records."""
        return self._steps[-count:], self._records[-count:]

    def _saw(self, losses: NDArray[np.float64] | None) -> None:
        """Take note of the training losses before some steps."""
        if losses is not None and self.wants_extremes:
            least, greatest = self.extremes or (np.inf, -np.inf)
            self.extremes = min(least, float(losses.min())), max(greatest, float(losses.max()))

    def _extremes_up_to(self, loss: float, due: bool) -> dict[str, float]:
        """Return the extremes up to a record's own loss, with which the next ones begin if the record is to stay."""
        least, greatest = self.extremes or (loss, loss)
        least, greatest = min(least, loss), max(greatest, loss)
        self.extremes = (loss, loss) if due else (least, greatest)
        return {"train_loss_min": least, "train_loss_max": greatest}

    def newest(self) -> tuple[int, Mapping[str, Any]] | None:
        """Return the last record and its step."""
        return (self._steps[-1], self._records[-1]) if self._steps else None

    def drain(self, end: int) -> tuple[Columns, Columns]:
        """Hand over the records and snapshots on their schedules up to step ``end``, and forget all but the last.

        A flow that ended between two steps has recorded one step more, which an extension takes anew.
        """
        due = [at for at, step in enumerate(self._steps) if self.records_due.due(step) and step <= end]
        records = self._columns(due[self._handed :])
        if due:
            last, self._handed = due[-1], 1
            self._steps, self._times, self._records = self._steps[last:], self._times[last:], self._records[last:]
        pictured = self.snapshots_due
        pictures = [
            at
            for at, step in enumerate(self._snapshot_steps)
            if pictured is not None and pictured.due(step) and step <= end
        ]
        snapshots = self._snapshot_columns(pictures)
        kept = sorted(set(range(len(self._snapshot_steps))) - set(pictures))
        self._snapshot_steps = [self._snapshot_steps[at] for at in kept]
        self._snapshots = [self._snapshots[at] for at in kept]
        return records, snapshots

    def last_rows(self, end: int) -> tuple[Columns, Columns]:
        """Return the last record and snapshot if they are not on their schedules, or beyond step ``end``."""
        last = self._steps[-1:]
        record = [len(self._steps) - 1] if last and (last[0] > end or not self.records_due.due(last[0])) else []
        return self._columns(record), self._snapshot_columns(list(range(len(self._snapshot_steps)))[-1:])

    @property
    def _record_before(self) -> Mapping[str, Any]:
        """The last record, also of the part before; empty if there is none."""
        return self._records[-1] if self._records else self.record_before

    def _columns(self, places: Sequence[int]) -> Columns:
        """Return some of the records as columns."""
        if not places:
            return {}
        first = self._records[places[0]]
        return {
            "step": np.array([self._steps[at] for at in places], np.int64),
            **{f"{TIME}{name}": np.array([self._times[at][name] for at in places]) for name in self._times[places[0]]},
            **{name: np.asarray([self._records[at][name] for at in places]) for name in first},
        }

    def _snapshot_columns(self, places: Sequence[int]) -> Columns:
        if not places:
            return {}
        times, networks = zip(*(self._snapshots[at] for at in places), strict=True)
        return {
            "step": np.array([self._snapshot_steps[at] for at in places], np.int64),
            **{f"{TIME}{name}": np.array([time[name] for time in times]) for name in times[0]},
            "E": np.stack([network.E for network in networks]),
            "W": np.stack([network.W for network in networks]),
        }

    def _all_snapshots(self) -> Columns:
        """Return all snapshots as columns; each is forgotten as it is copied, so that they are not in memory twice."""
        count, (times, first) = len(self._snapshots), self._snapshots[0]
        columns = {"step": np.array(self._snapshot_steps, np.int64)}
        for name in times:
            columns[f"{TIME}{name}"] = np.array([own[name] for own, _ in self._snapshots])
        columns |= {
            name: np.empty((count, *layer.shape), layer.dtype) for name, layer in (("E", first.E), ("W", first.W))
        }
        for at in range(count - 1, -1, -1):
            _, network = self._snapshots.pop()
            columns["E"][at], columns["W"][at] = network.E, network.W
        self._snapshot_steps = []
        return columns

    def pending(self) -> int:
        """Return the bytes of records and snapshots in memory."""
        snapshot = sum(network.E.nbytes + network.W.nbytes for _, network in self._snapshots[:1])
        return RECORD * len(self._records) + snapshot * len(self._snapshots)

    def _measured(self, stepper: Stepper, step: int) -> dict[str, Any]:
        """Call the measures; one that returns a mapping has a variable for each of its values."""
        found: dict[str, Any] = {}
        if not self.measures:
            return found
        network = stepper.network()
        for name, measure in self.measures.items():
            lag = getattr(measure, "lag", 0)
            foreseen = self.records_due.due(step) or step == self._end or step <= lag
            compared = (self._earlier.get(max(0, step - lag)) if foreseen else None,) if lag else ()
            value = measure(network, *compared)
            named = {f"{name}_{key}": v for key, v in value.items()} if isinstance(value, Mapping) else {name: value}
            if taken := named.keys() & (found.keys() | DESCRIPTIONS.keys()):
                raise ArgumentValueError(
                    "measures", f"expected names of their own, got {', '.join(sorted(taken))} twice"
                )
            found |= named
        before = self._record_before or found
        for name, value in found.items():
            shape, expected = np.shape(value), np.shape(before.get(name, np.nan))
            if shape != expected:
                raise ArgumentValueError(
                    "measures", f"expected {name} of shape {expected}, as before, got {shape} at step {step}"
                )
        return found

    def summary(self) -> str:
        """Return the newest record's loss and accuracy for the progress bar."""
        if not self._records:
            return ""
        record = self._records[-1]
        norm = np.hypot(record["norm_E"], record["norm_W"])
        accuracies = f"accuracy {record['train_accuracy']:.3f} train, {record['test_accuracy']:.3f} test"
        return f"loss {record['train_loss']:.2e}, {accuracies}, norm {norm:.4g}"

    def history(self, begin: int = 0, earlier: xr.Dataset | None = None) -> xr.Dataset:
        """Return the records, after those up to ``begin`` of an earlier part of the run."""
        later = history_dataset(self._columns(range(len(self._steps))), self._settings, self.descriptions())
        return later if earlier is None else _joined(earlier, later, self.records_due, begin)

    def descriptions(self) -> dict[str, tuple[str, str]]:
        """Return units and meaning of what the measures record."""
        return {
            f"{name}_{key}": description
            for name, measure in self.measures.items()
            for key, description in getattr(measure, "descriptions", {}).items()
        }

    def snapshots(self, begin: int = 0, earlier: xr.Dataset | None = None) -> xr.Dataset | None:
        """Return the snapshots, after those up to ``begin`` of an earlier part; None where none are wanted."""
        if self.snapshots_due is None or not self._snapshots:
            return earlier
        later = snapshot_dataset(self._all_snapshots())
        return later if earlier is None else _joined(earlier, later, self.snapshots_due, begin)


def _unknown(value: Any) -> Any:
    """Return NaN in the shape of a value, or −1 where it is an integer."""
    array = np.asarray(value)
    return np.full_like(array, -1 if array.dtype.kind in "biu" else np.nan)


def _joined(earlier: xr.Dataset, later: xr.Dataset, due: Schedule, begin: int) -> xr.Dataset:
    """Join two parts of a run; what the earlier kept only because it was its last step gives way."""
    import xarray as xr  # noqa: PLC0415

    kept = [step for step in earlier.step.values.tolist() if step <= begin and due.due(step)]
    first = earlier.sel(step=kept)
    rest = later.sel(step=[step for step in later.step.values.tolist() if step not in kept])
    rest = rest.drop_vars(set(rest.coords) - set(first.coords))  # Snapshots of version 0.1.0 have no times.
    return xr.concat([first, rest], dim="step", combine_attrs="override") if rest.step.size else first


def checked_measures(measures: Measures | None) -> Measures:
    """Raise unless every measure is a function under a name of its own."""
    measures = {} if measures is None else dict(measures)
    for name, measure in measures.items():
        if not isinstance(name, str) or not name.isidentifier() or name in DESCRIPTIONS:
            raise ArgumentValueError("measures", f"expected an identifier that no record uses, got {name!r}")
        if not callable(measure):
            raise ArgumentTypeError(
                "measures", f"expected a function of the network for {name!r}, got {type(measure).__name__}"
            )
    return measures
