"""The section ``[run]`` of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ._deprecated import rename_keys, warn_renamed

Every = Annotated[int, Field(ge=1)] | Literal["log"]


class RunSettings(BaseModel):
    """The section ``[run]``: the length of a run, its records, checkpoints and rules.

    ``zeroloss run --print-defaults`` prints the first sentence about each attribute.

    Attributes
    ----------
    steps : int, optional
        Number of steps; 100 000 if there is no duration either.
    duration : float, optional
        Instead of steps: length in time of the dynamics.
    record_every : int or "log", default 100
        Steps between records; "log": 20 records in each decade of steps.
    snapshot_every : int or "log", optional
        Steps between snapshots of E and W.
    loss_extremes : bool, default True
        Whether to record the least and greatest training loss between records.
    events : list of str
        Conditions on recorded values; the run finds the first step of each. A condition that becomes true and false
        again between two checks is not detected.
    event_every : int, optional
        Steps between checks of the events; record_every by default.
    checkpoint_every : int, optional
        Steps between checkpoints.
    checkpoint_minutes : float, default 1
        Minutes between checkpoints.
    keep_checkpoints : int, default 3
        Number of checkpoints that stay on the disk.
    measures : list of "alignment"
        Further values to record; "alignment": cosines of the updates.
    stop_minutes : float, optional
        Stop after this number of minutes.
    stop_test_accuracy : float, optional
        Stop when the test accuracy has reached this value.
    stop_sustained_records : int, default 10
        Number of records in a row that need stop_test_accuracy.
    stop_gradient_norm : float, optional
        Stop when ‖∇loss + weight_decay · θ‖ is at most this value.
    stop : list of str, optional
        Rules that end the run, such as ["train_loss <= 0.1 for 3 records"].
    stop_slow_time : float, optional
        Stop at this slow time.
    threads : int, optional
        Threads of one step; by default chosen by the size of the step.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    steps: int | None = Field(default=None, ge=0)
    duration: float | None = Field(default=None, ge=0)
    record_every: Every = 100
    snapshot_every: Every | None = None
    loss_extremes: bool = True
    events: list[str] = ["train_accuracy >= 1", "test_accuracy >= 0.5", "test_accuracy >= 0.95", "test_accuracy >= 1"]
    event_every: int | None = Field(default=None, ge=1)
    checkpoint_every: int | None = Field(default=None, ge=1)
    checkpoint_minutes: float | None = Field(default=1.0, gt=0)
    keep_checkpoints: int = Field(default=3, ge=1)
    measures: list[Literal["alignment"]] = []
    stop_minutes: float | None = Field(default=None, gt=0)
    stop_test_accuracy: float | None = Field(default=None, ge=0, le=1)
    stop_sustained_records: int = Field(default=10, ge=1)
    stop_gradient_norm: float | None = Field(default=None, ge=0)
    stop: list[str] | None = None
    stop_slow_time: float | None = Field(default=None, gt=0)
    threads: int | None = Field(default=None, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _accept_old_names(cls, keys: Any) -> Any:
        """Return the keys under their new names."""
        return rename_keys("run", keys, warn=True) if isinstance(keys, Mapping) else keys

    @property
    def stop_records(self) -> int:
        """Deprecated name of ``stop_sustained_records``."""
        warn_renamed("RunSettings.stop_records", "stop_sustained_records")
        return self.stop_sustained_records
