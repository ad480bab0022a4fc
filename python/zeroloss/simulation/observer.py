"""Observers of a simulation, and the view of the state that each of them gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..dynamics.stepper import ChunkStepper, Record, State
from ..networks import Network
from ..results import Ending, Outcome
from .divergence import finite_record

#: After the end of any run: the answer of an observer that need not see a coming step.
NEVER = 2**62


@dataclass(eq=False)
class View:
    """The state of a run at a step, after a chunk of steps that led to it.

    Record, network and saved state are computed once, when an observer asks for them.

    Attributes
    ----------
    stepper : ChunkStepper
        At the step. An observer that replays steps restores it.
    step : int
        Number of steps taken.
    begin : int
        The step at which the chunk began.
    before : mapping of arrays
        The state there.
    losses : array (step − begin,) or None
        The training loss before each step of the chunk, if an observer wants it.
    inner_records : sequence of (int, mapping)
        The records within the chunk, with their steps.
    is_last : bool
        Whether this is the last step of the run, at which records are made although none is scheduled.
    is_final : bool
        Whether no step of the run follows. A flow that ends at a time ends with two views: its last own step, which is
        final, and the state at that time, which is final, last and ``ahead``: an extension takes that step anew.
    outcome : Outcome or None
        The outcome with which an observer before this one, or a signal, ended the run.
    values : mapping
        The record with measured values, once it has been made.
    stop_requested : function
        Whether a signal has asked for the end.
    """

    stepper: ChunkStepper
    step: int
    begin: int
    before: State = field(default_factory=dict)
    losses: NDArray[np.float64] | None = None
    inner_records: Sequence[tuple[int, dict[str, Any]]] = ()
    is_last: bool = False
    is_final: bool = False
    ahead: bool = False
    outcome: Outcome | None = None
    values: Mapping[str, Any] | None = None
    stop_requested: Callable[[], bool] = lambda: False

    @cached_property
    def record(self) -> Record | None:
        """The record of the state, time coordinates among the values; None if the run has diverged there."""
        return finite_record(self.stepper)

    @cached_property
    def network(self) -> Network:
        """The parameters."""
        return self.stepper.network()

    @cached_property
    def state(self) -> State:
        """The complete state."""
        return self.stepper.save()

    @property
    def is_start(self) -> bool:
        """Whether no step has been taken since the run, or its continuation, began."""
        return self.step == self.begin

    @property
    def is_interrupted(self) -> bool:
        """Whether a signal ends the run here."""
        return self.outcome is not None and self.outcome.ending is Ending.STOPPED_BY_THE_USER


class Observer:
    """An observer of a simulation. It says which step it has to see next, and gets a view of every chunk.

    ``needs_losses`` says whether it needs the training loss at every step. An observer without a schedule or a state
    leaves the other methods as they are here.
    """

    needs_losses = False

    def next_step(self, step: int) -> int:
        """Return the first step after ``step`` at which a chunk has to end."""
        return NEVER

    def observe(self, view: View) -> Outcome | None:
        """Observe the state after a chunk; return an outcome to end the run."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return the observer's state, which a continued run needs: arrays, and values that JSON can hold."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
