"""What the loop asks of a dynamics: settings that start a stepper, and a stepper that advances and is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .._kernels import kernels
from ..datasets import Dataset, kernel_samples, one_hot
from ..networks import Network, kernel_activation
from ..results import Outcome

State = dict[str, NDArray[Any]]
Records = NDArray[np.void]  # (count,) of kernels.record_dtype


class Stepper(Protocol):
    """A dynamics under way. Its whole state is arrays, changed in place, so that it can be kept and put back."""

    state: State

    @property
    def knows_losses(self) -> bool:
        """Whether ``advance`` fills in the training loss before every step."""

    def advance(self, steps: int, losses: NDArray[np.float64] | None = None) -> bool:
        """Take steps. Return False if one cannot be taken or leaves a number in the state that is not finite.

        Such a number stays: after it, no step succeeds. ``losses`` gets what ``knows_losses`` says.
        """

    def record(self) -> Mapping[str, float] | None:
        """Describe the state; its numbers may be infinite. None if no step can be taken from it."""

    def times(self, step: int) -> Mapping[str, float]:
        """Return the time coordinates at a step."""

    def network(self) -> Network:
        """Return a copy of the parameters."""

    def failure(self, step: int) -> Outcome:
        """Say what went wrong at a step, from the state that the attempt left."""


@dataclass(frozen=True)
class Cost:
    """What a step takes: useful floating-point operations, bytes, and the operations from which threads pay.

    Two threads were 1.6 times faster at steps of 30 µs (7e6 operations); below, waiting for each other eats the gain.
    """

    flops: float
    memory: int
    flops_for_threads: float = 5e6


class Dynamics(Protocol):
    """The settings of a dynamics: a frozen dataclass."""

    def start(self, data: Dataset, network: Network, state: State | None = None, threads: int = 1) -> Stepper:
        """Return a stepper at the network, or at a state that a stepper of these settings left."""

    def fixed_step(self) -> float | None:
        """Return the time that one step covers; None where the steps are adaptive."""

    def cost(self, data: Dataset, network: Network) -> Cost:
        """Return what a step takes."""


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
        return self.described(kernels.describe(self.train, self.test, E, W, self.activation, self.loss))[0]

    def described(self, records: Records) -> list[dict[str, float]]:
        """Return records of the kernel as mappings; their accuracies are NaN if the targets are not one-hot."""
        if not self._accuracy_defined:
            records["train_accuracy"] = records["test_accuracy"] = math.nan
        names = records.dtype.names or ()
        return [dict(zip(names, record, strict=True)) for record in records.tolist()]
