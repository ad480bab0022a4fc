"""Loss and gradients against autograd in float64, and their Taylor remainder."""

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

SHAPES = {"n < h": (9, 5, 14, 4), "n = h": (12, 5, 12, 4), "n > h": (21, 5, 8, 4)}


def gradient_by_autograd(net, data, reduction):
    E, W = torch_parameters(net)
    loss = torch_loss(E, W, data, net.activation, reduction)
    loss.backward()
    return loss.item(), E.grad.numpy(), W.grad.numpy()


def sums_bound(dtype, *lengths):
    """Return a bound on the relative error of a few nested sums of these lengths, with room for cancellation:

    8 u Σ √length.
    """
    return 8 * UNIT_ROUNDOFF[dtype] * sum(np.sqrt(length) for length in lengths)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("rows", ["sparse", "dense"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_loss_and_gradient_agree_with_autograd(activation, shape, rows, reduction):
    n, d_in, h, d_out = SHAPES[shape]
    data = random_data(n, d_in, d_out, rows)
    net = random_network(data, h, activation)
    loss, gE, gW = zl.loss_and_gradient(net, data, reduction=reduction)
    expected = gradient_by_autograd(net, data, reduction)
    assert loss == pytest.approx(expected[0], rel=1e-12)
    assert relative(gE, expected[1]) < 1e-12
    assert relative(gW, expected[2]) < 1e-12


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_float32_agrees_with_float64_to_rounding(activation):
    """The bound comes from the sums of the forward and backward products."""
    data = random_data(40, 7, 5, "dense")
    net = random_network(data, 60, activation, "float32")
    loss, gE, gW = zl.loss_and_gradient(net, data)
    expected = gradient_by_autograd(net, data, "mean")
    bound = sums_bound("float32", 40, 7, 60, 5)
    assert gE.dtype == gW.dtype == np.float32
    assert loss == pytest.approx(expected[0], rel=bound)
    assert relative(gE, expected[1]) < bound
    assert relative(gW, expected[2]) < bound


def test_the_setting_of_figure_5_agrees_with_autograd():
    data, net = figure5()
    loss, gE, gW = zl.loss_and_gradient(net, data)
    expected = gradient_by_autograd(net, data, "mean")
    assert loss == pytest.approx(expected[0], rel=1e-12)
    assert relative(gE, expected[1]) < 1e-12
    assert relative(gW, expected[2]) < 1e-12


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("sizes", odd_sizes(), ids=str)
def test_odd_sizes_agree_with_autograd_at_every_level(level, sizes):
    n, d_in, h, d_out = sizes
    kernels = kernels_of(level)
    data = random_data(n, d_in, d_out, "dense")
    net = random_network(data, h, "tanh")
    samples = kernels.Samples64(data.X_train, data.Y_train)
    _, gE, gW = kernels.loss_and_gradient(
        samples, net.E, net.W, kernels.Activation("tanh", 0.0), kernels.Loss("mse", "mean")
    )
    _, expected_E, expected_W = gradient_by_autograd(net, data, "mean")
    assert relative(gE, expected_E) < 1e-12
    assert relative(gW, expected_W) < 1e-12


@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if "relu" not in name])
def test_the_taylor_remainder_has_slope_2(activation):
    """|L(θ + εv) − L(θ) − ε ∇L·v| falls as ε² for a smooth activation."""
    data = random_data(10, 6, 3, "sparse")
    net = random_network(data, 16, activation)
    random = np.random.default_rng(5)
    vE, vW = random.standard_normal(net.E.shape), random.standard_normal(net.W.shape)
    loss, gE, gW = zl.loss_and_gradient(net, data)
    slope = (gE * vE).sum() + (gW * vW).sum()
    sizes = 1e-3 * 2.0 ** -np.arange(4)
    remainders = [
        abs(
            zl.loss_and_gradient(zl.networks.from_arrays(net.E + e * vE, net.W + e * vW, activation), data)[0]
            - loss
            - e * slope
        )
        for e in sizes
    ]
    assert np.polyfit(np.log(sizes), np.log(remainders), 1)[0] == pytest.approx(2, abs=0.05)


def test_slopes_at_the_kink_are_the_slopes_on_the_left():
    """σ'(0) = 0 for ReLU and the slope for leaky ReLU."""
    data = zl.datasets.from_arrays([[1.0]], [[1.0]])
    for activation, slope in (("relu", 0.0), ("leaky_relu(0.25)", 0.25)):
        net = zl.networks.from_arrays([[0.0]], [[1.0]], activation)
        assert zl.loss_and_gradient(net, data, reduction="sum")[1] == [[-2 * slope]]


def test_sparse_and_dense_rows_of_sums_agree():
    """A row has an entry 2 if a = b."""
    data = zl.datasets.modular_addition(7, train_fraction=1.0)
    dense = zl.datasets.from_arrays(data.X_train, data.Y_train, rows="dense")
    net = random_network(data, 20)
    for ours, other in zip(zl.loss_and_gradient(net, data), zl.loss_and_gradient(net, dense), strict=True):
        np.testing.assert_allclose(ours, other, rtol=1e-13, atol=1e-16)


def test_evaluation_agrees_with_its_definition():
    data, net = figure5()
    run = zl.simulate(zl.GradientDescent(lr=0.1), data, net, steps=0)
    F = np.maximum(data.X_test @ net.E, 0) @ net.W
    assert run.history.test_loss.item() == pytest.approx(((F - data.Y_test) ** 2).mean(), rel=1e-13)
    assert run.history.test_accuracy.item() == np.mean(F.argmax(1) == data.Y_test.argmax(1))
    assert run.history.norm_E.item() == pytest.approx(np.linalg.norm(net.E), rel=1e-14)
    F = np.maximum(data.X_train @ net.E, 0) @ net.W
    assert run.history.residual.item() == pytest.approx(np.linalg.norm(F - data.Y_train), rel=1e-13)
