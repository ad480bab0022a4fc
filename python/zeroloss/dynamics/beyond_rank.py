"""Steppers of the norm flow that continue with softened steps where J loses rank."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from ..geometry.solver import LostRankError
from .flow import FlowStepper, ProximalError
from .runge_kutta import StepSizeTooSmallError, Tolerances
from .softened import SoftenedSteps, norm_rises
from .stepper import State


class BeyondRankStepper(FlowStepper):
    """A stepper that takes steps on the set until J loses rank, and softened steps from then on.

    Softened steps begin if J is singular to the precision of the solver: a step on the set raises `LostRankError`. They
    also begin if J is close to losing rank and a step on the set fails or increases ‖θ‖. That step is discarded.

    ``_softened`` is None if softened steps are not possible: a step on the set that fails then ends the flow.
    """

    _softened: SoftenedSteps | None

    @abstractmethod
    def _step_on_set(self, room: float) -> None:
        """Take a step that stays on the set, as `_take_step` does. Raises LostRankError if J is singular."""

    def restore(self, state: State) -> None:
        """Return to a state that `save` returned, perhaps of a version without softened steps."""
        super().restore(state if self._softened is None else self._softened.complete(state))

    def step_record(self) -> dict[str, float]:
        """Return the values of a record that describe the steps."""
        record = super().step_record()
        return record if self._softened is None else {**record, "softening": float(self.state["softening"])}

    def _take_step(self, room: float) -> None:
        if self._softened is None:
            self._step_on_set(room)
        elif self.state["softening"] > 0 or not self._try_on_set(room, self._softened):
            taken = min(room, self._next_size())
            if isinstance(self._step, Tolerances):
                self.state |= self._softened.advance(self.state, room)
                taken = float(self.state["earlier_size"])
            else:
                self.state |= self._softened.advance(self.state, taken)
            self._count_step(taken)

    def _try_on_set(self, room: float, softened: SoftenedSteps) -> bool:
        """Take a step on the set. If J has lost rank, prepare softened steps instead, and return False."""
        before = dict(self.state)  # A step replaces arrays. It does not change them.
        try:
            self._step_on_set(room)
            lost = norm_rises(before, self.state) and any(map(softened.nearly_loses_rank, (before, self.state)))
        except LostRankError:
            lost = True
        except (ProximalError, StepSizeTooSmallError, np.linalg.LinAlgError):
            lost = softened.nearly_loses_rank(before)
            if not lost:
                raise
        if not lost:
            self.state |= {"earlier_E": before["E"], "earlier_W": before["W"], "earlier_size": self.state["step_size"]}
            return True
        self.state = {**before, **{name: self.state[name] for name in ("evaluations", "rejected_steps")}}
        self.state |= softened.begin(self.state)
        return False
