"""The empirical neural tangent kernel, between any two sets of inputs, and its alignment with the targets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from .. import _checks
from .._checks import ArgumentValueError
from .._choices import KernelOutputs
from .._kernels import kernels
from .._resources import check_memory
from ..datasets import Dataset, append_constant, kernel_inputs
from ..networks import Network, fold_biases, kernel_activation


def ntk(
    net: Network,
    data: Dataset,
    other: Dataset | ArrayLike | csr_array | None = None,
    outputs: KernelOutputs = "all",
) -> NDArray[np.float64]:
    """Compute the empirical neural tangent kernel Θ(x, x') = ∂F(x)/∂θ · ∂F(x')/∂θ, from its closed form.

    Entry ((i, k), (j, l)) is δ_kl h_i · h'_j + (x_i · x'_j) Σ_u σ'(z_iu) σ'(z'_ju) W_uk W_ul, with the first inputs x
    and the second inputs x', h = σ(z) and z = x E. No factor 1/h is included. It is computed in float64.

    Parameters
    ----------
    net : Network
        The network θ.
    data : Dataset
        The first inputs are its n training inputs.
    other : Dataset or array_like or sparse array, (m, d_in), optional
        The second inputs, such as ``data.rows_test``; of a dataset, its training inputs. By default the first inputs.
    outputs : {"all", "mean"}
        All pairs of outputs, the default, or the mean of the pairs (k, k), which is the trace over the outputs divided
        by d_out. Both agree for one output.

    Returns
    -------
    ndarray, (n·d_out, m·d_out) or (n, m)
        The kernel. With "all", row i·d_out + k belongs to output k of sample i, as in `gram`, and the same for columns:
        ``K.reshape(n, d_out, m, d_out)[i, k, j, l]``. With "mean", row i belongs to sample i.

    Raises
    ------
    ValueError, TypeError
        If the network does not fit the data, ``other`` has another number of columns, or the kernel does not fit in
        memory.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    >>> net = zl.networks.uniform_fan_in(data, hidden=16, seed=1)
    >>> zl.geometry.ntk(net, data).shape
    (65, 65)
    >>> zl.geometry.ntk(net, data, data.rows_test, outputs="mean").shape
    (13, 2)
    """
    folded, _ = fold_biases(net, data)
    has_constant = net.bias_hidden is not None
    _checks.choice("outputs", outputs, ("all", "mean"))
    first: Any = data.rows_train
    second: Any = first if other is None else other.rows_train if isinstance(other, Dataset) else other
    E, W, activation = folded.E.astype(np.float64), net.W.astype(np.float64), kernel_activation(net)
    d_out, float64 = W.shape[1], np.dtype("float64")
    x_samples, y_samples = (
        kernel_inputs(name, X, len(net.E), float64, has_constant) for name, X in (("data", first), ("other", second))
    )
    x, y = (append_constant(rows) if has_constant else rows for rows in (csr_array(first), csr_array(second)))
    (n, m), per_sample = (x.shape[0], y.shape[0]), 1 if outputs == "mean" else d_out
    check_memory("ntk", 8 * n * m * (per_sample**2 + 3) + 8 * (n + m) * net.hidden * (2 + per_sample))
    H, S = kernels.hidden(x_samples, E, activation)
    H2, S2 = (H, S) if other is None else kernels.hidden(y_samples, E, activation)
    overlap, units = (x @ y.T).toarray(), H @ H2.T + (net.bias_output is not None)
    if outputs == "mean":
        return np.asarray(units + overlap * ((S * ((W * W).sum(axis=1) / d_out)) @ S2.T))
    K = np.empty((n, d_out, m, d_out))
    for k in range(d_out):
        for also in range(k, d_out):
            K[:, k, :, also] = overlap * ((S * (W[:, k] * W[:, also])) @ S2.T)
            K[:, also, :, k] = K[:, k, :, also]
        K[:, k, :, k] += units
    return K.reshape(n * d_out, m * d_out)


def kernel_target_alignment(K: ArrayLike, Y: ArrayLike) -> float:
    """Compute the alignment of a kernel with the targets, ⟨K, T⟩ / (‖K‖ ‖T‖) in Frobenius norms.

    T is the kernel of the targets: Y Yᵀ for a kernel between samples, and y yᵀ, with y the entries of Y row by row, for
    a kernel between all outputs of all samples (Cristianini and others, On kernel-target alignment, 2001).

    Parameters
    ----------
    K : array_like, (n, n) or (n·d_out, n·d_out)
        The kernel on the training samples, such as ``ntk(net, data, outputs="mean")`` or ``ntk(net, data)``.
    Y : array_like, (n, d_out)
        The targets, such as ``data.Y_train``.

    Returns
    -------
    float
        The alignment: a cosine, in [0, 1] for positive semidefinite kernels. NaN if K or Y is zero.

    Raises
    ------
    ValueError, TypeError
        If a matrix is not real and finite, or K does not have one of the two shapes.

    Examples
    --------
    >>> import numpy as np
    >>> import zeroloss as zl
    >>> Y = np.eye(3)[[0, 1, 1]]
    >>> round(zl.geometry.kernel_target_alignment(Y @ Y.T, Y), 12)
    1.0
    """
    kernel, targets = _checks.matrix("K", K, "float64"), _checks.matrix("Y", Y, "float64")
    n = len(targets)
    if kernel.shape != (n, n):
        targets = targets.reshape(-1, 1)
        if kernel.shape != (targets.size, targets.size):
            raise ArgumentValueError(
                "K", f"expected shape {(n, n)} or {(targets.size, targets.size)}, got {kernel.shape}"
            )
    norm = float(np.linalg.norm(kernel) * np.linalg.norm(targets.T @ targets))
    return float((targets * (kernel @ targets)).sum()) / norm if norm > 0 else float("nan")
