"""A chunk of steps: how far it goes, and the records that the kernel makes on its way."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .companion import Companion
from .descent import RECORD_SIZE, DescentStepper
from .recorder import Recorder
from .stepper import Stepper

Records = list[dict[str, Any]]


def planned(
    stepper: Stepper, recorder: Recorder, companion: Companion | None, step: int, goal: int, many: bool
) -> tuple[int, list[int]]:
    """Return where a chunk from ``step`` ends, at ``goal`` at the latest, and the steps of the records on its way.

    A chunk ends at the next step that something is to be kept at; with ``many`` records, a descent's goes on to the
    last record that fits, and its kernel makes those between, if nothing has to look at the parameters there.
    """
    simple = recorder.takes_many and (companion is None or companion.takes_many)
    if many and simple and isinstance(stepper, DescentStepper) and stepper.records_many:
        furthest = goal if companion is None else min(goal, companion.next_checkpoint(step, goal))
        within = recorder.steps_due(step, furthest)
        if len(within) > 1:
            return within[-1], within[:-1]
    goal = min(goal, recorder.next_due(step))
    return goal if companion is None else min(goal, companion.next_due(step, goal)), []


def advanced(
    stepper: Stepper, step: int, goal: int, losses: NDArray[np.float64] | None, within: list[int]
) -> tuple[bool, Records]:
    """Take the steps to ``goal``, and return whether all is sound, with the records of the steps on the way."""
    if not within:
        return stepper.advance(goal - step, losses), []
    assert isinstance(stepper, DescentStepper)
    numbers = np.empty((len(within), RECORD_SIZE))
    sound = stepper.advance(goal - step, losses, np.array(within) - step, numbers)
    records = [record for row in numbers.tolist() if (record := stepper.described(row)) is not None]
    return sound and len(records) == len(within), records
