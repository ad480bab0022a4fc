"""Singular values of J = ∂F/∂θ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._choices import Solver, Values
from .._resources import check_memory
from ..datasets import Dataset
from ..networks import Network
from .jacobian import gram
from .solver import checked_zero_loss_set, dense_jacobian, require_float64, singular_error

_ACCURACY = 1e-9  # the relative accuracy of the extremes
_MOST_ITERATIONS = 400  # the most iterations of Lanczos; each stores a vector
_SQUARES_SUFFICE = 1e-4  # σ_min/σ_max above which the eigenvalues of J Jᵀ give σ_min to 8 digits


def singular_values(net: Network, data: Dataset, which: Values = "all", method: Solver = "auto") -> NDArray[np.float64]:
    """Compute singular values of J, in descending order.

    Parameters
    ----------
    net : Network
        The network θ, in float64.
    data : Dataset
        Its training samples determine J.
    which : {"all", "extremes"}
        All min(n·d_out, d) singular values, the default, or only the largest and the smallest.
    method : {"auto", "dense", "matrix_free"}
        For the extremes: with or without the Gram matrix, see `memory_needed`.

    Returns
    -------
    ndarray, (min(n·d_out, d),) or (2,)
        The singular values.

    Raises
    ------
    numpy.linalg.LinAlgError
        For ``"extremes"``, if J is singular or the Lanczos iteration does not reach its accuracy.
    ValueError, TypeError
        If a name is unknown, the network does not fit the data or is not in float64, or a matrix does not fit in
        memory.

    Notes
    -----
    All singular values are computed from the eigenvalues of J Jᵀ if these leave the smallest one at least 8 digits
    (cond(J) ≤ 10⁴, because the relative error of σ is about eps (σ_max/σ)²). Otherwise J is formed and its own singular
    values are computed, with a relative error of about eps σ_max/σ.

    The extremes are computed by the Lanczos iteration, to a relative accuracy of 1e-9 or as far as the rounding of J
    Jᵀ, eps cond(J)², allows.
    """
    _checks.choice("which", which, ("all", "extremes"))
    require_float64(net, data)
    if which == "extremes":
        return np.array(_extremes(net, data, method))
    rows, d = data.Y_train.size, sum(array.size for array in net.parameters.values())
    if rows <= d:
        eigenvalues = np.linalg.eigvalsh(gram(net, data))[::-1]
        if eigenvalues[-1] > _SQUARES_SUFFICE**2 * eigenvalues[0]:
            return np.asarray(np.sqrt(eigenvalues))
    check_memory("singular_values", 3 * 8 * rows * d)
    return np.asarray(np.linalg.svd(dense_jacobian(net, data), compute_uv=False))


def condition_number(net: Network, data: Dataset, method: Solver = "auto") -> float:
    """Compute the condition number σ_max/σ_min of J.

    Parameters
    ----------
    net : Network
        The network θ, in float64.
    data : Dataset
        Its training samples determine J.
    method : {"auto", "dense", "matrix_free"}
        With or without the Gram matrix, see `memory_needed`.

    Returns
    -------
    float
        The condition number, from the extremes of `singular_values`.

    Raises
    ------
    numpy.linalg.LinAlgError
        If J is singular, or the Lanczos iteration does not reach its accuracy.
    ValueError, TypeError
        If the method is unknown, the network does not fit the data or is not in float64, or it does not fit in memory.
    """
    require_float64(net, data)
    largest, smallest = _extremes(net, data, method)
    return largest / smallest


def _extremes(net: Network, data: Dataset, method: Solver) -> tuple[float, float]:
    """Return the largest and the smallest singular value."""
    extremes = checked_zero_loss_set(net, data, method).extremes(*net.layers, _ACCURACY, _MOST_ITERATIONS)
    if extremes is None:
        raise singular_error(net, data)
    largest, smallest, accuracy = extremes
    if not accuracy <= max(_ACCURACY, np.finfo(float).eps * (largest / smallest) ** 2):  # also true for NaN
        raise np.linalg.LinAlgError(
            f"the Lanczos iteration ended at a relative accuracy of {accuracy:.1e} instead of {_ACCURACY:g}; "
            'use which="all"'
        )
    return largest, smallest
