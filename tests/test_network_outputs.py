"""Outputs F(X) = σ(X E) W of a network for any inputs, against NumPy in float64."""

import numpy as np
import pytest
from scipy.sparse import coo_array, csr_array
from scipy.special import erf

import zeroloss as zl
from problems import ACTIVATIONS, LEVELS, UNIT_ROUNDOFF, kernels_of, random_data, random_network, same_bits
from zeroloss._kernels import kernels
from zeroloss.datasets import kernel_inputs
from zeroloss.networks import _parse_activation, kernel_activation

#: σ by name, and a bound on its slope at z.
SIGMA = {
    "identity": (lambda z: z, lambda z: 1.0),
    "relu": (lambda z: np.maximum(z, 0), lambda z: 1.0),
    "leaky_relu(0.1)": (lambda z: np.where(z > 0, z, 0.1 * z), lambda z: 1.0),
    "square": (np.square, lambda z: 2 * np.abs(z)),
    "tanh": (np.tanh, lambda z: 1.0),
    "gelu": (lambda z: z * (1 + erf(z / np.sqrt(2))) / 2, lambda z: 1.13),
    "softplus(5)": (lambda z: np.logaddexp(0, 5 * z) / 5, lambda z: 1.0),
}


def outputs_and_bound(net, X):
    """Return the outputs for the inputs in the network's dtype, and a bound on rounding errors, entry by entry.

    To first order in the unit roundoff u, a sum of N products has an error of N u times the sum of their sizes. σ has
    an error of 12 u max(1, |z|) (test_activations.py). The errors of z and σ go through σ' and W. Errors of sums grow
    only as √N, so that the bound covers the second order.
    """
    value, slope = SIGMA[net.activation]
    E, W = net.E.astype(np.float64), net.W.astype(np.float64)
    u, X = UNIT_ROUNDOFF[net.dtype.name], np.asarray(X, net.dtype).astype(np.float64)
    Z = X @ E
    H = value(Z)
    error = len(E) * slope(Z) * (np.abs(X) @ np.abs(E)) + 12 * np.maximum(1, np.abs(Z)) + len(W) * np.abs(H)
    return H @ W, u * error @ np.abs(W)


def test_every_activation_has_an_oracle():
    assert set(SIGMA) == set(ACTIVATIONS)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rows", ["dense", "sparse"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_outputs_agree_with_numpy_at_every_level(activation, rows, dtype, level):
    """The kernel uses blocks of 128 samples; the numbers of samples are around this."""
    data = random_data(300, 9, 5, rows)
    net = random_network(data, 37, activation, dtype)
    for n in (1, 127, 128, 129, 300):
        X = data.rows_train[:n]
        F = kernels_of(level).outputs(samples_of(level, X, net), net.E, net.W, activation_of(level, net))
        exact, bound = outputs_and_bound(net, data.X_train[:n])
        assert F.dtype == net.dtype
        assert F.shape == (n, 5)
        assert (np.abs(F - exact) <= bound).all()


def samples_of(level, X, net):
    """Return the kernel's samples at one level, without targets."""
    kind, Y = getattr(kernels_of(level), f"Samples{8 * net.dtype.itemsize}"), np.empty((X.shape[0], 0), net.dtype)
    if isinstance(X, csr_array):
        return kind(X.indptr.astype("i8"), X.indices.astype("i8"), X.data.astype(net.dtype), X.shape[1], Y)
    return kind(X.astype(net.dtype), Y)


def activation_of(level, net):
    kind, parameter = _parse_activation(net.activation)
    return kernels_of(level).Activation(kind, parameter or 0.0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_any_form_of_the_inputs_gives_the_same_outputs(dtype):
    """The forms are dense and sparse rows, lists, integers and booleans."""
    data = zl.datasets.modular_addition(7, test_count=9, seed=0)
    net = random_network(data, 20, dtype=dtype)
    F = net.outputs(data.rows_test)
    exact, bound = outputs_and_bound(net, data.X_test)
    assert F.dtype == net.dtype
    assert (np.abs(F - exact) <= bound).all()
    for X in (coo_array(data.rows_test), data.rows_test.tocsc(), data.rows_test.astype(np.int8)):
        assert same_bits(net(X), F)
    dense = net.outputs(data.X_test)
    assert (np.abs(dense - exact) <= bound).all()
    for X in (data.X_test.tolist(), data.X_test.astype(np.int8), np.asfortranarray(data.X_test)):
        assert same_bits(net(X), dense)
    assert same_bits(net(data.X_test > 0), net((data.X_test > 0).astype(np.float64)))


@pytest.mark.parametrize("rows", ["dense", "sparse"])
def test_inputs_are_not_changed(rows):
    data = random_data(5, 4, 3)
    X = data.X_train.copy() if rows == "dense" else csr_array(data.X_train)
    entries = X if rows == "dense" else X.data
    before = entries.copy()
    random_network(data, 6).outputs(X)
    assert entries.flags.writeable
    assert same_bits(entries, before)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_empty_input_has_an_empty_output(dtype):
    data = random_data(5, 4, 3)
    net = random_network(data, 6, dtype=dtype)
    for X in (np.empty((0, 4)), csr_array((0, 4))):
        F = net.outputs(X)
        assert F.shape == (0, 3)
        assert F.dtype == net.dtype


def test_the_loss_agrees_with_the_outputs():
    """Both are sums of the same 60 squares."""
    data = random_data(20, 4, 3)
    net = random_network(data, 6, "gelu")
    loss, _, _ = zl.loss_and_gradient(net, data)
    assert np.mean((net.outputs(data.X_train) - data.Y_train) ** 2) == pytest.approx(loss, rel=60 * 2.0**-53)


def test_outputs_beyond_the_dtype_are_infinite():
    net = zl.networks.from_arrays([[1e200]], [[1e200]], "identity")
    assert np.isposinf(net.outputs([[1.0]])).all()


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ([1.0, 2.0, 3.0, 4.0], ValueError, r"X: expected a matrix with 4 columns.*got shape \(4,\); .*\(1, 4\)"),
        (np.zeros((2, 3)), ValueError, r"X: expected 4 columns, one for each row of E, got shape \(2, 3\)"),
        (csr_array((2, 3)), ValueError, r"X: expected 4 columns, one for each row of E, got shape \(2, 3\)"),
        (np.zeros((2, 2, 4)), ValueError, r"X: expected a matrix \(2 dimensions\), got shape \(2, 2, 4\)"),
        (1.0, ValueError, r"X: expected a matrix \(2 dimensions\), got shape \(\)"),
        ([[1.0], [1.0, 2.0]], ValueError, "X: expected a matrix, got lists of unequal lengths"),
        ([[0, 0, 0, np.nan]], ValueError, "X: expected finite numbers in float32, got NaN or infinity among 4 entries"),
        ([[0, 0, 0, 1e39]], ValueError, "X: expected finite numbers in float32, got NaN or infinity among 4 entries"),
        (csr_array([[0, 0, 1, 1e39]]), ValueError, "X: expected finite numbers in float32.*among 2 entries"),
        (np.zeros((2, 4), complex), TypeError, "X: expected real numbers, got dtype complex128"),
        (csr_array(np.ones((2, 4), complex)), TypeError, "X: expected real numbers, got dtype complex128"),
        ([["a"] * 4], TypeError, "X: expected real numbers, got dtype <U1"),
        (np.ma.masked_array(np.zeros((1, 4))), TypeError, "X: expected an array without a mask"),
    ],
)
def test_invalid_inputs_are_rejected(X, error, message):
    net = random_network(random_data(5, 4, 3), 6, dtype="float32")
    with pytest.raises(error, match=message):
        net.outputs(X)


def test_the_kernel_checks_shapes():
    net = random_network(random_data(5, 4, 3), 6)
    inputs, sigma = kernel_inputs("X", np.zeros((2, 4)), 4, net.dtype), kernel_activation(net)
    for E, W in ((net.E[:3].copy(), net.W), (net.E, net.W[:3].copy()), (net.E, net.W[0].copy())):
        with pytest.raises(ValueError, match="expected shape"):
            kernels.outputs(inputs, E, W, sigma)
