"""The common part of the norm flow's steppers: the zero-loss set on which they stay, and their records."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._checks import ArgumentValueError
from .._choices import Solver
from .._kernels import kernels
from ..datasets import Dataset
from ..geometry.projection import retract
from ..geometry.solver import checked_zero_loss_set, is_singular, singular_error
from ..networks import Network
from .stepper import Evaluator, State

_ON_THE_SET = 1e-6  # of max|F − Y| at the start
_MOST_ITERATIONS = 50  # of a retraction


class ZeroLossConstraint:
    """The zero-loss set of the data, for networks like one; ``solver`` as for `zeroloss.geometry.memory_needed`."""

    def __init__(self, data: Dataset, network: Network, solver: Solver, threads: int = 1) -> None:
        self.set = checked_zero_loss_set(network, data, solver, threads)
        self._evaluator = Evaluator(data, network, kernels.Loss("mse", "mean"))
        self._data, self._network = data, network

    def largest_residual(self, E: NDArray[np.float64], W: NDArray[np.float64]) -> float:
        """Return max|F − Y|."""
        return float(np.abs(self.set.residual(E, W)).max())

    def check(self, state: State) -> None:
        """Raise unless a state is on the set."""
        off = self.largest_residual(state["E"], state["W"])
        if not off <= _ON_THE_SET:
            raise ArgumentValueError(
                "network",
                f"expected on the zero-loss set, max|F − Y| ≤ {_ON_THE_SET:g}, got {off:.1e}; "
                "zeroloss.geometry.project moves it there",
            )

    def check_rank(self, state: State, ending: str) -> None:
        """Raise LinAlgError, with the cause, if a solve ended as "singular" because J is."""
        network = Network(state["E"], state["W"], self._network.activation)
        if ending == "singular" and is_singular(network, self._data):
            raise singular_error(network, self._data)

    def retract(self, E: NDArray[np.float64], W: NDArray[np.float64], tolerance: float) -> None:
        """Move E and W onto the set, in place."""
        most = _MOST_ITERATIONS
        retract(self.set, self._network, self._data, E, W, tolerance=tolerance, most=most, reuse_factor=True)

    def record(self, state: State) -> dict[str, float]:
        """Describe a state."""
        common = self._evaluator(state["E"], state["W"])
        return {**common, "largest_residual": self.largest_residual(state["E"], state["W"])}
