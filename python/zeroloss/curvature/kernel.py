"""The kernel object of the curvature at a network: checks of arguments, and its memory."""

from __future__ import annotations

from typing import get_args

import numpy as np

from .. import _checks
from .._choices import CurvaturePart, Loss, Reduction
from .._kernels import kernels
from .._resources import check_memory, checked_threads
from ..datasets import Dataset, kernel_samples
from ..networks import Network, fold_biases, kernel_activation

PARTS = get_args(CurvaturePart)
LOSSES = get_args(Loss)
REDUCTIONS = get_args(Reduction)

_FLOPS_FOR_THREADS = 5e7  # the flops of a product from which several threads are worthwhile


def check_settings(loss: Loss, reduction: Reduction, part: CurvaturePart = "hessian") -> None:
    """Raise ValueError unless the names of a loss, a reduction and a part exist."""
    _checks.choice("loss", loss, LOSSES)
    _checks.choice("reduction", reduction, REDUCTIONS)
    _checks.choice("part", part, PARTS)


def parameter_count(net: Network) -> int:
    """Return d, the number of parameters."""
    return sum(array.size for array in net.parameters.values())


def name_part(part: str) -> str:
    """Return a part in words."""
    return "the Gauss–Newton matrix" if part == "gauss_newton" else "the Hessian"


def make_curvature(
    net: Network,
    data: Dataset,
    loss: Loss,
    reduction: Reduction,
    threads: int | None = None,
    temperature: float = 1.0,
) -> kernels.Curvature:
    """Check a network, its data and the temperature, and make the kernel object at the network."""
    loss_at_temperature = kernels.Loss(loss, reduction, _checks.temperature(temperature, loss))
    net, data = fold_biases(net, data)
    n, h, d_out = data.train_count, net.hidden, data.d_out
    inputs = data.rows_train.size  # entries that are stored
    check_memory("curvature", 8 * (5 * n * h + 5 * n * d_out + 2 * inputs + 4 * parameter_count(net)))
    threads = checked_threads(threads, 12.0 * n * h * d_out, _FLOPS_FOR_THREADS)
    net = net.astype("float64")
    samples = kernel_samples(data, "train", np.dtype("float64"))
    return kernels.Curvature(samples, kernel_activation(net), loss_at_temperature, net.E, net.W, threads)
