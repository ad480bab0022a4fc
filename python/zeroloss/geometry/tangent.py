"""The norm-minimising direction g, the tangent part of −θ."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..datasets import Dataset
from ..networks import Network
from .solver import singular_error, solvable_set


@dataclass(frozen=True, eq=False)
class NormDirection:
    """The tangent part of −θ.

    Attributes
    ----------
    gE : ndarray, (d_in, h)
    gW : ndarray, (h, d_out)
        g = −θ + Jᵀ(J Jᵀ)⁻¹Jθ.
    norm : float
        ‖g‖, the speed of dθ/ds = g.
    tangent_fraction : float
        ‖g‖/‖θ‖: how much of −θ is tangent. NaN for θ = 0.
    """

    gE: NDArray[np.float64]
    gW: NDArray[np.float64]
    norm: float
    tangent_fraction: float


def norm_direction(net: Network, data: Dataset, method: str = "auto") -> NormDirection:
    """Return g = −(I − J⁺J) θ = −θ + Jᵀ(J Jᵀ)⁻¹Jθ (Eqs. 28, 29), on the zero-loss set or off it.

    Parameters
    ----------
    net : Network
        In float64.
    data : Dataset
        Its training samples are used.
    method : {"auto", "dense", "matrix_free"}
        A Cholesky factor of J Jᵀ, or conjugate gradients to a relative residual of 1e-12; see `memory_needed`.

    Returns
    -------
    NormDirection
        J g = 0 to rounding times the condition number of J Jᵀ.

    Raises
    ------
    numpy.linalg.LinAlgError
        Where J is singular, with the cause and its smallest singular value.
    ValueError, TypeError
        For a network that does not fit the data or is not float64, and a problem that does not fit in memory.
    """
    found = solvable_set(net, data, method).direction(net.E, net.W)
    if found is None:
        raise singular_error(net, data)
    gE, gW = found
    norm, length = _length(gE, gW), _length(net.E, net.W)
    return NormDirection(gE, gW, norm, norm / length if length else float("nan"))


def _length(E: NDArray[np.float64], W: NDArray[np.float64]) -> float:
    return math.hypot(np.linalg.norm(E), np.linalg.norm(W))
