"""Products with the Hessian and with the Gauss–Newton matrix."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse.linalg import LinearOperator

from .. import _checks
from .._checks import ArgumentValueError
from .._choices import CurvaturePart, Loss, Positive, Reduction
from ..datasets import Dataset
from ..networks import Network
from .kernel import check_settings, make_curvature, parameter_count

if TYPE_CHECKING:
    from .._kernels import kernels

Vector = NDArray[np.float64]


def hessian_product(
    net: Network,
    data: Dataset,
    VE: ArrayLike,
    VW: ArrayLike,
    loss: Loss = "mse",
    reduction: Reduction = "mean",
    weight_decay: float = 0.0,
    *,
    temperature: Positive = 1.0,
) -> tuple[Vector, Vector]:
    """Compute (∇²L + weight_decay I) v for one direction v = (VE, VW).

    It takes one pass forward and one backward. `operator` shares the work that does not depend on the direction.

    Parameters
    ----------
    net : Network
        The network θ.
    data : Dataset
        Its training samples determine the loss.
    VE : array_like, (d_in, h) or (d_in + 1, h)
        The part of the direction for the first layer. Hidden biases are the last row.
    VW : array_like, (h, d_out) or (h + 1, d_out)
        The part for the second layer. Biases of the outputs are the last row.
    loss : {"mse", "cross_entropy"}
        The loss, see `zeroloss.loss_and_gradient`.
    reduction : {"mean", "sum"}
        The reduction of the loss.
    weight_decay : float
        The multiple of the identity that is added, at least 0, by default 0.
    temperature : float
        The number T > 0 that divides the outputs in the cross-entropy, F/T. By default 1.

    Returns
    -------
    HE : ndarray, (d_in, h) or (d_in + 1, h)
        The part of the product for the first layer.
    HW : ndarray, (h, d_out) or (h + 1, d_out)
        The part for the second layer.

    Raises
    ------
    ValueError, TypeError
        If the network does not fit the data, VE or VW do not have the shapes of the layers or are not finite, a name is
        unknown, or a number is out of its range.

    Notes
    -----
    With Z = X E, H = σ(Z), S = σ'(Z), S₂ = σ''(Z) and G = ∂L/∂F, let dZ = X VE, dF = (S ⊙ dZ) W + H VW, and dG the
    derivative of G along dF, for squared error 2 dF/(n·d_out). The product is
    Xᵀ[(dG Wᵀ + G VWᵀ) ⊙ S + (G Wᵀ) ⊙ S₂ ⊙ dZ] for E and Hᵀ dG + (S ⊙ dZ)ᵀ G for W.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    >>> net = zl.networks.uniform_fan_in(data, hidden=24, seed=1, activation="tanh")
    >>> HE, HW = zl.curvature.hessian_product(net, data, net.E, net.W)
    >>> HE.shape, HW.shape
    ((5, 24), (24, 5))
    """
    return _multiply(net, data, VE, VW, "hessian", loss, reduction, weight_decay, temperature)


def gauss_newton_product(
    net: Network,
    data: Dataset,
    VE: ArrayLike,
    VW: ArrayLike,
    loss: Loss = "mse",
    reduction: Reduction = "mean",
    weight_decay: float = 0.0,
    *,
    temperature: Positive = 1.0,
) -> tuple[Vector, Vector]:
    """Compute (Jᵀ A J + weight_decay I) v for one direction v = (VE, VW).

    J is ∂F/∂θ, and A are the second derivatives of the loss with respect to the outputs F. The product is that of
    `hessian_product` without the terms that contain ∂L/∂F.

    Parameters
    ----------
    net : Network
        The network θ.
    data : Dataset
        Its training samples determine the loss.
    VE : array_like, (d_in, h) or (d_in + 1, h)
        The part of the direction for the first layer. Hidden biases are the last row.
    VW : array_like, (h, d_out) or (h + 1, d_out)
        The part for the second layer. Biases of the outputs are the last row.
    loss : {"mse", "cross_entropy"}
        The loss, see `zeroloss.loss_and_gradient`.
    reduction : {"mean", "sum"}
        The reduction of the loss.
    weight_decay : float
        The multiple of the identity that is added, at least 0, by default 0.
    temperature : float
        The number T > 0 that divides the outputs in the cross-entropy, F/T. By default 1.

    Returns
    -------
    GE : ndarray, (d_in, h) or (d_in + 1, h)
        The part of the product for the first layer.
    GW : ndarray, (h, d_out) or (h + 1, d_out)
        The part for the second layer.

    Raises
    ------
    ValueError, TypeError
        If the network does not fit the data, VE or VW do not have the shapes of the layers or are not finite, a name is
        unknown, or a number is out of its range.
    """
    return _multiply(net, data, VE, VW, "gauss_newton", loss, reduction, weight_decay, temperature)


def operator(
    net: Network,
    data: Dataset,
    part: CurvaturePart = "hessian",
    loss: Loss = "mse",
    reduction: Reduction = "mean",
    weight_decay: float = 0.0,
    *,
    temperature: Positive = 1.0,
    threads: int | None = None,
) -> LinearOperator:
    """Make the Hessian or the Gauss–Newton matrix as an operator for SciPy's solvers.

    The operator stores all that does not depend on the direction: H, S, ∂L/∂F, and the second derivatives of the
    activation. Its bits do not depend on the number of threads.

    Parameters
    ----------
    net : Network
        The network θ.
    data : Dataset
        Its training samples determine the loss.
    part : {"hessian", "gauss_newton"}
        The matrix: the Hessian of the loss, by default, or its Gauss–Newton part.
    loss : {"mse", "cross_entropy"}
        The loss, see `zeroloss.loss_and_gradient`.
    reduction : {"mean", "sum"}
        The reduction of the loss.
    weight_decay : float
        The multiple of the identity that is added, at least 0, by default 0.
    temperature : float
        The number T > 0 that divides the outputs in the cross-entropy, F/T. By default 1.
    threads : int, optional
        The number of threads of a product, at least 1. By default 1 for small networks, and all processors otherwise.

    Returns
    -------
    scipy.sparse.linalg.LinearOperator, (d, d)
        The symmetric operator. Vectors are θ flattened: E row by row, then W row by row.

    Raises
    ------
    ValueError, TypeError
        If the network does not fit the data, a name is unknown, a number is out of its range, or the problem does not
        fit in memory.

    Examples
    --------
    >>> import numpy as np
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    >>> net = zl.networks.uniform_fan_in(data, hidden=24, seed=1)
    >>> hessian = zl.curvature.operator(net, data)
    >>> v = np.concatenate([net.E.ravel(), net.W.ravel()])
    >>> (hessian @ v).shape
    (240,)
    """
    check_settings(loss, reduction, part)
    weight_decay = _checks.not_negative("weight_decay", weight_decay)
    curvature = make_curvature(net, data, loss, reduction, threads, temperature)
    return make_operator(curvature, parameter_count(net), part, weight_decay)


def make_operator(curvature: kernels.Curvature, size: int, part: CurvaturePart, weight_decay: float) -> LinearOperator:
    """Make the operator of a kernel object; callers on several threads take turns."""
    lock = threading.Lock()

    def multiply(v: NDArray[Any]) -> Vector:
        vector = np.ascontiguousarray(v).astype(np.float64, casting="same_kind", copy=False).ravel()
        with lock:
            return curvature.multiply(vector, part, weight_decay)

    return LinearOperator((size, size), matvec=multiply, rmatvec=multiply, dtype=np.float64)


def _multiply(
    net: Network,
    data: Dataset,
    VE: ArrayLike,
    VW: ArrayLike,
    part: CurvaturePart,
    loss: Loss,
    reduction: Reduction,
    weight_decay: float,
    temperature: float,
) -> tuple[Vector, Vector]:
    """Check all arguments of a product, and compute it."""
    check_settings(loss, reduction)
    weight_decay = _checks.not_negative("weight_decay", weight_decay)
    curvature = make_curvature(net, data, loss, reduction, temperature=temperature)
    parts = _checks.matrix("VE", VE, "float64"), _checks.matrix("VW", VW, "float64")
    for name, direction, layer in zip(("VE", "VW"), parts, net.layers, strict=True):
        if direction.shape != layer.shape:
            raise ArgumentValueError(name, f"expected shape {layer.shape}, got {direction.shape}")
    product = curvature.multiply(np.concatenate([direction.ravel() for direction in parts]), part, weight_decay)
    first, second = np.split(product, [parts[0].size])
    return first.reshape(parts[0].shape), second.reshape(parts[1].shape)
