"""The norm-minimising direction with pre-activations fixed at kinks, against dense algebra."""

import itertools

import numpy as np
import pytest

import zeroloss as zl
from problems import figure5, flat, random_data, random_network, same_bits, torch_jacobian

geometry = zl.geometry


def problem(activation="relu", rows="sparse"):
    """With "pairs", each sample is a sum of two inputs."""
    pairs = rows == "pairs"
    data = zl.datasets.modular_addition(6, train_count=9, seed=0) if pairs else random_data(9, 6, 4, rows)
    return data, random_network(data, 24, activation)


def dense_direction(net, data, pairs):
    """Return −θ + A⁺A θ by singular values; the rows of A are the rows of autograd's J and the pins."""
    theta = flat(net.E, net.W)
    pins = np.zeros((len(pairs), theta.size))
    for row, (i, u) in enumerate(pairs):
        pins[row, : net.E.size].reshape(net.E.shape)[:, u] = data.X_train[i]
    A = np.concatenate([torch_jacobian(net, data), pins])
    return -theta + np.linalg.pinv(A, rcond=1e-11) @ (A @ theta)


ALL = list(itertools.product(range(9), range(24)))
KINKS = {
    "none": [],
    "one": [(3, 5)],
    "twice the same": [(3, 5), (3, 5)],
    "scattered": ALL[::11],
    "dependent": [(i, u) for i in range(9) for u in (0, 7, 8)],  # These are nine rows of six entries.
    "half of all": ALL[::2],
    "all": ALL,  # The first layer is fixed, the second moves.
}


@pytest.mark.parametrize("rows", ["sparse", "dense", "pairs"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu(0.1)", "softplus(5)"])
@pytest.mark.parametrize("kinks", KINKS)
def test_the_direction_agrees_with_dense_algebra(kinks, activation, rows):
    """The bound is 10⁻¹² of ‖θ‖."""
    data, net = problem(activation, rows)
    pairs = np.array(KINKS[kinks], dtype=np.int64).reshape(-1, 2)
    expected = dense_direction(net, data, pairs)
    found = geometry.norm_direction(net, data, kinks=pairs)
    g = flat(found.gE, found.gW)
    assert np.linalg.norm(g - expected) < 1e-12 * np.linalg.norm(flat(net.E, net.W))
    assert np.abs([data.X_train[i] @ found.gE[:, u] for i, u in pairs]).max(initial=0) < 1e-13
    assert np.abs(geometry.jacobian_product(net, data, found.gE, found.gW)).max() < 1e-11
    assert found.norm == pytest.approx(np.linalg.norm(g), rel=1e-14)


def test_without_kinks_the_direction_is_the_plain_one():
    data, net = problem()
    plain = geometry.norm_direction(net, data)
    found = geometry.norm_direction(net, data, kinks=[])
    assert np.abs(flat(found.gE - plain.gE, found.gW - plain.gW)).max() < 1e-12


def test_sign_changes_agree_with_their_definition():
    data, net = problem()
    random = np.random.default_rng(0)
    path = net.E + 0.1 * random.standard_normal((5, *net.E.shape)).cumsum(axis=0)
    signs = np.einsum("ia,mau->miu", data.X_train, path) > 0
    changes = (signs[1:] != signs[:-1]).sum(axis=0)
    expected = np.argwhere(changes)
    assert 0 < len(expected) < len(ALL)
    assert same_bits(geometry.sign_changes(path, data), expected)
    assert same_bits(geometry.sign_changes(path, data, at_least=2), np.argwhere(changes >= 2))
    networks = [zl.networks.from_arrays(E, net.W) for E in path]
    assert same_bits(geometry.sign_changes(networks, data), expected)
    assert geometry.sign_changes(path[:1], data).shape == (0, 2)


def test_updates_of_descent_follow_the_kink_aware_direction():
    """Over 200 steps between memorisation and generalisation the cosine is above 0.98, and the speed is the same.

    The pairs that returned to the kink are fixed; they are 5 to 15 per cent. The plain direction's cosine is below 0.8.
    """
    data, net = figure5()
    descent = zl.GradientDescent(lr=1.0, weight_decay=1e-4)
    start = zl.simulate(descent, data, net, steps=9800).network
    window = zl.simulate(descent, data, start, steps=200, snapshot_every=1).snapshots
    kinks = geometry.sign_changes(window.E, data, at_least=2)
    here = zl.networks.from_arrays(window.E[-1], window.W[-1])
    update = flat(window.E[-1] - window.E[0], window.W[-1] - window.W[0])

    def cosine(found):
        g = flat(found.gE, found.gW)
        return g @ update / np.linalg.norm(g) / np.linalg.norm(update)

    assert 0.05 < len(kinks) / (59 * 128) < 0.15
    aware = geometry.norm_direction(here, data, kinks=kinks)
    assert cosine(aware) > 0.98
    assert cosine(geometry.norm_direction(here, data)) < 0.8
    assert np.linalg.norm(update) == pytest.approx(200 * 1e-4 * aware.norm, rel=0.05)


def test_invalid_kinks_are_rejected():
    data, net = problem()
    for kinks in ([1, 2], [[0.5, 1]], [[0, 1, 2]]):
        with pytest.raises(ValueError, match=r"kinks: expected integers of shape \(m, 2\)"):
            geometry.norm_direction(net, data, kinks=kinks)
    for kinks in ([[9, 0]], [[0, 24]], [[-1, 0]]):
        with pytest.raises(ValueError, match="kinks: expected samples below 9 and units below 24"):
            geometry.norm_direction(net, data, kinks=kinks)
    with pytest.raises(ValueError, match=r"first_layers: expected shape \(m, 6, h\)"):
        geometry.sign_changes(net.E, data)
    with pytest.raises(ValueError, match="at_least: expected an integer of at least 1, got 0"):
        geometry.sign_changes(net.E[None], data, at_least=0)


def test_too_many_kinks_leave_no_direction():
    """With as many units as samples the outputs fix the second layer, and all pins fix the first."""
    data, _ = problem()
    net = random_network(data, 9, "softplus(5)")
    pairs = list(itertools.product(range(9), range(9)))
    with pytest.raises(ValueError, match=r"kinks: expected fewer pairs, got 81, 54 of"):
        geometry.norm_direction(net, data, kinks=pairs)
    assert geometry.norm_direction(net, data, kinks=pairs[:9]).norm > 0
