"""The two-layer network in plain PyTorch, as a researcher would write it.

It is an oracle of the tests and a baseline of the benchmarks. F(X) = σ(X E) W;  X: (n, d_in), Y: (n, d_out),
E: (d_in, h), W: (h, d_out). Every function takes NumPy arrays or tensors, computes in the dtype of E, and returns
detached tensors. Activations have the names of zeroloss.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Elementwise = Callable[[Tensor], Tensor]
Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def tensors(*arrays: Any, like: Any) -> tuple[Tensor, ...]:
    """Return the arrays as tensors with the dtype of ``like``. Arrays that already have it share their memory."""
    dtype = torch.as_tensor(like).dtype
    return tuple(torch.as_tensor(array).detach().to(dtype) for array in arrays)


def parse_activation(name: str) -> tuple[str, float | None]:
    """Split the name of an activation into its kind and its parameter, or None without one."""
    match = re.fullmatch(r"(\w+?)(?:\((.+)\))?", name)
    if match is None:
        raise ValueError(f"activation: got {name!r}")
    return match[1], None if match[2] is None else float(match[2])


def activation(name: str) -> Elementwise:
    """Return σ. Its derivative by autograd at 0 is 0 for relu and the slope for leaky_relu."""
    kind, parameter = parse_activation(name)
    slope = 0.01 if parameter is None else parameter
    beta = 1.0 if parameter is None else parameter
    kinds: dict[str, Elementwise] = {
        "identity": lambda Z: Z,
        "relu": functional.relu,
        "leaky_relu": lambda Z: functional.leaky_relu(Z, negative_slope=slope),
        "square": torch.square,
        "tanh": torch.tanh,
        "gelu": lambda Z: functional.gelu(Z, approximate="none"),
        # Beyond its threshold PyTorch replaces log(1 + e^t) by t. In float64, the default of 20 is too small.
        "softplus": lambda Z: functional.softplus(Z, beta=beta, threshold=40),
    }
    return kinds[kind]


def slope(name: str) -> Elementwise:
    """Return σ', written by hand."""
    kind, parameter = parse_activation(name)
    negative_slope = 0.01 if parameter is None else parameter
    beta = 1.0 if parameter is None else parameter
    kinds: dict[str, Elementwise] = {
        "identity": torch.ones_like,
        "relu": lambda Z: (Z > 0).to(Z.dtype),
        "leaky_relu": lambda Z: torch.where(Z > 0, torch.ones_like(Z), torch.full_like(Z, negative_slope)),
        "square": lambda Z: 2 * Z,
        "tanh": lambda Z: 1 - torch.tanh(Z) ** 2,
        "gelu": lambda Z: torch.special.ndtr(Z) + Z * torch.exp(-(Z**2) / 2) / math.sqrt(2 * math.pi),
        "softplus": lambda Z: torch.sigmoid(beta * Z),
    }
    return kinds[kind]


def forward(X: Any, E: Any, W: Any, activation_name: str = "relu") -> Tensor:
    """Return F(X) = σ(X E) W."""
    X, E, W = tensors(X, E, W, like=E)
    F: Tensor = activation(activation_name)(X @ E) @ W
    return F


def loss_and_gradient(
    X: Any, Y: Any, E: Any, W: Any, activation_name: str = "relu", reduction: str = "mean"
) -> tuple[float, Tensor, Tensor]:
    """Return the squared error and its gradients in E and W by autograd, without weight decay."""
    X, Y, E, W = tensors(X, Y, E, W, like=E)
    E, W = E.clone().requires_grad_(), W.clone().requires_grad_()
    loss = functional.mse_loss(activation(activation_name)(X @ E) @ W, Y, reduction=reduction)
    gE, gW = torch.autograd.grad(loss, (E, W))
    return loss.item(), gE, gW


def loss_and_gradient_by_hand(
    X: Any, Y: Any, E: Any, W: Any, activation_name: str = "relu", reduction: str = "mean"
) -> tuple[float, Tensor, Tensor]:
    """Return the same with gradients written out by hand."""
    X, Y, E, W = tensors(X, Y, E, W, like=E)
    c = 1 / Y.numel() if reduction == "mean" else 1.0
    residual, gE, gW = _gradients(X, Y, E, W, activation(activation_name), slope(activation_name), 2 * c)
    return c * float((residual**2).sum()), gE, gW


def _gradients(
    X: Tensor, Y: Tensor, E: Tensor, W: Tensor, sigma: Elementwise, sigma_slope: Elementwise, scale: float
) -> tuple[Tensor, ...]:
    """Return H W − Y, gE and gW of scale/2 · ‖H W − Y‖²."""
    Z = X @ E
    H = sigma(Z)
    residual = H @ W - Y
    G = scale * residual
    return residual, X.T @ ((G @ W.T) * sigma_slope(Z)), H.T @ G


def descent(
    X: Any,
    Y: Any,
    E: Any,
    W: Any,
    *,
    lr: float,
    steps: int,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    activation_name: str = "relu",
    reduction: str = "mean",
) -> tuple[Tensor, Tensor]:
    """Return E and W after full-batch descent: autograd and ``torch.optim.SGD``."""
    X, Y, E, W = tensors(X, Y, E, W, like=E)
    E, W = E.clone().requires_grad_(), W.clone().requires_grad_()
    sigma = activation(activation_name)
    optimizer = torch.optim.SGD([E, W], lr=lr, weight_decay=weight_decay, momentum=momentum)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.mse_loss(sigma(X @ E) @ W, Y, reduction=reduction).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return E.detach(), W.detach()


def descent_step(
    X: Tensor, Y: Tensor, *, lr: float, weight_decay: float, activation_name: str = "relu", reduction: str = "mean"
) -> Step:
    """Return one step of descent without momentum, (E, W) → (E, W), by hand, for ``torch.compile``."""
    scale = 2 / Y.numel() if reduction == "mean" else 2.0
    sigma, sigma_slope = activation(activation_name), slope(activation_name)

    def step(E: Tensor, W: Tensor) -> tuple[Tensor, Tensor]:
        _, gE, gW = _gradients(X, Y, E, W, sigma, sigma_slope, scale)
        return E - lr * (gE + weight_decay * E), W - lr * (gW + weight_decay * W)

    return step


@torch.no_grad()
def descent_by_hand(
    X: Any,
    Y: Any,
    E: Any,
    W: Any,
    *,
    lr: float,
    steps: int,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    activation_name: str = "relu",
    reduction: str = "mean",
) -> tuple[Tensor, Tensor]:
    """Return E and W after the same descent, with gradients and update written out by hand."""
    X, Y, E, W = tensors(X, Y, E, W, like=E)
    E, W = E.clone(), W.clone()
    scale = 2 / Y.numel() if reduction == "mean" else 2.0
    sigma, sigma_slope = activation(activation_name), slope(activation_name)
    velocity_E, velocity_W = torch.zeros_like(E), torch.zeros_like(W)
    for _ in range(steps):
        _, gE, gW = _gradients(X, Y, E, W, sigma, sigma_slope, scale)
        for theta, velocity, gradient in ((E, velocity_E, gE), (W, velocity_W, gW)):
            gradient.add_(theta, alpha=weight_decay)
            if momentum:
                gradient = velocity.mul_(momentum).add_(gradient)  # noqa: PLW2901
            theta.sub_(gradient, alpha=lr)
    return E, W


def predicted_gradient(
    X: Any, Y: Any, E: Any, *, ridge: float = 0.0, activation_name: str = "relu"
) -> tuple[Tensor, Tensor]:
    """Return ΔE = Xᵀ((B Wᵀ) ⊙ σ'(Z)) − E and W = Hᵀ B with B = (K + λI)⁻¹ Y by Cholesky (Eqs. 15–20).

    For n > h (ridge above 0 only) W = (HᵀH + λI)⁻¹ Hᵀ Y and B = (Y − H W)/λ.
    """
    X, Y, E = tensors(X, Y, E, like=E)
    Z = X @ E
    H = activation(activation_name)(Z)
    if len(H) <= H.shape[1]:
        B = torch.cholesky_solve(Y, torch.linalg.cholesky(_add_ridge(H @ H.T, ridge)))
        W = H.T @ B
    else:
        W = torch.cholesky_solve(H.T @ Y, torch.linalg.cholesky(_add_ridge(H.T @ H, ridge)))
        B = (Y - H @ W) / ridge
    return X.T @ ((B @ W.T) * slope(activation_name)(Z)) - E, W


def predicted_gradient_with_inverse(
    X: Any, Y: Any, E: Any, *, ridge: float = 0.0, activation_name: str = "relu"
) -> tuple[Tensor, Tensor]:
    """Return the same by the printed formula, A Y Yᵀ A H with A = (H Hᵀ + λI)⁻¹. It is slow and loses digits."""
    X, Y, E = tensors(X, Y, E, like=E)
    Z = X @ E
    H = activation(activation_name)(Z)
    A = torch.linalg.inv(_add_ridge(H @ H.T, ridge))
    return X.T @ ((A @ Y @ Y.T @ A @ H) * slope(activation_name)(Z)) - E, H.T @ A @ Y


def _add_ridge(K: Tensor, ridge: float) -> Tensor:
    return K + ridge * torch.eye(len(K), dtype=K.dtype) if ridge else K


def cost(X: Any, Y: Any, E: Any, *, ridge: float = 0.0, activation_name: str = "relu") -> Tensor:
    """Return R/λ = ‖E‖² + tr(Yᵀ (K + λI)⁻¹ Y) (Eq. 19 for every λ), differentiable: ΔE = −½ ∇(R/λ)."""
    E = torch.as_tensor(E)
    X, Y = tensors(X, Y, like=E)
    H = activation(activation_name)(X @ E)
    total: Tensor = (E**2).sum() + (Y * torch.linalg.solve(_add_ridge(H @ H.T, ridge), Y)).sum()
    return total


@torch.no_grad()
def predicted_descent(
    X: Any,
    Y: Any,
    E: Any,
    *,
    step_size: float,
    steps: int,
    ridge: float = 0.0,
    activation_name: str = "relu",
    gradient: Callable[..., tuple[Tensor, Tensor]] = predicted_gradient,
) -> Tensor:
    """Return E after E ← E + step_size · ΔE, ``steps`` times."""
    X, Y, current = tensors(X, Y, E, like=E)
    for _ in range(steps):
        current = current + step_size * gradient(X, Y, current, ridge=ridge, activation_name=activation_name)[0]
    return current
