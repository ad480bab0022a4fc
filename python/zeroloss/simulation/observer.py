"""Observers of a simulation, and the view of the state that the engine shows to each of them."""

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

#: A step after the end of any run. Observers that need not see a later step return it.
NEVER = 2**62


@dataclass(eq=False)
class View:
    """The state of a run at a step, and the chunk of steps that led to it.

    The record, the network and the saved state are computed once, when an observer first reads them.

    Attributes
    ----------
    stepper : ChunkStepper
        The stepper, at this step. An observer that replays steps restores it.
    step : int
        The number of steps taken.
    begin : int
        The step at which the chunk began.
    before : mapping of arrays
        The state at the beginning of the chunk.
    losses : array (step − begin,) or None
        The training loss before each step of the chunk, if an observer needs it.
    inner_records : sequence of (int, mapping)
        The records within the chunk, with their steps.
    is_last : bool
        Whether this is the last step of the run. Its record is made even if it is not scheduled.
    is_final : bool
        Whether no own step of the run follows. A flow that ends at a time has two final views: its last own step, and
        the state at that time, which is last and ``ahead``.
    ahead : bool
        Whether this is the state at an end in time, after the last own step. An extension takes that step again.
    outcome : Outcome or None
        The outcome with which an earlier observer, or a signal, ended the run.
    values : mapping or None
        The record with measured values, after the history has made it.
    stop_requested : function
        Returns whether a signal has stopped the run.
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
        """The record of the state, with time coordinates; None if the run has diverged here."""
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
        """Whether the run, or its continuation, has not taken a step yet."""
        return self.step == self.begin

    @property
    def is_interrupted(self) -> bool:
        """Whether a signal ends the run here."""
        return self.outcome is not None and self.outcome.ending is Ending.STOPPED_BY_THE_USER


class Observer:
    """An observer of a simulation. It names the next step that it has to see, and gets a view of every chunk.

    ``needs_losses`` is True if it needs the training loss at every step. An observer without a schedule, or without a
    state, need not override the other methods.
    """

    needs_losses = False

    def next_step(self, step: int) -> int:
        """Return the first step after ``step`` at which a chunk has to end for this observer."""
        return NEVER

    def observe(self, view: View) -> Outcome | None:
        """Observe the state after a chunk. Return an outcome to end the run."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return the state that a continued run needs: arrays, and values that JSON can represent."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load a state that `state_dict` returned."""
