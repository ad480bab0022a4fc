"""Singular values of J."""

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

_ACCURACY = 1e-9  # of the extremes
_MOST_ITERATIONS = 400  # of Lanczos; each keeps a vector
_SQUARES_SUFFICE = 1e-4  # σ_min/σ_max above which the squares of the Gram matrix leave σ_min 8 digits


def singular_values(net: Network, data: Dataset, which: Values = "all", method: Solver = "auto") -> NDArray[np.float64]:
    """Return singular values of J, in descending order.

    Parameters
    ----------
    net : Network
        In float64.
    data : Dataset
        Its training samples are used.
    which : {"all", "extremes"}
        All min(n·d_out, d) of them, or the largest and the smallest alone.
    method : {"auto", "dense", "matrix_free"}
        For the extremes: with the Gram matrix or without it, see `memory_needed`.

    Returns
    -------
    ndarray, (min(n·d_out, d),) or (2,)

    Raises
    ------
    numpy.linalg.LinAlgError
        For ``"extremes"``, where J is singular.
    ValueError, TypeError
        For unknown names, a network that does not fit the data or is not float64, and what does not fit in memory.

    Notes
    -----
    All: from the eigenvalues of J Jᵀ while these leave the smallest at least 8 digits (cond(J) ≤ 10⁴: the relative
    error of σ is about eps (σ_max/σ)²), and from the singular values of J itself, formed for this, where they do not
    (relative error about eps σ_max/σ).
    Extremes: by the Lanczos iteration to a relative 1e-9, or as far as rounding of J Jᵀ, eps cond(J)², allows.
    """
    _checks.choice("which", which, ("all", "extremes"))
    require_float64(net, data)
    if which == "extremes":
        return np.array(_extremes(net, data, method))
    rows, d = data.Y_train.size, net.E.size + net.W.size
    if rows <= d:
        eigenvalues = np.linalg.eigvalsh(gram(net, data))[::-1]
        if eigenvalues[-1] > _SQUARES_SUFFICE**2 * eigenvalues[0]:
            return np.asarray(np.sqrt(eigenvalues))
    check_memory("singular_values", 3 * 8 * rows * d)
    return np.asarray(np.linalg.svd(dense_jacobian(net, data), compute_uv=False))


def condition_number(net: Network, data: Dataset, method: Solver = "auto") -> float:
    """Return σ_max/σ_min of J; arguments, accuracy and errors as for the extremes of `singular_values`."""
    require_float64(net, data)
    largest, smallest = _extremes(net, data, method)
    return largest / smallest


def _extremes(net: Network, data: Dataset, method: Solver) -> tuple[float, float]:
    found = checked_zero_loss_set(net, data, method).extremes(net.E, net.W, _ACCURACY, _MOST_ITERATIONS)
    if found is None:
        raise singular_error(net, data)
    largest, smallest, accuracy = found
    if not accuracy <= max(_ACCURACY, np.finfo(float).eps * (largest / smallest) ** 2):  # nor NaN
        raise np.linalg.LinAlgError(
            f"the Lanczos iteration ended at a relative accuracy of {accuracy:.1e} instead of {_ACCURACY:g}; "
            'use which="all"'
        )
    return largest, smallest
