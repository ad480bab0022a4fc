"""The contract between the engine and a dynamics.

A *dynamics* is a frozen dataclass of settings. It starts a *stepper*, which takes steps and describes its state. The
dynamics of this package and of users satisfy the same contract; `zeroloss.dynamics.user` adapts the steppers of users.
"""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from .._checks import ArgumentValueError
from .._kernels import kernels
from ..datasets import Dataset, is_one_hot, kernel_samples
from ..networks import Network, kernel_activation
from ..results import Outcome

State = dict[str, NDArray[Any]]
Record = Mapping[str, float]
Records = NDArray[np.void]  # shape (count,), dtype kernels.record_dtype


class Stepper(Protocol):
    """A stepper: a dynamics at a state. Users can write one in Python.

    The state that `save` returns must determine all later steps. Then runs can be extended, interrupted and resumed
    with equal bits.
    """

    def advance(self, steps: int) -> object:
        """Take steps.

        If a step cannot be taken, raise ArithmeticError or numpy.linalg.LinAlgError, or return False. The run then ends
        at the last step before it. It also ends if a parameter is not finite.

        Parameters
        ----------
        steps : int
            The number of steps, at least 1.

        Returns
        -------
        object
            False if a step could not be taken. Any other value is ignored.
        """

    def record(self) -> Mapping[str, float] | None:
        """Return numbers that describe the state.

        Losses, accuracies, norms and the residual of the mean squared error are recorded for every dynamics. A value
        of the same name replaces them. ``time`` and ``slow_time`` become coordinates of the history.

        Returns
        -------
        mapping of str to float, or None
            The numbers by name; None if no step can be taken from this state.
        """

    def network(self) -> Network:
        """Return a copy of the parameters.

        Returns
        -------
        Network
            A network of the shapes, the precision and the activation of the start.
        """

    def save(self) -> State:
        """Return a copy of the complete state.

        Returns
        -------
        dict of str to ndarray
            Arrays of numbers by name, always of the same shapes and dtypes.
        """

    def restore(self, state: State) -> None:
        """Return to a saved state.

        Parameters
        ----------
        state : dict of str to ndarray
            A state that `save` returned, for this or another stepper of the same settings.
        """


class Dynamics(Protocol):
    """The settings of a dynamics: a frozen dataclass whose fields are numbers, strings, lists or mappings.

    Two further methods are optional. ``fixed_step()`` returns the time that one step covers, or None if it varies;
    without this method it is 1. ``cost(data, network)`` returns a `Cost`; without this method memory is not checked,
    and one thread is used.
    """

    def start(self, data: Dataset, network: Network, threads: int = 1) -> Stepper:
        """Return a stepper that starts at a network.

        Parameters
        ----------
        data : Dataset
            The samples.
        network : Network
            The start.
        threads : int
            Threads for one step. A dynamics that uses one thread need not have this parameter.

        Returns
        -------
        Stepper
            The stepper.
        """


@dataclass(frozen=True)
class Cost:
    """The cost of one step.

    Parameters
    ----------
    flops : float
        Useful floating-point operations.
    memory : int
        Bytes.
    flops_for_threads : float
        Several threads are used by default from this number of operations on. Two threads were 1.6 times faster
        at steps of 30 µs (7e6 operations); at shorter steps, threads wait too long for each other.
    """

    flops: float
    memory: int
    flops_for_threads: float = 5e6


@dataclass(frozen=True)
class Chunk:
    """The result of a chunk of steps.

    Attributes
    ----------
    finite : bool
        Whether every step was taken and left finite numbers.
    losses : array (steps,) or None
        The training loss before each step, if it was requested and the stepper computes it.
    records : sequence of mapping
        The records within the chunk that were requested.
    error : Exception or None
        The error that a step raised.
    network : Network or None
        The parameters after the steps, if `advance` already has a copy of them.
    """

    finite: bool
    losses: NDArray[np.float64] | None = None
    records: Sequence[dict[str, Any]] = field(default_factory=tuple)
    error: Exception | None = None
    network: Network | None = None


class ChunkStepper(ABC):
    """A stepper as the engine uses it: a `Stepper` whose chunks also have losses, records and errors.

    The arrays of ``state`` are the complete state.
    """

    state: State
    #: Whether `advance` returns training losses.
    knows_losses = False
    #: Whether `advance` returns records within a chunk.
    makes_records = False
    #: Whether steps are adaptive and cannot have a fixed size.
    adaptive_only = False
    #: A remark at the end of the outcome of a run that reaches its end.
    remark = ""

    @abstractmethod
    def advance(self, steps: int, losses: bool = False, record_at: Sequence[int] = ()) -> Chunk:
        """Take steps. After a step that is not finite, no step succeeds.

        Parameters
        ----------
        steps : int
            The number of steps, at least 1.
        losses : bool
            Whether the chunk should have the training loss before each step.
        record_at : sequence of int
            Numbers of steps of this chunk after which it should make a record.
        """

    @abstractmethod
    def record(self) -> Record | None:
        """Return the record of the state, with time coordinates; None if no step can follow. Values may be infinite."""

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
        """Return the outcome of a step that failed, from the state after the attempt and from the error."""

    def gradient_norm(self) -> float:
        """Return ‖∇loss + weight_decay · θ‖. Gradient descent, AdamW and the gradient flow have it."""
        raise ArgumentValueError(
            "gradient_norm", f"is defined for gradient_descent, adamw and gradient_flow, not {type(self).__name__}"
        )

    def reaches(self, time: float) -> bool:
        """Whether the next adaptive step may reach ``time``."""
        return False

    def copy_at(self, time: float) -> Self:
        """Return a copy of this stepper that has continued to exactly ``time``."""
        raise NotImplementedError


def copy_state(state: Mapping[str, NDArray[Any]]) -> State:
    """Return a copy of a state, with every value as an array."""
    return {name: np.array(array) for name, array in state.items()}


def copy_network(like: Network, state: State) -> Network:
    """Return a network of copies of the layers E and W of a state, which are the `layers` of ``like``."""
    copy = like.with_layers(state["E"], state["W"])
    return dataclasses.replace(copy, settings={"init": "arrays", "hidden": like.hidden})


class Evaluator:
    """A function of both layers that returns losses, accuracies and norms, on the training and the test samples.

    The layers include biases, as `Network.layers` does.
    """

    def __init__(self, data: Dataset, network: Network, loss: kernels.Loss) -> None:
        self.activation = kernel_activation(network)
        self.loss = loss
        constant = network.bias_hidden is not None
        self.train = kernel_samples(data, "train", network.dtype, constant)
        self.test = kernel_samples(data, "test", network.dtype, constant)
        self._has_biases = network.bias != "none"
        self._accuracy_defined = is_one_hot(data.Y_train) and is_one_hot(data.Y_test)

    def __call__(self, E: NDArray[Any], W: NDArray[Any]) -> dict[str, float]:
        """Return the values that every record has."""
        return self.records_from_kernel(kernels.describe(self.train, self.test, E, W, self.activation, self.loss))[0]

    def records_from_kernel(self, records: Records) -> list[dict[str, float]]:
        """Return records of the kernel as mappings. Accuracies are NaN if the targets are not one-hot."""
        if not self._accuracy_defined:
            records["train_accuracy"] = records["test_accuracy"] = math.nan
        names = (records.dtype.names or ())[: None if self._has_biases else -1]  # the last one is norm_bias
        return [dict(zip(names, record, strict=False)) for record in records.tolist()]
