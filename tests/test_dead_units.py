"""Dead units in searches for end states of ReLU networks: they are revived if that decreases the objective."""

import numpy as np
import pytest

import zeroloss as zl
from problems import random_data

DECAY = 1e-2


def plane():
    """Samples in a plane, whose directions can be listed."""
    return random_data(8, 2, 2)


def make_start(kind, hidden=12):
    """A network of zeros, one with some dead units, or one in which no unit is active on any sample."""
    data = plane()
    positive = zl.datasets.from_arrays(np.abs(data.X_train), data.Y_train)
    random = np.random.default_rng(0)
    E, W = random.standard_normal((2, hidden)), random.standard_normal((hidden, 2))
    dead = {"zero": hidden, "some": hidden // 2 + 2, "all": hidden}[kind]
    E[:, :dead], W[:dead] = (0, 0) if kind == "zero" else (-np.abs(E[:, :dead]), W[:dead])
    return positive, zl.networks.from_arrays(E, W, activation="relu")


def lower_bound(data, net, decay):
    """Bound Φ from below for networks of any width, by convex duality.

    With Λ as any multiplier and δ = decay·n·d_out/2, Φ/decay ≥ Λ·Y − δ‖Λ‖²/2 if ‖Λᵀσ(X e)‖ ≤ 1 for all unit vectors e.
    The greatest of these lengths is bounded by a grid of angles and the Lipschitz constant ‖Λ‖‖X‖.
    """
    delta, angles = decay * data.Y_train.size / 2, 100_000
    multiplier = (data.Y_train - net(data.X_train)) / delta
    phi = 2 * np.pi * np.arange(angles) / angles
    H = np.maximum(data.X_train @ np.array([np.cos(phi), np.sin(phi)]), 0)
    longest = np.linalg.norm(multiplier.T @ H, axis=0).max()
    longest += np.linalg.norm(multiplier) * np.linalg.norm(data.X_train) * np.pi / angles
    multiplier = multiplier / max(longest, 1)
    return decay * (np.sum(multiplier * data.Y_train) - delta / 2 * np.sum(multiplier**2))


@pytest.mark.parametrize("kind", ["zero", "some", "all"])
def test_no_network_has_a_smaller_objective_than_one_with_revived_units(kind):
    data, start = make_start(kind)
    point = zl.stationary_point(start, data, DECAY)
    assert point.kkt <= 1e-9
    assert point.outcome in ("minimum", "flat")
    assert point.new_unit_gain <= 1e-6
    assert "no new unit with a gain was found" in point.message
    bound = lower_bound(data, point.network, DECAY)
    assert bound <= point.objective <= bound * (1 + 1e-3)


def test_without_a_spare_unit_the_point_is_a_minimum_among_the_active_units():
    data, start = make_start("zero", hidden=1)
    point = zl.stationary_point(start, data, DECAY)
    assert point.is_minimum
    assert point.active_units == 1
    assert point.new_unit_gain > 0.01
    assert "among the active units" in point.message
    assert point.objective > 1.01 * lower_bound(data, point.network, DECAY)


def test_dead_units_stay_dead_if_they_are_not_revived():
    data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=24, seed=100)
    kept, revived = (zl.stationary_point(net, data, 1e-3, revive=revive) for revive in (False, True))
    assert kept.is_minimum
    assert revived.is_minimum
    alive = [np.count_nonzero(point.network.E.any(axis=0)) for point in (kept, revived)]
    assert alive[0] < alive[1] == 24
    assert 0 < revived.new_unit_gain < kept.new_unit_gain
    assert revived.objective < kept.objective
    assert "among the active units" in kept.message


def test_zero_is_a_saddle_if_units_are_not_revived():
    data, start = make_start("zero")
    point = zl.stationary_point(start, data, DECAY, revive=False)
    assert point.outcome == "saddle"
    assert point.active_units == 0
    assert "a new unit would decrease" in point.message
