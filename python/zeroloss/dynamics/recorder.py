"""What a simulation keeps on its way: records and snapshots, each on its schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..networks import Network
from ..results import DESCRIPTIONS, Measures, history_dataset, snapshot_dataset
from .schedule import Schedule
from .stepper import Stepper

if TYPE_CHECKING:
    import xarray as xr


class Recorder:
    """Records and snapshots, each on its schedule."""

    def __init__(self, settings: dict[str, Any], measures: Measures) -> None:
        self.measures = measures
        self.records_due = Schedule("record_every", settings["record_every"])
        every = settings["snapshot_every"]
        self.snapshots_due = None if every is None else Schedule("snapshot_every", every)
        self._settings = settings
        self._steps: list[int] = []
        self._times: list[Mapping[str, float]] = []
        self._records: list[dict[str, Any]] = []
        self._snapshot_steps: list[int] = []
        self._snapshots: list[Network] = []

    def next_due(self, step: int) -> int:
        """Return the first step after ``step`` at which there is something to keep."""
        due = self.records_due.next_after(step)
        return due if self.snapshots_due is None else min(due, self.snapshots_due.next_after(step))

    def keep(self, stepper: Stepper, step: int, last: bool = False) -> bool:
        """Keep what is due at a step, all of it at the last; false where the state is not sound."""
        if (last or self.records_due.due(step)) and step not in self._steps[-1:]:
            record = stepper.record()
            if record is None:
                return False
            measured = {name: measure(stepper.network()) for name, measure in self.measures.items()}
            self._steps.append(step)
            self._times.append(stepper.times(step))
            self._records.append({**record, **measured})
        due = self.snapshots_due is not None and (last or self.snapshots_due.due(step))
        if due and step not in self._snapshot_steps[-1:]:
            if stepper.record() is None:  # for the predicted gradient this is what makes W = φ(E)
                return False
            self._snapshot_steps.append(step)
            self._snapshots.append(stepper.network())
        return True

    def summary(self) -> str:
        """Return the newest record's loss and accuracy for the progress bar."""
        record = self._records[-1]
        return f"train loss {record['train_loss']:.2e}, test accuracy {record['test_accuracy']:.3f}"

    def history(self, earlier: xr.Dataset | None = None) -> xr.Dataset:
        """Return the records, after those of an earlier part of the run."""
        later = history_dataset(self._steps, self._times, self._records, self._settings)
        return later if earlier is None else _joined(earlier, later, self.records_due)

    def snapshots(self, earlier: xr.Dataset | None = None) -> xr.Dataset | None:
        """Return the snapshots, after those of an earlier part of the run; None where none are wanted."""
        if self.snapshots_due is None or not self._snapshots:
            return earlier
        later = snapshot_dataset(self._snapshot_steps, self._snapshots)
        return later if earlier is None else _joined(earlier, later, self.snapshots_due)


def _joined(earlier: xr.Dataset, later: xr.Dataset, due: Schedule) -> xr.Dataset:
    """Join two parts of a run; what the earlier kept only because it was its last step gives way."""
    import xarray as xr  # noqa: PLC0415

    end = int(later.step[-1]) if later.step.size else -1
    kept = [step for step in earlier.step.values.tolist() if due.due(step) or step == end]
    first = earlier.sel(step=kept)
    rest = later.sel(step=[step for step in later.step.values.tolist() if step not in kept])
    return xr.concat([first, rest], dim="step", combine_attrs="override") if rest.step.size else first


def checked_measures(measures: Measures | None) -> Measures:
    """Raise unless every measure is a function under a name of its own."""
    measures = {} if measures is None else dict(measures)
    for name, measure in measures.items():
        if not isinstance(name, str) or not name.isidentifier() or name in DESCRIPTIONS:
            raise ValueError(f"measures: expected an identifier that no record uses, got {name!r}")
        if not callable(measure):
            raise TypeError(f"measures: expected a function of the network for {name!r}, got {type(measure).__name__}")
    return measures
