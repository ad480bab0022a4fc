"""Products with J = ∂F/∂θ and with its transpose, and the Gram matrix J Jᵀ from its closed form."""

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
    """Compute J Jᵀ from its closed form, without forming J.

    Entry ((i, k), (j, l)) is δ_kl (H Hᵀ)_ij + (X Xᵀ)_ij Σ_u σ'(Z_iu) σ'(Z_ju) W_uk W_ul.

    Parameters
    ----------
    net : Network
        The network θ, in float64.
    data : Dataset
        Its training samples determine J.

    Returns
    -------
    ndarray, (n·d_out, n·d_out)
        The symmetric matrix. Row and column i·d_out + k belong to output k of sample i.

    Raises
    ------
    ValueError, TypeError
        If the network does not fit the data or is not in float64, or the matrix does not fit in memory
        (`memory_needed`).
    """
    require_float64(net, data)
    check_memory("gram", memory_needed(net, data, "dense"))
    return make_zero_loss_set(net, data, "matrix_free").gram(*net.layers)


def jacobian_product(net: Network, data: Dataset, vE: ArrayLike, vW: ArrayLike) -> NDArray[np.float64]:
    """Compute J v = ((X vE) ⊙ σ'(Z)) W + H vW by one forward pass.

    Parameters
    ----------
    net : Network
        The network θ, in float64.
    data : Dataset
        Its training samples determine J.
    vE : array_like, (d_in, h) or (d_in + 1, h)
        The part of the vector v for the first layer. Hidden biases are the last row.
    vW : array_like, (h, d_out) or (h + 1, d_out)
        The part of v for the second layer. Biases of the outputs are the last row.

    Returns
    -------
    ndarray, (n, d_out)
        The product. Entry [i, k] is row i·d_out + k of J v.

    Raises
    ------
    ValueError, TypeError
        If the network does not fit the data or is not in float64, or vE or vW do not have the shapes of the layers.
    """
    require_float64(net, data)
    return make_zero_loss_set(net, data, "matrix_free").multiply(
        *net.layers, *checked_tangent_vector(vE, vW, net, ("vE", "vW"))
    )


def jacobian_transposed_product(
    net: Network, data: Dataset, R: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute Jᵀ R = (Xᵀ((R Wᵀ) ⊙ σ'(Z)), Hᵀ R) by one backward pass.

    Parameters
    ----------
    net : Network
        The network θ, in float64.
    data : Dataset
        Its training samples determine J.
    R : array_like, (n, d_out)
        The vector. Entry [i, k] multiplies row i·d_out + k of J.

    Returns
    -------
    vE : ndarray, (d_in, h) or (d_in + 1, h)
        The part of the product for the first layer. Hidden biases are the last row.
    vW : ndarray, (h, d_out) or (h + 1, d_out)
        The part for the second layer. Biases of the outputs are the last row.

    Raises
    ------
    ValueError, TypeError
        If the network does not fit the data or is not in float64, or R does not have the shape of the training targets.
    """
    require_float64(net, data)
    rows = _checks.matrix("R", R, "float64")
    if rows.shape != data.Y_train.shape:
        raise ArgumentValueError("R", f"expected the shape of Y_train, {data.Y_train.shape}, got {rows.shape}")
    return make_zero_loss_set(net, data, "matrix_free").multiply_transposed(*net.layers, rows)
