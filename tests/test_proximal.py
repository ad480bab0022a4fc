"""Implicit steps of the norm flow: optimality conditions, oracles, laws, order, outcomes, extension."""

import itertools

import numpy as np
import pytest
import scipy.optimize

import zeroloss as zl
from problems import LEVELS, figure5, flat, kernels_of, random_data, same_bits
from zeroloss.datasets import kernel_samples
from zeroloss.networks import kernel_activation

#: (a, b) of σ(z) = a z + b max(z, 0).
SLOPES = {"relu": (0.0, 1.0), "leaky_relu(0.1)": (0.1, 0.9), "leaky_relu(2)": (2.0, -1.0), "identity": (1.0, 0.0)}
SMOOTH = ("tanh", "softplus(5)", "gelu")


def on_the_set(activation, rows="sparse", n=9, d_in=6, h=24, d_out=4, seed=0):
    n = min(n, d_in) if activation == "identity" else n  # A linear network fits no more samples.
    data = random_data(n, d_in, d_out, rows, seed=seed)
    data = zl.datasets.from_arrays(data.X_train, 0.5 * data.Y_train, rows=rows)
    net = zl.networks.normal(data, hidden=h, std=0.5, seed=seed + 1, activation=activation)
    return data, zl.geometry.project(net, data).network


def solve_nearest(data, net, centre, level=None, tolerance=1e-11, iterations=60):
    """Return the kernel's nearest point of the set to a centre: E, W, τ, Λ, and the outcome."""
    kernels = kernels_of(level or LEVELS[-1])
    samples = kernel_samples(data, "train", np.dtype("float64"))
    if level is not None:
        samples = kernels.Samples64(data.X_train.copy(), data.Y_train)
    name, _, text = net.activation.rstrip(")").partition("(")
    activation = kernels.Activation(name, float(text or 0.01)) if level else kernel_activation(net)
    E, W, multiplier = net.E.copy(), net.W.copy(), np.zeros(data.Y_train.shape)
    T = (data.X_train @ E > 0).astype(float)
    solver = kernels.Proximal(samples, activation, 500)
    found = solver.solve(*centre, E, W, T, multiplier, tolerance, 1e-14, iterations, 1e-6)
    return E, W, T, multiplier, found


def shrink(net, size):
    return net.E / (1 + size), net.W / (1 + size)


@pytest.mark.parametrize("rows", ["sparse", "dense"])
@pytest.mark.parametrize("activation", SLOPES)
def test_optimality_conditions_hold_to_rounding(activation, rows):
    """These are stationarity, feasibility, and the places of on, off and pinned pairs; none is pinned where b g > 0."""
    data, net = on_the_set(activation, rows)
    E, W, T, multiplier, found = solve_nearest(data, net, shrink(net, 0.1))
    assert found[0] == "converged"
    (a, b), Z, g = SLOPES[activation], data.X_train @ E, multiplier @ W.T
    H = a * Z + b * np.maximum(Z, 0)
    assert np.abs(H @ W - data.Y_train).max() <= 1e-11
    cE, cW = shrink(net, 0.1)
    assert np.abs(E - cE - data.X_train.T @ ((a + b * T) * g)).max() < 1e-12
    assert np.abs(W - cW - H.T @ multiplier).max() < 1e-12
    pinned = (T > 0) & (T < 1)
    assert found[4] == pinned.sum()
    assert np.abs(Z[pinned]).max(initial=0) < 1e-12
    assert (b * g[pinned] <= 0).all()
    assert (Z[T == 1] > -1e-12).all()
    assert (Z[T == 0] < 1e-12).all()
    if b != 0:
        assert pinned.sum() > 0


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_nearest_point_agrees_with_a_general_optimiser(activation):
    """SLSQP knows no units or multipliers. It starts next to the kernel's answer, within the same smooth piece."""
    data, net = on_the_set(activation, n=4, h=8, d_out=2)
    centre = shrink(net, 0.02)
    E, W, T, _, found = solve_nearest(data, net, centre)
    assert found[0] == "converged"
    pinned = np.argwhere((T > 0) & (T < 1))
    sigma = np.tanh if activation == "tanh" else lambda z: np.where(T > 0, z, 0)

    def constraints(theta):
        e, w = theta[: E.size].reshape(E.shape), theta[E.size :].reshape(W.shape)
        Z = data.X_train @ e
        return np.concatenate([(sigma(Z) @ w - data.Y_train).ravel(), [Z[i, u] for i, u in pinned]])

    target = flat(*centre)
    start = flat(E, W) + 1e-3 * np.random.default_rng(0).standard_normal(target.size)
    other = scipy.optimize.minimize(
        lambda theta: 0.5 * np.sum((theta - target) ** 2),
        start,
        jac=lambda theta: theta - target,
        constraints={"type": "eq", "fun": constraints},
        method="SLSQP",
        options={"ftol": 1e-16, "maxiter": 200},
    )
    assert np.abs(other.x - flat(E, W)).max() < 1e-6


@pytest.mark.parametrize("level", LEVELS)
def test_levels_agree_to_rounding(level):
    data, net = on_the_set("relu", "dense")
    E, W, *_ = solve_nearest(data, net, shrink(net, 0.05), level)
    other_E, other_W, *_ = solve_nearest(data, net, shrink(net, 0.05))
    assert np.abs(flat(E, W) - flat(other_E, other_W)).max() < 1e-10


def test_a_retraction_does_not_move_pinned_pairs():
    data, net = on_the_set("relu")
    E, W, T, *_ = solve_nearest(data, net, shrink(net, 0.1), tolerance=1e-2, iterations=1)
    pinned = (T > 0) & (T < 1)
    solver = kernels_of(LEVELS[-1]).Proximal(
        kernel_samples(data, "train", np.dtype("float64")), kernel_activation(net), 500
    )
    before = data.X_train @ E
    ending, residual, *_ = solver.retract(E, W, T, 1e-12, 20, 1e-6)
    assert (ending, residual <= 1e-12) == ("converged", True)
    assert np.abs((data.X_train @ E - before)[pinned]).max() < 1e-13
    assert np.abs(np.maximum(data.X_train @ E, 0) @ W - data.Y_train).max() <= 1e-11


@pytest.mark.parametrize("activation", SMOOTH)
def test_fixed_steps_have_second_order(activation):
    """Differences between runs with halved steps fall by four on smooth activations."""
    data, net = on_the_set(activation)
    ends = [
        zl.simulate(
            zl.NormFlow(step_size=0.1 / 2**k, method="proximal", retraction_tolerance=1e-12), data, net, duration=0.4
        )
        for k in range(5)
    ]
    gaps = [np.linalg.norm(a.network.E - b.network.E) for a, b in itertools.pairwise(ends)]
    assert np.log2(gaps[-2] / gaps[-1]) == pytest.approx(2, abs=0.3)


@pytest.mark.parametrize("activation", ["tanh", "softplus(5)", "square"])
def test_smooth_flows_agree_with_explicit_steps(activation):
    data, net = on_the_set(activation)
    explicit = zl.simulate(zl.NormFlow(rtol=1e-6), data, net, duration=0.5).network
    implicit = zl.simulate(zl.NormFlow(rtol=1e-3, method="proximal"), data, net, duration=0.5).network
    assert np.linalg.norm(implicit.E - explicit.E) < 5e-3 * np.linalg.norm(explicit.E)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu(0.1)"])
def test_the_balance_law_holds_along_kinks(activation):
    """‖E‖² − ‖W‖² = D₀ e^{−2s} holds exactly for positively homogeneous activations, pinned pairs or not."""
    data, net = on_the_set(activation)
    errors = []
    for size in (0.04, 0.02, 0.01):
        run = zl.simulate(zl.NormFlow(step_size=size, method="proximal"), data, net, duration=0.8, record_every=1)
        history = run.history
        D = history.norm_E.values**2 - history.norm_W.values**2
        errors.append(abs(D - D[0] * np.exp(-2 * history.time.values)).max() / abs(D[0]))
        assert history.largest_residual.max() <= 1e-10
        assert (np.diff(history.norm_E.values**2 + history.norm_W.values**2) < 0).all()
    assert errors[-1] < 1e-3
    assert errors[0] / errors[-1] > 8


@pytest.fixture(scope="module")
def grokking_setting():
    data, net = figure5()
    net = zl.simulate(zl.GradientDescent(lr=1.0, weight_decay=1e-4), data, net, steps=2000).network
    return data, zl.geometry.project(net, data).network


def test_few_proximal_steps_follow_many_plain_steps(grokking_setting):
    """In figure 5's setting the distance from plain steps is below 0.03 with a sixth of the steps.

    The error of the plain steps is below 0.02. A flow that stays at corners which descent leaves is 0.06 away by then.
    """
    data, net = grokking_setting
    run = zl.simulate(zl.NormFlow(rtol=3e-3, method="proximal"), data, net, duration=0.8, record_every=1)
    plain = zl.simulate(zl.NormFlow(step_size=2e-3), data, net, duration=0.8).network
    assert run.history.evaluations[-1] <= 70
    assert run.history.pinned_pairs[-1] > 600
    assert run.history.largest_residual.max() <= 1e-10
    assert np.linalg.norm(flat(run.network.E - plain.E, run.network.W - plain.W)) < 0.03


def test_the_flow_reaches_the_grokked_state(grokking_setting):
    data, net = grokking_setting
    run = zl.simulate(zl.NormFlow(rtol=3e-2, method="proximal"), data, net, duration=6.0)
    history = run.history
    assert run.outcome.ending == "reached the end"
    assert history.evaluations[-1] < 100
    assert 34 < history.norm_E[-1] ** 2 < 38
    assert history.test_loss[-1] < 0.5 * history.test_loss[0]


@pytest.mark.parametrize("flow", [zl.NormFlow(rtol=1e-2, method="proximal"), zl.NormFlow(0.02, method="proximal")])
def test_extension_has_the_bits_of_one_long_run(flow, tmp_path):
    data, net = on_the_set("relu")
    whole = zl.simulate(flow, data, net, duration=0.5, record_every=1)
    parts = zl.simulate(flow, data, net, duration=0.2, record_every=1)
    parts.save(tmp_path / "run")
    loaded = zl.load(tmp_path / "run").extend(duration=0.3)
    assert same_bits(loaded.history, whole.history)
    assert same_bits(loaded.network.E, whole.network.E)
    assert same_bits(loaded.network.W, whole.network.W)


def test_a_step_that_does_not_converge_is_an_outcome(grokking_setting):
    """Steps are far too long. The records before them are saved; the message has the residual and the pinned pairs."""
    data, net = grokking_setting
    run = zl.simulate(zl.NormFlow(step_size=3.0, method="proximal"), data, net, steps=50, record_every=1)
    assert run.outcome.ending == "not converged"
    assert "max|F − Y| = " in run.outcome.message
    assert "pinned pairs; lower step_size" in run.outcome.message
    assert np.isfinite(run.network.E).all()
    assert run.history.largest_residual.max() <= 1e-10


def test_a_start_off_the_set_and_float32_are_rejected(grokking_setting):
    data, net = grokking_setting
    flow = zl.NormFlow(rtol=1e-2, method="proximal")
    with pytest.raises(ValueError, match=r"network: is not on the zero-loss set.*zeroloss\.geometry\.project"):
        zl.simulate(flow, data, zl.networks.from_arrays(2 * net.E, net.W), steps=1)
    with pytest.raises(TypeError, match="float64"):
        zl.simulate(flow, data, net.astype("float32"), steps=1)
