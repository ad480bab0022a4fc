"""The two-layer network in NumPy and SciPy, with a dense X: a second oracle, and a baseline of the benchmarks.

F(X) = σ(X E) W;  X: (n, d_in), Y: (n, d_out), E: (d_in, h), W: (h, d_out). All arrays and the results have one dtype.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit, ndtr

Array = NDArray[Any]
Elementwise = Callable[[Array], Array]


def activation_and_slope(name: str) -> tuple[Elementwise, Elementwise]:
    """Return σ and σ' by the name in zeroloss, for example ``softplus(5)``."""
    match = re.fullmatch(r"(\w+?)(?:\((.+)\))?", name)
    if match is None:
        raise ValueError(f"activation: got {name!r}")
    negative_slope = float(match[2] or 0.01)  # leaky_relu
    beta = float(match[2] or 1)  # softplus
    kinds: dict[str, tuple[Elementwise, Elementwise]] = {
        "identity": (lambda Z: Z, np.ones_like),
        "relu": (lambda Z: np.maximum(Z, 0), lambda Z: (Z > 0).astype(Z.dtype)),
        "leaky_relu": (
            lambda Z: np.where(Z > 0, Z, negative_slope * Z),
            lambda Z: np.where(Z > 0, 1, negative_slope).astype(Z.dtype),
        ),
        "square": (np.square, lambda Z: 2 * Z),
        "tanh": (np.tanh, lambda Z: 1 - np.tanh(Z) ** 2),
        "gelu": (lambda Z: Z * ndtr(Z), lambda Z: ndtr(Z) + Z * np.exp(-(Z**2) / 2) / math.sqrt(2 * math.pi)),
        "softplus": (lambda Z: np.logaddexp(0, beta * Z) / beta, lambda Z: expit(beta * Z)),
    }
    return kinds[match[1]]


def loss_and_gradient(
    X: Array, Y: Array, E: Array, W: Array, activation_name: str = "relu", reduction: str = "mean"
) -> tuple[float, Array, Array]:
    """Return the squared error and its gradients in E and W, without weight decay."""
    sigma, slope = activation_and_slope(activation_name)
    c = 1 / Y.size if reduction == "mean" else 1.0
    Z = X @ E
    H = sigma(Z)
    residual = H @ W - Y
    G = 2 * c * residual
    return c * float((residual**2).sum()), X.T @ ((G @ W.T) * slope(Z)), H.T @ G


def descent(
    X: Array,
    Y: Array,
    E: Array,
    W: Array,
    *,
    lr: float,
    steps: int,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    activation_name: str = "relu",
    reduction: str = "mean",
) -> tuple[Array, Array]:
    """Return E and W after full-batch descent, momentum as ``torch.optim.SGD`` defines it."""
    sigma, slope = activation_and_slope(activation_name)
    scale = 2 / Y.size if reduction == "mean" else 2.0
    E, W = E.copy(), W.copy()
    velocity_E, velocity_W = np.zeros_like(E), np.zeros_like(W)

    def update(theta: Array, velocity: Array, gradient: Array) -> None:
        gradient += weight_decay * theta
        if momentum:
            velocity *= momentum
            velocity += gradient
            gradient = velocity
        theta -= lr * gradient

    for _ in range(steps):
        Z = X @ E
        H = sigma(Z)
        G = scale * (H @ W - Y)
        gE, gW = X.T @ ((G @ W.T) * slope(Z)), H.T @ G
        update(E, velocity_E, gE)
        update(W, velocity_W, gW)
    return E, W


def predicted_gradient(
    X: Array, Y: Array, E: Array, *, ridge: float = 0.0, activation_name: str = "relu"
) -> tuple[Array, Array]:
    """Return ΔE and W = φ(E) by Cholesky, of K + λI for n ≤ h and of HᵀH + λI for n > h (Eqs. 15–20)."""
    sigma, slope = activation_and_slope(activation_name)
    Z = X @ E
    H = sigma(Z)
    K = H @ H.T if len(H) <= H.shape[1] else H.T @ H
    K[np.diag_indices(len(K))] += ridge
    factor = cho_factor(K, lower=True, overwrite_a=True, check_finite=False)
    if len(H) <= H.shape[1]:
        B = cho_solve(factor, Y, check_finite=False)
        W = H.T @ B
    else:
        W = cho_solve(factor, H.T @ Y, check_finite=False)
        B = (Y - H @ W) / ridge
    return X.T @ ((B @ W.T) * slope(Z)) - E, W


def predicted_descent(
    X: Array, Y: Array, E: Array, *, step_size: float, steps: int, ridge: float = 0.0, activation_name: str = "relu"
) -> Array:
    """Return E after E ← E + step_size · ΔE, ``steps`` times."""
    for _ in range(steps):
        E = E + step_size * predicted_gradient(X, Y, E, ridge=ridge, activation_name=activation_name)[0]
    return E
