"""The distance to stationarity: of loss + (weight_decay/2) ‖θ‖², or of the norm on the zero-loss set.

With a multiplier Λ (n × d_out) and g_iu = W_u · Λ_i, both have the conditions

    E_u = Σ_i s_iu g_iu x_i,   W_u = Σ_i σ(z_iu) Λ_i,   s_iu ∈ ∂σ(z_iu),

or θ = J_sᵀ Λ. For the loss, Λ = −(∂L/∂F)/weight_decay. On the zero-loss set Λ is free.
"""

from __future__ import annotations

import math

import numpy as np
import scipy
from numpy.typing import NDArray

from .. import _checks
from .._checks import ArgumentValueError
from .._choices import Loss, Reduction
from .._resources import check_memory
from ..datasets import Dataset
from ..networks import Network, fold_biases, hidden_activations
from .corners import Corner, at_bounds, find_corner, null_spaces, solve_sides

Matrix = NDArray[np.float64]

_OVERFLOW = "expected a network with finite squares of weights and outputs, but they overflow"
_MOST_ROUNDS = 20  # of releasing pinned pairs
_ENOUGH = 1e-3  # the relative decrease of a residual from which another round is worthwhile
_UNITS_AT_ONCE = 32  # whose Gram matrices are added by one product


def kkt_residual(
    net: Network,
    data: Dataset,
    weight_decay: float | None = None,
    loss: Loss = "mse",
    reduction: Reduction = "mean",
    *,
    kink_tolerance: float = 1e-7,
) -> float:
    """Compute the relative residual of the conditions of Karush, Kuhn and Tucker at a network.

    With a weight decay it is ‖∇Φ‖/(weight_decay ‖θ‖) for Φ = L + (weight_decay/2) ‖θ‖². At kinks of ReLU and leaky ReLU
    ∇Φ is the shortest subgradient: each pair of a sample and a unit with pre-activation 0 has the best slope between
    the slopes of both sides. Without a weight decay it is the residual of the norm on the zero-loss set,
    min ‖θ − J_sᵀΛ‖/‖θ‖ over multipliers Λ and slopes s. It is 0 at a point of least norm.

    Parameters
    ----------
    net : Network
        The network θ. It is converted to float64.
    data : Dataset
        Its training samples determine the loss and the set.
    weight_decay : float, optional
        The weight decay, above 0. By default the residual of the norm on the zero-loss set is computed.
    loss : {"mse", "cross_entropy"}
        The loss, see `zeroloss.loss_and_gradient`. It is not used without a weight decay.
    reduction : {"mean", "sum"}
        The reduction of the loss. It is not used without a weight decay.
    kink_tolerance : float
        A pair is at the kink if abs(z_iu) ≤ kink_tolerance · max abs(z), at least 0, by default 1e-7.

    Returns
    -------
    float
        The residual, 0 at a stationary point. With a weight decay it has no upper bound, and it is infinite at θ = 0
        unless ∇Φ is 0 there. Without one it is at most about 1.

    Raises
    ------
    ValueError, TypeError
        If the network does not fit the data, its outputs or squares of its weights overflow, a name is unknown, a
        number is out of its range, or, without a weight decay, the Gram matrix of (n·d_out)² numbers does not fit in
        memory.

    Notes
    -----
    Without a weight decay, Λ and the slopes are found in turns. First the pinned pairs are linear constraints, whose
    forces are free. Given Λ, the sides of each unit solve a least squares problem with bounds. Pairs at a bound are
    released, and Λ is solved again, until the residual does not decrease any more. The problem is not convex, so the
    result is an upper bound of the minimum. Without kinks, the residual is the tangent fraction of `norm_direction`.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    >>> net = zl.networks.uniform_fan_in(data, hidden=24, seed=1)
    >>> run = zl.simulate(zl.GradientDescent(lr=0.5, weight_decay=1e-3), data, net, steps=20_000, progress=False)
    >>> zl.geometry.kkt_residual(net, data, 1e-3) > 10 * zl.geometry.kkt_residual(run.network, data, 1e-3)
    True
    """
    net, data = fold_biases(net, data)
    _checks.choice("loss", loss, ("mse", "cross_entropy"))
    _checks.choice("reduction", reduction, ("mean", "sum"))
    kink_tolerance = _checks.not_negative("kink_tolerance", kink_tolerance)
    weight_decay = None if weight_decay is None else _checks.positive("weight_decay", weight_decay)
    net = net.astype("float64")
    with np.errstate(all="ignore"):
        if not np.isfinite(net.outputs(data.rows_train)).all():
            raise ArgumentValueError("net", "expected a network with finite outputs, but its outputs overflow")
        corner = find_corner(net, data, kink_tolerance)
        if weight_decay is None:
            residual = best_multiplier(net, data, corner)[0]
        else:
            multiplier = output_gradient(net, data, loss, reduction) / -weight_decay
            residual = residual_of(net, data, corner, multiplier)[0]
    if math.isnan(residual):
        raise ArgumentValueError("net", _OVERFLOW)
    return residual


def output_gradient(net: Network, data: Dataset, loss: Loss, reduction: Reduction) -> Matrix:
    """Compute ∂L/∂F, (n, d_out)."""
    F, Y = net.outputs(data.rows_train), data.Y_train
    if loss == "mse":
        return np.asarray((F - Y) * (2.0 if reduction == "sum" else 2.0 / Y.size))
    rest = Y.sum(axis=1, keepdims=True) * scipy.special.softmax(F, axis=1) - Y
    return np.asarray(rest if reduction == "sum" else rest / len(Y))


def residual_of(net: Network, data: Dataset, corner: Corner | None, multiplier: Matrix) -> tuple[float, Matrix]:
    """Return min ‖θ − J_sᵀΛ‖/‖θ‖ over the slopes s for a multiplier Λ, and the sides τ (n, h), or the slopes."""
    g = multiplier @ net.W[: net.hidden].T
    if corner is None:
        H, sides = hidden_activations(net, data)
        slopes = sides
    else:
        (H, _), sides = hidden_activations(net, data), solve_sides(corner, net.E, g)
        slopes = corner.slopes(sides)
    rest = math.hypot(
        np.linalg.norm(net.E - data.rows_train.T @ (slopes * g)), np.linalg.norm(net.W - H.T @ multiplier)
    )
    length = math.hypot(np.linalg.norm(net.E), np.linalg.norm(net.W))
    return (rest / length if length else 0.0 if rest == 0 else math.inf), sides


def best_multiplier(net: Network, data: Dataset, corner: Corner | None) -> tuple[float, Matrix, Matrix]:
    """Minimise ‖θ − J_sᵀΛ‖/‖θ‖. Returns the residual, Λ (n, d_out), and the sides τ (n, h), or the slopes."""
    rows = data.Y_train.size
    check_memory(f"the multiplier of n·d_out = {rows}", 4 * 8 * rows**2)
    if corner is None:
        H, S = hidden_activations(net, data)
        multiplier = _least_squares(net, data, H, S, None)
        residual, _ = residual_of(net, data, None, multiplier)
        return residual, multiplier, S
    H, _ = hidden_activations(net, data)
    held, sides = corner.pinned, corner.middle_sides()
    best: tuple[float, Matrix, Matrix] | None = None
    for _ in range(_MOST_ROUNDS):
        multiplier = _least_squares(net, data, H, np.where(held, 0.0, corner.slopes(sides)), held)
        residual, sides = residual_of(net, data, corner, multiplier)
        worthwhile = best is None or residual < (1 - _ENOUGH) * best[0]
        if best is None or residual < best[0]:
            best = residual, multiplier, sides
        released = at_bounds(corner, sides)
        if not worthwhile or np.array_equal(corner.pinned & ~released, held):
            break
        held = corner.pinned & ~released
    assert best is not None
    return best


def _least_squares(net: Network, data: Dataset, H: Matrix, S: Matrix, held: NDArray[np.bool_] | None) -> Matrix:
    """Minimise ‖P (θ − JᵀΛ)‖ over Λ, with the projector P off the held pairs. Returns Λ, (n, d_out).

    H and S are as in `hidden_activations`, but the slopes S of held pairs are 0.
    """
    bases = null_spaces(data.X_train, held) if held is not None and held.any() else None
    W = net.W[: net.hidden]
    K = gram_of_slopes(data, W, H, S, bases)
    E = net.E if bases is None else np.stack([N @ (N.T @ e) for N, e in zip(bases, net.E.T, strict=True)], axis=1)
    image = (S * (data.rows_train @ E)) @ W + H @ net.W
    if not (np.isfinite(K).all() and np.isfinite(image).all()):
        raise ArgumentValueError("net", _OVERFLOW)
    try:
        factor = scipy.linalg.cho_factor(K, lower=True, check_finite=False)
        if not np.diag(factor[0]).min() ** 2 > len(K) * np.finfo(np.float64).eps * np.diag(factor[0]).max() ** 2:
            raise np.linalg.LinAlgError
        return np.asarray(scipy.linalg.cho_solve(factor, image.ravel())).reshape(image.shape)
    except np.linalg.LinAlgError:  # J has lost rank: the shortest Λ
        values, vectors = np.linalg.eigh(K)
        kept = values > len(K) * np.finfo(np.float64).eps * values[-1]
        V = vectors[:, kept]
        return np.asarray(V @ ((V.T @ image.ravel()) / values[kept])).reshape(image.shape)


def gram_of_slopes(data: Dataset, W: Matrix, H: Matrix, S: Matrix, bases: list[Matrix] | None) -> Matrix:
    """Compute J P Jᵀ, with entries δ_kl (H Hᵀ)_ij + Σ_u S_iu S_ju W_uk W_ul x_iᵀ P_u x_j.

    S are the slopes, (n, h), and P_u projects on the span of the basis of unit u. Without bases, P is the identity.
    """
    (n, d_out), X = data.Y_train.shape, data.X_train
    overlap = X @ X.T
    K = np.zeros((n, n, d_out * d_out))
    for begin in range(0, len(W), _UNITS_AT_ONCE):
        units = range(begin, min(begin + _UNITS_AT_ONCE, len(W)))
        first = np.empty((len(units), n, n))
        for at, u in enumerate(units):
            slopes = S[:, u : u + 1]
            if bases is None or bases[u].shape[1] == X.shape[1]:  # all directions
                first[at] = slopes * overlap * slopes.T
            else:
                T = slopes * (X @ bases[u])
                first[at] = T @ T.T
        second = W[units.start : units.stop, :, None] * W[units.start : units.stop, None, :]
        K += (first.reshape(len(units), -1).T @ second.reshape(len(units), -1)).reshape(K.shape)
    K[:, :, :: d_out + 1] += (H @ H.T)[:, :, None]
    return K.reshape(n, n, d_out, d_out).transpose(0, 2, 1, 3).reshape(n * d_out, n * d_out)
