"""What may go along with the loop of a simulation."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..results import Outcome
from .monitor import Passed
from .recorder import Recorder
from .stepper import Stepper


class Companion(Protocol):
    """What goes along with the loop: it looks at every chunk, keeps checkpoints, and may end the simulation."""

    signals: Sequence[signal.Signals]
    wants_losses: bool

    @property
    def takes_many(self) -> bool:
        """Whether a chunk may pass several records: nothing has to be done at each."""

    def begin(self, stepper: Stepper, recorder: Recorder, step: int, wanted: Callable[[], bool]) -> None:
        """Take note of the first step, recorded, and of how to ask whether the simulation is wanted to go on."""

    def next_due(self, step: int, end: int) -> int:
        """Return the step at which the next chunk has to end at the latest."""

    def next_checkpoint(self, step: int, end: int) -> int:
        """Return the step at which the next checkpoint has to be at the latest."""

    def after_chunk(
        self,
        stepper: Stepper,
        recorder: Recorder,
        step: int,
        goal: int,
        end: int,
        losses: NDArray[np.float64] | None,
        passed: Passed | None,
    ) -> Outcome | None:
        """Look at a chunk from ``step`` to ``goal``, recorded; return an outcome to end."""

    def interrupted(self, stepper: Stepper, recorder: Recorder, step: int, number: signal.Signals) -> None:
        """Keep what a resumed simulation needs."""
