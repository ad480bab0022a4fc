"""The section ``[run]`` of a configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Every = Annotated[int, Field(ge=1)] | Literal["log"]


class RunSettings(BaseModel):
    """The section ``[run]``: for how long, and what is kept."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    steps: int | None = Field(
        default=None, ge=0, description="steps to take; 100 000 where there is no duration either"
    )
    duration: float | None = Field(default=None, ge=0, description="in place of steps: time of the dynamics to cover")
    record_every: Every = Field(default=100, description='steps between records, or "log": 20 a decade')
    snapshot_every: Every | None = Field(default=None, description="steps between snapshots of E and W")
    loss_extremes: bool = Field(default=True, description="record the least and greatest training loss between records")
    events: list[str] = Field(
        default=["train_accuracy >= 1", "test_accuracy >= 0.5", "test_accuracy >= 0.95", "test_accuracy >= 1"],
        description="conditions on recorded values whose first step is found; missed if they come and go between looks",
    )
    event_every: int | None = Field(
        default=None, ge=1, description="steps between looks for events; record_every by default"
    )
    checkpoint_every: int | None = Field(default=None, ge=1, description="steps between checkpoints")
    checkpoint_minutes: float | None = Field(default=1.0, gt=0, description="minutes between checkpoints")
    keep_checkpoints: int = Field(default=3, ge=1, description="newest checkpoints that are kept")
    measures: list[Literal["alignment"]] = Field(
        default=[], description='what else to record: ["alignment"] of updates'
    )
    stop_minutes: float | None = Field(default=None, gt=0, description="stop after so many minutes")
    stop_test_accuracy: float | None = Field(
        default=None, ge=0, le=1, description="stop at this test accuracy, sustained"
    )
    stop_records: int = Field(default=10, ge=1, description="for so many records")
    stop_gradient_norm: float | None = Field(
        default=None, ge=0, description="stop where ‖∇loss + weight_decay · θ‖ is below"
    )
    stop: list[str] | None = Field(
        default=None, description='rules that end the run, as ["train_loss <= 0.1 for 3 records"]'
    )
    stop_slow_time: float | None = Field(default=None, gt=0, description="stop at this slow time")
    threads: int | None = Field(
        default=None, ge=1, description="threads for a step; by the size of the step by default"
    )
