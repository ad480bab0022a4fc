"""The solver for J Jᵀ z = r: with or without the matrix, its memory, and the causes of a singular matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._checks import ArgumentTypeError, ArgumentValueError
from .._choices import Layers, Solver
from .._kernels import kernels
from .._resources import check_memory
from ..datasets import Dataset, kernel_samples
from ..networks import Network, check_fits, fold_biases, hidden_activations, kernel_activation

METHODS = ("auto", "dense", "matrix_free")

#: The residual of J Jᵀ z = r relative to r at which conjugate gradients end. The relative error of z is at most this
#: times cond(J)². In practice it is far smaller, and so is the error of Jᵀz.
TOLERANCE = 1e-12

_GREATEST_DENSE = 16_384  # the most rows of J for which method="auto" is "dense": 2 GiB
_MOST_ITERATIONS = 2000  # the most iterations of conjugate gradients
_LARGEST_JACOBIAN = 2e9  # the most bytes of J for which the causes of a singular J are searched
_MOST_NAMED = 8  # the most samples that a message names


def require_float64(network: Network, data: Dataset) -> None:
    """Raise an error unless the network is in float64 and fits the samples of the data."""
    check_fits(network, data)
    if network.dtype != np.float64:
        raise ArgumentTypeError("network", f'expected float64, got {network.dtype}; use network.astype("float64")')


def memory_needed(net: Network, data: Dataset, method: Solver = "auto") -> int:
    """Compute the number of bytes that the geometry of a network needs, before anything else is computed.

    Parameters
    ----------
    net : Network
        The network, in float64.
    data : Dataset
        Its training samples determine the size.
    method : {"auto", "dense", "matrix_free"}
        - ``"dense"`` forms the Gram matrix J Jᵀ, (n·d_out)² doubles, and a Cholesky factor of it.
        - ``"matrix_free"`` solves by conjugate gradients with matrices of n × n as preconditioner.
        - ``"auto"``, the default, is ``"dense"`` up to n·d_out = 16 384 and ``"matrix_free"`` above. It does not depend
          on the memory of the machine, and therefore results do not either.

    Returns
    -------
    int
        The bytes. For n = 59, d_out = 11: 3.6 MB dense. For n = 492, d_out = 37: 2.7 GB dense, 35 MB matrix-free.

    Raises
    ------
    ValueError, TypeError
        If the network does not fit the data or is not in float64, or the method is unknown.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(11, test_count=7, seed=0)
    >>> net = zl.networks.uniform_fan_in(data, hidden=128, seed=1)
    >>> zl.geometry.memory_needed(net, data, "matrix_free") < zl.geometry.memory_needed(net, data, "dense")
    True
    """
    require_float64(net, data)
    net, data = fold_biases(net, data)
    n, d_out, h, d = len(data.Y_train), data.d_out, net.hidden, int(net.E.size + net.W.size)
    common = 3 * n * (n + 1) // 2 + 6 * n * h + 8 * d  # overlaps, H and S, tangent vectors
    if resolve_method(method, data) == "dense":
        return 8 * (common + (n * d_out) ** 2 + h * d_out * (d_out + 1) // 2 + n * n)
    return 8 * (common + 6 * n * n + n * h + 22 * n * d_out + 3 * h * d_out)


def resolve_method(method: str, data: Dataset) -> str:
    """Check the name of a method, and return the method that "auto" stands for with these data."""
    _checks.choice("method", method, METHODS)
    if method != "auto":
        return method
    return "dense" if data.Y_train.size <= _GREATEST_DENSE else "matrix_free"


def checked_zero_loss_set(
    network: Network, data: Dataset, method: Solver, threads: int = 1, train_layers: Layers = "both"
) -> kernels.ZeroLossSet:
    """Return the result of `make_zero_loss_set`, or raise LinAlgError if J has more rows than its rank can be.

    Conjugate gradients would not detect this: they solve a singular system if it has solutions.
    """
    zero_loss = make_zero_loss_set(network, data, method, threads, train_layers)
    network, data = fold_biases(network, data)
    if data.Y_train.size > _most_rank(network, data, int(np.sum(~dead_units(network, data))), train_layers):
        raise singular_error(network, data, train_layers)
    return zero_loss


def _most_rank(folded: Network, data: Dataset, units: int, train_layers: Layers) -> int:
    """Return a bound on the rank of J, from the number of units that are not dead."""
    of_E, of_W = units * data.d_in, (units + len(folded.W) - folded.hidden) * data.d_out
    return of_E * (train_layers != "W") + of_W * (train_layers != "E")


def make_zero_loss_set(
    network: Network, data: Dataset, method: Solver = "auto", threads: int = 1, train_layers: Layers = "both"
) -> kernels.ZeroLossSet:
    """Make the kernel object of the zero-loss set, or raise ValueError if it does not fit in memory.

    A layer that is not trained is a constant: its columns of J are zero.
    """
    check_memory(
        f"the {resolve_method(method, data)} geometry of n·d_out = {data.Y_train.size}",
        memory_needed(network, data, method),
    )
    network, data = fold_biases(network, data)
    samples, activation = kernel_samples(data, "train", np.dtype("float64")), kernel_activation(network)
    return kernels.ZeroLossSet(
        samples,
        activation,
        resolve_method(method, data),
        TOLERANCE,
        _MOST_ITERATIONS,
        threads,
        train_layers != "W",
        train_layers != "E",
    )


def dense_jacobian(network: Network, data: Dataset, train_layers: Layers = "both") -> NDArray[np.float64]:
    """Form J, (n·d_out, d), with its columns in the order E, W, or the columns of one layer.

    It is used if the accuracy of the matrix matters more than its size.
    """
    network, data = fold_biases(network, data)
    H, S = hidden_activations(network.astype("float64"), data)
    n, d_out = data.Y_train.shape
    parts = []
    if train_layers != "W":
        parts.append(np.einsum("ia,iu,uk->ikau", data.X_train, S, network.W[: network.hidden], optimize=True))
    if train_layers != "E":
        parts.append(np.einsum("iu,kl->ikul", H, np.eye(d_out)))
    return np.concatenate([part.reshape(n * d_out, -1) for part in parts], axis=1)


class LostRankError(np.linalg.LinAlgError):
    """J is singular to the precision of the solver. `singular_error` finds the cause, which takes longer."""

    def __init__(self) -> None:
        super().__init__("J is singular to the precision of the solver")


def singular_error(network: Network, data: Dataset, train_layers: Layers = "both") -> np.linalg.LinAlgError:
    """Return an error that names the causes for which J Jᵀ has no inverse, and the smallest singular value of J."""
    network, data = fold_biases(network, data)
    (n, d_out), d = data.Y_train.shape, _trained_parameters(network, train_layers)
    dead, units = int(np.sum(dead_units(network, data))), network.hidden
    causes = []
    if n * d_out > d:
        of = "" if train_layers == "both" else f" of {train_layers}, the layer that is trained"
        causes.append(f"there are {n * d_out} outputs but only {d} parameters{of}")
    if repeated := n - len(np.unique(data.X_train, axis=0)):
        causes.append(f"{repeated} training inputs are duplicates of others")
    if n * d_out > _most_rank(network, data, units - dead, train_layers) and dead:
        causes.append(f"{dead} of {units} hidden units are dead (zero on every training sample)")
    why = ", and ".join(causes)
    if n * d_out > d:
        smallest = "0"
    elif 8 * n * d_out * d > _LARGEST_JACOBIAN:
        smallest = "too small for a factorisation (J is too large to compute it)"
    else:
        J = dense_jacobian(network, data, train_layers)
        smallest = f"{np.linalg.svd(J, compute_uv=False)[-1]:.2e}"
        why = why or _dependence(J, network, data, train_layers)
    why = why or "its rows are linearly dependent to the precision of the solver"
    return np.linalg.LinAlgError(f"J is singular: {why}; its smallest singular value is {smallest}")


def _trained_parameters(network: Network, train_layers: Layers) -> int:
    """Return the number of columns of J."""
    return network.E.size * (train_layers != "W") + network.W.size * (train_layers != "E")


def _dependence(J: NDArray[np.float64], network: Network, data: Dataset, train_layers: Layers) -> str:
    """Name the training samples whose rows in J are linearly dependent, and the cause if it is a simple one."""
    n, d_out = data.Y_train.shape
    with np.errstate(over="ignore", invalid="ignore"):
        K = J @ J.T
    if not np.isfinite(K).all():
        return ""
    values, vectors = np.linalg.eigh(K)
    null = vectors[:, values <= max(values[0], len(values) * np.finfo(float).eps * values[-1])]
    weights = np.linalg.norm(null.reshape(n, -1), axis=1)
    samples = np.flatnonzero(weights > 1e-6 * weights.max())
    named = ", ".join(map(str, samples[:_MOST_NAMED])) + (", …" if len(samples) > _MOST_NAMED else "")
    H, S = hidden_activations(network.astype("float64"), data)
    H = H[:, : network.hidden]
    active = H[samples].any(axis=0) | S[samples].any(axis=0)
    if len(samples) * d_out > _most_rank(network, data, int(active.sum()), train_layers):
        return f"of {network.hidden} hidden units, {active.sum()} are active on the training samples {named}"
    rank = np.linalg.matrix_rank(data.X_train[samples])
    linear = (S[samples] == S[samples[0]]).all() and np.allclose(
        H[samples], S[samples] * (data.X_train[samples] @ network.E)
    )
    if rank < len(samples) and linear:
        return (
            f"the training inputs {named} have rank {rank} only, and every hidden unit is linear on them "
            "(no kink lies between them), so their outputs are linearly dependent"
        )
    also = f" ({dead} of {network.hidden} hidden units are dead)" if (dead := np.sum(dead_units(network, data))) else ""
    return f"the rows of the training samples {named} are linearly dependent{also}"


def is_singular(network: Network, data: Dataset) -> bool:
    """Return whether J does not have full rank, to rounding.

    The answer is False if J is too large to be formed, because the rank is then unknown.
    """
    network, data = fold_biases(network, data)
    if 8 * data.Y_train.size * (network.E.size + network.W.size) > _LARGEST_JACOBIAN:
        return False
    J = dense_jacobian(network, data)
    values = np.linalg.eigvalsh(J @ J.T)
    return bool(len(J) > J.shape[1] or values[0] <= len(J) * np.finfo(float).eps * values[-1])


def dead_units(network: Network, data: Dataset) -> NDArray[np.bool_]:
    """Find the hidden units that are zero, with zero slope, on every training sample: a mask of shape (h,)."""
    samples = kernel_samples(data, "train", network.dtype, network.bias_hidden is not None)
    H, S = kernels.hidden(samples, network.layers[0], kernel_activation(network))
    return np.asarray(~(H.any(axis=0) | S.any(axis=0)))


def checked_tangent_vector(
    E: Any, W: Any, network: Network, names: tuple[str, str]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the two parts of a tangent vector in float64, with the shapes of the network's layers."""
    parts = _checks.matrix(names[0], E, "float64"), _checks.matrix(names[1], W, "float64")
    for name, part, like in zip(names, parts, network.layers, strict=True):
        if part.shape != like.shape:
            raise ArgumentValueError(name, f"expected shape {like.shape}, got {part.shape}")
    return parts
