"""Biases as weights of constants, for computations that have no biases of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._kernels import kernels
from ..datasets import Dataset, kernel_samples, with_constant
from .network import Network, check_fits, kernel_activation


def fold_biases(network: Network, data: Dataset) -> tuple[Network, Dataset]:
    """Return a network and data in which biases are weights of constants, and the same functions otherwise.

    E and W of this network are the `layers` of the given one, and the data have a further input that is 1 if the hidden
    units have biases. If the outputs have biases, W has a row more than there are hidden units, for a unit that is
    always 1: `hidden_activations` includes it, and kernels recognise it.

    Raises
    ------
    ValueError, TypeError
        If the network does not fit the data.
    """
    check_fits(network, data)
    if network.bias == "none":
        return network, data
    folded = Network(*network.layers, network.activation, network.settings)
    return folded, data if network.bias_hidden is None else with_constant(data)


def hidden_activations(folded: Network, data: Dataset) -> tuple[NDArray[Any], NDArray[Any]]:
    """Compute H = σ(Z) and S = σ'(Z) on the training samples of a network and data from `fold_biases`.

    H is (n, h), or (n, h + 1) with ones in the last column if the outputs have biases: F = H W. S is (n, h).
    """
    samples = kernel_samples(data, "train", folded.dtype)
    H, S = kernels.hidden(samples, folded.E, kernel_activation(folded))
    return (H if len(folded.W) == folded.hidden else np.hstack([H, np.ones((len(H), 1), H.dtype)])), S
