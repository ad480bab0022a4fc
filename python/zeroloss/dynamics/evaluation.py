"""Single evaluations on the training samples: loss and gradients, and the predicted gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._choices import Loss, Reduction
from .._kernels import kernels
from ..datasets import Dataset, kernel_samples
from ..networks import Network, check_fits, kernel_activation
from .descent import LOSSES
from .predicted_gradient import check_ridge, singular_message


def loss_and_gradient(
    net: Network, data: Dataset, loss: Loss = "mse", reduction: Reduction = "mean"
) -> tuple[float, NDArray[Any], NDArray[Any]]:
    """Return the training loss and its gradients, without weight decay.

    Parameters
    ----------
    net : Network
        The network, whose dtype is the precision of the evaluation.
    data : Dataset
        Its training samples are used.
    loss : {"mse", "cross_entropy"}
        Squared error ‖H W − Y‖²_F, or −Σ Y ⊙ log softmax(H W).
    reduction : {"mean", "sum"}
        Divided by n·d_out (cross-entropy: by n), or the paper's sum (Eq. 12).

    Returns
    -------
    loss : float
    gE : ndarray, (d_in, h)
    gW : ndarray, (h, d_out)

    Raises
    ------
    ValueError, TypeError
        For a network that does not fit the data, or unknown names.
    """
    check_fits(net, data)
    _checks.choice("loss", loss, LOSSES)
    _checks.choice("reduction", reduction, ("mean", "sum"))
    samples = kernel_samples(data, "train", net.dtype)
    return kernels.loss_and_gradient(samples, net.E, net.W, kernel_activation(net), kernels.Loss(loss, reduction))


def predicted_gradient(net: Network, data: Dataset, ridge: float = 0.0) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return ΔE = −½ ∇(R/λ) and W = φ(E) at a network's E (Eqs. 15–20); its W is not read.

    Parameters
    ----------
    net : Network
        The network; cond(K) times the rounding unit of its dtype bounds the relative error.
    data : Dataset
        Its training samples are used.
    ridge : float
        λ of Eq. 15, at least 0; 0 needs h ≥ n and an invertible K = H Hᵀ.

    Returns
    -------
    delta_E : ndarray, (d_in, h)
    W : ndarray, (h, d_out)

    Raises
    ------
    numpy.linalg.LinAlgError
        If K + λI cannot be factored, with an estimate of its condition number.
    ValueError, TypeError
        For a network that does not fit the data, ridge < 0, or ridge = 0 with n > h.
    """
    check_fits(net, data)
    ridge = _checks.not_negative("ridge", ridge)
    check_ridge(ridge, data, net)
    samples, activation = kernel_samples(data, "train", net.dtype), kernel_activation(net)
    kernel = kernels.PredictedGradient32 if net.dtype == np.float32 else kernels.PredictedGradient64
    found = kernel(samples, activation, ridge, net.hidden, 1).evaluate(net.E)
    if found is None:
        raise np.linalg.LinAlgError(singular_message(samples, net.E, activation, ridge))
    return found
