"""The zero-loss set as a constraint: the common part of the steppers of the norm flow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._checks import ArgumentValueError
from .._choices import Layers, Solver
from .._kernels import kernels
from ..datasets import Dataset
from ..geometry.projection import retract
from ..geometry.solver import (
    LostRankError,
    checked_zero_loss_set,
    is_singular,
    make_zero_loss_set,
    resolve_method,
    singular_error,
)
from ..networks import Network, has_kink
from .runge_kutta import Tolerances
from .softened import SoftenedSteps
from .stepper import Evaluator, State

#: A start with a greater max|F − Y| is not on the set.
_START_TOLERANCE = 1e-6
_MAX_RETRACTION_ITERATIONS = 50


class ZeroLossConstraint:
    """The zero-loss set of the training samples, with retractions onto it and records of states on it.

    Parameters
    ----------
    data : Dataset
        The samples.
    network : Network
        A network of the shapes, the precision and the activation of those on the set.
    solver : {"auto", "dense", "matrix_free"}
        The linear solver, as for `zeroloss.geometry.memory_needed`.
    threads : int
        Threads for one step.
    train_layers : {"both", "E", "W"}
        The layers that move. The other one is a constant.
    """

    def __init__(
        self, data: Dataset, network: Network, solver: Solver, threads: int = 1, train_layers: Layers = "both"
    ) -> None:
        self.set = checked_zero_loss_set(network, data, solver, threads, train_layers)
        self._train_layers: Layers = train_layers
        self._evaluator = Evaluator(data, network, kernels.Loss("mse", "mean"))
        self._data, self._network, self._solver, self._threads = data, network, solver, threads

    def softened_steps(self, step: float | Tolerances, tolerance: float) -> SoftenedSteps | None:
        """Return softened steps for points at which J loses rank, or None if they are not possible.

        They need a smooth activation, and J Jᵀ small enough for a dense solver.
        """
        network, data = self._network, self._data
        if has_kink(network) or resolve_method("auto", data) != "dense":
            return None

        def make_set() -> kernels.ZeroLossSet:
            if self._solver == "auto":
                return self.set
            return make_zero_loss_set(network, data, "dense", self._threads)

        return SoftenedSteps(step, tolerance, data.Y_train.shape, make_set, self._train_layers)

    def largest_residual(self, E: NDArray[np.float64], W: NDArray[np.float64]) -> float:
        """Return max|F − Y|."""
        return float(np.abs(self.set.residual(E, W)).max())

    def check(self, state: State) -> None:
        """Raise ValueError unless a state is on the set."""
        residual = self.largest_residual(state["E"], state["W"])
        if not residual <= _START_TOLERANCE:
            raise ArgumentValueError(
                "network",
                f"is not on the zero-loss set: max|F − Y| is {residual:.1e}, above {_START_TOLERANCE:g}; "
                "call zeroloss.geometry.project first",
            )

    def check_rank(self, state: State, ending: str) -> None:
        """Raise LinAlgError, with the cause, if a solver ended as "singular" because J Jᵀ is singular."""
        network = self._network.with_layers(state["E"], state["W"])
        if ending == "singular" and is_singular(network, self._data):
            raise singular_error(network, self._data)

    def singular_error(self, E: NDArray[np.float64], W: NDArray[np.float64]) -> np.linalg.LinAlgError:
        """Return the error for a J of deficient rank, with its cause."""
        return singular_error(self._network.with_layers(E, W), self._data, self._train_layers)

    def retract(self, E: NDArray[np.float64], W: NDArray[np.float64], tolerance: float, explain: bool = True) -> None:
        """Move E and W onto the set, in place. See `zeroloss.geometry.projection.retract`."""
        try:
            retract(
                self.set,
                self._network,
                self._data,
                E,
                W,
                tolerance=tolerance,
                most=_MAX_RETRACTION_ITERATIONS,
                reuse_factor=True,
                explain=False,
            )
        except LostRankError:
            if explain:
                raise self.singular_error(E, W) from None
            raise

    def record(self, state: State) -> dict[str, float]:
        """Return the record of a state."""
        common = self._evaluator(state["E"], state["W"])
        return {**common, "largest_residual": self.largest_residual(state["E"], state["W"])}
