"""End states of ReLU and leaky ReLU networks, against brute force and dense algebra."""

import functools

import numpy as np
import pytest
import scipy.linalg

import zeroloss as zl
from problems import flat, random_data, random_network
from zeroloss.curvature.generalised import smallest_in_metric
from zeroloss.end_states.corner_model import CornerModel, Problem
from zeroloss.end_states.new_unit import start_unit
from zeroloss.end_states.objective import Trace
from zeroloss.end_states.polish import _Metric as Metric

KINKED = ("relu", "leaky_relu(0.1)", "leaky_relu(3)")


def objective(E, W, data, activation, decay):
    """Return Φ."""
    F = zl.networks.from_arrays(E, W, activation=activation)(data.X_train)
    return np.mean((F - data.Y_train) ** 2) + decay / 2 * (np.sum(E**2) + np.sum(W**2))


def problem(activation="relu"):
    data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    return data, zl.networks.uniform_fan_in(data, hidden=24, seed=100, activation=activation)


@functools.cache
def end_state(activation, revive=True):
    data, net = problem(activation)
    return data, zl.stationary_point(net, data, 1e-3, revive=revive)


@pytest.mark.parametrize("activation", KINKED)
def test_a_certified_point_is_a_minimum_of_the_objective(activation):
    """No random direction decreases Φ: among all parameters of units that are active, also across kinks.

    The bound on the decrease is the KKT residual times the length of the step.
    """
    data, point = end_state(activation)
    assert point.outcome == "minimum"
    assert zl.geometry.kkt_residual(point.network, data, 1e-3) <= 1e-9
    E, W = point.network.E, point.network.W
    lowest = objective(E, W, data, activation, 1e-3)
    assert point.objective == pytest.approx(lowest, rel=1e-12)
    alive, random = np.linalg.norm(E, axis=0) > 0, np.random.default_rng(0)
    for size in (1e-5, 1e-4, 1e-3):
        for _ in range(200):
            V, U = random.standard_normal(E.shape) * alive, random.standard_normal(W.shape) * alive[:, None]
            scale = size * random.choice([1.0, 1e-2, 0.0], len(alive))  # few or many units
            slack = 1e-3 * 1e-9 * np.linalg.norm(flat(E, W)) * np.linalg.norm(flat(scale * V, scale[:, None] * U))
            assert objective(E + scale * V, W + scale[:, None] * U, data, activation, 1e-3) >= lowest - slack - 1e-16


def test_the_sides_balance_the_forces():
    """E_u = Σ_i s_iu g_iu x_i with sides in [0, 1], from the definition."""
    data, point = end_state("relu")
    E, W = point.network.E, point.network.W
    multiplier = -2 / data.Y_train.size * (point.network(data.X_train) - data.Y_train) / 1e-3
    assert point.sides.min() >= 0
    assert point.sides.max() <= 1
    inside = (point.sides > 1e-6) & (point.sides < 1 - 1e-6)
    assert np.abs((data.X_train @ E)[inside]).max() < 1e-12
    assert inside.sum() > 20
    assert point.pinned_pairs > 20
    np.testing.assert_allclose(data.X_train.T @ (point.sides * (multiplier @ W.T)), E, atol=1e-8)
    np.testing.assert_allclose(np.maximum(data.X_train @ E, 0).T @ multiplier, W, atol=1e-8)


def test_the_gain_of_a_new_unit_is_real():
    """A unit of size ε instead of a dead one changes Φ by −weight_decay ε times the gain, to first order."""
    data, point = end_state("relu", revive=False)
    E, W = np.array(point.network.E), np.array(point.network.W)
    multiplier = -2 / data.Y_train.size * (point.network(data.X_train) - data.Y_train) / 1e-3
    random = np.random.default_rng(0).standard_normal((5, 100_000))
    random /= np.linalg.norm(random, axis=0)
    best = np.linalg.norm(multiplier.T @ np.maximum(data.X_train @ random, 0), axis=0)
    assert 0 < best.max() - 1 <= point.new_unit_gain
    assert point.new_unit_gain < best.max() - 1 + 0.05
    dead = int(np.flatnonzero(np.linalg.norm(E, axis=0) == 0)[0])
    e, size = random[:, best.argmax()], 1e-6
    w = multiplier.T @ np.maximum(data.X_train @ e, 0)
    E[:, dead], W[dead] = np.sqrt(size) * e, np.sqrt(size) * w / np.linalg.norm(w)
    change = objective(E, W, data, "relu", 1e-3) - point.objective
    assert change == pytest.approx(-1e-3 * size * (best.max() - 1), rel=1e-2)


def test_a_convex_case_has_no_gain_and_one_minimum():
    """With a large decay one unit is active, and starts of different seeds end at the same Φ."""
    data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    points = [
        zl.stationary_point(zl.networks.uniform_fan_in(data, hidden=24, seed=seed), data, 0.1) for seed in (1, 2, 3)
    ]
    for point in points:
        assert point.is_minimum
        assert point.active_units == 1
        assert point.new_unit_gain == pytest.approx(0, abs=1e-8)
        assert point.objective == pytest.approx(points[0].objective, rel=1e-12)


def test_the_reduction_is_a_factor_of_the_decay():
    data, point = end_state("relu")
    again = zl.stationary_point(point.network, data, 1e-3 * data.Y_train.size, reduction="sum")
    assert again.is_minimum
    assert again.objective == pytest.approx(point.objective * data.Y_train.size, rel=1e-12)


def test_parallel_units_are_merged():
    """A unit that is divided into two parallel ones leaves the end state flat."""
    data, point = end_state("relu", revive=False)
    E, W = np.array(point.network.E), np.array(point.network.W)
    sizes = np.linalg.norm(E, axis=0)
    large, dead = int(sizes.argmax()), int(np.flatnonzero(sizes == 0)[0])
    for share, unit in ((np.sqrt(0.3), dead), (np.sqrt(0.7), large)):
        E[:, unit], W[unit] = share * point.network.E[:, large], share * point.network.W[large]
    divided = zl.networks.from_arrays(E, W, activation="relu")
    again = zl.stationary_point(divided, data, 1e-3, slow_time=0, revive=False)
    assert again.is_minimum
    assert again.objective == pytest.approx(point.objective, rel=1e-12)
    assert (np.linalg.norm(again.network.E, axis=0) > 0).sum() == (sizes > 0).sum()


def test_no_convergence_is_an_outcome():
    data, net = problem()
    point = zl.stationary_point(net, data, 1e-3, slow_time=0, most_iterations=2)
    assert point.outcome == "not converged"
    assert not point.is_minimum
    assert len(point.residuals) >= 3
    assert "after 2 iterations" in point.message


def test_cross_entropy_needs_a_smooth_activation():
    data, net = problem()
    with pytest.raises(ValueError, match="loss: expected mse with relu"):
        zl.stationary_point(net, data, 1e-3, "cross_entropy")


def test_dense_inputs():
    data = random_data(6, 5, 2)
    point = zl.stationary_point(random_network(data, 16, "relu"), data, 1e-2)
    assert point.kkt <= 1e-9
    assert zl.geometry.kkt_residual(point.network, data, 1e-2) <= 1e-9


def corner_problem(seed=0, biases=0):
    """A random network with pinned pairs, with or without biases of the outputs, and its model around them."""
    data = random_data(6, 4, 2)
    random = np.random.default_rng(seed)
    problem = Problem(data, 0.0, 1.0, 0.05, Trace())
    E, W = random.standard_normal((4, 5)), random.standard_normal((5 + biases, 2))
    pinned = np.zeros((6, 5), dtype=bool)
    pinned[[0, 3, 2], [0, 0, 3]] = True
    return problem, CornerModel(problem, problem.pin(E, W, pinned))


@pytest.mark.parametrize("biases", [0, 1])
def test_the_metric_and_the_hessian_are_symmetric(biases):
    """Also for vectors that would move pinned pairs off their kinks."""
    _, model = corner_problem(biases=biases)
    random = np.random.default_rng(1)
    for product in (model.multiply_metric, model.multiply, model.solve):
        for _ in range(5):
            a, b = random.standard_normal((2, model.size))
            assert a @ product(b) == pytest.approx(b @ product(a), rel=1e-10)
    v = random.standard_normal(model.size)
    np.testing.assert_allclose(model.solve(model.multiply_metric(v)), v, atol=1e-10)


@pytest.mark.parametrize("biases", [0, 1])
def test_the_smallest_curvature_is_that_of_the_reduced_pencil(biases):
    """The oracle is dense algebra on a basis of the directions that keep pinned pairs pinned.

    Biases of the outputs, the last row of W, do not occur in the second derivatives of −Λ · F.
    """
    problem, model = corner_problem(biases=biases)
    X, state = problem.data.X_train, model.state
    constraints = []
    for i, u in zip(*np.nonzero(state.corner.pinned), strict=True):
        row = np.zeros(state.E.shape)
        row[:, u] = X[i]
        constraints.append(model.flatten(row, np.zeros_like(state.W)))
    B = scipy.linalg.null_space(np.array(constraints))
    assert B.shape[1] == model.size - 3
    delta, columns = problem.delta, []
    for v in np.eye(model.size):
        V, U = model.split(v)
        dF = (state.S * (X @ V)) @ state.W[:5] + (state.S * (X @ state.E)) @ U[:5]
        columns.append((dF + (U[5] if biases else 0)).ravel())
    J = np.array(columns).T
    bend = np.zeros((model.size, model.size))  # the second derivatives of −Λ · F
    at_W = state.E.size
    h, d_out = 5, 2
    for u in range(h):
        for k in range(d_out):
            column = -X.T @ (state.S[:, u] * state.multiplier[:, k])
            bend[np.arange(4) * h + u, at_W + u * d_out + k] = column
            bend[at_W + u * d_out + k, np.arange(4) * h + u] = column
    M = np.eye(model.size) + J.T @ J / delta
    values = scipy.linalg.eigh(B.T @ (M + bend) @ B, B.T @ M @ B, eigvals_only=True)
    found = smallest_in_metric(Metric(model, delta), model.size, 1e-9)
    assert values[0] < -0.1
    assert found.value == pytest.approx(values[0], rel=1e-7)


def test_dead_units_alone_are_no_error():
    data = zl.datasets.from_arrays(np.eye(3), np.zeros((3, 2)))
    start = zl.networks.from_arrays(np.zeros((3, 4)), np.ones((4, 2)), activation="leaky_relu(0.1)")
    point = zl.stationary_point(start, data, 1e-3)
    assert point.is_minimum
    assert point.kkt == 0
    assert not flat(point.network.E, point.network.W).any()


@pytest.mark.parametrize("decay", [0.3, 1])
def test_a_large_decay_ends_at_zero(decay):
    """No new unit has a gain there, so θ = 0 is a strict minimum."""
    data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    point = zl.stationary_point(zl.networks.uniform_fan_in(data, hidden=24, seed=1), data, decay)
    assert point.outcome == "minimum"
    assert point.kkt == point.active_units == point.rank == 0
    assert point.new_unit_gain < -0.1
    assert point.objective == pytest.approx(np.mean(data.Y_train**2), rel=1e-14)


@pytest.mark.parametrize("start", ["zero", "dead", "dead layer"])
def test_dead_networks_continue_with_new_units(start):
    """The samples exert no force on θ, but θ = 0 is a saddle: new units decrease Φ."""
    random = np.random.default_rng(0)
    data = zl.datasets.from_arrays(np.abs(random.normal(size=(3, 4))), random.normal(size=(3, 2)))
    E, W = -np.abs(random.normal(size=(4, 5))), random.normal(size=(5, 2))
    net = zl.networks.from_arrays(E * (start == "dead"), W * (start != "zero"), activation="relu")
    assert not net(data.X_train).any()
    point = zl.stationary_point(net, data, 1e-3)
    assert point.outcome in ("minimum", "flat")
    assert point.active_units >= 1
    assert point.new_unit_gain <= 1e-6
    assert point.objective < 0.9 * np.mean(data.Y_train**2)
    large = zl.stationary_point(net, data, 30.0)
    assert large.is_minimum
    assert large.active_units == 0
    assert large.new_unit_gain < 0


def test_a_new_unit_has_the_best_size():
    """φ along (√ε e, √ε w) has its minimum at the unit that starts."""
    data = random_data(6, 4, 2)
    problem = Problem(data, 0.0, 1.0, 0.05, Trace())
    zero = problem.pin(np.zeros((4, 3)), np.zeros((3, 2)), np.ones((6, 3), dtype=bool))
    unit = start_unit(problem, zero)
    values = [
        problem.state(np.sqrt(factor) * unit.E, np.sqrt(factor) * unit.W, unit.corner.pinned).value
        for factor in (0.99, 1, 1.01)
    ]
    assert values[1] < min(values[0], values[2])
    assert values[1] < zero.value


def test_samples_without_inputs_leave_only_the_decay():
    data = zl.datasets.from_arrays(np.zeros((3, 4)), random_data(3, 4, 2).Y_train)
    point = zl.stationary_point(random_network(data, 5, "relu"), data, 1e-2)
    assert point.is_minimum
    assert not flat(point.network.E, point.network.W).any()


@pytest.mark.parametrize("activation", ["relu", "leaky_relu(0.1)"])
@pytest.mark.parametrize("scale", [1.0, 1e90])
def test_extreme_weights_end_with_an_outcome(activation, scale):
    """Rounding makes the metric singular, which is a message and not an error."""
    data, random = random_data(5, 6, 4), np.random.default_rng(0)
    E, W = 1e10 * scale * random.normal(size=(6, 3)), 1e10 / scale * random.normal(size=(3, 4))
    net = zl.networks.from_arrays(E, W, activation=activation)
    point = zl.stationary_point(net, data, 1e-2, slow_time=0, most_iterations=20)
    assert point.outcome == "not converged"


def test_projectors_that_do_not_fit_are_an_error(monkeypatch):
    """The directions of units with pinned pairs need d_in² numbers each."""
    problem, model = corner_problem()
    monkeypatch.setattr("zeroloss._resources.available_memory", lambda: 380)
    with pytest.raises(ValueError, match="the directions of 3 sets of pinned pairs: expected to fit in"):
        CornerModel(problem, model.state)
    monkeypatch.setattr("zeroloss._resources.available_memory", lambda: 450)
    with pytest.raises(ValueError, match="the projectors of 2 units: expected to fit in"):
        CornerModel(problem, model.state)


def test_searches_check_their_memory_before_they_start(monkeypatch):
    """Each unit may have directions of its own at the end."""
    data = random_data(2, 40, 1)
    net = random_network(data, 5, "leaky_relu(0.1)")
    on_set = zl.geometry.project(net, data).network
    monkeypatch.setattr("zeroloss._resources.available_memory", lambda: 3 * 8 * 5 * 40**2 - 1)
    monkeypatch.setattr("zeroloss.end_states.kinked.simulate", None)  # it is not called
    for search in (
        lambda: zl.stationary_point(net, data, 1e-2),
        lambda: zl.end_states.least_norm_point(on_set, data),
    ):
        with pytest.raises(ValueError, match="5 units can move along their kinks, 40 inputs each: expected to"):
            search()


def test_units_without_freedom_do_not_move():
    """All pairs of the second unit are pinned, so its E_u is 0. Others are projected or move freely."""
    data = random_data(6, 4, 2)
    problem, random = Problem(data, 0.0, 1.0, 0.05, Trace()), np.random.default_rng(0)
    pinned = np.zeros((6, 3), dtype=bool)
    pinned[:, 1], pinned[0, 2] = True, True
    state = problem.pin(random.standard_normal((4, 3)), random.standard_normal((3, 2)), pinned)
    V = random.standard_normal((4, 3))
    projected = CornerModel(problem, state).project(V)
    x = data.X_train[0] / np.linalg.norm(data.X_train[0])
    np.testing.assert_array_equal(projected[:, 0], V[:, 0])
    assert not projected[:, 1].any()
    assert not state.E[:, 1].any()
    np.testing.assert_allclose(projected[:, 2], V[:, 2] - x * (x @ V[:, 2]), atol=1e-14)
