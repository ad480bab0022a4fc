"""The objective Φ = L + (weight_decay/2) ‖θ‖² and its derivatives at flat parameters θ, (d,): E row by row, then W."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .._choices import Loss, Reduction
from ..curvature.kernel import make_curvature
from ..curvature.metric import Metric
from ..datasets import Dataset
from ..dynamics.evaluation import loss_and_gradient
from ..geometry.kkt import output_gradient
from ..networks import Network
from ..simulation.context import check_interruption

Vector = NDArray[np.float64]


@dataclass
class Trace:
    """The history of a search, and its costs."""

    residuals: list[float] = field(default_factory=list)
    flow_steps: int = 0
    slow_time: float = 0.0
    iterations: int = 0
    products: int = 0

    def record(self, residual: float) -> None:
        """Add the KKT residual of a point. Raises KeyboardInterrupt if the grid of which this is a cell was stopped."""
        check_interruption()
        self.residuals.append(residual)


class Objective:
    """Φ, its gradient, products with its Hessian, and the metric of Gauss–Newton and decay."""

    def __init__(
        self, net: Network, data: Dataset, weight_decay: float, loss: Loss, reduction: Reduction, threads: int | None
    ) -> None:
        self.weight_decay, self.trace = weight_decay, Trace()
        self._like, self._data, self._loss, self._reduction = net, data, loss, reduction
        self._curvature = make_curvature(net, data, loss, reduction, threads)

    @property
    def size(self) -> int:
        """The number of parameters, d."""
        return int(self._like.E.size + self._like.W.size)

    def network(self, theta: Vector) -> Network:
        """Return the network with these parameters."""
        E, W = np.split(theta, [self._like.E.size])
        like = self._like
        return Network(E.reshape(like.E.shape), W.reshape(like.W.shape), like.activation, like.settings)

    def evaluate(self, theta: Vector) -> tuple[float, Vector]:
        """Compute Φ and ∇Φ. Φ is infinite if it is not finite."""
        loss, gE, gW = loss_and_gradient(self.network(theta), self._data, self._loss, self._reduction)
        value = float(loss) + self.weight_decay / 2 * float(theta @ theta)
        gradient = np.concatenate([gE.ravel(), gW.ravel()]) + self.weight_decay * theta
        return (value if math.isfinite(value) and np.isfinite(gradient).all() else math.inf), gradient

    def kkt(self, theta: Vector, gradient: Vector) -> float:
        """Return ‖∇Φ‖/(weight_decay ‖θ‖), which is 0 if ∇Φ = 0."""
        size, length = float(np.linalg.norm(gradient)), float(np.linalg.norm(theta))
        return size / (self.weight_decay * length) if length > 0 else 0.0 if size == 0 else math.inf

    def metric(self, theta: Vector, decay: float) -> Metric:
        """Move to θ, and return the metric decay I + Gauss–Newton there. LinAlgError if it is singular to rounding."""
        net = self.network(theta)
        self._curvature.move(net.E, net.W)
        return Metric(self._curvature, net, self._data, decay, self._loss, self._reduction)

    def multiply(self, v: Vector) -> Vector:
        """Compute the product of ∇²Φ with v at the point of the last metric."""
        self.trace.products += 1
        return self._curvature.multiply(v, "hessian", self.weight_decay)

    def curved_part(self, theta: Vector, step: Vector, metric: Metric) -> Vector:
        """Compute Jᵀ(G(θ + p) − G(θ) − A J p), the change of Jᵀ ∂L/∂F that Gauss–Newton does not predict for a step p.

        J, and the second derivatives A of the loss with respect to F, are those at θ, the point of the last metric.
        """
        before, after = (
            output_gradient(self.network(point), self._data, self._loss, self._reduction)
            for point in (theta, theta + step)
        )
        predicted = metric.multiply(step) - self.weight_decay * step
        return self._curvature.multiply_jacobian_transposed(after - before) - predicted

    def sharpness(self, theta: Vector) -> float:
        """Estimate the largest eigenvalue of the Gauss–Newton matrix with decay at θ."""
        net = self.network(theta)
        self._curvature.move(net.E, net.W)
        value, _ = self._curvature.largest_eigenvalue("gauss_newton", self.weight_decay, 1e-2, 100)
        return value
