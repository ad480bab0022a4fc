"""Flows and end states with biases of the outputs, against their definitions with dense Jacobians."""

import numpy as np
import pytest
import scipy

import zeroloss as zl
from problems import same_bits
from test_biases import network
from test_biases_beyond_descent import DATA, jacobian, theta
from test_output_biases import BIASES, direction, gradient, hidden_units, move_to, on_set, retract
from zeroloss.geometry.solver import make_zero_loss_set


def violation(net, data, c, zero=1e-7, multiplier=None):
    """Return the distance of θ − c from the J_sᵀΛ, and Λ. If it is not given, it is determined by the part for W.

    The slopes s are between 0 and 1 for pairs with abs(z) ≤ zero, and the slopes of ReLU for the others.
    """
    X, Z, H = hidden_units(net, data)
    c_E, c_W = move_to(net, c).layers
    E, W = net.layers
    if multiplier is None:
        multiplier = np.linalg.lstsq(H.T, W - c_W)[0]
    rest = [np.linalg.norm(W - c_W - H.T @ multiplier)]
    g = multiplier @ net.W.T
    for u in range(net.hidden):
        pinned = np.abs(Z[:, u]) <= zero
        target = E[:, u] - c_E[:, u] - X[Z[:, u] > zero].T @ g[Z[:, u] > zero, u]
        if pinned.any():
            A = X[pinned].T * g[pinned, u]
            target = target - A @ scipy.optimize.lsq_linear(A, target, (0, 1), method="bvls").x
        rest.append(np.linalg.norm(target))
    return np.linalg.norm(rest), multiplier


@pytest.mark.parametrize("rows", DATA)
@pytest.mark.parametrize("bias", BIASES)
def test_euler_steps_of_the_norm_flow(rows, bias):
    """θ ← θ + 0.01 g, retracted by Gauss–Newton. Both retractions end within 1e-10 of the set."""
    data = DATA[rows]()
    net = expected = on_set(data, bias, activation="relu" if rows == "pairs" else "tanh")
    for _ in range(3):
        expected = retract(move_to(expected, theta(expected) + 0.01 * direction(expected, data)), data)
    run = zl.simulate(zl.NormFlow(step_size=0.01), data, net, steps=3)
    np.testing.assert_allclose(theta(run.network), theta(expected), atol=1e-8)


def integrate(slope, start, duration):
    return scipy.integrate.solve_ivp(lambda _, y: slope(y), (0, duration), start, rtol=1e-9, atol=1e-11).y[:, -1]


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("kind", ["norm flow", "gradient flow", "cross-entropy", "predicted gradient"])
def test_adaptive_flows_agree_with_scipy(kind, bias):
    """The distance to the exact flow is at most a few tolerances, and ten times smaller at a tenth of them."""
    data = DATA["pairs"]()
    net = on_set(data, bias, hidden=30, activation="tanh")
    decay, loss = 1e-2, "cross_entropy" if kind == "cross-entropy" else "mse"
    if kind == "norm flow":
        duration, make = 0.3, lambda rtol: zl.NormFlow(rtol=rtol)
        expected = integrate(lambda y: direction(move_to(net, y), data), theta(net), duration)
    elif kind == "predicted gradient":
        duration, make = 0.3, lambda rtol: zl.PredictedGradient(rtol=rtol, ridge=0.1)

        def slope(E):
            here = net.with_layers(E.reshape(net.layers[0].shape), net.layers[1])
            X, _, H = hidden_units(here, data)
            B = np.linalg.solve(H @ H.T + 0.1 * np.eye(len(H)), data.Y_train)
            W = H.T @ B
            return (X.T @ ((B @ W[:-1].T) * (1 - H[:, :-1] ** 2))).ravel() - E

        E = integrate(slope, net.layers[0].ravel(), duration)
        _, _, H = hidden_units(net.with_layers(E.reshape(net.layers[0].shape), net.layers[1]), data)
        W = H.T @ np.linalg.solve(H @ H.T + 0.1 * np.eye(len(H)), data.Y_train)
        expected = np.concatenate([E, W.ravel()])
    else:
        duration, make = 5.0, lambda rtol: zl.GradientFlow(weight_decay=decay, rtol=rtol, loss=loss)
        expected = integrate(lambda y: -gradient(move_to(net, y), data, loss) - decay * y, theta(net), duration)
    errors = []
    for rtol in (1e-4, 1e-6):
        run = zl.simulate(make(rtol), data, net, duration=duration)
        assert run.network.bias == bias
        errors.append(np.linalg.norm(theta(run.network) - expected) / np.linalg.norm(expected))
    assert errors[0] < 10 * 1e-4
    assert errors[1] < 0.1 * errors[0] + 1e-8
    norms = [float(run.history[f"norm_{name}"][-1]) for name in ("E", "W", "bias")]
    assert np.linalg.norm(norms) == pytest.approx(np.linalg.norm(theta(run.network)), rel=1e-14)


@pytest.mark.parametrize("bias", BIASES)
@pytest.mark.parametrize("rows", DATA)
def test_implicit_steps_satisfy_their_equations(rows, bias):
    """The first step goes from θ to the nearest point of the set to c = θ/(1 + h), along kinks if there are any.

    The tolerance of its equations is 3 % of the step in slow time for the outputs, and 1e-8 for the units; the
    retraction that follows moves θ by at most the first over the smallest singular value.
    """
    data = DATA[rows]()
    net = on_set(data, bias)
    for size in (0.02, 0.3):
        run = zl.simulate(zl.NormFlow(step_size=size, method="proximal"), data, net, steps=1)
        after = run.network
        assert np.abs(after(data.X_train) - data.Y_train).max() <= 1e-10
        smallest = np.linalg.svd(jacobian(net, data.X_train), compute_uv=False)[-1]
        rest, _ = violation(after, data, theta(net) / (1 + size))
        step = np.linalg.norm(theta(after) - theta(net))
        assert rest < 0.05 * step + 2 * min(1e-3, 0.03 * size) / smallest
        assert rest < 0.2 * step


@pytest.mark.parametrize("bias", BIASES)
def test_implicit_steps_of_the_gradient_flow_satisfy_their_equations(bias):
    """θ = c + J_sᵀΛ with Λ = −2 (h/q) (F − Y)/N: Λ from the part for W and Λ from the outputs agree."""
    data = DATA["pairs"]()
    net, decay = network(data, bias, hidden=40), 1e-2
    flow = zl.GradientFlow(weight_decay=decay, rtol=1e-3, method="proximal")
    run = zl.simulate(flow, data, net, steps=1)
    size = float(run.history.step_size[-1])
    q = 1 + decay * size
    rest, multiplier = violation(run.network, data, theta(net) / q)
    step = np.linalg.norm(theta(run.network) - theta(net))
    assert rest < 1e-6 * np.linalg.norm(theta(net))
    of_outputs = -2 * size / q * (run.network(data.X_train) - data.Y_train) / data.Y_train.size
    tolerance = min(1e-3, 0.03 * decay * size / q) * 2 * size / q / data.Y_train.size
    assert np.abs(multiplier - of_outputs).max() < 2 * tolerance
    assert np.abs(multiplier).max() > 100 * tolerance
    assert step > 0


@pytest.mark.parametrize("bias", BIASES)
def test_softened_steps_satisfy_their_equation(bias):
    """θ = c + JᵀΛ and F − Y = −δΛ, with J at the solution."""
    data = DATA["dense"]()
    net = on_set(data, bias, activation="tanh")
    c = theta(net) / 1.02
    E, W = (layer.copy() for layer in net.layers)
    multiplier, softening = np.empty_like(data.Y_train), 1e-3
    columns = zl.datasets.from_arrays(hidden_units(net, data)[0], data.Y_train, rows="dense")
    plain = zl.networks.from_arrays(net.layers[0], net.W, "tanh", bias_output=net.bias_output)
    zero_loss = make_zero_loss_set(plain, columns, "dense")
    ending, *_ = zero_loss.solve_softened(*move_to(net, c).layers, E, W, multiplier, softening, 1.0, 1e-13, 50)
    assert ending == "converged"
    after = net.with_layers(E, W)
    J = jacobian(after, data.X_train)
    np.testing.assert_allclose(theta(after), c + J.T @ multiplier.ravel(), atol=1e-11)
    np.testing.assert_allclose(after(data.X_train) - data.Y_train, -softening * multiplier, atol=1e-11)


@pytest.mark.parametrize("method", ["bogacki_shampine", "proximal"])
def test_the_norm_flow_continues_where_rank_is_lost(method):
    """A repeated input makes J singular everywhere, so all steps are softened."""
    data = DATA["dense"]()
    net = network(data, "both", hidden=20, activation="tanh")
    X = np.concatenate([data.X_train, data.X_train[:1]])
    data = zl.datasets.from_arrays(X, net(X), rows="dense")
    run = zl.simulate(zl.NormFlow(rtol=1e-3, method=method), data, net, duration=0.2, record_every=1)
    history = run.history
    assert history.softening[-1] > 0
    assert history.largest_residual.max() <= 1e-10
    norms = (history.norm_E**2 + history.norm_W**2 + history.norm_bias**2).values
    assert (np.diff(norms) <= 1e-14 * norms[:-1]).all()
    expected = integrate(lambda y: direction(move_to(net, y), data), theta(net), 0.2)
    assert np.linalg.norm(theta(run.network) - expected) < 0.01 * np.linalg.norm(expected)


FLOWS = {
    "norm flow": zl.NormFlow(rtol=1e-3),
    "proximal": zl.NormFlow(rtol=1e-2, method="proximal"),
    "chebyshev": zl.GradientFlow(weight_decay=1e-3),
    "implicit": zl.GradientFlow(weight_decay=1e-3, method="proximal"),
    "predicted gradient": zl.PredictedGradient(step_size=1e-3),
    "predicted flow": zl.PredictedGradient(rtol=1e-4),
}


@pytest.mark.parametrize("kind", FLOWS)
def test_runs_extend_load_and_use_threads_with_the_same_bits(kind, tmp_path):
    data = DATA["pairs"]()
    net = on_set(data, "both")
    whole = zl.simulate(FLOWS[kind], data, net, steps=7, threads=2)
    zl.simulate(FLOWS[kind], data, net, steps=4).save(tmp_path / "run")
    continued = zl.load(tmp_path / "run").extend(steps=3)
    assert continued.network.bias == "both"
    for got, expected in zip(continued.network.layers, whole.network.layers, strict=True):
        assert same_bits(got, expected)
    assert zl.fourier.summary(continued.network.E, data).strongest_share > 0
    page = tmp_path / "page.html"
    continued.view(page)
    assert page.stat().st_size > 10_000


def test_end_states_along_kinks_satisfy_their_equations():
    """θ = J_sᵀΛ with Λ = −(∂L/∂F)/decay, for a slope s between 0 and 1 at every pinned pair."""
    data, decay = DATA["pairs"](), 1e-3
    for bias in BIASES:
        net = network(data, bias, hidden=24)
        point = zl.stationary_point(net, data, decay)
        assert point.is_minimum
        multiplier = -2 / data.Y_train.size * (point.network(data.X_train) - data.Y_train) / decay
        rest, _ = violation(point.network, data, 0 * theta(net), multiplier=multiplier)
        assert rest <= 2e-9 * np.linalg.norm(theta(net))
        loss = np.mean((point.network(data.X_train) - data.Y_train) ** 2)
        size = theta(point.network) @ theta(point.network)
        assert point.objective == pytest.approx(loss + decay / 2 * size, rel=1e-12)


def test_a_large_decay_ends_at_the_best_biases():
    """Without units, Φ = Σ (Y − c)²/N + (decay/2) c² has its minimum at c = ΣY_i/(n + δ) with δ = decay N/2."""
    data, decay = DATA["pairs"](), 3.0
    for bias in BIASES:
        point = zl.stationary_point(network(data, bias, hidden=24), data, decay)
        assert point.is_minimum
        assert point.active_units == 0
        assert point.kkt <= 1e-12
        c = data.Y_train.sum(axis=0) / (len(data.Y_train) + decay * data.Y_train.size / 2)
        np.testing.assert_allclose(point.network.bias_output, c, rtol=1e-12)
        assert not point.network.E.any()
        assert not point.network.W.any()


@pytest.mark.parametrize("bias", BIASES)
def test_the_point_of_least_norm(bias):
    """It is on the set, stationary, and shorter than the end of a norm flow."""
    data = DATA["pairs"]()
    net = on_set(data, bias, hidden=24)
    point = zl.end_states.least_norm_point(net, data)
    assert point.is_minimum
    assert point.network.bias == bias
    assert np.abs(point.network(data.X_train) - data.Y_train).max() <= 1e-10
    assert zl.geometry.kkt_residual(point.network, data) <= 1e-8
    run = zl.simulate(zl.NormFlow(rtol=1e-2, method="proximal"), data, net, duration=5.0)
    assert 2 * point.objective < theta(run.network) @ theta(run.network)
    assert 2 * point.objective == pytest.approx(theta(point.network) @ theta(point.network), rel=1e-14)


@pytest.mark.parametrize("bias", BIASES)
def test_which_laws_of_balance_hold_along_flows(bias):
    """D = ‖E‖² + ‖b‖² − ‖W‖² without c decays as e^(−2s) along the norm flow, and d(‖E‖² + ‖b‖²)/dt is −2 D along the
    predicted gradient. With ‖c‖² as a part of ‖W‖² both are wrong.
    """
    data = DATA["pairs"]()
    net = on_set(data, bias)

    def balance(net, with_c):
        E, W = net.layers
        return np.sum(E**2) - np.sum((W if with_c else net.W) ** 2)

    run = zl.simulate(zl.NormFlow(rtol=1e-3, method="proximal"), data, net, duration=0.5)
    exact = {with_c: balance(net, with_c) * np.exp(-1) for with_c in (False, True)}
    size = np.sum(net.bias_output**2)
    assert abs(balance(run.network, False) - exact[False]) < 0.01 * size
    assert abs(balance(run.network, True) - exact[True]) > 0.1 * size
    delta, W = zl.predicted_gradient(net, data, ridge=0.1)
    E = net.layers[0]
    assert np.sum(E * delta) == pytest.approx(np.sum(W[:-1] ** 2) - np.sum(E**2), rel=1e-10)
    assert np.sum(E * delta) != pytest.approx(np.sum(W**2) - np.sum(E**2), rel=1e-3)


@pytest.mark.parametrize("bias", BIASES)
def test_the_flow_of_label_noise_agrees_with_autograd(bias):
    """tr H = (2/N) ‖J‖² on the set, from autograd's J; its gradient by central differences."""
    data = DATA["dense"]()
    net = on_set(data, bias, hidden=20, activation="tanh")

    def trace(vector):
        return 2 / data.Y_train.size * np.sum(jacobian(move_to(net, vector), data.X_train) ** 2)

    step, start = 1e-4, theta(net)
    units = np.eye(len(start))[:: len(start) // 12]
    slopes = [(trace(start + step * unit) - trace(start - step * unit)) / (2 * step) for unit in units]
    found = np.concatenate([part.ravel() for part in zl.curvature.trace_gradient(net, data)])
    np.testing.assert_allclose(units @ found, slopes, atol=1e-6 * np.abs(found).max())
    J = jacobian(net, data.X_train)
    expected = -(found - np.linalg.pinv(J) @ (J @ found))
    stepper = zl.NoiseFlow(step_size=1.0).start(data, net)
    np.testing.assert_allclose(stepper.slope(stepper.position()), expected, atol=1e-9 * np.linalg.norm(found))
    run = zl.simulate(zl.NoiseFlow(rtol=1e-3), data, net, duration=0.1, record_every=1)
    assert run.network.bias == bias
    assert float(run.history.hessian_trace[0]) == pytest.approx(trace(start), rel=1e-12)
    assert (np.diff(run.history.hessian_trace) < 0).all()
