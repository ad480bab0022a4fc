"""The two-layer network in JAX, with ``jit`` and ``lax.scan`` over the steps: the most important baseline.

F(X) = σ(X E) W;  Y: (n, d_out), E: (d_in, h), W: (h, d_out). X is dense, (n, d_in), or the pair of index arrays that
`pairs` returns. With these, X E is a gather and its transpose a scatter. This is usually faster (by 3–40 % in descent)
but not always, so the benchmarks try both. Importing this module switches JAX to 64 bits; float32 inputs stay float32.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.scipy.linalg import cho_factor, cho_solve
from jax.scipy.special import erf

jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]

Elementwise = Callable[[Array], Array]
Inputs = Any  # a dense X, or the index arrays of `pairs`


def activation(name: str) -> Elementwise:
    """Return σ by its name in zeroloss, for example ``softplus(5)``."""
    match = re.fullmatch(r"(\w+?)(?:\((.+)\))?", name)
    if match is None:
        raise ValueError(f"activation: got {name!r}")
    negative_slope = float(match[2] or 0.01)  # leaky_relu
    beta = float(match[2] or 1)  # softplus
    kinds: dict[str, Elementwise] = {
        "identity": lambda Z: Z,
        "relu": jax.nn.relu,
        "leaky_relu": lambda Z: jnp.where(Z > 0, Z, negative_slope * Z),
        "square": jnp.square,
        "tanh": jnp.tanh,
        "gelu": lambda Z: Z * (1 + erf(Z / math.sqrt(2))) / 2,
        "softplus": lambda Z: jnp.logaddexp(beta * Z, 0) / beta,
    }
    return kinds[match[1]]


def pairs(X: Any) -> tuple[Array, Array]:
    """Return the index arrays a and b of an X whose rows are all e_a + e_b."""
    X = np.asarray(X)
    a, b = (X != 0).argmax(axis=1), X.shape[1] - 1 - (X[:, ::-1] != 0).argmax(axis=1)
    rows = np.eye(X.shape[1], dtype=X.dtype)
    if not np.array_equal(rows[a] + rows[b], X):
        raise ValueError("X: expected rows that are sums of two unit vectors")
    return jnp.asarray(a, jnp.int32), jnp.asarray(b, jnp.int32)


def _preactivation(X: Inputs, E: Array) -> Array:
    return E[X[0]] + E[X[1]] if isinstance(X, tuple) else X @ E


def _loss(E: Array, W: Array, X: Inputs, Y: Array, activation_name: str, reduction: str) -> Array:
    squares = (activation(activation_name)(_preactivation(X, E)) @ W - Y) ** 2
    return squares.mean() if reduction == "mean" else squares.sum()


@partial(jax.jit, static_argnames=("activation_name", "reduction"))
def loss_and_gradient(
    X: Inputs, Y: Array, E: Array, W: Array, activation_name: str = "relu", reduction: str = "mean"
) -> tuple[Array, Array, Array]:
    """Return the squared error and its gradients in E and W, without weight decay."""
    loss, (gE, gW) = jax.value_and_grad(_loss, argnums=(0, 1))(E, W, X, Y, activation_name, reduction)
    return loss, gE, gW


@partial(jax.jit, static_argnames=("lr", "steps", "weight_decay", "momentum", "activation_name", "reduction"))
def descent(
    X: Inputs,
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

    def step(state: Any, _: None) -> tuple[Any, None]:
        theta, velocity = state
        gradient = jax.grad(_loss, argnums=(0, 1))(*theta, X, Y, activation_name, reduction)
        gradient = tuple(g + weight_decay * t for g, t in zip(gradient, theta, strict=True))
        if momentum:
            gradient = velocity = tuple(momentum * v + g for v, g in zip(velocity, gradient, strict=True))
        return (tuple(t - lr * g for t, g in zip(theta, gradient, strict=True)), velocity), None

    velocity = (jnp.zeros_like(E), jnp.zeros_like(W)) if momentum else ()
    (theta, _), _ = lax.scan(step, ((E, W), velocity), length=steps)
    return theta


def _predicted_gradient(X: Inputs, Y: Array, E: Array, ridge: float, activation_name: str) -> tuple[Array, Array]:
    sigma = activation(activation_name)
    Z, to_E = jax.vjp(lambda E: _preactivation(X, E), E)
    H, to_Z = jax.vjp(sigma, Z)
    if len(H) <= H.shape[1]:
        B = cho_solve(cho_factor(H @ H.T + ridge * jnp.eye(len(H), dtype=H.dtype) if ridge else H @ H.T, lower=True), Y)
        W = H.T @ B
    else:
        W = cho_solve(cho_factor(H.T @ H + ridge * jnp.eye(H.shape[1], dtype=H.dtype), lower=True), H.T @ Y)
        B = (Y - H @ W) / ridge
    return to_E(*to_Z(B @ W.T))[0] - E, W


@partial(jax.jit, static_argnames=("ridge", "activation_name"))
def predicted_gradient(
    X: Inputs, Y: Array, E: Array, *, ridge: float = 0.0, activation_name: str = "relu"
) -> tuple[Array, Array]:
    """Return ΔE and W = φ(E) by Cholesky, of K + λI for n ≤ h and of HᵀH + λI for n > h (Eqs. 15–20)."""
    return _predicted_gradient(X, Y, E, ridge, activation_name)


@partial(jax.jit, static_argnames=("step_size", "steps", "ridge", "activation_name"))
def predicted_descent(
    X: Inputs, Y: Array, E: Array, *, step_size: float, steps: int, ridge: float = 0.0, activation_name: str = "relu"
) -> Array:
    """Return E after E ← E + step_size · ΔE, ``steps`` times."""

    def step(E: Array, _: None) -> tuple[Array, None]:
        return E + step_size * _predicted_gradient(X, Y, E, ridge, activation_name)[0], None

    return lax.scan(step, E, length=steps)[0]
