"""The section ``[run]`` of a configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ._deprecated import accept_old_names, warn_renamed

Every = Annotated[int, Field(ge=1)] | Literal["log"]


@accept_old_names("run")
class RunSettings(BaseModel):
    """The section ``[run]``: the length of a run, its records, checkpoints and rules.

    The documentation of each field is its comment in ``zeroloss run --print-defaults``.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    steps: int | None = Field(default=None, ge=0, description="number of steps; 100 000 if there is no duration either")
    duration: float | None = Field(default=None, ge=0, description="instead of steps: length in time of the dynamics")
    record_every: Every = Field(
        default=100, description='steps between records; "log": 20 records in each decade of steps'
    )
    snapshot_every: Every | None = Field(default=None, description="steps between snapshots of E and W")
    loss_extremes: bool = Field(default=True, description="record the least and greatest training loss between records")
    events: list[str] = Field(
        default=["train_accuracy >= 1", "test_accuracy >= 0.5", "test_accuracy >= 0.95", "test_accuracy >= 1"],
        description="conditions on recorded values; the run finds the first step of each. "
        "A condition that becomes true and false again between two checks is not detected",
    )
    event_every: int | None = Field(
        default=None, ge=1, description="steps between checks of the events; record_every by default"
    )
    checkpoint_every: int | None = Field(default=None, ge=1, description="steps between checkpoints")
    checkpoint_minutes: float | None = Field(default=1.0, gt=0, description="minutes between checkpoints")
    keep_checkpoints: int = Field(default=3, ge=1, description="number of checkpoints that stay on the disk")
    measures: list[Literal["alignment"]] = Field(
        default=[], description='further values to record; ["alignment"]: cosines of the updates'
    )
    stop_minutes: float | None = Field(default=None, gt=0, description="stop after this number of minutes")
    stop_test_accuracy: float | None = Field(
        default=None, ge=0, le=1, description="stop when the test accuracy has reached this value"
    )
    stop_sustained_records: int = Field(
        default=10, ge=1, description="number of records in a row that need stop_test_accuracy"
    )
    stop_gradient_norm: float | None = Field(
        default=None, ge=0, description="stop when ‖∇loss + weight_decay · θ‖ is not above this value"
    )
    stop: list[str] | None = Field(
        default=None, description='rules that end the run, such as ["train_loss <= 0.1 for 3 records"]'
    )
    stop_slow_time: float | None = Field(default=None, gt=0, description="stop at this slow time")
    threads: int | None = Field(
        default=None, ge=1, description="threads of one step; by default chosen by the size of the step"
    )

    @property
    def stop_records(self) -> int:
        """Deprecated name of ``stop_sustained_records``."""
        warn_renamed("RunSettings.stop_records", "stop_sustained_records")
        return self.stop_sustained_records
