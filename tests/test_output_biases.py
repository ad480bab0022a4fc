"""Geometry, curvature and the predicted gradient with biases of the outputs, against dense definitions.

J is computed by autograd and its pseudo-inverse by NumPy. θ is flat, in the order of `layers`.
"""

import numpy as np
import pytest
import scipy

import zeroloss as zl
from problems import LEVELS, UNIT_ROUNDOFF, kernels_of, odd_sizes, torch_activation
from test_biases import leaves, network, torch_loss, torch_outputs
from test_biases_beyond_descent import DATA, flat, jacobian, theta
from torch_oracle import torch
from zeroloss.geometry.directions import TangentSpace

BIASES = ("output", "both")


def move_to(net, vector):
    """Return the network with flat parameters."""
    parts = np.split(vector, [net.layers[0].size])
    return net.with_layers(*(part.reshape(layer.shape) for part, layer in zip(parts, net.layers, strict=True)))


def on_set(data, bias, hidden=40, activation="relu"):
    return zl.geometry.project(network(data, bias, hidden=hidden, activation=activation), data).network


def direction(net, data):
    """Return g = −(I − J⁺J) θ."""
    J = jacobian(net, data.X_train)
    return -(theta(net) - np.linalg.pinv(J) @ (J @ theta(net)))


def retract(net, data):
    """Return the point to which Gauss–Newton converges."""
    for _ in range(20):
        R = net(data.X_train) - data.Y_train
        net = move_to(net, theta(net) - np.linalg.pinv(jacobian(net, data.X_train)) @ R.ravel())
    return net


def gradient(net, data, loss="mse"):
    """Return ∇L, by autograd."""
    parameters = leaves(net)
    outputs = torch_outputs(parameters, torch.tensor(data.X_train), net.activation)
    value = torch_loss(outputs, torch.tensor(data.Y_train), loss, "mean")
    gradients = torch.autograd.grad(value, list(parameters.values()))
    return flat(dict(zip(parameters, gradients, strict=True))).numpy()


def hidden_units(net, data):
    """Return the inputs with a constant if the hidden units have biases, Z, and H with a column of ones."""
    X = data.X_train if net.bias_hidden is None else np.hstack([data.X_train, np.ones((len(data.X_train), 1))])
    Z = X @ net.layers[0]
    H = torch_activation(net.activation)(torch.tensor(Z)).numpy()
    return X, Z, np.hstack([H, np.ones((len(H), 1))])


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("bits", ["32", "64"])
@pytest.mark.parametrize("sizes", odd_sizes(), ids=str)
def test_the_kernel_of_the_predicted_gradient_at_every_level(level, bits, sizes):
    """W solves the normal equations of H with a column of ones, and ΔE follows from the residual, for n ≤ h and n > h.

    With λ ≥ ‖H‖² the condition number is at most 2. Each sum of m products errs by at most m u times the sum of the
    absolute values, and there are four in a row.
    """
    n, d_in, h, d_out = sizes
    random = np.random.default_rng(0)
    dtype = np.dtype(f"float{bits}")
    X, Y, E = (random.standard_normal(shape).astype(dtype) for shape in ((n, d_in), (n, d_out), (d_in, h)))
    kernels = kernels_of(level)
    H = np.hstack([np.tanh(X.astype(float) @ E), np.ones((n, 1))])
    ridge = float(dtype.type(np.linalg.norm(H, 2) ** 2))
    kind = getattr(kernels, f"PredictedGradient{bits}")
    samples = getattr(kernels, f"Samples{bits}")(X, Y)
    wide = np.hstack([E, np.zeros((d_in, 1), dtype)])
    for threads in (1, 2):
        kernel = kind(samples, kernels.Activation("tanh", 0.0), ridge, h + 1, threads, True)
        delta, W = kernel.evaluate(wide)
        expected_W = np.linalg.solve(H.T @ H + ridge * np.eye(h + 1), H.T @ Y)
        B = (Y - H @ expected_W) / ridge
        expected = X.T @ ((B @ expected_W[:h].T) * (1 - H[:, :h] ** 2)) - E
        bound = 20 * (n + h + d_in + d_out + 8) * UNIT_ROUNDOFF[dtype.name]
        size = np.abs(Y).sum() * np.abs(H).max()
        np.testing.assert_allclose(W, expected_W, atol=bound * size / ridge, rtol=bound)
        np.testing.assert_allclose(delta[:, :h], expected, atol=bound * (np.abs(E).max() + size), rtol=0)
        np.testing.assert_array_equal(delta[:, h], 0)
        cost = (E.astype(float) ** 2).sum() + (Y * B).sum()
        assert kernel.cost() == pytest.approx(cost, rel=bound, abs=bound * size)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("sizes", odd_sizes(), ids=str)
def test_kernels_of_geometry_and_curvature_at_every_level(level, sizes):
    """J v, Jᵀ R and products with the Hessian, for tanh and squared error, with sums in NumPy."""
    n, d_in, h, d_out = sizes
    random = np.random.default_rng(1)
    shapes = (n, d_in), (n, d_out), (d_in, h), (h + 1, d_out), (d_in, h), (h + 1, d_out), (n, d_out)
    X, Y, E, W, V, U, R = (random.standard_normal(shape) for shape in shapes)
    kernels = kernels_of(level)
    samples, tanh = kernels.Samples64(X, Y), kernels.Activation("tanh", 0.0)
    H = np.hstack([np.tanh(X @ E), np.ones((n, 1))])
    S = 1 - H[:, :h] ** 2
    J_v = (S * (X @ V)) @ W[:h] + H @ U
    zero_loss = kernels.ZeroLossSet(samples, tanh, "matrix_free", 1e-12, 100)
    tolerance = {"rtol": 1e-12, "atol": 1e-12 * (n + h + d_in) * max(1, np.abs(J_v).max())}
    np.testing.assert_allclose(zero_loss.residual(E, W), H @ W - Y, **tolerance)
    np.testing.assert_allclose(zero_loss.multiply(E, W, V, U), J_v, **tolerance)
    of_E, of_W = zero_loss.multiply_transposed(E, W, R)
    np.testing.assert_allclose(of_E, X.T @ (S * (R @ W[:h].T)), **tolerance)
    np.testing.assert_allclose(of_W, H.T @ R, **tolerance)
    curvature = kernels.Curvature(samples, tanh, kernels.Loss("mse", "sum"), E, W)
    G, dG, dZ = 2 * (H @ W - Y), 2 * J_v, X @ V
    T = G @ W[:h].T * (-2 * H[:, :h] * S)
    expected = [
        X.T @ (S * (dG @ W[:h].T + G @ U[:h].T) + T * dZ),
        H.T @ dG + np.vstack([(S * dZ).T @ G, np.zeros((1, d_out))]),
    ]
    product = curvature.multiply(np.concatenate([V.ravel(), U.ravel()]), "hessian", 0.0)
    expected = np.concatenate([part.ravel() for part in expected])
    np.testing.assert_allclose(product, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max() * (n + h + d_in))


@pytest.mark.parametrize(("rows", "hidden"), [("pairs", 40), ("3-hot", 40), ("dense", 40), ("dense", 8)])
@pytest.mark.parametrize("bias", BIASES)
def test_directions_and_alignments_agree_with_the_pseudo_inverse(rows, bias, hidden):
    """The network is near the set, where Gauss–Newton needs no shorter steps. h = 8 is fewer units than samples."""
    data, random = DATA[rows](), np.random.default_rng(3)
    net = on_set(data, bias, hidden=hidden, activation="tanh")
    earlier, net = (move_to(net, theta(net) + 1e-3 * random.standard_normal(theta(net).size)) for _ in range(2))
    J = jacobian(net, data.X_train)
    scale = 1e-12 * np.linalg.cond(J) ** 2 * np.linalg.norm(theta(net))
    for method in ("dense", "matrix_free"):
        got = zl.geometry.norm_direction(net, data, method)
        np.testing.assert_allclose(np.concatenate([got.gE.ravel(), got.gW.ravel()]), direction(net, data), atol=scale)
    point = zl.geometry.project(net, data, "chord").network
    np.testing.assert_allclose(theta(zl.geometry.project(net, data).network), theta(retract(net, data)), atol=1e-8)
    measured, update = zl.geometry.alignment(net, earlier, data), theta(net) - theta(earlier)
    J_at_point = jacobian(point, data.X_train)
    g = -(theta(net) - np.linalg.pinv(J_at_point) @ (J_at_point @ theta(net)))
    cosine = g @ update / np.linalg.norm(g) / np.linalg.norm(update)
    distance = np.linalg.norm(theta(point) - theta(net))
    assert measured.distance == pytest.approx(distance, rel=1e-9)
    assert measured.cosine == pytest.approx(cosine, abs=1e-12)
    smallest = np.linalg.svd(J_at_point, compute_uv=False)[-1]
    assert measured.smallest_singular_value == pytest.approx(smallest, rel=0.01)


@pytest.mark.parametrize("bias", BIASES)
def test_directions_with_kinks_and_the_tangent_space(bias):
    data = DATA["dense"]()
    net = on_set(data, bias)
    J, E_size = jacobian(net, data.X_train), net.layers[0].size
    X = hidden_units(net, data)[0]
    kinks = np.array([[0, 3], [2, 3], [5, 7]])
    constraints = np.zeros((len(kinks), J.shape[1]))
    for row, (i, u) in zip(constraints, kinks, strict=True):
        row[:E_size].reshape(net.layers[0].shape)[:, u] = X[i]
    A = np.concatenate([J, constraints])
    expected = -(theta(net) - np.linalg.pinv(A) @ (A @ theta(net)))
    got = zl.geometry.norm_direction(net, data, kinks=kinks)
    np.testing.assert_allclose(np.concatenate([got.gE.ravel(), got.gW.ravel()]), expected, atol=1e-9)
    space, g = TangentSpace(net, data), direction(net, data)
    np.testing.assert_allclose(space.steepest_direction(), g, atol=1e-10)
    mobility = np.random.default_rng(0).random(len(g)) + 0.5
    D = np.diag(mobility)
    steepest = -mobility * theta(net) + D @ J.T @ np.linalg.solve(J @ D @ J.T, J @ D @ theta(net))
    np.testing.assert_allclose(space.steepest_direction(mobility), steepest, atol=1e-9)
    W_only = space.layer_mobility("W")
    J_W = J[:, E_size:]
    of_W = -(theta(net)[E_size:] - np.linalg.pinv(J_W) @ (J_W @ theta(net)[E_size:]))
    np.testing.assert_allclose(space.steepest_direction(W_only)[E_size:], of_W, atol=1e-9)
    E, W = net.layers
    balance = np.concatenate([E.ravel(), -net.W.ravel(), np.zeros(data.d_out)])
    np.testing.assert_array_equal(space.layer_balance()[0], balance)
    for u, row in enumerate(space.unit_balances()):
        of_E, of_W = np.zeros_like(E), np.zeros_like(W)
        of_E[:, u], of_W[u] = E[:, u], -W[u]
        np.testing.assert_array_equal(row, np.concatenate([of_E.ravel(), of_W.ravel()]))


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_the_smallest_curvature_agrees_with_dense_matrices(bias, loss):
    """d is above 256, so the metric is inverted by the identity of Woodbury."""
    data = DATA["pairs"]()
    net, decay, temperature = network(data, bias, hidden=40, activation="tanh"), 1e-2, 1.0 if loss == "mse" else 2.0
    options = {"loss": loss, "temperature": temperature}
    H, M = (
        zl.curvature.operator(net, data, part, weight_decay=decay, **options) @ np.eye(theta(net).size)
        for part in ("hessian", "gauss_newton")
    )
    J = jacobian(net, data.X_train)
    if loss == "mse":
        np.testing.assert_allclose(M, decay * np.eye(len(M)) + 2 / data.Y_train.size * J.T @ J, atol=1e-13)
    expected = scipy.linalg.eigh((H + H.T) / 2, M, eigvals_only=True)[0]
    assert zl.curvature.smallest(net, data, decay, **options).value == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("bias", BIASES)
def test_the_residual_of_stationarity_agrees_with_its_definition(bias):
    data, decay = DATA["pairs"](), 1e-2
    for activation in ("tanh", "relu"):
        net = network(data, bias, hidden=40, activation=activation)
        force = np.linalg.norm(gradient(net, data) + decay * theta(net)) / decay / np.linalg.norm(theta(net))
        assert zl.geometry.kkt_residual(net, data, decay) == pytest.approx(force, rel=1e-12)
        J = jacobian(net, data.X_train)
        rest = theta(net) - J.T @ np.linalg.lstsq(J.T, theta(net))[0]
        expected = np.linalg.norm(rest) / np.linalg.norm(theta(net))
        assert zl.geometry.kkt_residual(net, data) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("bias", BIASES)
def test_the_paper_s_projection_is_descent_with_momentum(bias):
    data = DATA["pairs"]()
    net = network(data, bias, hidden=40)
    point = zl.geometry.project(net, data, "momentum", lr=0.5).network
    descent = zl.GradientDescent(lr=0.5, momentum=0.9)
    expected = zl.simulate(descent, data, net, steps=100).network
    np.testing.assert_array_equal(theta(point), theta(expected))
