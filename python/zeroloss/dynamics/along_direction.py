"""Motion dθ/dt = v(θ) along a tangent direction v of the zero-loss set, which need not be the steepest one."""

from __future__ import annotations

from collections.abc import Callable

from ..datasets import Dataset
from ..geometry.directions import TangentSpace
from ..networks import Network
from .norm_flow import NormFlow, NormFlowStepper
from .runge_kutta import Vector


class DirectionStepper(NormFlowStepper):
    """A stepper like the norm flow's, with explicit, retracted steps along v(θ) instead of g(θ).

    Parameters
    ----------
    direction : function of (TangentSpace, float)
        Returns v, a vector in the tangent space at θ, for the time at which the step begins.
    settings : NormFlow
        The size of the steps, their method and the tolerance of the retraction.
    data : Dataset
        The training samples.
    network : Network
        The start, on the zero-loss set.
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
        return self._direction(TangentSpace(self._like.with_layers(*self._parts(y)), self._data), time)
