"""The smallest curvature of loss + (weight_decay/2) ‖θ‖² in the metric of weight_decay I + Gauss–Newton.

Near the zero-loss set most eigenvalues of the Hessian are almost 0, and an iteration for the smallest one does not
converge. In the metric M most eigenvalues are almost 1, and the iteration finds the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh

from .. import _checks
from .._choices import Loss, Positive, Reduction
from ..datasets import Dataset
from ..networks import Network
from .eigenvalues import dense_matrix, fixed_start, not_finite
from .kernel import check_settings, make_curvature, parameter_count
from .metric import DenseMetric, Metric, check_targets, too_small

Vector = NDArray[np.float64]

_MOST_RESTARTS = 300  # of ARPACK
_DENSE_BELOW = 256  # d up to which the matrices themselves are decomposed
_WORST_RESIDUAL = 1e-3  # at which rounding has taken the digits of the result


@dataclass(frozen=True, eq=False)
class SmallestCurvature:
    """The smallest μ of H v = μ M v. ``float(curvature)`` is its value.

    H is ∇²L + weight_decay I, and M is weight_decay I + Jᵀ A J, the Gauss–Newton matrix with the decay.

    Attributes
    ----------
    value : float
        The smallest μ, at most about 1. At a stationary point, a value above 0 shows a strict local minimum, and a
        value below 0 a saddle.
    vector : ndarray, (d,)
        The eigenvector v with vᵀ M v = 1: E row by row, then W row by row. If the value is negative, the objective
        decreases along it and along −v.
    residual : float
        ‖H v − μ M v‖ in the norm of M⁻¹, a bound for the distance from the value to the nearest eigenvalue.
    """

    value: float
    vector: Vector = field(repr=False)
    residual: float

    def __float__(self) -> float:
        return self.value


def smallest(
    net: Network,
    data: Dataset,
    weight_decay: float,
    loss: Loss = "mse",
    reduction: Reduction = "mean",
    *,
    temperature: Positive = 1.0,
    accuracy: float = 1e-9,
    threads: int | None = None,
) -> SmallestCurvature:
    """Compute the smallest μ of H v = μ M v, the smallest curvature of L + (weight_decay/2) ‖θ‖².

    H is the Hessian ∇²L + weight_decay I, and M is weight_decay I + Jᵀ A J, which is positive definite. As many μ are
    negative as eigenvalues of H are.

    Parameters
    ----------
    net : Network
        The network θ.
    data : Dataset
        Its training samples determine the loss L.
    weight_decay : float
        The weight decay, above 0.
    loss : {"mse", "cross_entropy"}
        The loss, see `zeroloss.loss_and_gradient`.
    reduction : {"mean", "sum"}
        The reduction of the loss.
    temperature : float
        The number T > 0 that divides the outputs in the cross-entropy, F/T. By default 1.
    accuracy : float
        The accuracy of μ − 1, relative to it, at which the Lanczos iteration ends, above 0, by default 1e-9.
    threads : int, optional
        The number of threads of a product, at least 1. By default 1 for small networks, and all processors otherwise.

    Returns
    -------
    SmallestCurvature
        The value, its vector and its residual. ``float`` of it is the value.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the iteration does not converge, the Hessian is not finite, or M is singular to rounding because weight_decay
        is too small.
    ValueError, TypeError
        If the network does not fit the data, a name is unknown, a number is out of its range, the targets of
        cross-entropy have a row with a negative sum, or the Gram matrix of (n·d_out)² numbers does not fit in memory.

    Notes
    -----
    M⁻¹ follows from the identity of Woodbury: with Jᵀ A J = BᵀB, it is (I − Bᵀ(weight_decay I + B Bᵀ)⁻¹B)/weight_decay,
    and B Bᵀ from the closed form of J Jᵀ. Up to d = 256 the matrices themselves are decomposed.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    >>> net = zl.networks.uniform_fan_in(data, hidden=24, seed=1, activation="softplus(5)")
    >>> zl.curvature.smallest(net, data, weight_decay=1e-3).value < 0  # not near a minimum yet
    True
    """
    check_settings(loss, reduction)
    weight_decay, accuracy = _checks.positive("weight_decay", weight_decay), _checks.positive("accuracy", accuracy)
    curvature, d = make_curvature(net, data, loss, reduction, threads, temperature), parameter_count(net)
    check_targets(data, loss)
    metric: DenseMetric | Metric
    if d <= _DENSE_BELOW:
        metric = DenseMetric(curvature, d, weight_decay)
        T = dense_matrix(curvature, d, "remainder", 0.0)
        values, vectors = scipy.linalg.eigh((T + T.T) / 2, metric.M, subset_by_index=(0, 0))
        return _result(float(values[0]), vectors[:, 0], T @ vectors[:, 0], metric)
    metric = Metric(curvature, net.astype("float64"), data, weight_decay, loss, reduction, temperature)
    return smallest_in_metric(metric, d, accuracy)


class MetricWithRemainder(Protocol):
    """A metric M with its inverse, and the remainder T = H − M of a Hessian H, for flat vectors (d,)."""

    weight_decay: float

    def multiply(self, v: Vector) -> Vector:
        """Compute M v."""

    def solve(self, v: Vector) -> Vector:
        """Compute M⁻¹ v."""

    def remainder(self, v: Vector) -> Vector:
        """Compute T v."""


def smallest_in_metric(metric: MetricWithRemainder, d: int, accuracy: float) -> SmallestCurvature:
    """Compute the smallest μ of H v = μ M v by a Lanczos iteration for T v = (μ − 1) M v."""
    return _result(*_iterate(metric, d, accuracy), metric)


def _iterate(metric: MetricWithRemainder, d: int, accuracy: float) -> tuple[float, Vector, Vector]:
    """Compute the smallest ν of T v = ν M v, v, and T v."""
    start = fixed_start(d)
    image = metric.remainder(start)
    if not np.isfinite(image).all():
        raise not_finite("hessian")
    if not image.any():  # T = 0: all eigenvalues are 0
        return 0.0, start, image
    operators: dict[str, Any] = {
        name: LinearOperator((d, d), matvec=function, dtype=np.float64)
        for name, function in (("A", metric.remainder), ("M", metric.multiply), ("Minv", metric.solve))
    }
    try:
        values, vectors = eigsh(**operators, k=1, which="SA", v0=start, tol=accuracy, maxiter=_MOST_RESTARTS)
    except ArpackNoConvergence:
        raise np.linalg.LinAlgError(
            f"the smallest curvature did not reach an accuracy of {accuracy:g} in {_MOST_RESTARTS} restarts; "
            "use a larger accuracy or a larger weight_decay"
        ) from None
    except ArpackError as error:
        raise np.linalg.LinAlgError(f"the smallest curvature was not found: {error}") from None
    return float(values[0]), vectors[:, 0], metric.remainder(vectors[:, 0])


def _result(nu: float, v: Vector, image: Vector, metric: MetricWithRemainder | DenseMetric) -> SmallestCurvature:
    """Normalise v, improve ν by the quotient of Rayleigh, and measure the residual."""
    in_metric = metric.multiply(v)
    square = float(v @ in_metric)
    if not square > 0:
        raise too_small(metric.weight_decay)
    nu = float(v @ image) / square
    residual = image - nu * in_metric
    size = math.sqrt(max(float(residual @ metric.solve(residual)), 0.0) / square)
    if not size <= _WORST_RESIDUAL * max(1.0, abs(nu)):
        raise too_small(metric.weight_decay)
    return SmallestCurvature(1 + nu, v / math.sqrt(square), size)
