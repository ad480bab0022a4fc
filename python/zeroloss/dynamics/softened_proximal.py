"""Implicit steps of the gradient flow at finite weight decay, for squared error, along the kinks of ReLU.

An implicit step of the flow (`zeroloss.dynamics.implicit`) is the least point of a strictly simpler function,

    θ⁺ = argmin ½‖θ − c‖² + (h/q) loss(θ) = argmin ½‖θ − c‖² + ‖F − Y‖²/(2δ),   δ = q/(2 a h),

with loss = a ‖F − Y‖². This is the proximal step of the norm flow with a penalty instead of the constraint F = Y, which
is its limit δ → 0 for weight_decay → 0. The multiplier of the flow is −∂loss/∂F.

A first step that is too long can land on another solution of the training samples, without a sign of it. So it takes at
most a tenth of 1/λ, with the sharpness λ, and its result is compared with an explicit step (of Heun).
"""

from __future__ import annotations

import math

import numpy as np

from ..datasets import Dataset
from ..networks import Network
from .gradient import GradientAtPoint
from .implicit import ImplicitEquation, ImplicitStepper
from .proximal_solver import ProximalSolver
from .runge_kutta import Tolerances, Vector
from .stepper import Record, State

#: The first step in units of 1/λ.
_FIRST = 0.1


class SoftenedProximalStepper(ImplicitStepper):
    """A stepper of the gradient flow with implicit steps. Its state also holds the state of the `ProximalSolver`."""

    adaptive_only = True
    remark = " by the method proximal"

    def __init__(
        self, gradient: GradientAtPoint, tolerances: Tolerances, data: Dataset, network: Network, scale: float
    ) -> None:
        super().__init__(network, tolerances, gradient.weight_decay)
        self._gradient, self._scale = gradient, scale  # of the loss, a
        self._solver = ProximalSolver(data, network, adaptive=True, threads=gradient.threads)
        residual = network.outputs(data.rows_train) - data.Y_train
        self.state |= self._solver.start(network, -2 * scale * residual)

    def record(self) -> Record:
        """Return the record of the state."""
        pinned = float(self.state["pinned_pairs"])
        return {**self._gradient.record(self.state), **self.step_record(), "pinned_pairs": pinned}

    def gradient_norm(self) -> float:
        """Return ‖∇loss + weight_decay · θ‖."""
        slope = self._gradient.slope(self.state["E"], self.state["W"])
        return math.hypot(*(float(np.linalg.norm(part)) for part in slope))

    def _first_size(self) -> float:
        return _FIRST / self._gradient.sharpness(self.state["E"], self.state["W"])

    def _predict_first(self, size: float) -> Vector:
        here = (self.state["E"], self.state["W"])
        first = self._gradient.slope(*here)
        second = self._gradient.slope(here[0] + size * first[0], here[1] + size * first[1])
        moved = (A + size / 2 * (f + s) for A, f, s in zip(here, first, second, strict=True))
        return np.concatenate([A.ravel() for A in moved])

    def _solve(self, equation: ImplicitEquation) -> State:
        softening = equation.q / (2 * self._scale * equation.size)
        return self._solver.solve(equation, self.state, self._gradient.weight_decay * equation.size, softening)
