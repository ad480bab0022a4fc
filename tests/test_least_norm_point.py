"""Points of least norm on the zero-loss set of ReLU and leaky ReLU networks."""

import functools
from pathlib import Path

import numpy as np
import pytest

import zeroloss as zl
from problems import flat
from zeroloss.end_states import kinked
from zeroloss.end_states.corner_model import CornerModel, Problem
from zeroloss.end_states.departures import leave_saddle
from zeroloss.end_states.objective import Trace
from zeroloss.end_states.polish import Polished, polish

KINKED = ("relu", "leaky_relu(0.1)", "leaky_relu(3)")


def problem(activation="relu"):
    data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    return data, zl.networks.uniform_fan_in(data, hidden=24, seed=100, activation=activation)


@functools.cache
def shortest(activation="relu"):
    data, net = problem(activation)
    start = zl.geometry.project(net, data).network
    return data, start, zl.end_states.least_norm_point(start, data)


@pytest.mark.parametrize("activation", KINKED)
def test_the_point_of_least_norm(activation):
    data, start, point = shortest(activation)
    assert point.is_minimum
    assert point.kkt <= 1e-9
    assert point.weight_decay == 0
    assert zl.geometry.kkt_residual(point.network, data) <= 1e-9
    assert np.abs(point.network(data.X_train) - data.Y_train).max() < 1e-10
    theta = flat(point.network.E, point.network.W)
    assert point.objective == pytest.approx(theta @ theta / 2, rel=1e-14)
    assert theta @ theta < flat(start.E, start.W) @ flat(start.E, start.W)


def test_no_point_of_the_set_nearby_is_shorter():
    """Steps from the point of least norm, and back to the set by Gauss–Newton."""
    data, _, point = shortest()
    net, random = point.network, np.random.default_rng(0)
    alive = np.linalg.norm(net.E, axis=0) > 0
    for size in (1e-4, 1e-3):
        for _ in range(20):
            E = net.E + size * alive * random.standard_normal(net.E.shape)
            W = net.W + size * alive[:, None] * random.standard_normal(net.W.shape)
            near = zl.geometry.project(zl.networks.from_arrays(E, W, activation="relu"), data).network
            assert np.sum(near.E**2) + np.sum(near.W**2) > 2 * point.objective - 1e-12


def test_departures_stay_on_the_zero_loss_set():
    """A straight step along a tangent direction would leave the set, and at a saddle it would increase the norm."""
    data, start, _ = shortest()
    problem = Problem(data, 0.0, 1.0, 0.0, Trace())
    state = problem.pin(start.E, start.W, np.zeros((len(data.X_train), 24), dtype=bool))
    model = CornerModel(problem, state)
    direction = model.solve(np.random.default_rng(0).standard_normal(model.size))
    direction /= np.linalg.norm(direction)
    after = leave_saddle(problem, model, direction)
    assert after.value < state.value
    assert np.linalg.norm(flat(after.E, after.W) - flat(start.E, start.W)) > 0.01
    assert np.abs(after.R).max() < 1e-9


def test_a_search_follows_the_flow_again_beyond_a_saddle(monkeypatch):
    """If Newton's method fails after it has left a saddle, the flow continues there, back on the zero-loss set."""
    data, start, expected = shortest()
    times = []

    def fail_first(problem, state, *arguments):
        times.append(problem.trace.slow_time)
        if len(times) > 1:
            return polish(problem, state, *arguments)
        beyond = problem.pin(1.001 * state.E, state.W, state.corner.pinned)
        return Polished(state, "it failed", fallback=Polished(state, ""), departure=beyond)

    monkeypatch.setattr(kinked, "polish", fail_first)
    point = zl.end_states.least_norm_point(start, data)
    assert times == pytest.approx([100, 200])
    assert point.is_minimum
    assert point.objective == pytest.approx(expected.objective, rel=1e-10)


def test_end_states_tend_to_the_point_of_least_norm():
    """(Φ/weight_decay) − ‖θ‖²/2 is proportional to the decay, because the distance is."""
    data, _, point = shortest()
    gaps = []
    for decay in (1e-4, 1e-5, 1e-6):
        end = zl.stationary_point(point.network, data, decay, slow_time=0, revive=False)
        assert end.is_minimum
        gaps.append((point.objective - end.objective / decay) / decay)
    assert gaps[0] == pytest.approx(gaps[1], rel=0.1)
    assert gaps[1] == pytest.approx(gaps[2], rel=0.02)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (problem()[1], "net: expected a network on the zero-loss set"),
        (problem("tanh")[1], "net: expected relu or leaky_relu, got tanh"),
    ],
)
def test_the_least_norm_needs_a_network_with_kinks_on_the_set(net, message):
    with pytest.raises(ValueError, match=message):
        zl.end_states.least_norm_point(net, problem()[0])


def test_a_network_that_trained_first():
    """The norm flow of p = 7, h = 32 passes many corners, and Newton's method converges after it."""
    data = zl.datasets.modular_addition(7, test_count=3, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=32, seed=100)
    run = zl.simulate(zl.GradientDescent(lr=0.5), data, net, steps=1000, progress=False)
    start = zl.geometry.project(run.network, data).network
    point = zl.end_states.least_norm_point(start, data)
    assert point.is_minimum
    assert point.kkt <= 1e-9
    assert zl.geometry.kkt_residual(point.network, data) <= 1e-9
    assert point.smallest_curvature > 1e-3
    assert point.new_unit_gain > 0.01


def test_the_end_of_a_long_flow_along_kinks():
    """The flow of p = 11 passes corners where it branches, so its end depends on the start and on rounding.

    The file has the end of 869 steps from the projection of a network after 1000 steps of descent (hidden=128,
    seed=100, lr=1): the norm flow with rtol=1e-2 and method="proximal", to the slow time 1000. Points from ends of
    other starts and of a NumPy prototype (69.23288) have squared norms from 69.17 to 69.37.
    """
    data = zl.datasets.modular_addition(11, test_count=7, seed=0)
    with np.load(Path(__file__).parent / "data" / "end-of-norm-flow.npz") as end:
        net = zl.networks.from_arrays(end["E"], end["W"])
    point = zl.end_states.least_norm_point(net, data)
    assert point.is_minimum
    assert point.kkt <= 1e-9
    assert zl.geometry.kkt_residual(point.network, data) <= 1e-9
    assert 69.1 < 2 * point.objective < 69.45
    assert (point.sides >= 0).all()
    assert (point.sides <= 1).all()


def test_targets_of_zero_have_their_least_norm_at_zero():
    data = zl.datasets.from_arrays(np.eye(3), np.zeros((3, 2)))
    for W in (np.zeros((4, 2)), np.ones((4, 2))):
        point = zl.end_states.least_norm_point(zl.networks.from_arrays(np.zeros((3, 4)), W), data)
        assert point.is_minimum
        assert point.kkt == point.objective == 0
        assert not flat(point.network.E, point.network.W).any()
