"""The norm-minimising direction g, the tangent part of −θ."""

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
from ..datasets import Dataset
from ..networks import Network
from .solver import checked_zero_loss_set, singular_error

_NOTHING = 1e-9  # ‖g‖/‖θ‖ that is rounding


@dataclass(frozen=True, eq=False)
class NormDirection:
    """The tangent part of −θ.

    Attributes
    ----------
    gE : ndarray, (d_in, h)
    gW : ndarray, (h, d_out)
        g = −θ + Jᵀ(J Jᵀ)⁻¹Jθ.
    norm : float
        ‖g‖, the speed of dθ/ds = g.
    tangent_fraction : float
        ‖g‖/‖θ‖: how much of −θ is tangent. NaN for θ = 0.
    """

    gE: NDArray[np.float64] = field(repr=False)
    gW: NDArray[np.float64] = field(repr=False)
    norm: float
    tangent_fraction: float


def norm_direction(
    net: Network, data: Dataset, method: Solver = "auto", *, kinks: ArrayLike | None = None
) -> NormDirection:
    """Return g = −(I − J⁺J) θ = −θ + Jᵀ(J Jᵀ)⁻¹Jθ (Eqs. 28, 29), on the zero-loss set or off it.

    Parameters
    ----------
    net : Network
        In float64.
    data : Dataset
        Its training samples are used.
    method : {"auto", "dense", "matrix_free"}
        A Cholesky factor of J Jᵀ, or conjugate gradients to a relative residual of 1e-12; see `memory_needed`. With
        kinks always the latter.
    kinks : array_like of int, (m, 2), optional
        Pairs of a training sample i and a hidden unit u, such as `sign_changes` finds, whose pre-activation is to stay
        at the activation's kink: x_i · g_u = 0 for the column u of the first layer besides J g = 0. They may be many,
        and dependent.

    Returns
    -------
    NormDirection
        J g = 0 to rounding times the condition number of J Jᵀ.

    Raises
    ------
    numpy.linalg.LinAlgError
        Where J is singular, with the cause and its smallest singular value, or conjugate gradients do not converge.
    ValueError, TypeError
        For a network that does not fit the data or is not float64, pairs that do not exist, so many of them that no
        direction is left, and a problem that does not fit in memory.
    """
    if kinks is None:
        found = checked_zero_loss_set(net, data, method).direction(net.E, net.W)
        if found is None:
            raise singular_error(net, data)
        gE, gW = found
    else:
        gE, gW = _direction_with_kinks(net, data, kinks)
    norm, length = _length(gE, gW), _length(net.E, net.W)
    return NormDirection(gE, gW, norm, norm / length if length else float("nan"))


def sign_changes(first_layers: ArrayLike | Sequence[Network], data: Dataset, *, at_least: int = 1) -> NDArray[np.int64]:
    """Return the pairs (sample, unit) whose pre-activation x_i · E_u changes its sign along a run.

    Parameters
    ----------
    first_layers : array_like, (m, d_in, h), or sequence of Network
        E at steps within a window of the run: ``run.snapshots.E.sel(step=slice(first, last))``, say.
    data : Dataset
        Its training samples are used.
    at_least : int
        How often, from one of the first layers to the next: 1 counts the pairs that cross the kink, too; 2 those alone
        that come back to it.

    Returns
    -------
    ndarray of int, (pairs, 2)
        In ascending order; ``kinks`` of `norm_direction`.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit the data, and ``at_least`` below 1 or no integer.
    """
    at_least = _checks.integer("at_least", at_least, 1)
    layers: Any = first_layers
    if not hasattr(layers, "shape"):
        layers = [one.E if isinstance(one, Network) else one for one in layers]
    E = np.asarray(layers, dtype=np.float64)
    if E.ndim != 3 or E.shape[1] != data.d_in or len(E) == 0:
        raise ArgumentValueError("first_layers", f"expected shape (m, {data.d_in}, h), got {E.shape}")
    positive = np.asarray(data.rows_train @ E[0] > 0)
    changes = np.zeros(positive.shape, dtype=np.int64)
    for later in E[1:]:
        before, positive = positive, np.asarray(data.rows_train @ later > 0)
        changes += before != positive
    return np.argwhere(changes >= at_least)


def _direction_with_kinks(
    net: Network, data: Dataset, kinks: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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
    found = zero_loss.pinned_direction(net.E, net.W, mask)
    if found is None:
        raise np.linalg.LinAlgError(
            f"conjugate gradients did not solve for the direction with {len(pairs)} kinks: with them the rows of J are "
            "nearly dependent; take fewer"
        )
    gE, gW, rank = found
    left = net.E.size + net.W.size - rank - n * d_out
    if left <= 0 and _length(gE, gW) <= _NOTHING * _length(net.E, net.W):
        raise ArgumentValueError(
            "kinks",
            f"expected fewer, so that a direction is left, got {len(pairs)} pairs, {rank} of them independent: "
            f"with the {n * d_out} outputs they fix all {net.E.size + net.W.size} parameters",
        )
    return gE, gW


def _length(E: NDArray[np.float64], W: NDArray[np.float64]) -> float:
    return math.hypot(np.linalg.norm(E), np.linalg.norm(W))
