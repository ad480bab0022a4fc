"""The alignment measurement of the paper's appendix D in PyTorch: momentum steps, dense Jacobian, pseudo-inverse."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torch_reference import activation, descent, tensors


def jacobian(X: Any, E: Any, W: Any, activation_name: str = "relu") -> Tensor:
    """Return J (n·d_out, d) by ``torch.func``, in reverse mode, vectorised over outputs and samples."""
    X, E, W = tensors(X, E, W, like=E)
    sigma = activation(activation_name)

    def output(E: Tensor, W: Tensor, x: Tensor) -> Tensor:
        return sigma(x @ E) @ W

    parts = torch.func.vmap(torch.func.jacrev(output, argnums=(0, 1)), in_dims=(None, None, 0))(E, W, X)
    return torch.cat([part.reshape(len(X) * W.shape[1], -1) for part in parts], dim=1)


def alignment(
    X: Any, Y: Any, E: Any, W: Any, earlier_E: Any, earlier_W: Any, *, lr: float = 1.0, activation_name: str = "relu"
) -> float:
    """Return the cosine of the update with −(I − J⁺J) θ, with J at the point after 100 momentum steps from θ."""
    X, Y, E, W, earlier_E, earlier_W = tensors(X, Y, E, W, earlier_E, earlier_W, like=E)
    projected = descent(X, Y, E, W, lr=lr, steps=100, momentum=0.9, activation_name=activation_name)
    J = jacobian(X, *projected, activation_name)
    theta = torch.cat([E.flatten(), W.flatten()])
    update = theta - torch.cat([earlier_E.flatten(), earlier_W.flatten()])
    g = torch.linalg.pinv(J) @ (J @ theta) - theta
    return float(torch.dot(update, g) / (update.norm() * g.norm()))
