"""The motion dθ/dt = v(θ) along tangent directions of the zero-loss set other than the steepest."""

from __future__ import annotations

from collections.abc import Callable

from ..datasets import Dataset
from ..geometry.directions import TangentSpace
from ..networks import Network
from .norm_flow import NormFlow, NormFlowStepper
from .runge_kutta import Vector


class DirectionStepper(NormFlowStepper):
    """Steps of the norm flow, explicit and retracted, with a direction v instead of g.

    v is a function of the tangent space, in which it has to lie, and of the time at which the step begins.
    """

    def __init__(
        self, direction: Callable[[TangentSpace, float], Vector], settings: NormFlow, data: Dataset, network: Network
    ) -> None:
        super().__init__(settings, data, network)
        self._direction = direction

    def slope(self, y: Vector) -> Vector:
        """Return v(θ) at the time at which the step begins."""
        return self.direction(y, float(self.state["time"]))

    def direction(self, y: Vector, time: float) -> Vector:
        """Return v(θ) at a time."""
        return self._direction(TangentSpace(Network(*self._parts(y), self._activation), self._data), time)
