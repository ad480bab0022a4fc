"""The references of bench/ agree with each other: the oracles, and the implementations that the benchmarks compare
with.
"""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

import numpy_reference
import torch_reference

CLOSE = {"rtol": 1e-11, "atol": 1e-13}
ACTIVATIONS = ("identity", "relu", "leaky_relu", "leaky_relu(0.1)", "square", "tanh", "gelu", "softplus", "softplus(5)")
REFERENCES = [numpy_reference]
if importlib.util.find_spec("jax") is not None:
    import jax_reference

    REFERENCES.append(jax_reference)
# By hidden units. Six units do not fit 12 samples, so that a ridge is needed.
RIDGES = {20: (0.0, 0.1), 6: (0.1,)}


def problem(h):
    random = np.random.default_rng(h)
    p, n = 5, 12
    a, b = np.triu_indices(p)
    rows = random.permutation(len(a))[:n]
    X, Y = np.eye(p)[a[rows]] + np.eye(p)[b[rows]], np.eye(p)[(a + b)[rows] % p]
    return X, Y, random.normal(size=(p, h)), random.normal(size=(h, p)) / h**0.5


def assert_close(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), **CLOSE)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("reference", REFERENCES, ids=lambda module: module.__name__)
def test_gradients_agree(reference, name, reduction):
    X, Y, E, W = problem(20)
    expected = torch_reference.loss_and_gradient(X, Y, E, W, name, reduction)
    assert_close(reference.loss_and_gradient(X, Y, E, W, name, reduction), expected)
    assert_close(torch_reference.loss_and_gradient_by_hand(X, Y, E, W, name, reduction), expected)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("reference", REFERENCES, ids=lambda module: module.__name__)
def test_descents_agree(reference, momentum):
    X, Y, E, W = problem(20)
    settings = {"lr": 0.1, "weight_decay": 1e-2, "momentum": momentum, "steps": 10, "activation_name": "tanh"}
    expected = torch_reference.descent(X, Y, E, W, **settings)
    assert_close(reference.descent(X, Y, E, W, **settings), expected)
    assert_close(torch_reference.descent_by_hand(X, Y, E, W, **settings), expected)


@pytest.mark.parametrize(("h", "ridge"), [(h, ridge) for h, ridges in RIDGES.items() for ridge in ridges])
@pytest.mark.parametrize("name", ["relu", "softplus(5)"])
@pytest.mark.parametrize("reference", REFERENCES, ids=lambda module: module.__name__)
def test_predicted_gradients_agree(reference, name, h, ridge):
    X, Y, E, _ = problem(h)
    expected = torch_reference.predicted_gradient(X, Y, E, ridge=ridge, activation_name=name)
    assert_close(reference.predicted_gradient(X, Y, E, ridge=ridge, activation_name=name), expected)
    inverse = torch_reference.predicted_gradient_with_inverse(X, Y, E, ridge=ridge, activation_name=name)
    for one, other in zip(inverse, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-9)
    settings = {"step_size": 0.01, "steps": 3, "ridge": ridge, "activation_name": name}
    found = np.asarray(reference.predicted_descent(X, Y, E, **settings))
    np.testing.assert_allclose(found, torch_reference.predicted_descent(X, Y, E, **settings), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("h", "ridge"), [(h, ridge) for h, ridges in RIDGES.items() for ridge in ridges])
def test_the_predicted_gradient_is_minus_half_the_gradient_of_the_cost(h, ridge):
    X, Y, E, _ = problem(h)
    E = torch_reference.torch.tensor(E, requires_grad=True)
    torch_reference.cost(X, Y, E, ridge=ridge).backward()
    expected = torch_reference.predicted_gradient(X, Y, E, ridge=ridge)[0]
    np.testing.assert_allclose(-E.grad / 2, expected, rtol=1e-8, atol=1e-9)


if len(REFERENCES) > 1:

    def test_gathering_rows_in_jax_gives_the_same_gradients():
        X, Y, E, W = problem(20)
        expected = jax_reference.loss_and_gradient(X, Y, E, W)
        assert_close(jax_reference.loss_and_gradient(jax_reference.pairs(X), Y, E, W), expected)
