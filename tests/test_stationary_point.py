"""End states of networks with smooth activations, against dense algebra, descent and reference numbers."""

import numpy as np
import pytest

import zeroloss as zl
from problems import flat, random_data, random_network, relative

stationary_point = zl.stationary_point

SMOOTH = ("identity", "square", "tanh", "gelu", "softplus(5)")


def small_problem(activation="softplus(5)"):
    """The first reference problem: p = 5, h = 24."""
    data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    return data, zl.networks.uniform_fan_in(data, hidden=24, seed=100, activation=activation)


def gradient(net, data, decay, loss="mse", reduction="mean"):
    """Return ∇Φ."""
    return flat(*zl.loss_and_gradient(net, data, loss, reduction)[1:]) + decay * flat(net.E, net.W)


def check_certificate(point, data, loss="mse", reduction="mean"):
    """Compare the certificate of a minimum with the gradient, and with all eigenvalues of the Hessian."""
    net, decay = point.network, point.weight_decay
    theta = flat(net.E, net.W)
    assert point.kkt == pytest.approx(
        np.linalg.norm(gradient(net, data, decay, loss, reduction)) / (decay * np.linalg.norm(theta)), rel=1e-2
    )
    assert point.kkt <= 1e-9
    value = float(zl.loss_and_gradient(net, data, loss, reduction)[0]) + decay / 2 * theta @ theta
    assert point.objective == pytest.approx(value, rel=1e-14)
    values = zl.curvature.spectrum(net, data, loss, reduction, decay)
    if point.is_minimum:
        assert values[-1] > 0
        assert point.smallest_curvature > 1e-7
    assert len(point.residuals) == 1 + point.flow_steps + point.iterations
    assert point.residuals[-1] == point.kkt


def test_the_first_reference_problem():
    """The oracle is descent itself after 4·10⁶ steps. The eigenvalue is 0.18885 of the decay."""
    data, net = small_problem()
    run = zl.simulate(zl.GradientDescent(lr=0.5, weight_decay=1e-4), data, net, steps=20_000, progress=False)
    point = stationary_point(run.network, data, 1e-4)
    assert point.outcome == "minimum"
    assert point.objective == pytest.approx(0.001547693851, abs=1e-12)
    assert flat(point.network.E, point.network.W) @ flat(point.network.E, point.network.W) == pytest.approx(30.87537026)
    values = zl.curvature.spectrum(point.network, data, weight_decay=1e-4)
    assert values[-1] / 1e-4 == pytest.approx(0.18885, abs=1e-5)
    assert (point.active_units, point.rank) == (11, 65)
    check_certificate(point, data)


def test_the_saddle_of_long_descent_is_not_certified():
    """10⁶ steps of descent end near a saddle. With the flow and without it, the search leaves it."""
    data, net = small_problem()
    descent = zl.GradientDescent(lr=0.5, weight_decay=1e-4)
    saddle = zl.simulate(descent, data, net, steps=1_000_000, record_every=10**6, progress=False).network
    assert zl.geometry.kkt_residual(saddle, data, 1e-4) < 3e-3
    assert zl.curvature.spectrum(saddle, data, weight_decay=1e-4)[-1] < -0.08e-4
    for slow_time in (0, 20):
        point = stationary_point(saddle, data, 1e-4, slow_time=slow_time)
        assert point.is_minimum
        assert point.objective == pytest.approx(0.001547693851, abs=1e-12)


def test_an_exact_saddle_is_left_in_both_directions():
    """θ = 0 is a saddle: the flow and Newton's method would stay there for ever."""
    data = random_data(9, 4, 3)
    start = zl.networks.from_arrays(np.zeros((4, 5)), np.zeros((5, 3)), activation="tanh")
    assert zl.curvature.smallest(start, data, 0.01).value < -0.1
    point = stationary_point(start, data, 0.01)
    assert point.kkt <= 1e-9
    assert point.outcome in ("minimum", "flat")
    assert point.objective < 0.9 * np.mean(data.Y_train**2)


def test_the_second_reference_problem():
    data = zl.datasets.modular_addition(11, test_count=7, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=128, seed=100, activation="softplus(5)")
    run = zl.simulate(zl.GradientDescent(lr=1.0, weight_decay=1e-3), data, net, steps=4000, progress=False)
    point = stationary_point(run.network, data, 1e-3)
    assert point.is_minimum
    assert point.objective == pytest.approx(0.0417448412527, abs=1e-12)
    assert point.kkt <= 1e-9
    assert point.smallest_curvature == pytest.approx(0.0207, abs=1e-4)
    assert point.active_units == 25
    assert point.rank == 649 - 78
    assert flat(point.network.E, point.network.W) @ flat(point.network.E, point.network.W) == pytest.approx(71.273830)


@pytest.mark.parametrize("activation", SMOOTH)
@pytest.mark.parametrize(("loss", "reduction"), [("mse", "sum"), ("cross_entropy", "mean"), ("cross_entropy", "sum")])
def test_every_smooth_activation_and_loss(activation, loss, reduction):
    """Minima of linear networks are not strict: all products of E with a rotation have the same objective."""
    data, net = small_problem(activation)
    point = stationary_point(net, data, 1e-3 if reduction == "mean" else 1e-2, loss, reduction)
    assert point.outcome == ("flat" if activation == "identity" else "minimum")
    check_certificate(point, data, loss, reduction)


def test_the_loss_vanishes_as_the_square_of_the_decay():
    """L/weight_decay² tends to 394.4 on the first reference problem."""
    data, net = small_problem()
    ratios = []
    for decay in (1e-5, 1e-6, 1e-7):
        point = stationary_point(net, data, decay)
        assert point.is_minimum
        net = point.network
        ratios.append(float(zl.loss_and_gradient(net, data)[0]) / decay**2)
    assert ratios[-1] == pytest.approx(394.4, rel=1e-3)
    assert abs(ratios[1] - 394.4) < abs(ratios[0] - 394.4)


def test_a_large_decay_ends_at_zero():
    """tanh and gelu have σ(0) = 0, so θ = 0 is stationary."""
    data, net = small_problem("gelu")
    point = stationary_point(net, data, 0.1)
    assert point.is_minimum
    assert not flat(point.network.E, point.network.W).any()
    assert point.objective == pytest.approx(np.mean(data.Y_train**2))


@pytest.mark.parametrize("decay", [1.0, 10.0, 1e300])
def test_the_decay_that_ends_at_zero_may_be_very_large(decay):
    """The flow leaves almost nothing of θ, and rounding hides the progress of Newton's method."""
    data = random_data(3, 4, 2)
    point = stationary_point(random_network(data, 5, "gelu"), data, decay)
    assert point.is_minimum
    assert point.kkt == 0
    assert not flat(point.network.E, point.network.W).any()


@pytest.mark.parametrize("activation", ["gelu", "identity", "tanh"])
def test_samples_without_inputs_leave_only_the_decay(activation):
    data = zl.datasets.from_arrays(np.zeros((3, 4)), random_data(3, 4, 2).Y_train)
    point = stationary_point(random_network(data, 5, activation), data, 1e-2)
    assert point.is_minimum
    assert point.kkt == 0
    assert not flat(point.network.E, point.network.W).any()


@pytest.mark.filterwarnings("error")
def test_huge_data_are_no_warning():
    data = random_data(3, 4, 2)
    data = zl.datasets.from_arrays(1e150 * data.X_train, 1e150 * data.Y_train)
    for activation in ("gelu", "relu"):
        point = stationary_point(random_network(data, 5, activation), data, 1e-3, slow_time=1)
        assert not point.is_minimum


def test_the_search_decreases_the_objective():
    data, net = small_problem("tanh")
    point = stationary_point(net, data, 1e-2)
    start = float(zl.loss_and_gradient(net, data)[0]) + 0.5e-2 * flat(net.E, net.W) @ flat(net.E, net.W)
    assert point.objective < start
    again = stationary_point(point.network, data, 1e-2)
    assert relative(again.network.E, point.network.E) < 1e-6
    assert again.flow_steps == again.iterations == 0


def test_no_convergence_is_an_outcome():
    data, net = small_problem()
    point = stationary_point(net, data, 1e-4, slow_time=0, most_iterations=3)
    assert point.outcome == "not converged"
    assert not point.is_minimum
    assert "after 3 iterations" in point.message
    assert len(point.residuals) == 4
    assert np.isnan(point.smallest_curvature)
    rounded = stationary_point(net, data, 1e-4, tolerance=1e-30)
    assert rounded.outcome == "not converged"
    assert "rounding" in rounded.message


def test_a_network_in_float32_is_converted():
    data, net = small_problem("tanh")
    assert stationary_point(net.astype("float32"), data, 1e-2).network.dtype == np.float64


def test_the_result_is_short():
    data, net = small_problem()
    point = stationary_point(net, data, 1e-3)
    assert repr(point).startswith("StationaryPoint(minimum: objective 0.0151274982")
    assert len(repr(point)) < 160
    assert "stationary_point" in str(point.network.settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight_decay": 0}, "weight_decay: expected a number above 0"),
        ({"weight_decay": float("nan")}, "weight_decay: expected a finite number"),
        ({"loss": "hinge"}, "loss: expected one of"),
        ({"reduction": "max"}, "reduction: expected one of"),
        ({"slow_time": -1}, "slow_time: expected a number of at least 0"),
        ({"tolerance": 0}, "tolerance: expected a number above 0"),
        ({"most_iterations": 0}, "most_iterations: expected an integer of at least 1"),
        ({"threads": 0}, "threads: expected an integer of at least 1"),
        ({"revive": "no"}, "revive: expected a bool, got str"),
    ],
)
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_bad_arguments_are_named(activation, arguments, message):
    data = random_data(5, 6, 4)
    with pytest.raises((ValueError, TypeError), match=message):
        stationary_point(random_network(data, 3, activation), data, **{"weight_decay": 1e-2, **arguments})


def test_a_loss_that_overflows_is_an_error():
    data = random_data(5, 6, 4)
    net = zl.networks.from_arrays(np.full((6, 3), 1e160), np.full((3, 4), 1e160), activation="softplus")
    with pytest.raises(ValueError, match="net: expected a network with a finite loss"):
        stationary_point(net, data, 1e-2)


def test_sizes_that_do_not_fit_are_an_error(monkeypatch):
    monkeypatch.setattr("zeroloss._resources.available_memory", lambda: 10**4)
    data, net = small_problem()
    with pytest.raises(ValueError, match="expected to fit in"):
        stationary_point(net, data, 1e-2)
