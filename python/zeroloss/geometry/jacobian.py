"""J = ∂F/∂θ by its products, and its Gram matrix J Jᵀ from the closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _checks
from .._checks import ArgumentValueError
from .._resources import check_memory
from ..datasets import Dataset
from ..networks import Network
from .solver import checked_tangent_vector, make_zero_loss_set, memory_needed, require_float64


def gram(net: Network, data: Dataset) -> NDArray[np.float64]:
    """Return J Jᵀ from its closed form; J itself is not formed.

    Entry ((i, k), (j, l)) is δ_kl (H Hᵀ)_ij + (X Xᵀ)_ij Σ_u σ'(Z_iu) σ'(Z_ju) W_uk W_ul.

    Parameters
    ----------
    net : Network
        In float64.
    data : Dataset
        Its training samples are used.

    Returns
    -------
    ndarray, (n·d_out, n·d_out)
        Symmetric; row and column i·d_out + k belong to output k of sample i.

    Raises
    ------
    ValueError, TypeError
        For a network that does not fit the data or is not float64, and a matrix that does not fit in memory
        (`memory_needed`).
    """
    require_float64(net, data)
    check_memory("gram", memory_needed(net, data, "dense"))
    return make_zero_loss_set(net, data, "matrix_free").gram(net.E, net.W)


def jacobian_product(net: Network, data: Dataset, vE: ArrayLike, vW: ArrayLike) -> NDArray[np.float64]:
    """Return J v = ((X vE) ⊙ σ'(Z)) W + H vW by one forward pass.

    Parameters
    ----------
    net : Network
        In float64.
    data : Dataset
        Its training samples are used.
    vE, vW : array_like, (d_in, h) and (h, d_out)
        The vector v.

    Returns
    -------
    ndarray, (n, d_out)
        Flattened, the rows of J v.

    Raises
    ------
    ValueError, TypeError
        For a network that does not fit the data or is not float64, and shapes that do not fit the network.
    """
    require_float64(net, data)
    return make_zero_loss_set(net, data, "matrix_free").multiply(
        net.E, net.W, *checked_tangent_vector(vE, vW, net, ("vE", "vW"))
    )


def jacobian_transposed_product(
    net: Network, data: Dataset, R: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Jᵀ R = (Xᵀ((R Wᵀ) ⊙ σ'(Z)), Hᵀ R) by one backward pass.

    Parameters
    ----------
    net : Network
        In float64.
    data : Dataset
        Its training samples are used.
    R : array_like, (n, d_out)
        Row i·d_out + k of the vector is R[i, k].

    Returns
    -------
    vE : ndarray, (d_in, h)
    vW : ndarray, (h, d_out)

    Raises
    ------
    ValueError, TypeError
        For a network that does not fit the data or is not float64, and a shape that does not fit the targets.
    """
    require_float64(net, data)
    rows = _checks.matrix("R", R, "float64")
    if rows.shape != data.Y_train.shape:
        raise ArgumentValueError("R", f"expected shape {data.Y_train.shape}, as Y_train has, got {rows.shape}")
    return make_zero_loss_set(net, data, "matrix_free").multiply_transposed(net.E, net.W, rows)
