"""The gradient flow at finite weight decay: oracles, order, methods, kinks, extension, threads, bad input."""

import itertools
import math

import numpy as np
import pytest
import scipy.integrate

import zeroloss as zl
from problems import ACTIVATIONS, LEVELS, kernels_of, random_data, random_network, same_bits
from zeroloss.datasets import kernel_samples
from zeroloss.networks import kernel_activation

LOSSES = [("mse", "mean"), ("mse", "sum"), ("cross_entropy", "mean")]


def problem(activation="softplus(5)", loss="mse", seed=0):
    """Return p = 5 with 8 hidden units, and a network that has begun to learn."""
    data = zl.datasets.modular_addition(5, test_count=3, seed=seed)
    net = zl.networks.uniform_fan_in(data, hidden=8, seed=seed + 1, activation=activation, dtype="float64")
    return data, zl.simulate(zl.GradientDescent(lr=0.2, loss=loss), data, net, steps=50).network


def theta_of(net):
    return np.concatenate([net.E.ravel(), net.W.ravel()])


def slope_of(data, net, weight_decay=0.0, loss="mse", reduction="mean"):
    _, gE, gW = zl.loss_and_gradient(net, data, loss=loss, reduction=reduction)
    return -(np.concatenate([gE.ravel(), gW.ravel()]) + weight_decay * theta_of(net))


def with_parameters(net, theta):
    E, W = np.split(theta, [net.E.size])
    return zl.networks.from_arrays(E.reshape(net.E.shape), W.reshape(net.W.shape), activation=net.activation)


def exact(data, net, time, weight_decay=0.0, loss="mse", reduction="mean"):
    """Return θ after a time, by an explicit method of order 8 with tolerances near rounding."""
    result = scipy.integrate.solve_ivp(
        lambda _, theta: slope_of(data, with_parameters(net, theta), weight_decay, loss, reduction),
        (0, time),
        theta_of(net),
        method="DOP853",
        rtol=1e-12,
        atol=1e-13,
    )
    return result.y[:, -1]


def chebyshev_step(f, y, h, m):
    """Return y after one step, from the formulas of Sommeijer, Shampine and Verwer with hyperbolic functions."""
    w0 = 1 + 2 / 13 / m**2
    root, angle = math.sqrt(w0**2 - 1), math.acosh(w0)
    T = [math.cosh(j * angle) for j in range(m + 1)]
    dT = [j * math.sinh(j * angle) / root for j in range(m + 1)]
    ddT = [(j**2 * T[j] - w0 * dT[j] / 1) / root**2 if j else 0.0 for j in range(m + 1)]
    w1 = dT[m] / ddT[m]
    b = [ddT[2] / dT[2] ** 2] * 2 + [ddT[j] / dT[j] ** 2 for j in range(2, m + 1)]
    f0, Y = f(y), [y]
    Y.append(y + b[1] * w1 * h * f0)
    for j in range(2, m + 1):
        mu, nu, mu_tilde = 2 * b[j] * w0 / b[j - 1], -b[j] / b[j - 2], 2 * b[j] * w1 / b[j - 1]
        gamma = -(1 - b[j - 1] * T[j - 1]) * mu_tilde
        Y.append((1 - mu - nu) * y + mu * Y[-1] + nu * Y[-2] + mu_tilde * h * f(Y[-1]) + gamma * h * f0)
    return Y[-1]


def kernel_step(data, net, h, m, weight_decay, loss, reduction, level=LEVELS[-1], threads=1):
    """Return θ and the slope after one step of the kernel, and its error in units of 1e-3 (1 + |θ|)."""
    kernels = kernels_of(level)
    kind, _, text = net.activation.rstrip(")").partition("(")
    if level == LEVELS[-1]:
        samples, activation = kernel_samples(data, "train", np.dtype("float64")), kernel_activation(net)
    else:
        samples = kernels.Samples64(np.asarray(data.X_train).copy(), data.Y_train)
        activation = kernels.Activation(kind, float(text or 0.01))
    solver = kernels.RungeKuttaChebyshev(
        samples, activation, kernels.Loss(loss, reduction), weight_decay, net.hidden, threads
    )
    start = with_parameters(net, slope_of(data, net, weight_decay, loss, reduction))
    E, W, slope_E, slope_W = net.E.copy(), net.W.copy(), start.E.copy(), start.W.copy()
    error = solver.step(E, W, slope_E, slope_W, size=h, stages=m, rtol=1e-3, atol=1e-3)
    return np.concatenate([E.ravel(), W.ravel()]), np.concatenate([slope_E.ravel(), slope_W.ravel()]), error


@pytest.mark.parametrize(("loss", "reduction"), LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("rows", ["dense", "sparse"])
def test_a_step_agrees_with_its_formulas(activation, loss, reduction, rows):
    """The stages add up m² roundings of θ and of the slope; 1e-12 is a hundred times the bound for m = 7."""
    data = random_data(9, 6, 4, rows)
    if loss == "cross_entropy":
        data = zl.datasets.from_arrays(data.X_train, np.abs(data.Y_train), rows=rows)
    net, h, m = random_network(data, 11, activation, std=0.4), 0.05, 7
    settings = (0.01, loss, reduction)
    theta, slope, error = kernel_step(data, net, h, m, *settings)
    f = lambda y: slope_of(data, with_parameters(net, y), *settings)  # noqa: E731
    expected = chebyshev_step(f, theta_of(net), h, m)
    scale = max(np.abs(expected).max(), h * np.abs(f(expected)).max())
    assert np.abs(theta - expected).max() <= 1e-12 * scale
    assert np.abs(slope - f(expected)).max() <= 1e-11 * max(scale, np.abs(f(expected)).max()) / h
    estimate = 0.8 * (theta_of(net) - expected) + 0.4 * h * (f(theta_of(net)) + f(expected))
    allowed = 1e-3 + 1e-3 * np.maximum(np.abs(theta_of(net)), np.abs(expected))
    assert error == pytest.approx(np.sqrt(np.mean((estimate / allowed) ** 2)), rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("level", LEVELS[:-1])
def test_a_step_agrees_on_every_level(level):
    data, net = problem()
    expected, *_ = kernel_step(data, net, 3.0, 9, 0.01, "mse", "mean")
    theta, *_ = kernel_step(data, net, 3.0, 9, 0.01, "mse", "mean", level)
    assert np.abs(theta - expected).max() <= 1e-12 * np.abs(expected).max()


def test_a_step_is_of_second_order():
    """The error of one step falls with the third power of its size."""
    data, net = problem("tanh")
    errors = []
    for h in (1.0, 0.5, 0.25):
        theta, *_ = kernel_step(data, net, h, 6, 0.01, "mse", "mean")
        errors.append(np.linalg.norm(theta - exact(data, net, h, 0.01)))
    assert all(7 < before / after < 9 for before, after in itertools.pairwise(errors))


@pytest.mark.parametrize(("loss", "reduction"), LOSSES)
@pytest.mark.parametrize("activation", ["tanh", "gelu", "softplus(5)", "square", "identity"])
def test_the_flow_agrees_with_an_integrator_of_high_order(activation, loss, reduction):
    data, net = problem(activation, loss)
    flow = zl.GradientFlow(weight_decay=0.01, rtol=1e-6, loss=loss, reduction=reduction)
    time = 2.0 if reduction == "mean" else 0.05
    run = zl.simulate(flow, data, net, duration=time)
    expected = exact(data, net, time, 0.01, loss, reduction)
    assert float(run.history.time[-1]) == time
    assert np.linalg.norm(theta_of(run.network) - expected) <= 1e-4 * np.linalg.norm(expected)


def test_the_error_falls_with_the_tolerance_as_of_second_order():
    """An error of order h² with local errors of order h³ ∝ tolerance falls with tolerance^(2/3): 22 for 100."""
    data, net = problem()
    expected = exact(data, net, 300.0, 1e-3)
    errors = []
    for rtol in (1e-4, 1e-6):
        run = zl.simulate(zl.GradientFlow(weight_decay=1e-3, rtol=rtol), data, net, duration=300.0)
        errors.append(np.linalg.norm(theta_of(run.network) - expected))
    assert 10 < errors[0] / errors[1] < 50


def test_the_number_of_stages_grows_with_the_square_root_of_the_step():
    data, net = problem()
    run = zl.simulate(zl.GradientFlow(weight_decay=1e-4), data, net, duration=5000.0, record_every=1)
    h = run.history.isel(step=slice(1, -1))
    bound = np.ceil(np.sqrt(1 + 1.54 * h.step_size * 1.1 * h.spectral_radius.max()))
    assert (h.stages <= bound).all()
    assert float(h.stages.max()) > 10


def test_the_norm_flow_is_the_limit_of_vanishing_decay():
    """The distance at s = 0.2 falls in proportion to the weight decay."""
    data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=24, seed=100, activation="softplus(5)", dtype="float64")
    net = zl.simulate(zl.GradientDescent(lr=0.5), data, net, steps=4000).network
    net = zl.geometry.project(net, data, tolerance=1e-12).network
    limit = zl.simulate(zl.NormFlow(rtol=1e-8), data, net, duration=0.2).network
    distances = []
    for weight_decay in (1e-4, 1e-5):
        flow = zl.GradientFlow(weight_decay=weight_decay, rtol=1e-7)
        network = zl.simulate(flow, data, net, duration=0.2 / weight_decay).network
        distances.append(np.linalg.norm(theta_of(network) - theta_of(limit)))
    assert distances[0] / distances[1] == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize(("activation", "a"), [("relu", 0.0), ("leaky_relu(0.1)", 0.1)])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_an_implicit_step_solves_its_equation(activation, a, reduction):
    """θ = c − (h/q) ∇loss, and pairs pinned at the kink have a slope between the slopes of its two sides."""
    data, net = problem(activation)
    flow = zl.GradientFlow(weight_decay=1e-2, rtol=1e-2, method="proximal", reduction=reduction)
    stepper = flow.start(data, net)
    assert stepper.advance(1).finite
    after, h, sides = stepper.network(), float(stepper.state["step_size"]), stepper.state["sides"]
    X, Z = data.X_train, data.X_train @ after.E
    np.testing.assert_array_equal(sides[np.abs(Z) > 1e-9], (Z > 0)[np.abs(Z) > 1e-9])
    H = np.where(np.abs(Z) > 1e-9, np.maximum(Z, a * Z), 0)
    G = 2 * (H @ after.W - data.Y_train) / (1 if reduction == "sum" else data.Y_train.size)
    gradient = np.concatenate([(X.T @ ((G @ after.W.T) * (a + (1 - a) * sides))).ravel(), (H.T @ G).ravel()])
    q = 1 + 1e-2 * h
    residual = theta_of(after) - theta_of(net) / q + h / q * gradient
    assert np.linalg.norm(residual) <= 1e-3 * np.linalg.norm(theta_of(after) - theta_of(net))
    assert float(stepper.state["evaluations"]) == 1


@pytest.mark.parametrize("activation", ["relu", "leaky_relu(0.1)"])
@pytest.mark.parametrize(("method", "rtol", "bound"), [("chebyshev", 1e-2, 0.03), ("proximal", 1e-3, 0.02)])
def test_both_methods_follow_descent_with_kinks(activation, method, rtol, bound):
    """Descent with a small rate is the reference. The time is short enough for the flow not to branch."""
    data, net = problem(activation)
    descent = zl.simulate(zl.GradientDescent(lr=0.01, weight_decay=1e-2), data, net, steps=5000).network
    run = zl.simulate(zl.GradientFlow(weight_decay=1e-2, rtol=rtol, method=method), data, net, duration=50.0)
    assert np.linalg.norm(theta_of(run.network) - theta_of(descent)) <= bound * np.linalg.norm(theta_of(descent))


def test_a_first_step_that_is_too_long_is_rejected(monkeypatch):
    """A step of 1000 / λ from the initial network would land on another solution."""
    data = zl.datasets.modular_addition(11, test_count=7, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=128, seed=100, dtype="float64")
    flow = zl.GradientFlow(weight_decay=1e-4, rtol=1e-2, method="proximal")
    expected = zl.simulate(flow, data, net, duration=20.0)
    monkeypatch.setattr("zeroloss.dynamics.softened_proximal._FIRST", 1000.0)
    run = zl.simulate(flow, data, net, duration=20.0)
    assert int(run.history.rejected_steps[-1]) > int(expected.history.rejected_steps[-1]) + 2
    assert np.linalg.norm(theta_of(run.network) - theta_of(expected.network)) < 0.02 * np.linalg.norm(theta_of(net))


@pytest.mark.parametrize("method", ["chebyshev", "proximal"])
def test_extensions_and_saved_runs_continue_with_the_same_bits(method, tmp_path):
    data, net = problem("relu")
    flow = zl.GradientFlow(weight_decay=1e-3, rtol=1e-2, method=method)
    long = zl.simulate(flow, data, net, duration=60.0, record_every=5)
    run = zl.simulate(flow, data, net, duration=11.0, record_every=5)
    run.save(tmp_path / "run")
    run.extend(duration=49.0)
    assert same_bits(theta_of(run.network), theta_of(long.network))
    assert run.history.identical(long.history)
    loaded = zl.simulate(flow, data, net, steps=4, record_every=5)
    loaded.extend(duration=60.0 - float(loaded.history.time[-1]))
    assert same_bits(theta_of(loaded.network), theta_of(long.network))


@pytest.mark.parametrize("method", ["chebyshev", "proximal"])
def test_bits_do_not_depend_on_threads(method):
    data = zl.datasets.modular_addition(23, test_count=40, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=300, seed=1, dtype="float64")
    flow = zl.GradientFlow(weight_decay=1e-3, rtol=1e-2, method=method)
    one, two = (zl.simulate(flow, data, net, steps=3, threads=threads) for threads in (1, 2))
    assert same_bits(theta_of(one.network), theta_of(two.network))
    assert one.history.identical(two.history)


def test_time_slow_time_events_and_stopping_rules():
    data, net = problem()
    flow = zl.GradientFlow(weight_decay=1e-2)
    run = zl.simulate(flow, data, net, duration=200.0, record_every=1, events=["norm_E <= 2"], stop=["slow_time >= 1"])
    np.testing.assert_array_equal(run.history.slow_time, 1e-2 * run.history.time)
    assert 1 <= float(run.history.slow_time[-1]) < 2
    assert float(run.history.slow_time[-2]) < 1
    below = np.flatnonzero(run.history.norm_E <= 2)
    assert run.events["norm_E <= 2"] == (int(run.history.step[below[0]]) if below.size else None)


@pytest.mark.parametrize("method", ["chebyshev", "proximal"])
def test_the_gradient_norm_is_that_of_the_slope(method):
    data, net = problem("relu")
    stepper = zl.GradientFlow(weight_decay=1e-2, rtol=1e-2, method=method).start(data, net)
    stepper.advance(3)
    expected = np.linalg.norm(slope_of(data, stepper.network(), 1e-2))
    assert stepper.gradient_norm() == pytest.approx(expected, rel=1e-10)


def test_without_decay_the_loss_falls_and_slow_time_stays_zero():
    data, net = problem()
    run = zl.simulate(zl.GradientFlow(), data, net, duration=50.0, record_every=1)
    assert (np.diff(run.history.train_loss) < 0).all()
    assert (run.history.slow_time == 0).all()


def test_a_flow_at_rest_ends_at_its_time():
    """All outputs and targets are zero, so nothing moves and the Hessian is zero."""
    data = zl.datasets.from_arrays(np.eye(3), np.zeros((3, 2)))
    net = zl.networks.from_arrays(np.zeros((3, 4)), np.zeros((4, 2)), activation="tanh")
    run = zl.simulate(zl.GradientFlow(), data, net, duration=1e6)
    assert float(run.history.time[-1]) == 1e6
    assert run.outcome.ending.can_continue
    assert not theta_of(run.network).any()


def test_a_flow_that_is_not_finite_is_reported():
    data = zl.datasets.from_arrays(np.eye(3), np.full((3, 2), 1e200))
    net = zl.networks.normal(data, hidden=4, std=1e3, seed=0, activation="square")
    run = zl.simulate(zl.GradientFlow(), data, net, duration=1.0)
    assert not run.outcome.ending.can_continue
    assert "finite" in str(run.outcome)


@pytest.mark.parametrize(
    ("activation", "settings", "method"),
    [
        ("softplus(5)", {"weight_decay": 1e-9}, "chebyshev"),
        ("relu", {"weight_decay": 1e-4}, "chebyshev"),
        ("relu", {"weight_decay": 1e-8}, "proximal"),
        ("leaky_relu(0.1)", {"weight_decay": 1e-8}, "proximal"),
        ("relu", {"weight_decay": 1e-6, "reduction": "sum"}, "proximal"),
        ("relu", {"weight_decay": 1e-8, "loss": "cross_entropy"}, "chebyshev"),
        ("relu", {"weight_decay": 0.0}, "chebyshev"),
        ("relu", {"weight_decay": 1e-4, "method": "proximal"}, "proximal"),
    ],
)
def test_the_method_is_chosen_by_activation_and_decay(activation, settings, method):
    data, net = problem(activation)
    flow = zl.GradientFlow(**settings)
    assert flow.choose_method(data, net) == method
    assert str(zl.simulate(flow, data, net, steps=1).outcome).endswith(f"by the method {method}")


def start_of(activation="relu", dtype="float64", **settings):
    data = zl.datasets.modular_addition(5, test_count=3, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=8, seed=1, activation=activation, dtype=dtype)
    return zl.simulate(zl.GradientFlow(**settings), data, net, duration=1.0)


BAD = [
    ({"weight_decay": -1.0}, "weight_decay: "),
    ({"weight_decay": math.nan}, "weight_decay: "),
    ({"rtol": 0.0}, "rtol: "),
    ({"atol": -1.0}, "atol: "),
    ({"method": "implicit"}, "method: "),
    ({"loss": "hinge"}, "loss: "),
    ({"reduction": "max"}, "reduction: "),
    ({"method": "proximal"}, "method: 'proximal' needs weight_decay above 0"),
    ({"method": "proximal", "weight_decay": 1e-3, "loss": "cross_entropy"}, "method: 'proximal' needs loss 'mse'"),
    ({"method": "proximal", "weight_decay": 1e-3, "activation": "tanh"}, "method: 'proximal' is for relu"),
    ({"dtype": "float32"}, "network: "),
]


@pytest.mark.parametrize(("settings", "message"), BAD, ids=[message for _, message in BAD])
def test_invalid_arguments_are_rejected(settings, message):
    with pytest.raises((ValueError, TypeError)) as error:
        start_of(**settings)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("activation", "expected"), [("relu", 1e-2), ("leaky_relu(0.1)", 1e-2), ("tanh", 1e-4)])
def test_the_default_tolerance_depends_on_kinks(activation, expected):
    data, net = problem(activation)
    default, stated = (zl.simulate(zl.GradientFlow(1e-3, rtol), data, net, duration=5.0) for rtol in (None, expected))
    assert same_bits(theta_of(default.network), theta_of(stated.network))


@pytest.mark.parametrize(
    ("size", "activation", "advice"), [(1e150, "tanh", "lower the duration"), (1e200, "square", "lower rtol")]
)
def test_advice_fits_adaptive_steps(size, activation, advice):
    """Targets so large that steps are too short for the duration, or that the Hessian overflows."""
    data = zl.datasets.from_arrays(np.eye(3), np.full((3, 2), size))
    net = zl.networks.normal(data, hidden=4, std=1.0, seed=0, activation=activation)
    outcome = str(zl.simulate(zl.GradientFlow(1e-3), data, net, duration=1.0).outcome)
    assert outcome.endswith(advice)
    assert "step_size" not in outcome
