"""Eigenvalues of the Hessian and of the Gauss–Newton matrix: the largest, some of them, or all."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, eigsh

from .. import _checks
from .._checks import ArgumentValueError
from .._choices import CurvaturePart, EigenvalueEnd, Loss, Positive, Reduction
from .._resources import check_memory
from ..datasets import Dataset
from ..networks import Network
from .kernel import check_settings, make_curvature, name_part, parameter_count
from .products import make_operator

if TYPE_CHECKING:
    from .._kernels import kernels

ENDS = get_args(EigenvalueEnd)

_MOST_ITERATIONS = 400  # of the Lanczos iteration for the largest eigenvalue; each stores a vector
_MOST_RESTARTS = 300  # of ARPACK
_DENSE_BELOW = 256  # d up to which the matrix itself is decomposed
_MOST_SHOWN = 5  # values in a repr


@dataclass(frozen=True, eq=False)
class Eigenpairs:
    """Eigenvalues at one end of a spectrum, with eigenvectors.

    Attributes
    ----------
    values : ndarray, (count,)
        The eigenvalues: the largest first, or the smallest first.
    vectors : ndarray, (d, count)
        The eigenvectors as columns, of length 1 and orthogonal: E row by row, then W row by row.
    residuals : ndarray, (count,)
        ‖A v − λ v‖ for each pair, a bound for the distance from λ to the nearest eigenvalue of the matrix A.
    """

    values: NDArray[np.float64]
    vectors: NDArray[np.float64]
    residuals: NDArray[np.float64]

    def __repr__(self) -> str:
        shown = ", ".join(f"{value:.6g}" for value in self.values[:_MOST_SHOWN])
        more = ", …" if len(self.values) > _MOST_SHOWN else ""
        return f"Eigenpairs({len(self.values)} of d = {len(self.vectors)}: {shown}{more})"


def sharpness(
    net: Network,
    data: Dataset,
    loss: Loss = "mse",
    reduction: Reduction = "mean",
    weight_decay: float = 0.0,
    *,
    temperature: Positive = 1.0,
    part: CurvaturePart = "hessian",
    accuracy: float = 1e-9,
    threads: int | None = None,
) -> float:
    """Compute the sharpness λ_max, the largest eigenvalue of the Hessian of the training loss.

    Gradient descent without momentum is unstable along the eigenvector if λ_max > 2/lr.

    Parameters
    ----------
    net : Network
        The network θ.
    data : Dataset
        Its training samples determine the loss.
    loss : {"mse", "cross_entropy"}
        The loss, see `zeroloss.loss_and_gradient`.
    reduction : {"mean", "sum"}
        The reduction of the loss.
    weight_decay : float
        The multiple of the identity that is added, at least 0, by default 0. It adds itself to the sharpness.
    temperature : float
        The number T > 0 that divides the outputs in the cross-entropy, F/T. By default 1.
    part : {"hessian", "gauss_newton"}
        The matrix: the Hessian, by default, or its Gauss–Newton part.
    accuracy : float
        The residual ‖A v − λ v‖ relative to ‖A‖ at which the Lanczos iteration ends, above 0, by default 1e-9. It
        bounds the error of λ_max, which is usually far smaller.
    threads : int, optional
        The number of threads of a product, at least 1. By default 1 for small networks, and all processors otherwise.

    Returns
    -------
    float
        The largest eigenvalue, from below. The start of the iteration is fixed, so equal networks give equal bits.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the iteration does not reach its accuracy, or the matrix is not finite.
    ValueError, TypeError
        If the network does not fit the data, a name is unknown, a number is out of its range, or the problem does not
        fit in memory.

    Notes
    -----
    On the zero-loss set λ_max = 2 σ_max(J)²/(n·d_out) for squared error with reduction "mean".

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(11, test_count=7, seed=0)
    >>> net = zl.networks.uniform_fan_in(data, hidden=128, seed=100)
    >>> round(zl.curvature.sharpness(net, data), 3)
    0.393
    """
    check_settings(loss, reduction, part)
    weight_decay = _checks.not_negative("weight_decay", weight_decay)
    accuracy = _checks.positive("accuracy", accuracy)
    curvature = make_curvature(net, data, loss, reduction, threads, temperature)
    check_iteration_fits(parameter_count(net))
    return largest_eigenvalue(curvature, part, weight_decay, accuracy)


def eigenpairs(
    net: Network,
    data: Dataset,
    count: int = 1,
    loss: Loss = "mse",
    reduction: Reduction = "mean",
    weight_decay: float = 0.0,
    *,
    temperature: Positive = 1.0,
    part: CurvaturePart = "hessian",
    which: EigenvalueEnd = "largest",
    accuracy: float = 1e-9,
    threads: int | None = None,
) -> Eigenpairs:
    """Compute the largest or the smallest eigenvalues of the Hessian, with eigenvectors.

    Parameters
    ----------
    net : Network
        The network θ.
    data : Dataset
        Its training samples determine the loss.
    count : int
        The number of eigenpairs, from 1 to d, by default 1.
    loss : {"mse", "cross_entropy"}
        The loss, see `zeroloss.loss_and_gradient`.
    reduction : {"mean", "sum"}
        The reduction of the loss.
    weight_decay : float
        The multiple of the identity that is added, at least 0, by default 0.
    temperature : float
        The number T > 0 that divides the outputs in the cross-entropy, F/T. By default 1.
    part : {"hessian", "gauss_newton"}
        The matrix: the Hessian, by default, or its Gauss–Newton part.
    which : {"largest", "smallest"}
        The end of the spectrum, with signs. The smallest eigenvalues are found well only if they are clearly negative:
        near the zero-loss set most are almost 0, and `smallest` answers the question that they are asked for.
    accuracy : float
        The residual of each pair relative to abs(λ) at which the iteration ends, above 0, by default 1e-9.
    threads : int, optional
        The number of threads of a product, at least 1. By default 1 for small networks, and all processors otherwise.

    Returns
    -------
    Eigenpairs
        Values, vectors and residuals.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the iteration does not reach its accuracy, or the matrix is not finite.
    ValueError, TypeError
        If the network does not fit the data, a name is unknown, a number is out of its range, or the problem does not
        fit in memory.

    Notes
    -----
    Up to d = 256, and if more than a quarter of all pairs are asked for, the matrix itself is decomposed. Otherwise
    ARPACK's restarted Lanczos iteration is used, with a fixed start.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    >>> net = zl.networks.uniform_fan_in(data, hidden=24, seed=1)
    >>> zl.curvature.eigenpairs(net, data, 3).vectors.shape
    (240, 3)
    """
    check_settings(loss, reduction, part)
    _checks.choice("which", which, ENDS)
    weight_decay, accuracy = _checks.not_negative("weight_decay", weight_decay), _checks.positive("accuracy", accuracy)
    count = _checks.integer("count", count, 1)
    curvature = make_curvature(net, data, loss, reduction, threads, temperature)
    d = parameter_count(net)
    if count > d:
        raise ArgumentValueError("count", f"expected at most {d}, the number of parameters, got {count}")
    matrix = make_operator(curvature, d, part, weight_decay)
    if d <= _DENSE_BELOW or 4 * count > d:
        A = dense_matrix(curvature, d, part, weight_decay)
        ends = (0, count - 1) if which == "smallest" else (d - count, d - 1)
        values, vectors = scipy.linalg.eigh(A, subset_by_index=ends)
    else:
        check_memory(f"{count} eigenpairs", 8 * d * (3 * count + 25))
        start = fixed_start(d)
        if not np.isfinite(matrix @ start).all():
            raise not_finite(part)
        try:
            values, vectors = eigsh(
                matrix,
                count,
                which="LA" if which == "largest" else "SA",
                v0=start,
                tol=accuracy,
                maxiter=_MOST_RESTARTS,
            )
        except ArpackNoConvergence as error:
            raise np.linalg.LinAlgError(
                f"{len(error.eigenvalues)} of {count} eigenpairs of {name_part(part)} reached an accuracy of "
                f"{accuracy:g} in {_MOST_RESTARTS} restarts; use a larger accuracy, or spectrum if d = {d} allows it"
            ) from None
        except ArpackError as error:
            raise np.linalg.LinAlgError(f"the eigenpairs of {name_part(part)} were not found: {error}") from None
    order = np.argsort(values) if which == "smallest" else np.argsort(values)[::-1]
    values, vectors = values[order], np.ascontiguousarray(vectors[:, order])
    residuals = np.linalg.norm(matrix @ vectors - vectors * values, axis=0)
    return Eigenpairs(values, vectors, residuals)


def spectrum(
    net: Network,
    data: Dataset,
    loss: Loss = "mse",
    reduction: Reduction = "mean",
    weight_decay: float = 0.0,
    *,
    temperature: Positive = 1.0,
    part: CurvaturePart = "hessian",
    threads: int | None = None,
) -> NDArray[np.float64]:
    """Compute all eigenvalues of the Hessian, from the matrix itself.

    Parameters
    ----------
    net : Network
        The network θ.
    data : Dataset
        Its training samples determine the loss.
    loss : {"mse", "cross_entropy"}
        The loss, see `zeroloss.loss_and_gradient`.
    reduction : {"mean", "sum"}
        The reduction of the loss.
    weight_decay : float
        The multiple of the identity that is added, at least 0, by default 0.
    temperature : float
        The number T > 0 that divides the outputs in the cross-entropy, F/T. By default 1.
    part : {"hessian", "gauss_newton"}
        The matrix: the Hessian, by default, or its Gauss–Newton part.
    threads : int, optional
        The number of threads of a product, at least 1. By default 1 for small networks, and all processors otherwise.

    Returns
    -------
    ndarray, (d,)
        The eigenvalues in descending order, with an error of about eps ‖A‖.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the matrix is not finite.
    ValueError, TypeError
        If the network does not fit the data, a name is unknown, a number is out of its range, or the matrix of d²
        numbers does not fit in memory. For p = 11 and h = 128, d is 2 816 and the matrix takes 63 MB.
    """
    check_settings(loss, reduction, part)
    weight_decay = _checks.not_negative("weight_decay", weight_decay)
    curvature, d = make_curvature(net, data, loss, reduction, threads, temperature), parameter_count(net)
    return np.asarray(scipy.linalg.eigvalsh(dense_matrix(curvature, d, part, weight_decay), overwrite_a=True)[::-1])


def largest_eigenvalue(
    curvature: kernels.Curvature, part: CurvaturePart, weight_decay: float, accuracy: float
) -> float:
    """Return the largest eigenvalue at a point, or raise LinAlgError if the iteration does not reach its accuracy."""
    value, reached = curvature.largest_eigenvalue(part, weight_decay, accuracy, _MOST_ITERATIONS)
    if math.isnan(value):
        raise not_finite(part)
    if not reached <= accuracy:
        raise np.linalg.LinAlgError(
            f"the Lanczos iteration for {name_part(part)} reached an accuracy of {reached:.1e} in {_MOST_ITERATIONS} "
            f"iterations instead of {accuracy:g}; use a larger accuracy"
        )
    return value


def dense_matrix(curvature: kernels.Curvature, d: int, part: str, weight_decay: float) -> NDArray[np.float64]:
    """Form the matrix, (d, d), one column after the other, or raise ValueError if it does not fit in memory."""
    check_memory(f"{name_part(part)} of d = {d} parameters", 3 * 8 * d * d)
    A, unit = np.empty((d, d)), np.zeros(d)
    for at in range(d):
        unit[at] = 1
        A[at] = curvature.multiply(unit, part, weight_decay)
        unit[at] = 0
    if not np.isfinite(A).all():
        raise not_finite(part)
    return A


def check_iteration_fits(d: int) -> None:
    """Raise ValueError if the vectors of the Lanczos iteration do not fit in memory."""
    check_memory("sharpness", 8 * d * (min(d, _MOST_ITERATIONS) + 4))


def fixed_start(d: int) -> NDArray[np.float64]:
    """Return the vector with which iterations start."""
    return np.random.default_rng(0).standard_normal(d)


def not_finite(part: str) -> np.linalg.LinAlgError:
    """Return the error of a matrix with entries beyond the range of float64."""
    return np.linalg.LinAlgError(f"{name_part(part)} is not finite at this network: its products overflow")
