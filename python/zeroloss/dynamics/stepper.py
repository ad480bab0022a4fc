"""The contract between the engine and a dynamics.

A *dynamics* is a frozen dataclass of settings. It starts a *stepper*, which takes steps and describes its state. The
dynamics of this package and of users satisfy the same contract; `zeroloss.dynamics.user` adapts users' steppers.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from .._checks import ArgumentValueError
from .._kernels import kernels
from ..datasets import Dataset, kernel_samples, one_hot
from ..networks import Network, kernel_activation
from ..results import Outcome

State = dict[str, NDArray[Any]]
Record = Mapping[str, float]
Records = NDArray[np.void]  # (count,) of kernels.record_dtype


class Stepper(Protocol):
    """A dynamics under way, as a user may write one.

    The answer of `save` alone determines the coming steps. Then runs can be extended, interrupted and resumed with
    equal bits.
    """

    def advance(self, steps: int) -> object:
        """Take a number of steps, at least 1.

        Raise ArithmeticError or numpy.linalg.LinAlgError if a step cannot be taken: the run then ends at the last step
        before it. A parameter that is not finite does the same. The answer is ignored, unless it is False,
        which means that a step could not be taken.
        """

    def record(self) -> Mapping[str, float] | None:
        """Return numbers that describe the state, by name; None if no step can be taken from it.

        Losses, accuracies, norms and the residual of the mean squared error are recorded without being returned here;
        a name that is returned takes their place. ``time`` and ``slow_time`` become coordinates of the history.
        """

    def network(self) -> Network:
        """Return a copy of the parameters, of the shape and precision of the start."""

    def save(self) -> State:
        """Return a copy of the complete state: arrays of numbers, by name, always of the same shapes and types."""

    def restore(self, state: State) -> None:
        """Go back to a state that `save` returned, also one of another stepper of the same settings."""


class Dynamics(Protocol):
    """The settings of a dynamics: a frozen dataclass whose fields are numbers, strings, lists or mappings.

    It may also have ``fixed_step()``, the time that one step covers (1 by default, None if it varies), and
    ``cost(data, network)``, a `Cost`, without which memory is not checked and one thread is used.
    """

    def start(self, data: Dataset, network: Network, threads: int = 1) -> Stepper:
        """Return a stepper at the network. ``threads`` may be left out by a dynamics that uses one."""


@dataclass(frozen=True)
class Cost:
    """The cost of a step: useful floating-point operations, bytes, and the operations from which threads pay.

    Two threads were 1.6 times faster at steps of 30 µs (7e6 operations); below, waiting for each other eats the gain.
    """

    flops: float
    memory: int
    flops_for_threads: float = 5e6


@dataclass(frozen=True)
class Chunk:
    """The answer of a stepper that took a number of steps.

    Attributes
    ----------
    finite : bool
        Whether every step was taken and left finite numbers.
    losses : array (steps,) or None
        The training loss before each step, if it is known and was asked for.
    records : sequence of mapping
        The records that were asked for within the chunk.
    error : Exception or None
        The error that a step raised.
    network : Network or None
        The parameters after the steps, if they had to be asked for.
    """

    finite: bool
    losses: NDArray[np.float64] | None = None
    records: Sequence[dict[str, Any]] = field(default_factory=tuple)
    error: Exception | None = None
    network: Network | None = None


class ChunkStepper(ABC):
    """A stepper as the engine uses it: `Stepper`, and answers that save time or say more.

    The complete state is the arrays of ``state``.
    """

    state: State
    #: Whether `advance` returns the training losses that are asked for.
    knows_losses = False
    #: Whether `advance` returns records within a chunk.
    makes_records = False

    @abstractmethod
    def advance(self, steps: int, losses: bool = False, record_at: Sequence[int] = ()) -> Chunk:
        """Take steps. After one that is not finite, no step succeeds.

        ``losses`` asks for the loss before each step, ``record_at`` for records after so many of the steps.
        """

    @abstractmethod
    def record(self) -> Record | None:
        """Describe the state, time coordinates among the values, which may be infinite; None if no step can follow."""

    @abstractmethod
    def network(self) -> Network:
        """Return a copy of the parameters."""

    def save(self) -> State:
        """Return a copy of the complete state."""
        return copy_state(self.state)

    def restore(self, state: State) -> None:
        """Return to a state that `save` returned."""
        self.state = copy_state(state)

    @abstractmethod
    def failure(self, step: int, error: Exception | None) -> Outcome:
        """Return the outcome of a step that failed, from the state that the attempt left, and its error."""

    def gradient_norm(self) -> float:
        """Return ‖∇loss + weight_decay · θ‖, which only descents have."""
        raise ArgumentValueError("gradient_norm", f"expected gradient descent or AdamW, got {type(self).__name__}")

    def reaches(self, time: float) -> bool:
        """Whether the next adaptive step would end at ``time`` or beyond."""
        return False

    def copy_at(self, time: float) -> Self:
        """Return another stepper, which continued from here to exactly ``time``."""
        raise NotImplementedError


def copy_state(state: Mapping[str, NDArray[Any]]) -> State:
    """Return a copy of a state, all of it as arrays."""
    return {name: np.array(array) for name, array in state.items()}


class Evaluator:
    """Losses, accuracies and norms of parameters on both sets of samples."""

    def __init__(self, data: Dataset, network: Network, loss: kernels.Loss) -> None:
        self.activation = kernel_activation(network)
        self.loss = loss
        self.train = kernel_samples(data, "train", network.dtype)
        self.test = kernel_samples(data, "test", network.dtype)
        self._accuracy_defined = one_hot(data.Y_train) and one_hot(data.Y_test)

    def __call__(self, E: NDArray[Any], W: NDArray[Any]) -> dict[str, float]:
        """Return the record's common part."""
        return self.records_from_kernel(kernels.describe(self.train, self.test, E, W, self.activation, self.loss))[0]

    def records_from_kernel(self, records: Records) -> list[dict[str, float]]:
        """Return records of the kernel as mappings; their accuracies are NaN if the targets are not one-hot."""
        if not self._accuracy_defined:
            records["train_accuracy"] = records["test_accuracy"] = math.nan
        names = records.dtype.names or ()
        return [dict(zip(names, record, strict=True)) for record in records.tolist()]
