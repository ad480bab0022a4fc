"""Single evaluations on the training samples: loss and gradients, and the predicted gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._choices import Loss, Positive, Reduction
from .._kernels import kernels
from ..datasets import Dataset, kernel_samples
from ..networks import Network, check_fits, kernel_activation
from .descent import LOSSES
from .predicted_gradient import PredictedKernel, check_ridge


def loss_and_gradient(
    net: Network, data: Dataset, loss: Loss = "mse", reduction: Reduction = "mean", temperature: Positive = 1.0
) -> tuple[float, NDArray[Any], NDArray[Any]]:
    """Return the training loss (Eq. 12) and its gradients, without weight decay.

    Parameters
    ----------
    net : Network
        The network. Its dtype is the precision of the evaluation.
    data : Dataset
        The training samples X (n, d_in) and Y (n, d_out).
    loss : {"mse", "cross_entropy"}
        Squared error ‖H W − Y‖²_F, or cross-entropy −Σ Y ⊙ log softmax(H W).
    reduction : {"mean", "sum"}
        The mean over n·d_out entries (cross-entropy: over n samples), or the paper's sum.
    temperature : float
        The number above 0 that divides the outputs in the cross-entropy, by default 1.

    Returns
    -------
    loss : float
        The loss.
    gE : ndarray, (d_in, h) or (d_in + 1, h)
        The gradient for E; its last row is the gradient for the hidden biases, if there are any.
    gW : ndarray, (h, d_out) or (h + 1, d_out)
        The gradient for W; its last row is the gradient for the biases of the outputs, if there are any.

    Raises
    ------
    ValueError, TypeError
        If the network does not fit the data, a name is unknown, or the temperature is out of its range.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(11, test_count=7)
    >>> net = zl.networks.uniform_fan_in(data, hidden=128, seed=1)
    >>> loss, gE, gW = zl.loss_and_gradient(net, data)
    >>> gE.shape, gW.shape
    ((11, 128), (128, 11))
    """
    check_fits(net, data)
    _checks.choice("loss", loss, LOSSES)
    _checks.choice("reduction", reduction, ("mean", "sum"))
    settings = kernels.Loss(loss, reduction, _checks.temperature(temperature, loss))
    samples = kernel_samples(data, "train", net.dtype, net.bias_hidden is not None)
    return kernels.loss_and_gradient(samples, *net.layers, kernel_activation(net), settings)


def predicted_gradient(net: Network, data: Dataset, ridge: float = 0.0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return ΔE = −½ ∇(R/λ) and W = φ(E) at the first layer E of a network (Eqs. 15–20).

    Parameters
    ----------
    net : Network
        The network. Its W is not used. The relative error is at most about cond(K) times the rounding unit of its
        dtype.
    data : Dataset
        The training samples X (n, d_in) and Y (n, d_out).
    ridge : float
        The λ of Eq. 15, at least 0. With 0, K = H Hᵀ must be invertible, which needs h ≥ n, or h + 1 ≥ n with
        biases of the outputs.

    Returns
    -------
    delta_E : ndarray, (d_in, h) or (d_in + 1, h)
        The direction ΔE = Xᵀ((B Wᵀ) ⊙ σ'(Z)) − E with B = (K + λI)⁻¹ Y. Hidden biases are the last row of E.
    W : ndarray, (h, d_out) or (h + 1, d_out)
        The optimal second layer φ(E) = Hᵀ B. Biases of the outputs are the last row of W, with a last column of ones in
        H.

    Raises
    ------
    numpy.linalg.LinAlgError
        If K + λI cannot be factored. The message has its condition number.
    ValueError, TypeError
        If the network does not fit the data, ridge < 0, or ridge = 0 with more samples than columns of H.
    """
    check_fits(net, data)
    ridge = _checks.not_negative("ridge", ridge)
    check_ridge(ridge, data, net)
    samples = kernel_samples(data, "train", net.dtype, net.bias_hidden is not None)
    kernel, E = PredictedKernel(samples, net, ridge, 1), net.layers[0]
    result = kernel.evaluate(E)
    if result is None:
        raise np.linalg.LinAlgError(kernel.singular_message(E))
    return result
