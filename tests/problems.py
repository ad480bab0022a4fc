"""Shared problems, and oracles for the kernels: slow, obvious and independent."""

from __future__ import annotations

import importlib
import itertools

import numpy as np

import zeroloss as zl
from torch_oracle import torch
from zeroloss._kernels import possible_levels

ACTIVATIONS = ("identity", "relu", "leaky_relu(0.1)", "square", "tanh", "gelu", "softplus(5)")
LEVELS = tuple(possible_levels)
UNIT_ROUNDOFF = {"float64": 2.0**-53, "float32": 2.0**-24}


def kernels_of(level):
    """Import the kernels of one instruction-set level; all levels can be loaded side by side."""
    return importlib.import_module(f"zeroloss._kernels._{level}")


def random_data(n, d_in, d_out, rows="dense", seed=0, n_test=3):
    """Return a dataset with normal targets, and inputs that are normal (dense) or have up to three entries a row
    (sparse).
    """
    random = np.random.default_rng(seed)
    X = random.standard_normal((n + n_test, d_in))
    if rows == "sparse":
        X *= random.random(X.shape).argsort(axis=1) < 3
    Y = random.standard_normal((n + n_test, d_out))
    return zl.datasets.from_arrays(X[:n], Y[:n], X[n:], Y[n:], rows=rows)


def random_network(data, hidden, activation="relu", dtype="float64", seed=1, std=0.7):
    return zl.networks.normal(data, hidden=hidden, std=std, seed=seed, activation=activation, dtype=dtype)


def figure5(dtype="float64"):
    """The setting of figure 5: p = 11, 59 training samples, h = 128."""
    data = zl.datasets.modular_addition(11, test_count=7, seed=0)
    return data, zl.networks.uniform_fan_in(data, hidden=128, seed=1, dtype=dtype)


def figure6():
    """The setting of figure 6: p = 37, 492 training samples, h = 512."""
    data = zl.datasets.modular_addition(37, train_fraction=0.7, seed=0)
    return data, zl.networks.normal(data, hidden=512, std=37**-0.5, seed=1)


def torch_activation(name):
    """Return PyTorch's function for one of our names of activations."""
    kind, _, text = name.rstrip(")").partition("(")
    functional = torch.nn.functional
    return {
        "identity": lambda z: z,
        "relu": functional.relu,
        "leaky_relu": lambda z: functional.leaky_relu(z, float(text or 0.01)),
        "square": torch.square,
        "tanh": torch.tanh,
        "gelu": functional.gelu,
        "softplus": lambda z: functional.softplus(z, beta=float(text or 1), threshold=1e9),
    }[kind]


def torch_parameters(net, dtype=None):
    """Return E and W as leaves that collect gradients."""
    return (torch.tensor(A, dtype=dtype or torch.float64, requires_grad=True) for A in (net.E, net.W))


def torch_loss(E, W, data, activation, reduction="mean", loss="mse"):
    X, Y = (torch.tensor(A, dtype=E.dtype) for A in (data.X_train, data.Y_train))
    outputs = torch_activation(activation)(X @ E) @ W
    functional = {"mse": torch.nn.functional.mse_loss, "cross_entropy": torch.nn.functional.cross_entropy}[loss]
    return functional(outputs, Y, reduction=reduction)


def torch_cost(E, data, activation, ridge):
    """Return R/λ = ‖E‖² + tr(Yᵀ (K + λI)⁻¹ Y), with PyTorch's own solver."""
    X, Y = (torch.tensor(A, dtype=E.dtype) for A in (data.X_train, data.Y_train))
    H = torch_activation(activation)(X @ E)
    K = H @ H.T + ridge * torch.eye(len(Y), dtype=E.dtype)
    return (E**2).sum() + (Y * torch.linalg.solve(K, Y)).sum()


def torch_jacobian(net, data):
    """Return J by autograd, (n·d_out, d): rows sample-major, columns E and then W, each row by row."""
    X, E, W = (torch.tensor(A) for A in (data.X_train, net.E, net.W))
    sigma = torch_activation(net.activation)
    parts = torch.autograd.functional.jacobian(lambda E, W: sigma(X @ E) @ W, (E, W), vectorize=True)
    return np.concatenate([part.reshape(data.Y_train.size, -1).numpy() for part in parts], axis=1)


def flat(E, W):
    """Return θ, or a tangent vector, as one vector."""
    return np.concatenate([np.ravel(E), np.ravel(W)])


def gram_condition(data, net, ridge=0.0):
    """Return the condition number of K + λI (n ≤ h) or HᵀH + λI (n > h), from singular values of H."""
    H = torch_activation(net.activation)(torch.tensor(data.X_train) @ torch.tensor(net.E, dtype=torch.float64)).numpy()
    squares = np.linalg.svd(H, compute_uv=False) ** 2 + ridge
    return squares.max() / squares.min()


def relative(a, b):
    """Return ‖a − b‖ / ‖b‖ in float64."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def same_bits(a, b):
    """Return whether two datasets or arrays have the same bits; NaN equals NaN."""
    if hasattr(a, "variables"):
        return a.variables.keys() == b.variables.keys() and all(
            same_bits(variable.values, b.variables[name].values) for name, variable in a.variables.items()
        )
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def is_labelled(dataset):
    """Return whether every variable has a unit, a label that fits an axis, and a description."""
    return all(
        set(variable.attrs) == {"units", "long_name", "description"}
        and 0 < len(variable.attrs["long_name"]) <= 36
        and variable.attrs["description"]
        for variable in dataset.variables.values()
    )


def odd_sizes():
    """Return (n, d_in, h, d_out) with ones, primes, and neighbours of the kernels' block sizes."""
    few = [(1, 1, 1, 1), (1, 2, 3, 5), (7, 1, 13, 1), (5, 3, 1, 2), (13, 17, 31, 11), (33, 5, 65, 7), (64, 8, 64, 16)]
    more = [(n, 11, h, 11) for n, h in itertools.product((2, 17, 65), (2, 17, 127, 130))]
    return few + more
