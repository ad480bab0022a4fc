"""Steppers with explicit steps along tangent directions of the zero-loss set, and a retraction after each step."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from .. import _choices
from ..datasets import Dataset
from ..geometry import memory_needed
from ..geometry.solver import require_float64
from ..networks import Network
from .flow import ExplicitStepper, checked_step
from .proximal import FLOPS_FOR_THREADS
from .runge_kutta import Tolerances, Vector
from .stepper import Cost, Record
from .zero_loss import ZeroLossConstraint

Layers = tuple[NDArray[np.float64], NDArray[np.float64]]


def explicit_cost(data: Dataset, network: Network) -> Cost:
    """Return the cost of an explicit step: a factorisation of J Jᵀ, or products with it."""
    require_float64(network, data)
    return Cost(data.Y_train.size**3 / 3, memory_needed(network, data), flops_for_threads=FLOPS_FOR_THREADS)


class OnSetStepper(ExplicitStepper):
    """A stepper of a flow on the zero-loss set; y is E and W in one vector, or the layer that moves.

    A subclass defines the direction.

    Parameters
    ----------
    step_size, rtol, atol : float, optional
        The size of fixed steps, or the tolerances of adaptive ones.
    method : {"euler", "bogacki_shampine"}, optional
        The integrator; by default "euler" for fixed and "bogacki_shampine" for adaptive steps.
    tolerance : float
        The largest max|F − Y| after a step.
    data : Dataset
        The samples.
    network : Network
        The start, on the set.
    threads : int
        Threads for one step.
    train_layers : {"both", "E", "W"}
        The layers that move. The other one is a constant.
    """

    def __init__(
        self,
        step_size: float | None,
        rtol: float | None,
        atol: float | None,
        method: str | None,
        tolerance: float,
        data: Dataset,
        network: Network,
        threads: int = 1,
        train_layers: _choices.Layers = "both",
    ) -> None:
        step = checked_step(step_size, rtol, atol)
        super().__init__(network, step, method or ("bogacki_shampine" if isinstance(step, Tolerances) else "euler"))
        self._tolerance, self._data = tolerance, data
        self._zero_loss = ZeroLossConstraint(data, network, "auto", threads, train_layers)
        self._moving = ("E", "W") if train_layers == "both" else (train_layers,)
        self._zero_loss.check(self.state)

    @abstractmethod
    def tangent_direction(self, E: NDArray[np.float64], W: NDArray[np.float64]) -> Layers:
        """Return the direction at (E, W). Raises LinAlgError if J is singular."""

    def position(self) -> Vector:
        """Return the layers that move as one vector, E first."""
        return np.concatenate([self.state[layer].ravel() for layer in self._moving])

    def slope(self, y: Vector) -> Vector:
        """Return the direction at y as one vector."""
        parts = dict(zip(("E", "W"), self.tangent_direction(*self._parts(y)), strict=True))
        return np.concatenate([parts[layer].ravel() for layer in self._moving])

    def move(self, y: Vector) -> None:
        """Set θ to y, retracted onto the set."""
        E, W = (part.copy() for part in self._parts(y))
        self._retract(E, W)
        self.state["E"], self.state["W"] = E, W

    def record(self) -> Record:
        """Return the record of the state."""
        return {**self._zero_loss.record(self.state), **self.step_record()}

    def _retract(self, E: NDArray[np.float64], W: NDArray[np.float64]) -> None:
        """Move E and W onto the set, in place."""
        self._zero_loss.retract(E, W, self._tolerance)

    def _parts(self, y: Vector) -> Layers:
        parts = np.split(y, [self.state["E"].size] if len(self._moving) == 2 else [])
        moved = dict(zip(self._moving, parts, strict=True))
        E, W = (moved.get(layer, self.state[layer]).reshape(self.state[layer].shape) for layer in ("E", "W"))
        return E, W
