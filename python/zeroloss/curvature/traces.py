"""Traces of the Hessian and of the Gauss–Newton matrix: exact, and by the estimate of Hutchinson."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._choices import CurvaturePart, Loss, Positive, Reduction
from .._kernels import kernels
from .._resources import check_memory
from ..datasets import Dataset, kernel_samples
from ..networks import Network, fold_biases, kernel_activation
from .eigenvalues import not_finite
from .kernel import check_settings, make_curvature, parameter_count


@dataclass(frozen=True)
class TraceEstimate:
    """An estimate of a trace. ``float(estimate)`` is its value.

    Attributes
    ----------
    value : float
        The mean of zᵀ A z.
    standard_error : float
        The standard deviation of zᵀ A z over the square root of ``samples``.
    samples : int
        The number of random vectors z.
    """

    value: float
    standard_error: float
    samples: int

    def __float__(self) -> float:
        return self.value


def trace(
    net: Network,
    data: Dataset,
    loss: Loss = "mse",
    reduction: Reduction = "mean",
    weight_decay: float = 0.0,
    *,
    temperature: Positive = 1.0,
    part: CurvaturePart = "hessian",
) -> float:
    """Compute the exact trace of the Hessian or of the Gauss–Newton matrix from its closed form.

    Parameters
    ----------
    net : Network
        The network θ.
    data : Dataset
        Its training samples determine the loss.
    loss : {"mse", "cross_entropy"}
        The loss, see `zeroloss.loss_and_gradient`.
    reduction : {"mean", "sum"}
        The reduction of the loss.
    weight_decay : float
        The multiple of the identity that is added, at least 0, by default 0. It adds weight_decay · d.
    temperature : float
        The number T > 0 that divides the outputs in the cross-entropy, F/T. By default 1.
    part : {"hessian", "gauss_newton"}
        The matrix: the Hessian, by default, or its Gauss–Newton part.

    Returns
    -------
    float
        The trace.

    Raises
    ------
    ValueError, TypeError
        If the network does not fit the data, a name is unknown, or a number is out of its range.

    Notes
    -----
    For squared error with reduction "mean" and N = n·d_out, the trace of the Gauss–Newton matrix is
    (2/N) [d_out ‖H‖² + Σ_iu ‖x_i‖² σ'(Z_iu)² ‖W_u‖²]. The rest of the Hessian has the trace
    Σ_iu ‖x_i‖² (G Wᵀ)_iu σ''(Z_iu), with G = ∂L/∂F; its blocks that mix E and W have no diagonal.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    >>> net = zl.networks.uniform_fan_in(data, hidden=24, seed=1)
    >>> zl.curvature.trace(net, data) == zl.curvature.trace(net, data, part="gauss_newton")  # ReLU has σ'' = 0
    True
    """
    check_settings(loss, reduction, part)
    weight_decay = _checks.not_negative("weight_decay", weight_decay)
    curvature = make_curvature(net, data, loss, reduction, 1, temperature)
    return curvature.trace(part) + weight_decay * parameter_count(net)


def trace_gradient(
    net: Network, data: Dataset, reduction: Reduction = "mean", *, threads: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the gradient of the trace of the Gauss–Newton matrix of the squared error, from its closed form.

    On the zero-loss set this matrix is the Hessian. `zeroloss.NoiseFlow` moves against the tangent part of the
    gradient.

    Parameters
    ----------
    net : Network
        The network θ.
    data : Dataset
        Its training samples determine the loss.
    reduction : {"mean", "sum"}
        The reduction of the loss.
    threads : int
        The number of threads, at least 1, by default 1.

    Returns
    -------
    gE : ndarray, (d_in, h)
        The part of the gradient for the first layer. Hidden biases are a further row.
    gW : ndarray, (h, d_out)
        The part for the second layer. Biases of the outputs are a further row, which is 0.

    Raises
    ------
    ValueError, TypeError
        If the network does not fit the data, the reduction is unknown, or threads is below 1.

    Notes
    -----
    With N = n·d_out, the gradient of the trace in `trace` is (4/N) Xᵀ[d_out H ⊙ S + ‖x‖² S ⊙ S₂ ⊙ ‖W_u‖²] for E and
    (4/N) (Σ_i ‖x_i‖² S_iu²) W_u for row u of W. H = σ(Z), S = σ'(Z) and S₂ = σ''(Z) with Z = X E. At kinks of ReLU
    and leaky ReLU the trace jumps, and S₂ is 0 by definition.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    >>> net = zl.networks.uniform_fan_in(data, hidden=24, seed=1, activation="tanh")
    >>> gE, gW = zl.curvature.trace_gradient(net, data)
    >>> gE.shape, gW.shape
    ((5, 24), (24, 5))
    """
    check_settings("mse", reduction)
    threads = _checks.integer("threads", threads, 1)
    net, data = fold_biases(net, data)
    net = net.astype("float64")
    n, h = data.train_count, net.hidden
    check_memory("trace_gradient", 8 * (3 * n * h + data.rows_train.size + 2 * parameter_count(net)))
    samples = kernel_samples(data, "train", np.dtype("float64"))
    activation, loss = kernel_activation(net), kernels.Loss("mse", reduction)
    _, gE, gW = kernels.gauss_newton_trace(samples, net.E, net.W, activation, loss, threads)
    return gE, gW


def estimate_trace(
    net: Network,
    data: Dataset,
    loss: Loss = "mse",
    reduction: Reduction = "mean",
    weight_decay: float = 0.0,
    *,
    temperature: Positive = 1.0,
    part: CurvaturePart = "hessian",
    samples: int = 100,
    seed: int = 0,
    threads: int | None = None,
) -> TraceEstimate:
    """Estimate the trace of the Hessian by products with random vectors (Hutchinson).

    The expectation of zᵀ A z is the trace if the entries of z are 1 and −1 with equal probability. `trace` is exact and
    needs no product; this estimate is independent of its formula.

    Parameters
    ----------
    net : Network
        The network θ.
    data : Dataset
        Its training samples determine the loss.
    loss : {"mse", "cross_entropy"}
        The loss, see `zeroloss.loss_and_gradient`.
    reduction : {"mean", "sum"}
        The reduction of the loss.
    weight_decay : float
        The multiple of the identity that is added, at least 0, by default 0.
    temperature : float
        The number T > 0 that divides the outputs in the cross-entropy, F/T. By default 1.
    part : {"hessian", "gauss_newton"}
        The matrix: the Hessian, by default, or its Gauss–Newton part.
    samples : int
        The number of random vectors, at least 2, by default 100.
    seed : int
        The seed of the random vectors, at least 0, by default 0.
    threads : int, optional
        The number of threads of a product, at least 1. By default 1 for small networks, and all processors otherwise.

    Returns
    -------
    TraceEstimate
        The mean and its standard error.

    Raises
    ------
    numpy.linalg.LinAlgError
        If the products are not finite.
    ValueError, TypeError
        If the network does not fit the data, a name is unknown, a number is out of its range, or the problem does not
        fit in memory.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    >>> net = zl.networks.uniform_fan_in(data, hidden=24, seed=1)
    >>> estimate = zl.curvature.estimate_trace(net, data)
    >>> abs(estimate.value - zl.curvature.trace(net, data)) < 4 * estimate.standard_error
    True
    """
    check_settings(loss, reduction, part)
    weight_decay = _checks.not_negative("weight_decay", weight_decay)
    samples, seed = _checks.integer("samples", samples, 2), _checks.integer("seed", seed, 0)
    check_memory(f"samples: {samples} products", 8 * samples)
    curvature, d = make_curvature(net, data, loss, reduction, threads, temperature), parameter_count(net)
    random = np.random.default_rng(seed)
    squares = np.empty(samples)
    for at in range(samples):
        z = random.choice([-1.0, 1.0], d).astype(np.float64, copy=False)
        squares[at] = z @ curvature.multiply(z, part, weight_decay)
    if not np.isfinite(squares).all():
        raise not_finite(part)
    return TraceEstimate(float(squares.mean()), float(squares.std(ddof=1)) / math.sqrt(samples), samples)
