"""The metric M = weight_decay I + Jᵀ A J, the Gauss–Newton matrix of the loss with the decay, and its inverse.

With Jᵀ A J = BᵀB, the identity of Woodbury gives M⁻¹ = (I − Bᵀ(weight_decay I + B Bᵀ)⁻¹B)/weight_decay. B Bᵀ follows
from the closed form of J Jᵀ, so no matrix is larger than n·d_out × n·d_out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg
import scipy.special
from numpy.typing import NDArray

from .._checks import ArgumentValueError
from .._choices import Loss, Reduction
from .._resources import check_memory
from ..datasets import Dataset
from ..geometry import gram
from ..networks import Network
from .eigenvalues import dense_matrix, not_finite

if TYPE_CHECKING:
    from .._kernels import kernels

Vector = NDArray[np.float64]


def check_targets(data: Dataset, loss: Loss) -> None:
    """Raise ValueError if the metric is not positive: with targets of cross-entropy that have a negative sum."""
    if loss == "cross_entropy" and data.Y_train.sum(axis=1).min() < 0:
        raise ArgumentValueError("data", "has targets of negative sum; with cross_entropy the metric is not positive")


class Metric:
    """M = weight_decay I + BᵀB and its inverse, for a kernel object at a network."""

    def __init__(
        self,
        curvature: kernels.Curvature,
        net: Network,
        data: Dataset,
        weight_decay: float,
        loss: Loss,
        reduction: Reduction,
        temperature: float = 1.0,
    ) -> None:
        n, d_out = data.Y_train.shape
        check_memory(f"the Gram matrix of n·d_out = {n * d_out}", 5 * 8 * (n * d_out) ** 2)
        self.curvature, self.weight_decay = curvature, weight_decay
        self._roots = roots_of_output_curvature(net, data, loss, reduction, temperature)
        size = n * d_out
        K = gram(net, data)
        for _ in range(2):  # from the left, and after the transposition from the right
            K = np.matmul(self._roots.transpose(0, 2, 1), K.reshape(n, d_out, size)).reshape(size, size).T
        K[np.diag_indices(size)] += weight_decay
        if not np.isfinite(K).all():
            raise not_finite("gauss_newton")
        try:
            self._factor = scipy.linalg.cho_factor(K, lower=True, overwrite_a=True, check_finite=False)
        except np.linalg.LinAlgError:
            raise too_small(weight_decay) from None

    def multiply(self, v: Vector) -> Vector:
        """Compute M v."""
        return self.curvature.multiply(contiguous(v), "gauss_newton", self.weight_decay)

    def solve(self, v: Vector) -> Vector:
        """Compute M⁻¹ v."""
        v = contiguous(v)
        image = np.matmul(self._roots.transpose(0, 2, 1), self.curvature.multiply_jacobian(v)[:, :, None])
        solved = scipy.linalg.cho_solve(self._factor, image.ravel(), check_finite=False)
        rows = np.matmul(self._roots, solved.reshape(image.shape))[:, :, 0]
        return (v - self.curvature.multiply_jacobian_transposed(np.ascontiguousarray(rows))) / self.weight_decay

    def remainder(self, v: Vector) -> Vector:
        """Compute T v with T = H − M, the part of the Hessian that contains ∂L/∂F."""
        return self.curvature.multiply(contiguous(v), "remainder", 0.0)


class DenseMetric:
    """The same, from the matrix itself."""

    def __init__(self, curvature: kernels.Curvature, d: int, weight_decay: float) -> None:
        M = dense_matrix(curvature, d, "gauss_newton", weight_decay)
        self.weight_decay = weight_decay
        self.M = (M + M.T) / 2
        try:
            self._factor = scipy.linalg.cho_factor(self.M, lower=True)
        except np.linalg.LinAlgError:
            raise too_small(weight_decay) from None

    def multiply(self, v: Vector) -> Vector:
        """Compute M v."""
        return np.asarray(self.M @ v)

    def solve(self, v: Vector) -> Vector:
        """Compute M⁻¹ v."""
        return np.asarray(scipy.linalg.cho_solve(self._factor, v))


def roots_of_output_curvature(
    net: Network, data: Dataset, loss: Loss, reduction: Reduction, temperature: float = 1.0
) -> Vector:
    """Compute R_i with A_i = R_i R_iᵀ for the second derivatives A_i of the loss of each sample i, (n, d_out, d_out).

    For squared error A_i = 2c I. For cross-entropy A_i = w (diag(p) − p pᵀ)/T² at the temperature T, so
    R_i = √w (I − p 1ᵀ) diag(√p)/T.
    """
    n, d_out = data.Y_train.shape
    unit = np.eye(d_out)
    if loss == "mse":
        scale = 1.0 if reduction == "sum" else 1 / data.Y_train.size
        return np.broadcast_to(np.sqrt(2 * scale) * unit, (n, d_out, d_out))
    weights: Vector = np.sum(data.Y_train, axis=1) * (1.0 if reduction == "sum" else 1 / n)
    p: Vector = scipy.special.softmax(net.outputs(data.rows_train) / temperature, axis=1)
    others = p @ (1 - unit)  # 1 − p with all its digits
    factors = unit * others[:, None, :] - (1 - unit) * p[:, :, None]
    return np.asarray((np.sqrt(weights) / temperature)[:, None, None] * factors * np.sqrt(p)[:, None, :])


def contiguous(v: Vector) -> Vector:
    """Return a vector as the kernels read it."""
    return np.ascontiguousarray(v.ravel())


def too_small(weight_decay: float) -> np.linalg.LinAlgError:
    """Return the error of a metric that has no inverse to rounding."""
    return np.linalg.LinAlgError(
        f"weight_decay I + Gauss–Newton is singular to rounding with weight_decay = {weight_decay:g}; use a larger one"
    )
