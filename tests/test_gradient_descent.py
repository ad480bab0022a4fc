"""Gradient descent against torch.optim.SGD, and grokking in the setting of figure 5."""

import contextlib
import math

import numpy as np
import pytest

import zeroloss as zl
from problems import (
    ACTIVATIONS,
    LEVELS,
    UNIT_ROUNDOFF,
    figure5,
    kernels_of,
    odd_sizes,
    random_data,
    random_network,
    relative,
    torch_loss,
    torch_parameters,
)
from torch_oracle import torch
from zeroloss._kernels import kernels as widest
from zeroloss.datasets import kernel_samples
from zeroloss.networks import kernel_activation


def run_torch(net, data, steps, optimizer_of, loss_of):
    """Return E and W after steps of one of PyTorch's optimizers in float64."""
    E, W = torch_parameters(net)
    optimizer = optimizer_of(E, W)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(E, W, data, net.activation).backward()
        optimizer.step()
    return E.detach().numpy(), W.detach().numpy()


def run_sgd(net, data, steps, lr, weight_decay, momentum, reduction="mean"):
    """Run the same descent with PyTorch."""
    options = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
    return run_torch(
        net,
        data,
        steps,
        lambda E, W: torch.optim.SGD([E, W], **options),
        lambda E, W, data, activation: torch_loss(E, W, data, activation, reduction),
    )


def bind(descent, E, W, **carried):
    """Return the kernel's state before the first step."""
    return descent.bind(E, W, steps=np.zeros((), np.int64), **carried)


def kernel_descent(level, data, net, lr, weight_decay):
    """Return the kernel of plain descent at one instruction-set level, on one thread."""
    kernels = kernels_of(level)
    samples = kernel_samples(data, "train", net.dtype)
    return {"float64": kernels.Descent64, "float32": kernels.Descent32}[net.dtype.name](
        samples,
        samples,
        kernel_activation(net),
        kernels.Loss("mse", "mean"),
        kernels.Optimizer("sgd", lr, weight_decay, weight_decay, momentum=0.0),
        net.hidden,
        1,
    )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("rows", ["sparse", "dense"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "leaky_relu(0.1)"])
def test_100_steps_agree_with_sgd(activation, rows, momentum):
    data = random_data(15, 6, 4, rows)
    net = random_network(data, 20, activation)
    descent = zl.GradientDescent(lr=0.02, weight_decay=1e-2, momentum=momentum)
    run = zl.simulate(descent, data, net, steps=100)
    E, W = run_sgd(net, data, 100, 0.02, 1e-2, momentum)
    assert relative(run.network.E, E) < 1e-10
    assert relative(run.network.W, W) < 1e-10


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_pairs_agree_with_sgd_for_every_activation(activation):
    """The kernel sorts rows of two ones, so that their order differs from the order of the targets."""
    data = zl.datasets.modular_addition(11, test_count=7, seed=0)
    net = random_network(data, 20, activation)
    run = zl.simulate(zl.GradientDescent(lr=0.02, weight_decay=1e-2), data, net, steps=3)
    E, W = run_sgd(net, data, 3, 0.02, 1e-2, 0.0)
    assert relative(run.network.E, E) < 1e-12
    assert relative(run.network.W, W) < 1e-12


def test_a_summed_loss_agrees_with_sgd():
    data, net = figure5()
    run = zl.simulate(zl.GradientDescent(lr=1e-3, weight_decay=0.1, reduction="sum"), data, net, steps=100)
    E, W = run_sgd(net, data, 100, 1e-3, 0.1, 0.0, "sum")
    assert relative(run.network.E, E) < 1e-10
    assert relative(run.network.W, W) < 1e-10


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("sizes", odd_sizes(), ids=str)
def test_odd_sizes_agree_with_sgd_at_every_level(level, sizes):
    n, d_in, h, d_out = sizes
    kernels = kernels_of(level)
    data = random_data(n, d_in, d_out, "dense")
    net = random_network(data, h, "relu", std=0.3)
    samples = kernels.Samples64(data.X_train, data.Y_train)
    E, W = net.E.copy(), net.W.copy()
    vE, vW = np.zeros_like(E), np.zeros_like(W)
    relu, mean = kernels.Activation("relu", 0.0), kernels.Loss("mse", "mean")
    optimizer = kernels.Optimizer("sgd", lr=0.01, weight_decay_E=1e-2, weight_decay_W=1e-2, momentum=0.9)
    descent = kernels.Descent64(samples, samples, relu, mean, optimizer, h, 1)
    descent.advance(bind(descent, E, W, velocity_E=vE, velocity_W=vW), kernels.DescentChunk(10))
    expected_E, expected_W = run_sgd(net, data, 10, 0.01, 1e-2, 0.9)
    assert relative(E, expected_E) < 1e-11
    assert relative(W, expected_W) < 1e-11


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", [37, 200])
@pytest.mark.parametrize(
    ("p", "inputs"),
    [(p, "sum") for p in (3, 8, 12, 13, 17, 29, 37, 47, 53, 97)]
    + [(p, "concatenated") for p in (3, 8, 11, 16, 23, 47)],
)
def test_rows_of_one_to_many_registers_agree_with_sgd_at_every_level(p, inputs, hidden, dtype, level):
    """ReLU on pairs: rows of Eᵀ of 1 to 13 registers, 1 to 17 tiles of outputs, H in one block and in two.

    The rounding error of a sum of N products grows as √N, and N is at most p, h or n. The differences that are compared
    are at least a tenth of the parameters' length.
    """
    data = zl.datasets.modular_addition(p, inputs=inputs, train_fraction=0.6, seed=0)
    net = zl.networks.normal(data, hidden=hidden, std=0.5, seed=1, dtype=dtype)
    descent = kernel_descent(level, data, net, lr=p / 4, weight_decay=1e-2)
    E, W = net.E.copy(), net.W.copy()
    descent.advance(bind(descent, E, W), kernels_of(level).DescentChunk(3))
    expected_E, expected_W = run_sgd(net.astype("float64"), data, 3, p / 4, 1e-2, 0.0)
    bound = 4 * math.sqrt(max(p, hidden, len(data.Y_train))) * UNIT_ROUNDOFF[dtype]
    assert relative(E - net.E, expected_E - net.E) < bound
    assert relative(W - net.W, expected_W - net.W) < bound


def k_hot_data(p, k, n, constant):
    """Return sums of k unit vectors, which may be equal, and a last column of ones if ``constant``. Targets are
    one-hot.
    """
    random = np.random.default_rng(k)
    numbers = random.integers(p, size=(n + 3, k))
    X = np.eye(p)[numbers].sum(axis=1)
    if constant:
        X = np.hstack([X, np.ones((n + 3, 1))])
    Y = np.eye(p)[numbers.sum(axis=1) % p]
    return zl.datasets.from_arrays(X[:n], Y[:n], X[n:], Y[n:], rows="sparse")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize(
    ("k", "activation"),
    [(k, activation) for k in (1, 3, 4, 7) for activation in ("relu", "tanh")]
    + [(2, f"leaky_relu({slope})") for slope in (-0.5, 0.1, 2)]
    + [(2, activation) for activation in ("relu", "square", "softplus(5)")],
)
def test_k_hot_rows_agree_with_sgd_at_every_level(k, constant, activation, dtype, level):
    """One tile of outputs and several, one chunk of samples and two. The bound is as above, with k terms in each sum
    for Z too, and 2 p terms in the gradient of the constant's row.
    """
    for p, hidden, n in ((5, 37, 19), (11, 128, 59), (13, 20, 301), (41, 70, 100)):
        data = k_hot_data(p, k, n, constant)
        net = zl.networks.normal(data, hidden=hidden, std=0.3, activation=activation, seed=1, dtype=dtype)
        descent = kernel_descent(level, data, net, lr=p / 8, weight_decay=1e-2)
        E, W = net.E.copy(), net.W.copy()
        chunk = kernels_of(level).DescentChunk(3, record_at=np.array([2]))
        records = descent.advance(bind(descent, E, W), chunk).records
        exact = net.astype("float64")
        expected_E, expected_W = run_sgd(exact, data, 3, p / 8, 1e-2, 0.0)
        bound = 4 * math.sqrt(max(2 * p, hidden, n)) * UNIT_ROUNDOFF[dtype]
        assert relative(E - net.E, expected_E - exact.E) < bound
        assert relative(W - net.W, expected_W - exact.W) < bound
        norms = [np.linalg.norm(theta) for theta in run_sgd(exact, data, 2, p / 8, 1e-2, 0.0)]
        np.testing.assert_allclose([records[0][name] for name in ("norm_E", "norm_W")], norms, rtol=bound)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hidden", [1, 37, 257])
def test_lanes_without_a_unit_change_nothing(hidden, dtype, level):
    """σ(0) ≠ 0 of softplus gives the weights of such lanes a gradient. The bound is as above."""
    data = zl.datasets.modular_addition(7, train_fraction=0.6, seed=0)
    net = zl.networks.normal(data, hidden=hidden, std=0.5, activation="softplus(1)", seed=1, dtype=dtype)
    descent = kernel_descent(level, data, net, lr=1.0, weight_decay=1e-2)
    E, W = net.E.copy(), net.W.copy()
    chunk = kernels_of(level).DescentChunk(4, record_at=np.array([3]))
    records = descent.advance(bind(descent, E, W), chunk).records
    exact = net.astype("float64")
    expected_E, expected_W = run_sgd(exact, data, 4, 1.0, 1e-2, 0.0)
    bound = 4 * math.sqrt(max(hidden, len(data.Y_train))) * UNIT_ROUNDOFF[dtype]
    assert relative(E - net.E, expected_E - net.E) < bound
    assert relative(W - net.W, expected_W - net.W) < bound
    norms = [np.linalg.norm(theta) for theta in run_sgd(exact, data, 3, 1.0, 1e-2, 0.0)]
    np.testing.assert_allclose([records[0][name] for name in ("norm_E", "norm_W")], norms, rtol=bound)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", odd_sizes(), ids=str)
def test_losses_before_each_step_agree_with_single_evaluations(sizes, dtype):
    """They are sums of n · d_out squares without the padding."""
    n, d_in, h, d_out = sizes
    data = random_data(n, d_in, d_out, "dense")
    net = random_network(data, h, "relu", dtype, std=0.3)
    stepper = zl.GradientDescent(lr=0.01, weight_decay=1e-2).start(data, net)
    expected = []
    kernel = stepper._descent
    state = bind(kernel, net.E.copy(), net.W.copy())
    for _ in range(5):
        expected.append(zl.loss_and_gradient(stepper.network(), data)[0])
        stepper.advance(1)
    losses = kernel.advance(state, widest.DescentChunk(5, losses=True)).losses
    np.testing.assert_allclose(losses, expected, rtol=50 * n * d_out * UNIT_ROUNDOFF[dtype])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_compensated_steps_agree_with_a_finer_precision(momentum):
    """1 000 steps in float32 with compensation agree with float64.

    Gradients are still rounded. Each has a relative error of a few units, and the movement is no longer than θ itself.
    """
    data, net = figure5("float32")
    lr = 0.01 * (1 - momentum)
    exact, plain, compensated = (
        zl.simulate(
            zl.GradientDescent(lr=lr, weight_decay=1e-3, momentum=momentum, compensated=carried),
            data,
            net.astype(dtype),
            steps=1000,
        ).network
        for carried, dtype in ((False, "float64"), (False, "float32"), (True, "float32"))
    )
    assert relative(compensated.E, exact.E) < 2 * UNIT_ROUNDOFF["float32"]
    assert relative(compensated.E, exact.E) < 0.2 * relative(plain.E, exact.E)


@pytest.mark.parametrize("compensated", [False, True])
@pytest.mark.parametrize("rate", [1e-9, 1e-7, 3e-6])
def test_a_decay_near_the_rounding_unit_is_right_or_reported(rate, compensated):
    """On zero inputs only the decay acts: (1 − rate)^steps, with rate = lr · weight_decay in float32.

    With compensation it is right to 1 %. Otherwise it agrees with the record, and a warning reports a wrong decay.
    """
    data = zl.datasets.from_arrays(np.zeros((1, 2)), np.zeros((1, 3)), rows="dense")
    net = random_network(data, 64, "identity", dtype="float32")
    steps = 30_000
    descent = zl.GradientDescent(lr=1.0, weight_decay=rate, compensated=compensated)
    off = rate < 1e-6 and not compensated
    with (
        pytest.warns(RuntimeWarning, match="weight_decay: float32 rounds the decay of")
        if off
        else contextlib.nullcontext()
    ):
        run = zl.simulate(descent, data, net, steps=steps, record_every=steps)
    carried = (run.state.get(f"compensation_{layer}", 0.0) for layer in "EW")
    norms = [
        math.hypot(*(np.linalg.norm(A.astype(float) - c) for A, c in zip((n.E, n.W), of, strict=True)))
        for n, of in ((net, (0.0, 0.0)), (run.network, carried))
    ]
    measured = math.log(norms[0] / norms[1]) / steps
    if compensated:
        assert measured == pytest.approx(rate, rel=0.01)
        assert "effective_decay" not in run.history
    else:
        share = run.history.effective_decay.values
        assert measured == pytest.approx(rate * share.mean(), rel=0.2, abs=1e-12)
        assert (abs(share - 1) > 0.01).any() == off
        assert rate > 2e-8 or (share == 0).all()


def test_a_decay_that_rounding_does_not_change_is_not_recorded():
    data, net = figure5("float32")
    run = zl.simulate(zl.GradientDescent(lr=1.0, weight_decay=1e-4), data, net, steps=1)
    assert "effective_decay" not in run.history
    message = "weight_decay: float32 rounds the decay of 1e-12 per step to 0; use float64"
    with pytest.warns(RuntimeWarning, match=message):
        zl.simulate(zl.AdamW(lr=1e-6, weight_decay=1e-6), data, net, steps=1)


@pytest.mark.parametrize("seed", [4, 5])
def test_grokking_in_the_setting_of_figure_5(seed):
    """It memorises within 200 steps and generalises a hundred times later, after a peak of the test loss."""
    data = zl.datasets.modular_addition(11, test_count=7, seed=seed)
    net = zl.networks.uniform_fan_in(data, hidden=128, seed=100 + seed)
    descent = zl.GradientDescent(lr=1.0, weight_decay=1e-4)
    history = zl.simulate(descent, data, net, steps=30_000, record_every=50).history
    assert zl.metrics.crossing_step(history.train_accuracy, 1.0) <= 200
    assert 10_000 < zl.metrics.crossing_step(history.test_accuracy, 0.5) < 20_000
    assert 20_000 < zl.metrics.crossing_step(history.test_accuracy, 1.0) < 30_000
    assert 0.11 < history.test_loss.max() < 0.17
    assert history.test_loss[-1] < 0.06
    assert 34 < history.norm_E[-1] ** 2 < 40
    assert 34 < history.norm_W[-1] ** 2 < 40


def test_slow_time_includes_the_momentum():
    data, net = figure5()
    descent = zl.GradientDescent(lr=0.5, weight_decay=1e-2, momentum=0.75)
    history = zl.simulate(descent, data, net, steps=10, record_every=5).history
    np.testing.assert_allclose(history.time, [0, 2.5, 5])
    np.testing.assert_allclose(history.slow_time, [0, 0.1, 0.2])


def test_divergence_is_an_outcome_at_its_step():
    """With lr far above stability, single steps find the first step whose loss or weights are not finite."""
    data, net = figure5()
    net = zl.networks.from_arrays(net.E, net.W, "leaky_relu(0.1)")
    descent = zl.GradientDescent(lr=1e3)
    run = zl.simulate(descent, data, net, steps=10_000, record_every=7)
    step = run.step + 1
    assert f"at step {step};" in str(run.outcome)
    assert str(run.outcome).startswith("diverged")
    assert np.isfinite(run.history.train_loss.values).all()
    assert np.isfinite(run.network.E).all()
    with np.errstate(all="ignore"):
        E, W = run_sgd(net, data, step, 1e3, 0.0, 0.0)
        before = run_sgd(net, data, step - 1, 1e3, 0.0, 0.0)
        Z = data.X_train @ E
        loss = ((np.where(Z > 0, Z, 0.1 * Z) @ W - data.Y_train) ** 2).mean()
    assert not np.isfinite(loss)
    assert np.isfinite(before[0]).all()
    with pytest.raises(ValueError, match="diverged"):
        run.extend(steps=1)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("hidden", [1, 5, 37, 48])
def test_a_diverged_step_leaves_no_values_in_the_kernel(hidden, dtype, level):
    """The kernel gets finite parameters again, and the padding of its strips is zero again."""
    data = random_data(15, 6, 4, "sparse")
    net = random_network(data, hidden).astype(dtype)
    descent = kernel_descent(level, data, net, lr=0.1, weight_decay=0.0)
    finite = [bind(descent, net.E.copy(), net.W.copy()) for _ in range(2)]
    wild, steps = bind(descent, np.full_like(net.E, np.inf), net.W.copy()), kernels_of(level).DescentChunk(3)
    assert descent.advance(finite[0], steps).finite
    assert not descent.advance(wild, steps).finite
    assert descent.advance(finite[1], steps).finite


@pytest.mark.parametrize("record_every", [1, 7, 1000])
@pytest.mark.parametrize("hidden", [37, 40])
def test_divergence_is_at_its_step_for_any_width_and_records(hidden, record_every):
    """Steps in NumPy determine the first step at which the loss or a weight is not finite."""
    data = zl.datasets.modular_addition(7, train_fraction=0.8, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden, 1)
    E, W, step = net.E.copy(), net.W.copy(), 0
    with np.errstate(all="ignore"):
        while np.isfinite(E).all() and np.isfinite(W).all():
            H = np.maximum(data.X_train @ E, 0)
            G = 2 * (H @ W - data.Y_train) / data.Y_train.size
            if not np.isfinite((H @ W - data.Y_train) ** 2).all():
                break
            gE = data.X_train.T @ ((G @ W.T) * (H > 0))
            E, W, step = E - 10 * (gE + E), W - 10 * (H.T @ G + W), step + 1
    run = zl.simulate(zl.GradientDescent(10.0, 1.0), data, net, steps=400, record_every=record_every, progress=False)
    assert f"not finite at step {step}" in str(run.outcome)
    assert run.step == int(run.state["steps"]) == step - 1
