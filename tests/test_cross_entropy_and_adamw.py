"""Cross-entropy, AdamW and weight decay on one layer, against PyTorch."""

import mpmath
import numpy as np
import pytest

import zeroloss as zl
from problems import (
    LEVELS,
    UNIT_ROUNDOFF,
    figure5,
    kernels_of,
    odd_sizes,
    random_data,
    random_network,
    relative,
    same_bits,
    torch_loss,
    torch_parameters,
)
from test_gradient_descent import run_torch
from torch_oracle import torch

LOSSES = ("mse", "cross_entropy")


def probabilities(data, seed=5):
    """Replace the targets by rows of positive numbers that sum to one."""
    Y = np.random.default_rng(seed).dirichlet(np.ones(data.Y_train.shape[1]), len(data.Y_train))
    return zl.datasets.from_arrays(data.X_train, Y)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("sizes", odd_sizes(), ids=str)
def test_loss_and_gradient_of_cross_entropy_agree_with_autograd(sizes, reduction):
    """The bound allows for n · h · d_out roundings and for errors of a few units in exp."""
    n, d_in, h, d_out = sizes
    data = probabilities(random_data(n, d_in, d_out))
    net = random_network(data, h, "tanh")
    loss, gE, gW = zl.loss_and_gradient(net, data, loss="cross_entropy", reduction=reduction)
    E, W = torch_parameters(net)
    expected = torch_loss(E, W, data, "tanh", reduction, "cross_entropy")
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-12, abs=1e-15)
    for ours, theirs in ((gE, E.grad.numpy()), (gW, W.grad.numpy())):
        assert np.linalg.norm(ours - theirs) <= 1e-12 * np.linalg.norm(theirs) + 1e-15


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_loss_of_a_learned_sample_has_all_digits(dtype):
    """Outputs are t for the target and else 0.

    The loss is log(1 + (k−1)e^(−t)), and 1 − p has too few digits for the gradient.
    """
    k, roundoff = 5, UNIT_ROUNDOFF[dtype]
    Y = np.eye(1, k)
    data = zl.datasets.from_arrays(np.ones((1, 1)), Y, rows="dense")
    for t in (1.0, 10.0, 30.0, 60.0):
        net = zl.networks.from_arrays(np.ones((1, 1), dtype), (t * Y).astype(dtype), "identity")
        loss, _, gW = zl.loss_and_gradient(net, data, loss="cross_entropy")
        others = mpmath.mpf(k - 1) * mpmath.exp(-t)
        assert loss == pytest.approx(float(mpmath.log1p(others)), rel=20 * roundoff)
        expected = np.full((1, k), float(mpmath.exp(-t) / (1 + others)))
        expected[0, 0] = -float(others / (1 + others))
        np.testing.assert_allclose(gW, expected, rtol=20 * roundoff)


@pytest.mark.parametrize("outputs", [[1e4, -1e4, 0], [-1e5, -1e5, -1e5], [3e38, 0, -3e38]])
def test_large_outputs_do_not_overflow(outputs):
    outputs = np.array([outputs], np.float64)
    data = zl.datasets.from_arrays(np.ones((1, 1)), np.array([[0.0, 1.0, 0.0]]), rows="dense")
    loss, _, gW = zl.loss_and_gradient(
        zl.networks.from_arrays(np.ones((1, 1)), outputs, "identity"), data, loss="cross_entropy"
    )
    expected = torch.nn.functional.cross_entropy(torch.tensor(outputs), torch.tensor([1])).item()
    assert loss == pytest.approx(expected, rel=1e-15)
    assert np.isfinite(gW).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("sizes", odd_sizes(), ids=str)
def test_steps_of_descent_agree_with_single_evaluations(sizes, activation, dtype):
    """The kernel of descent has its own code for the outputs, which depends on the sizes of blocks."""
    n, d_in, h, d_out = sizes
    data = probabilities(random_data(n, d_in, d_out))
    net = random_network(data, h, activation, dtype)
    stepper = zl.GradientDescent(lr=0.1, loss="cross_entropy").start(data, net)
    chunk = stepper.advance(1, losses=True)
    assert chunk.finite
    loss, gE, gW = zl.loss_and_gradient(net, data, loss="cross_entropy")
    tolerance = 20 * (n + h) * UNIT_ROUNDOFF[dtype]
    assert chunk.losses[0] == pytest.approx(loss, rel=tolerance, abs=tolerance)
    np.testing.assert_allclose(stepper.state["E"], net.E - net.dtype.type(0.1) * gE, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(stepper.state["W"], net.W - net.dtype.type(0.1) * gW, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("decay_layers", ["both", "E", "W"])
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_200_steps_agree_with_torch(kind, decay_layers, loss, activation):
    """The bound is 1e-9 at p = 11, because rounding errors grow along the way.

    AdamW divides by the size of the gradient. If that vanishes, its steps are rounding errors. Therefore lr is so small
    that the loss is still falling.
    """
    data, net = figure5()
    net = zl.networks.from_arrays(net.E, net.W, activation)
    if kind == "sgd":
        options = {"lr": 0.3, "momentum": 0.5}
        ours, theirs = zl.GradientDescent, torch.optim.SGD
    else:
        options = {"lr": 1e-3, "betas": (0.8, 0.99), "eps": 1e-7}
        ours, theirs = zl.AdamW, torch.optim.AdamW

    def optimizer(E, W):
        groups = [
            {"params": [A], "weight_decay": 0.01 if decay_layers in {"both", name} else 0.0}
            for name, A in (("E", E), ("W", W))
        ]
        return theirs(groups, **options)

    run = zl.simulate(
        ours(**options, weight_decay=0.01, decay_layers=decay_layers, loss=loss), data, net, steps=200, record_every=200
    )
    E, W = run_torch(net, data, 200, optimizer, lambda *args: torch_loss(*args, loss=loss))
    assert relative(run.network.E, E) < 1e-9
    assert relative(run.network.W, W) < 1e-9


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("rows", ["sparse", "dense"])
def test_adamw_with_cross_entropy_agrees_with_torch_at_every_level(level, rows):
    kernels = kernels_of(level)
    data = probabilities(random_data(33, 6, 7, rows))
    net = random_network(data, 21)
    theta = (net.E.copy(), net.W.copy())
    carried = {
        f"{name}_{layer}": np.zeros_like(A)
        for name in ("velocity", "squares")
        for layer, A in zip("EW", theta, strict=True)
    }
    samples = kernels.Samples64(data.X_train, data.Y_train)
    optimizer = kernels.Optimizer("adamw", 1e-2, 0.1, 0.1, 0.9, 0.999, 1e-8)
    descent = kernels.Descent64(
        samples,
        samples,
        kernels.Activation("relu", 0.0),
        kernels.Loss("cross_entropy", "mean"),
        optimizer,
        net.hidden,
        1,
    )
    state = descent.bind(*theta, steps=np.zeros((), np.int64), **carried)
    descent.advance(state, kernels.DescentChunk(50))
    E, W = run_torch(
        net,
        data,
        50,
        lambda E, W: torch.optim.AdamW([E, W], lr=1e-2, weight_decay=0.1),
        lambda *args: torch_loss(*args, loss="cross_entropy"),
    )
    assert relative(theta[0], E) < 1e-10
    assert relative(theta[1], W) < 1e-10


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_extending_adamw_has_the_bits_of_one_run(tmp_path, dtype):
    """Moments and the number of steps are saved and loaded too; threads change nothing."""
    data, net = figure5(dtype)
    adamw = zl.AdamW(lr=1e-3, loss="cross_entropy")
    whole = zl.simulate(adamw, data, net, steps=60, record_every=20, threads=2)
    part = zl.simulate(adamw, data, net, steps=20, record_every=20)
    part.save(tmp_path / "part")
    joined = zl.load(tmp_path / "part").extend(steps=40)
    assert same_bits(whole.network.E, joined.network.E)
    assert same_bits(whole.history, joined.history)


def test_invalid_settings_are_rejected():
    for arguments, message in (
        ({"loss": "hinge"}, "loss: expected one of mse, cross_entropy, got 'hinge'"),
        ({"decay_layers": "first"}, "decay_layers: expected one of both, E, W, got 'first'"),
        ({"betas": (0.9, 1.0)}, r"betas\[1\]: expected a number in \[0, 1\), got 1.0"),
        ({"eps": 0.0}, "eps: expected a number above 0, got 0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            zl.AdamW(**arguments)
    with pytest.raises(TypeError, match=r"betas: expected two numbers, got 0\.9"):
        zl.AdamW(betas=0.9)
