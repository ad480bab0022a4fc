"""The norm flow and the predicted-gradient flow: laws, orders of convergence, tolerances, outcomes, extension."""

import itertools

import numpy as np
import pytest

import zeroloss as zl
from problems import random_data, random_network, same_bits
from zeroloss.dynamics.predicted_gradient import PredictedKernel


def on_the_set(activation, hidden=24, seed=0):
    """Return p = 5 data and a network on the zero-loss set."""
    data = zl.datasets.modular_addition(5, train_count=9, seed=seed)
    net = zl.networks.normal(data, hidden=hidden, std=0.5, seed=seed + 1, activation=activation)
    return data, zl.geometry.project(net, data).network


def squares(history):
    return history.norm_E.values**2, history.norm_W.values**2


@pytest.mark.parametrize("flow", [zl.NormFlow(step_size=0.02), zl.NormFlow(rtol=1e-3)], ids=["fixed", "adaptive"])
@pytest.mark.parametrize("activation", ["relu", "softplus(5)"])
def test_the_norm_falls_on_the_set(flow, activation):
    data, net = on_the_set(activation)
    history = zl.simulate(flow, data, net, duration=0.5, record_every=1).history
    assert history.largest_residual.max() <= 1e-10
    assert (np.diff(sum(squares(history))) < 0).all()
    assert history.slow_time[-1].item() == pytest.approx(0.5, abs=1e-12)
    assert history.train_loss.max() < 1e-20


def test_the_balance_law_of_relu_holds_to_first_order():
    """‖E‖² − ‖W‖² = D₀ e^{−2s} is exact along the flow, so that the error of Euler steps falls with the step."""
    data, net = on_the_set("relu")
    errors = []
    for size in (0.02, 0.01, 0.005):
        history = zl.simulate(zl.NormFlow(step_size=size), data, net, duration=0.5).history
        E, W = squares(history)
        errors.append(abs((E[-1] - W[-1]) - (E[0] - W[0]) * np.exp(-2 * history.time.values[-1])) / abs(E[0] - W[0]))
    assert errors[-1] < 0.01
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.3)
    assert errors[1] / errors[2] == pytest.approx(2, abs=0.3)


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("bogacki_shampine", 3)])
def test_fixed_steps_have_their_order(method, order):
    """Differences between runs with halved steps fall as 2^−order on a smooth activation."""
    data, net = on_the_set("tanh")
    ends = [
        zl.simulate(
            zl.NormFlow(step_size=0.2 / 2**k, method=method, retraction_tolerance=1e-13), data, net, duration=0.4
        )
        for k in range(1, 6)
    ]
    gaps = [np.linalg.norm(a.network.E - b.network.E) for a, b in itertools.pairwise(ends)]
    slopes = np.log2(np.array(gaps[:-1]) / gaps[1:])
    assert slopes[-1] == pytest.approx(order, abs=0.25)


@pytest.mark.parametrize("rtol", [1e-3, 1e-5])
def test_adaptive_steps_meet_their_tolerance(rtol):
    """The global error is within a few tolerances of a run with small fixed steps."""
    data, net = on_the_set("softplus(5)")
    tight = zl.NormFlow(step_size=0.005, method="bogacki_shampine", retraction_tolerance=1e-13)
    reference = zl.simulate(tight, data, net, duration=0.5).network
    run = zl.simulate(zl.NormFlow(rtol=rtol), data, net, duration=0.5)
    error = np.sqrt(np.mean((run.network.E - reference.E) ** 2)) / np.sqrt(np.mean(reference.E**2))
    assert error < 5 * rtol
    assert run.history.evaluations[-1] < 200


def test_adaptive_steps_of_the_predicted_gradient_take_three_evaluations(monkeypatch):
    """The last slope of a step is the first of the next one. Records use it, too."""
    calls, evaluate = [], PredictedKernel.evaluate
    monkeypatch.setattr(PredictedKernel, "evaluate", lambda kernel, E: calls.append(1) or evaluate(kernel, E))
    data, net = on_the_set("tanh")
    history = zl.simulate(zl.PredictedGradient(rtol=1e-3, ridge=0.1), data, net, steps=8, record_every=1).history
    trials = 1 + np.diff(history.rejected_steps)
    np.testing.assert_array_equal(np.diff(history.evaluations[1:]), 3 * trials[1:])
    assert len(calls) == 1 + 3 * trials.sum()


@pytest.mark.parametrize("flow", [zl.NormFlow(rtol=1e-3), zl.PredictedGradient(rtol=1e-3, ridge=0.1)])
def test_extension_has_the_bits_of_one_long_run(flow, tmp_path):
    """A run to a time between two steps is continued with its own steps, and not from the shortened last one."""
    data, net = on_the_set("tanh")
    whole = zl.simulate(flow, data, net, duration=0.5, record_every=1)
    parts = zl.simulate(flow, data, net, duration=0.2, record_every=1)
    assert parts.history.time[-1] == 0.2
    parts.save(tmp_path / "run")
    loaded = zl.load(tmp_path / "run").extend(duration=0.3)
    assert same_bits(loaded.history, whole.history)
    assert same_bits(loaded.network.E, whole.network.E)


def test_the_predicted_gradient_flow_agrees_with_small_steps():
    """Small fixed steps end at the same E."""
    data = zl.datasets.modular_addition(7, train_fraction=0.7, seed=0)
    net = zl.networks.normal(data, hidden=48, std=7**-0.5, seed=1)
    flow = zl.simulate(zl.PredictedGradient(rtol=1e-6, ridge=0.1), data, net, duration=0.1, record_every=1)
    fixed = zl.simulate(zl.PredictedGradient(step_size=2e-5, ridge=0.1), data, net, duration=0.1)
    assert fixed.step == 5000
    assert np.linalg.norm(flow.network.E - fixed.network.E) < 2e-3 * np.linalg.norm(fixed.network.E)
    assert (np.diff(flow.history.cost.values) < 0).all()


def test_a_start_off_the_set_is_rejected():
    data = random_data(4, 5, 2)
    with pytest.raises(ValueError, match=r"network: is not on the zero-loss set.*zeroloss\.geometry\.project"):
        zl.simulate(zl.NormFlow(step_size=0.1), data, random_network(data, 8), steps=1)


def test_float32_is_rejected():
    data, net = on_the_set("relu")
    for flow in (zl.NormFlow(step_size=0.1), zl.PredictedGradient(rtol=1e-3)):
        with pytest.raises(TypeError, match=r'float64.*astype\("float64"\)'):
            zl.simulate(flow, data, net.astype("float32"), steps=1)


BAD = [
    (zl.NormFlow, "step_size, rtol: give either .*, got neither"),
    (lambda: zl.NormFlow(step_size=0.1, rtol=1e-3), "step_size, rtol: give either .*, got both, 0.1 and 0.001"),
    (lambda: zl.NormFlow(step_size=-0.1), "step_size: expected a number above 0"),
    (lambda: zl.NormFlow(step_size=0.1, atol=1e-3), "atol: can only be given together with rtol"),
    (lambda: zl.NormFlow(rtol=0), "rtol: expected a number above 0"),
    (lambda: zl.NormFlow(step_size=0.1, method="heun"), "method: expected one of euler, bogacki_shampine, proximal"),
    (
        lambda: zl.NormFlow(rtol=0.1, method="euler"),
        "method: 'euler' has no error estimate for rtol",
    ),
    (zl.PredictedGradient, "step_size, rtol: give either"),
    (lambda: zl.simulate(zl.NormFlow(rtol=1e-3), *on_the_set("relu")), "steps, duration: give either .*, got neither"),
    (lambda: zl.simulate(zl.NormFlow(rtol=1e-3), *on_the_set("relu"), duration=-1), "duration: expected a number of"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[message for _, message in BAD])
def test_invalid_arguments_are_rejected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_descent_approaches_the_flow_as_the_decay_vanishes():
    """The sup distance in parameters on slow time 0 … 2 was measured elsewhere as 2.2 and 0.43."""
    data = zl.datasets.modular_addition(11, test_count=7, seed=4)
    net = zl.networks.uniform_fan_in(data, hidden=128, seed=104, activation="softplus(5)")
    memorised = zl.simulate(zl.GradientDescent(lr=1.0, weight_decay=1e-4), data, net, steps=1000).network
    start = zl.geometry.project(memorised, data).network
    flow = zl.NormFlow(step_size=0.05, method="bogacki_shampine")
    path = zl.simulate(flow, data, start, duration=2.0, snapshot_every=1).snapshots
    distances = []
    for weight_decay in (1e-3, 1e-4):
        every = round(0.05 / weight_decay)
        descent = zl.GradientDescent(lr=1.0, weight_decay=weight_decay)
        run = zl.simulate(descent, data, start, duration=2.0 / weight_decay, snapshot_every=every).snapshots
        gaps = [((run[layer].values - path[layer].values) ** 2).sum(axis=(1, 2)) for layer in ("E", "W")]
        distances.append(np.sqrt(sum(gaps)).max())
    assert distances[0] == pytest.approx(2.2, rel=0.3)
    assert distances[1] == pytest.approx(0.43, rel=0.3)
