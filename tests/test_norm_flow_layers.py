"""The norm flow of one layer, with the other one frozen."""

import re

import numpy as np
import pytest
import scipy

import zeroloss as zl
from problems import flat, random_data, random_network, relative, same_bits
from test_biases import network
from test_biases_beyond_descent import jacobian
from zeroloss import config
from zeroloss.geometry.solver import make_zero_loss_set

LAYERS = ("E", "W")


def problem(activation="softplus(5)", n=11, hidden=30, bias="none"):
    """Return data and a network on the set, with biases if asked for."""
    data = random_data(n, 5, 2, n_test=3)
    net = random_network(data, hidden, activation) if bias == "none" else network(data, bias, hidden, activation)
    return data, zl.geometry.project(net, data).network


def columns(net, layer):
    """Return the columns of J and the entries of θ that belong to a layer, with its biases."""
    size = net.layers[0].size
    return slice(0, size) if layer == "E" else slice(size, None)


def with_layer(net, layer, vector):
    E, W = net.layers
    return net.with_layers(vector.reshape(E.shape), W) if layer == "E" else net.with_layers(E, vector.reshape(W.shape))


def definition(net, data, layer):
    """Return −(I − J⁺J) θ for the parameters of a layer, with autograd's Jacobian."""
    J, theta = jacobian(net, data.X_train)[:, columns(net, layer)], net.layers[layer == "W"].ravel()
    return -(theta - np.linalg.pinv(J) @ (J @ theta))


@pytest.mark.parametrize("bias", ["none", "hidden", "both"])
@pytest.mark.parametrize("method", ["dense", "matrix_free"])
@pytest.mark.parametrize("layer", LAYERS)
def test_the_kernel_projects_within_the_layer(layer, method, bias):
    data, net = problem(bias=bias)
    J = jacobian(net, data.X_train)[:, columns(net, layer)]
    if bias == "none":
        zero_loss = make_zero_loss_set(net, data, method, 1, layer)
        np.testing.assert_allclose(zero_loss.gram(*net.layers), J @ J.T, atol=1e-13 * np.linalg.norm(J) ** 2)
    run = zl.simulate(zl.NormFlow(step_size=0.1, train_layers=layer), data, net, steps=0)
    assert run.network.bias == bias
    zero_loss = make_zero_loss_set(net, data, method, 1, layer)
    parts = zero_loss.direction(*net.layers)
    tolerance = 1e-12 * np.linalg.cond(J) ** 2 * np.linalg.norm(net.layers[0])
    np.testing.assert_allclose(parts[layer == "W"].ravel(), definition(net, data, layer), atol=tolerance)
    np.testing.assert_array_equal(parts[layer == "E"], 0)


@pytest.mark.parametrize("bias", ["none", "both"])
def test_the_flow_of_the_second_layer_decays_to_the_shortest_interpolant(bias):
    """The set is affine: W(s) = H⁺Y + e^{−s} (W(0) − H⁺Y), and H has a column of ones if the outputs have biases."""
    data, net = problem("relu", bias=bias)
    H = np.maximum(data.X_train @ net.E + (0 if bias == "none" else net.bias_hidden), 0)
    H = H if bias == "none" else np.hstack([H, np.ones((len(H), 1))])
    shortest, W = np.linalg.pinv(H) @ data.Y_train, net.layers[1]
    run = zl.simulate(zl.NormFlow(rtol=1e-6, train_layers="W"), data, net, duration=2.0)
    assert relative(run.network.layers[1], shortest + np.exp(-2) * (W - shortest)) < 1e-5
    assert same_bits(run.network.layers[0], net.layers[0])
    euler = zl.simulate(zl.NormFlow(step_size=0.1, train_layers="W"), data, net, steps=10).network
    assert relative(euler.layers[1], shortest + 0.9**10 * (W - shortest)) < 1e-9


@pytest.mark.parametrize("bias", ["none", "both"])
def test_the_flow_of_the_first_layer_agrees_with_scipy(bias):
    data, net = problem(bias=bias)

    def slope(_, y):
        return definition(with_layer(net, "E", y), data, "E")

    start = net.layers[0].ravel()
    expected = scipy.integrate.solve_ivp(slope, (0, 1), start, rtol=1e-9, atol=1e-11).y[:, -1]
    errors = []
    for rtol in (1e-4, 1e-6):
        run = zl.simulate(zl.NormFlow(rtol=rtol, train_layers="E"), data, net, duration=1.0, record_every=1)
        assert same_bits(run.network.layers[1], net.layers[1])
        assert run.history.largest_residual.max() <= 1e-10
        assert (np.diff(run.history.norm_E**2 + (run.history.norm_bias**2 if bias == "both" else 0)) < 0).all()
        np.testing.assert_array_equal(run.history.slow_time, run.history.time)
        errors.append(relative(run.network.layers[0].ravel(), expected))
    assert errors[0] < 1e-3
    assert errors[1] < 0.1 * errors[0]


@pytest.mark.parametrize("layer", LAYERS)
def test_softened_steps_leave_the_frozen_layer(layer):
    """A repeated input makes J singular everywhere."""
    samples = random_data(5, 4, 2)
    net = random_network(samples, 12, "tanh")
    X = np.concatenate([samples.X_train, samples.X_train[:1]])
    data = zl.datasets.from_arrays(X, net(X))
    run = zl.simulate(zl.NormFlow(rtol=1e-4, train_layers=layer), data, net, duration=0.5, record_every=1)
    assert run.history.softening[-1] > 0
    assert run.history.largest_residual.max() <= 1e-10
    frozen = int(layer == "E")
    assert same_bits(run.network.layers[frozen], net.layers[frozen])
    start = net.layers[1 - frozen].ravel()
    expected = scipy.integrate.solve_ivp(
        lambda _, y: definition(with_layer(net, layer, y), data, layer), (0, 0.5), start, rtol=1e-9, atol=1e-11
    ).y[:, -1]
    assert relative(run.network.layers[1 - frozen].ravel(), expected) < 1e-3


@pytest.mark.parametrize("layer", LAYERS)
def test_runs_extend_load_and_use_threads_with_the_same_bits(layer, tmp_path):
    data, net = problem()
    flow = zl.NormFlow(rtol=1e-3, train_layers=layer)
    whole = zl.simulate(flow, data, net, steps=6, threads=2)
    zl.simulate(flow, data, net, steps=4).save(tmp_path / "run")
    continued = zl.load(tmp_path / "run").extend(steps=2)
    assert same_bits(flat(*continued.network.layers), flat(*whole.network.layers))


def test_layers_that_cannot_hold_the_outputs_are_rejected():
    data, net = problem(n=11, hidden=30)
    few = random_network(data, 6, "softplus(5)")
    targets = zl.datasets.from_arrays(data.X_train, few(data.X_train))
    with pytest.raises(np.linalg.LinAlgError, match="22 outputs but only 12 parameters of W, the layer"):
        zl.simulate(zl.NormFlow(rtol=1e-3, train_layers="W"), targets, few, steps=1)
    with pytest.raises(ValueError, match="method: 'proximal' needs train_layers 'both', got 'E'; use bogacki"):
        zl.NormFlow(rtol=1e-3, method="proximal", train_layers="E")
    with pytest.raises(ValueError, match=re.escape("train_layers: expected one of both, E, W, got 'first'")):
        zl.NormFlow(rtol=1e-3, train_layers="first")
    with pytest.raises(ValueError, match="network: is not on the zero-loss set"):
        zl.simulate(zl.NormFlow(rtol=1e-3, train_layers="E"), data, random_network(data, 30), steps=1)
    assert net.bias == "none"


def test_the_key_changes_no_earlier_fingerprint():
    settings = {"dynamics": {"kind": "norm_flow", "step_size": 0.01}, "run": {"steps": 10}}
    names = [
        config.from_settings({**settings, "dynamics": {**settings["dynamics"], **keys}}).fingerprint()
        for keys in ({}, {"train_layers": "both"}, {"train_layers": "E"})
    ]
    assert names[0] == names[1] == "565a7d642d3267ee"  # before the key existed
    assert names[0] != names[2]
