"""Measures of one network: margins, active units, participation ratio and effective rank.

`zeroloss.metrics` is their public place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from . import _checks
from ._checks import ArgumentTypeError, ArgumentValueError, Range, format_value
from ._kernels import kernels
from .datasets import Dataset, kernel_samples
from .networks import Network, _parse_activation, check_fits, kernel_activation

#: The degree L of homogeneity, F(X; aθ) = a^L F(X; θ) for a > 0, by the kind of the activation.
_DEGREES = {"identity": 2, "relu": 2, "leaky_relu": 2, "square": 3}


def margins(net: Network, X: ArrayLike | csr_array, Y: ArrayLike) -> NDArray[np.float64]:
    """Compute the margin of each sample: the output of its class minus the largest other output.

    Parameters
    ----------
    net : Network
        The network.
    X : array_like or sparse array, (n, d_in)
        The inputs, such as ``data.rows_train``.
    Y : array_like, (n, d_out) or (n,)
        The classes: one-hot rows such as ``data.Y_train``, or integer labels from 0 to d_out − 1. For one output, signs
        −1 and 1, of shape (n, 1) or (n,); the margin is then y F(x).

    Returns
    -------
    ndarray, (n,)
        The margins. A margin is positive if the sample is classified correctly.

    Raises
    ------
    ValueError, TypeError
        If X does not fit the network, or Y has another shape, rows that are not one-hot, or labels out of their range.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    >>> net = zl.networks.uniform_fan_in(data, hidden=16, seed=1)
    >>> zl.metrics.margins(net, data.rows_train, data.Y_train).shape
    (13,)
    """
    _checks.check_instance("net", net, Network)
    F = net.outputs(X).astype(np.float64)
    n, d_out = F.shape
    targets = np.asarray(Y)
    if targets.dtype.kind not in "biuf":
        raise ArgumentTypeError("Y", f"expected real numbers, got dtype {targets.dtype}")
    if d_out == 1:
        return np.asarray(F[:, 0] * _signs(targets, n))
    labels = _labels(targets, n, d_out)
    at = np.arange(n)
    own = F[at, labels]
    F[at, labels] = -np.inf
    return np.asarray(own - F.max(axis=1, initial=-np.inf))


def normalised_margin(net: Network, X: ArrayLike | csr_array, Y: ArrayLike) -> float:
    """Compute the smallest margin divided by ‖θ‖^L, where L is the degree of homogeneity of the network.

    F(X; aθ) = a^L F(X; θ) for a > 0. L is 2 for ``identity``, ``relu`` and ``leaky_relu``, and 3 for ``square``. Other
    activations are not homogeneous. Gradient descent on the cross-entropy without weight decay increases the
    normalised margin once the samples are fitted (Lyu and Li, arXiv 1906.05890).

    Parameters
    ----------
    net : Network
        The network, with a homogeneous activation.
    X : array_like or sparse array, (n, d_in)
        The inputs, at least one.
    Y : array_like, (n, d_out) or (n,)
        The classes, see `margins`.

    Returns
    -------
    float
        The normalised margin. NaN for a network of zeros.

    Raises
    ------
    ValueError, TypeError
        As for `margins`, or if the network is not homogeneous or there is no sample.
    """
    _checks.check_instance("net", net, Network)
    degree = _DEGREES.get(_parse_activation(net.activation)[0])
    if degree is None:
        raise ArgumentValueError(
            "net", f"expected a homogeneous activation ({', '.join(_DEGREES)}), got {net.activation}"
        )
    if net.bias_output is not None:
        raise ArgumentValueError(
            "net", "expected a network without biases of the outputs, because others are not homogeneous"
        )
    all_margins = margins(net, X, Y)
    if len(all_margins) == 0:
        raise ArgumentValueError("X", "expected at least one sample, got none")
    E, W = net.layers
    norm = np.hypot(np.linalg.norm(E.astype(float)), np.linalg.norm(W.astype(float)))
    return float(all_margins.min() / norm**degree) if norm > 0 else float("nan")


def active_units(net: Network, data: Dataset, threshold: float = 0.0) -> int:
    """Count the hidden units that contribute to the outputs on the training samples.

    Unit u adds σ(X E_u) W_u to the outputs, an (n, d_out) matrix of norm ‖σ(X E_u)‖ ‖W_u‖. The unit is active if this
    norm is above ``threshold`` times the largest one.

    Parameters
    ----------
    net : Network
        The network.
    data : Dataset
        Its training samples are the inputs X.
    threshold : float
        The share of the largest contribution, in [0, 1). By default 0: every unit counts whose contribution is not 0.

    Returns
    -------
    int
        The number of active units, from 0 to h.

    Raises
    ------
    ValueError, TypeError
        If the network does not fit the data, or the threshold is out of its range.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(11, test_count=7, seed=0)
    >>> net = zl.networks.uniform_fan_in(data, hidden=128, seed=1)
    >>> zl.metrics.active_units(net, data)
    128
    """
    check_fits(net, data)
    share = _checks.within("threshold", threshold, Range(ge=0, lt=1))
    samples = kernel_samples(data, "train", net.dtype, net.bias_hidden is not None)
    H, _ = kernels.hidden(samples, net.layers[0], kernel_activation(net))
    sizes = np.linalg.norm(H.astype(float), axis=0) * np.linalg.norm(net.W.astype(float), axis=1)
    return int(np.sum(sizes > share * sizes.max()))


def participation_ratio(values: ArrayLike) -> float:
    """Compute (Σ v)² / Σ v², the number of values that matter.

    It is 1 if one value is not 0, and the number of values if all are equal. For the eigenvalues of a covariance it is
    the dimension of the data.

    Parameters
    ----------
    values : array_like
        Values of at least 0, of any shape: eigenvalues, squared singular values, powers, or sizes of units.

    Returns
    -------
    float
        The ratio, from 1 to the number of values. NaN if all values are 0.

    Raises
    ------
    ValueError, TypeError
        If there is no value, or a value is not real and finite.

    Examples
    --------
    >>> import zeroloss as zl
    >>> zl.metrics.participation_ratio([2.0, 2.0, 2.0, 0.0])
    3.0
    """
    v = _scale_to_one("values", values)
    squares = float((v * v).sum())
    return float(v.sum()) ** 2 / squares if squares > 0 else float("nan")


def effective_rank(A: ArrayLike) -> float:
    """Compute the effective rank of a matrix, exp(−Σ p_i log p_i) with p_i = σ_i / Σ σ.

    σ_i are the singular values. The definition is by Roy and Vetterli (The effective rank, EUSIPCO 2007).

    Parameters
    ----------
    A : array_like, (rows, columns)
        The matrix, such as ``net.E`` or ``net.W``.

    Returns
    -------
    float
        The effective rank, from 1 to the rank. NaN for a zero matrix.

    Raises
    ------
    ValueError, TypeError
        If A is not a real and finite matrix with entries.

    Examples
    --------
    >>> import numpy as np
    >>> import zeroloss as zl
    >>> round(zl.metrics.effective_rank(np.eye(3)), 12)
    3.0
    """
    matrix = _scale_to_one("A", _checks.matrix("A", A, "float64"))
    values = np.linalg.svd(matrix, compute_uv=False)
    total = float(values.sum())
    if total == 0:
        return float("nan")
    p = values[values > 0] / total
    return float(np.exp(-(p * np.log(p)).sum()))


def _signs(targets: NDArray[np.generic], n: int) -> NDArray[np.float64]:
    if targets.shape not in ((n,), (n, 1)) or not np.isin(targets, (-1, 1)).all():
        raise ArgumentValueError(
            "Y", f"expected {n} signs, −1 or 1, for a network with one output, got {format_value(targets)}"
        )
    return targets.reshape(n).astype(np.float64)


def _labels(targets: NDArray[np.generic], n: int, d_out: int) -> NDArray[np.intp]:
    if targets.shape == (n, d_out):
        values = targets.astype(np.float64)
        if not (np.isin(values, (0, 1)).all() and (values.sum(axis=1) == 1).all()):
            raise ArgumentValueError("Y", "expected one-hot rows or integer labels, got rows that are not one-hot")
        return np.asarray(values.argmax(axis=1))
    if targets.shape != (n,):
        raise ArgumentValueError("Y", f"expected shape {(n, d_out)} or {(n,)}, got {targets.shape}")
    if targets.dtype.kind not in "iu" or not ((targets >= 0) & (targets < d_out)).all():  # type: ignore[operator]
        raise ArgumentValueError("Y", f"expected integers from 0 to {d_out - 1}, got {format_value(targets)}")
    return targets.astype(np.intp)


def _scale_to_one(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Return values divided by the largest absolute value, so that squares are finite."""
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ArgumentTypeError(name, f"expected real numbers, got dtype {array.dtype}")
    if array.size == 0 or not np.isfinite(array).all():
        raise ArgumentValueError(name, f"expected finite numbers, at least one, got {_checks.format_value(values)}")
    scaled = array.astype(np.float64)
    largest = float(np.abs(scaled).max())
    return scaled / largest if largest > 0 else scaled
