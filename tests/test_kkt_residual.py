"""The residual of the conditions of Karush, Kuhn and Tucker against autograd, dense algebra and brute force."""

import itertools
import math

import numpy as np
import pytest
import scipy.optimize

import zeroloss as zl
from problems import ACTIVATIONS, flat, random_data, random_network, torch_jacobian, torch_loss, torch_parameters

kkt_residual = zl.geometry.kkt_residual


def length(net):
    return np.linalg.norm(flat(net.E, net.W))


def pin(net, data, pairs):
    """Return a network in which the pairs (i, u) are at the kink."""
    E = np.array(net.E)
    for u in {u for _, u in pairs}:
        x = data.X_train[[i for i, v in pairs if v == u]]
        E[:, u] -= np.linalg.pinv(x) @ (x @ E[:, u])
    return zl.networks.from_arrays(E, net.W, activation=net.activation)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_with_decay_it_is_the_gradient(activation, loss, reduction):
    data = random_data(9, 6, 4)
    data = zl.datasets.from_arrays(data.X_train, np.abs(data.Y_train))
    if loss == "cross_entropy":  # PyTorch's gradient for targets in rows of sum 1, which are probabilities
        data = zl.datasets.from_arrays(data.X_train, data.Y_train / data.Y_train.sum(axis=1, keepdims=True))
    net = random_network(data, 13, activation)
    parameters = list(torch_parameters(net))
    torch_loss(*parameters, data, activation, reduction, loss).backward()
    gradient = flat(*(p.grad.numpy() for p in parameters)) + 0.03 * flat(net.E, net.W)
    expected = np.linalg.norm(gradient) / (0.03 * length(net))
    assert kkt_residual(net, data, 0.03, loss, reduction) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu(0.1)", "leaky_relu(3)"])
def test_at_kinks_it_is_the_shortest_subgradient(activation):
    """One unit has two pinned pairs, another has one. The grid of sides bounds the minimum from both sides."""
    data = random_data(9, 6, 4)
    net = pin(random_network(data, 5, activation), data, [(2, 1), (4, 1), (7, 3)])
    below, above = zl.networks.from_arrays([[1.0]], [[1.0]], activation=activation)([[-1.0], [1.0]]).ravel()
    decay, grid = 0.5, np.linspace(0, 1, 101)
    G = 2 / data.Y_train.size * (net(data.X_train) - data.Y_train)
    Z = data.X_train @ net.E
    S = np.where(Z > 0, above, -below)
    pinned = np.abs(Z) < 1e-12
    H = np.where(pinned, 0, S * Z)
    squares = np.sum((H.T @ G + decay * net.W) ** 2)
    for u in range(5):
        rows = np.flatnonzero(pinned[:, u])
        sizes = []
        for sides in itertools.product(grid, repeat=len(rows)):
            s = S[:, u].copy()
            s[rows] = -below + (above + below) * np.array(sides)
            sizes.append(np.sum((data.X_train.T @ (s * (G @ net.W[u])) + decay * net.E[:, u]) ** 2))
        squares += min(sizes)
    expected = math.sqrt(squares) / (decay * length(net))
    found = kkt_residual(net, data, decay)
    assert expected * (1 - 1e-4) <= found <= expected * (1 + 1e-12)


@pytest.mark.parametrize("activation", ["relu", "tanh", "softplus(5)", "identity"])
def test_without_decay_it_is_the_distance_to_the_rows_of_J(activation):
    data = random_data(5, 6, 4)
    net = random_network(data, 24, activation)
    J, theta = torch_jacobian(net, data), flat(net.E, net.W)
    rest = theta - J.T @ np.linalg.lstsq(J.T, theta, rcond=None)[0]
    assert kkt_residual(net, data) == pytest.approx(np.linalg.norm(rest) / np.linalg.norm(theta), rel=1e-10)
    if activation != "identity":  # with it, J is singular
        assert kkt_residual(net, data) == pytest.approx(zl.geometry.norm_direction(net, data).tangent_fraction)


def test_without_decay_dependent_rows_of_J_are_allowed():
    """The second half of the samples repeats the first."""
    data = random_data(5, 6, 4)
    twice = zl.datasets.from_arrays(np.tile(data.X_train, (2, 1)), np.tile(data.Y_train, (2, 1)))
    net = random_network(data, 24, "tanh")
    assert kkt_residual(net, twice) == pytest.approx(kkt_residual(net, data), rel=1e-6)


def joint_minimum(net, data, pinned):
    """Minimise over multipliers and sides at once, from several starts."""
    X, n, d_out = data.X_train, *data.Y_train.shape
    on = (X @ net.E > 0) & ~pinned
    H = np.where(on, X @ net.E, 0)

    def residuals(x):
        multiplier, sides = x[: n * d_out].reshape(n, d_out), on.astype(float)
        sides[pinned] = x[n * d_out :]
        return flat(net.E - X.T @ (sides * (multiplier @ net.W.T)), net.W - H.T @ multiplier) / length(net)

    random, count = np.random.default_rng(0), pinned.sum()
    bounds = np.r_[np.full(n * d_out, -np.inf), np.zeros(count)], np.r_[np.full(n * d_out, np.inf), np.ones(count)]
    results = []
    for _ in range(8):
        start = np.r_[random.standard_normal(n * d_out), random.random(count)]
        results.append(scipy.optimize.least_squares(residuals, start, bounds=bounds, xtol=1e-12, ftol=1e-12))
    return math.sqrt(2 * min(result.cost for result in results))


def test_without_decay_multipliers_and_sides_are_minimised_together():
    data = random_data(4, 5, 2)
    pairs = [(0, 0), (1, 0), (2, 1), (3, 1), (0, 2), (3, 4)]
    net = pin(random_network(data, 8, "relu"), data, pairs)
    pinned = np.zeros((4, 8), dtype=bool)
    pinned[tuple(np.transpose(pairs))] = True
    best = joint_minimum(net, data, pinned)
    found = kkt_residual(net, data)
    assert (1 - 1e-6) * best < found < 1.02 * best
    assert found < kkt_residual(net, data, kink_tolerance=0)


def test_it_falls_along_the_proximal_flow():
    """The plain tangent fraction does not fall, because it ignores the kinks."""
    data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    net = zl.geometry.project(zl.networks.uniform_fan_in(data, hidden=24, seed=100), data).network
    flow = zl.NormFlow(rtol=1e-2, method="proximal")
    run = zl.simulate(flow, data, net, duration=60.0, progress=False)
    assert kkt_residual(net, data) > 0.1
    assert kkt_residual(run.network, data) < 1e-2
    assert kkt_residual(run.network, data, kink_tolerance=0) > 0.1


def test_a_network_of_zeros_is_stationary_if_its_gradient_is_zero():
    data = random_data(5, 6, 4)
    zero = {"E": np.zeros((6, 3)), "W": np.zeros((3, 4))}
    assert kkt_residual(zl.networks.from_arrays(**zero, activation="tanh"), data, 0.1) == 0
    assert kkt_residual(zl.networks.from_arrays(**zero, activation="softplus"), data, 0.1) == math.inf


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("weight_decay", [None, 0.1])
@pytest.mark.parametrize("activation", ["relu", "softplus"])
def test_networks_that_overflow_are_an_error(activation, weight_decay):
    """The outputs overflow, or only the squares of the weights."""
    data = random_data(5, 6, 4)
    data = zl.datasets.from_arrays(np.abs(data.X_train), data.Y_train)
    E, W = np.full((6, 3), 1e160), np.full((3, 4), 1e160)
    with pytest.raises(ValueError, match=r"net: .* its outputs overflow"):
        kkt_residual(zl.networks.from_arrays(E, W, activation=activation), data, weight_decay)
    with pytest.raises(ValueError, match=r"net: .* they overflow"):
        kkt_residual(zl.networks.from_arrays(E, W / 1e200, activation=activation), data, weight_decay)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight_decay": 0}, "weight_decay: expected a number above 0"),
        ({"weight_decay": -1.0}, "weight_decay: expected a number above 0"),
        ({"weight_decay": 1.0, "loss": "hinge"}, "loss: expected one of"),
        ({"weight_decay": 1.0, "reduction": "max"}, "reduction: expected one of"),
        ({"kink_tolerance": -1}, "kink_tolerance: expected a number of at least 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    data = random_data(5, 6, 4)
    with pytest.raises(ValueError, match=message):
        kkt_residual(random_network(data, 3), data, **arguments)
