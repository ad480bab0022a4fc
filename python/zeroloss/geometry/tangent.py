"""The norm-minimising direction g = −(I − J⁺J) θ, the tangent part of −θ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _checks
from .._checks import ArgumentValueError
from .._choices import Solver
from ..datasets import Dataset, append_constant
from ..networks import Network
from .solver import checked_zero_loss_set, singular_error

_NOTHING = 1e-9  # the ratio ‖g‖/‖θ‖ below which g is rounding


@dataclass(frozen=True, eq=False)
class NormDirection:
    """The norm-minimising direction g = −θ + Jᵀ(J Jᵀ)⁻¹Jθ, the tangent part of −θ.

    Attributes
    ----------
    gE : ndarray, (d_in, h)
        The part of g for the first layer.
    gW : ndarray, (h, d_out)
        The part of g for the second layer.
    norm : float
        The length ‖g‖, which is the speed of the flow dθ/ds = g.
    tangent_fraction : float
        The ratio ‖g‖/‖θ‖, in [0, 1]. NaN for θ = 0.
    """

    gE: NDArray[np.float64] = field(repr=False)
    gW: NDArray[np.float64] = field(repr=False)
    norm: float
    tangent_fraction: float


def norm_direction(
    net: Network, data: Dataset, method: Solver = "auto", *, kinks: ArrayLike | None = None
) -> NormDirection:
    """Compute g = −(I − J⁺J) θ = −θ + Jᵀ(J Jᵀ)⁻¹Jθ (Eqs. 28, 29).

    The network may be on the zero-loss set or off it.

    Parameters
    ----------
    net : Network
        The network θ, in float64.
    data : Dataset
        Its training samples determine J.
    method : {"auto", "dense", "matrix_free"}
        A Cholesky factor of J Jᵀ, or conjugate gradients to a relative residual of 1e-12; see `memory_needed`. With
        ``kinks``, conjugate gradients are used in any case.
    kinks : array_like of int, (m, 2), optional
        Pairs (i, u) of a training sample and a hidden unit, for example from `sign_changes`. The direction leaves the
        pre-activation of each pair at the kink of the activation: x_i · g_u = 0 for column u of the first layer, in
        addition to J g = 0. The pairs may be many, and their conditions may be linearly dependent.

    Returns
    -------
    NormDirection
        The direction. J g = 0 holds to rounding times the condition number of J Jᵀ.

    Raises
    ------
    numpy.linalg.LinAlgError
        If J is singular, with the cause and its smallest singular value, or conjugate gradients do not converge.
    ValueError, TypeError
        If the network does not fit the data or is not in float64, a pair does not exist, the pairs leave no direction,
        or the problem does not fit in memory.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(11, test_count=7, seed=0)
    >>> net = zl.networks.uniform_fan_in(data, hidden=128, seed=1, dtype="float64")
    >>> direction = zl.geometry.norm_direction(net, data)
    >>> Jg = zl.geometry.jacobian_product(net, data, direction.gE, direction.gW)
    >>> bool(abs(Jg).max() < 1e-9 * direction.norm)
    True
    """
    if kinks is None:
        direction = checked_zero_loss_set(net, data, method).direction(*net.layers)
        if direction is None:
            raise singular_error(net, data)
        gE, gW = direction
    else:
        gE, gW = _direction_with_kinks(net, data, kinks)
    norm, length = _length(gE, gW), _length(*net.layers)
    return NormDirection(gE, gW, norm, norm / length if length else float("nan"))


def sign_changes(first_layers: ArrayLike | Sequence[Network], data: Dataset, *, at_least: int = 1) -> NDArray[np.int64]:
    """Find the pairs (sample, unit) whose pre-activation x_i · E_u changes its sign along a run.

    Parameters
    ----------
    first_layers : array_like, (m, d_in, h) or (m, d_in + 1, h), or sequence of Network
        E at steps within a window of the run, for example ``run.snapshots.E.sel(step=slice(first, last))``. Hidden
        biases are the last row. ``run.snapshots.E`` does not have it: append ``run.snapshots.bias_hidden``.
    data : Dataset
        Its training samples are used.
    at_least : int
        The least number of changes from one of the first layers to the next, at least 1. With 1, the default, pairs
        that cross the kink once are included. With 2, only pairs that return to it are.

    Returns
    -------
    ndarray of int, (pairs, 2)
        The pairs in ascending order, suitable as ``kinks`` of `norm_direction`.

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit the data, or ``at_least`` is not an integer of at least 1.
    """
    at_least = _checks.integer("at_least", at_least, 1)
    layers: Any = first_layers
    if not hasattr(layers, "shape"):
        layers = [layer.layers[0] if isinstance(layer, Network) else layer for layer in layers]
    E = np.asarray(layers, dtype=np.float64)
    if E.ndim != 3 or E.shape[1] not in (data.d_in, data.d_in + 1) or len(E) == 0:
        raise ArgumentValueError("first_layers", f"expected shape (m, {data.d_in}, h), got {E.shape}")
    rows = data.rows_train if E.shape[1] == data.d_in else append_constant(data.rows_train)
    positive = np.asarray(rows @ E[0] > 0)
    changes = np.zeros(positive.shape, dtype=np.int64)
    for later in E[1:]:
        before, positive = positive, np.asarray(rows @ later > 0)
        changes += before != positive
    return np.argwhere(changes >= at_least)


def _direction_with_kinks(
    net: Network, data: Dataset, kinks: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Check the pairs, and compute the direction that leaves their pre-activations at the kink."""
    pairs = np.asarray(kinks)
    n, d_out = data.Y_train.shape
    if pairs.size == 0:
        pairs = pairs.reshape(0, 2).astype(np.int64)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise ArgumentValueError(
            "kinks", f"expected integers of shape (m, 2), got {pairs.dtype} of shape {pairs.shape}"
        )
    if pairs.size and ((pairs < 0).any() or (pairs >= (n, net.hidden)).any()):
        raise ArgumentValueError(
            "kinks", f"expected samples below {n} and units below {net.hidden}, got {pairs.max(axis=0)}"
        )
    zero_loss = checked_zero_loss_set(net, data, "matrix_free")
    mask = np.zeros((n, net.hidden))
    mask[tuple(pairs.T)] = 1
    direction = zero_loss.pinned_direction(*net.layers, mask)
    if direction is None:
        raise np.linalg.LinAlgError(
            f"conjugate gradients did not converge for the direction with {len(pairs)} kinks, because their conditions "
            "and the rows of J are nearly dependent; use fewer kinks"
        )
    gE, gW, rank = direction
    parameters = gE.size + gW.size
    left = parameters - rank - n * d_out
    if left <= 0 and _length(gE, gW) <= _NOTHING * _length(*net.layers):
        raise ArgumentValueError(
            "kinks",
            f"expected fewer pairs, got {len(pairs)}, {rank} of them independent: together with the {n * d_out} "
            f"outputs they fix all {parameters} parameters",
        )
    return gE, gW


def _length(E: NDArray[np.float64], W: NDArray[np.float64]) -> float:
    """Compute ‖θ‖."""
    return math.hypot(np.linalg.norm(E), np.linalg.norm(W))
