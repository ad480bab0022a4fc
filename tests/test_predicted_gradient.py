"""The predicted gradient against autograd of −½ R/λ, with error bounds from the condition number."""

import numpy as np
import pytest

import zeroloss as zl
from problems import (
    ACTIVATIONS,
    LEVELS,
    UNIT_ROUNDOFF,
    figure6,
    gram_condition,
    kernels_of,
    random_data,
    random_network,
    relative,
    torch_activation,
    torch_cost,
    torch_parameters,
)
from torch_oracle import torch

SHAPES = {
    "n < h": (9, 5, 24, 4, 0.0),
    "n = h": (12, 9, 12, 4, 1e-1),
    "n > h": (21, 5, 8, 4, 1e-1),
    "n = 1": (1, 3, 5, 2, 0.0),
}


def gradient_by_autograd(net, data, ridge):
    """Return −½ ∇ (R/λ) in float64."""
    E, _ = torch_parameters(net)
    torch_cost(E, data, net.activation, ridge).backward()
    return -0.5 * E.grad.numpy()


def solve_bound(net, data, ridge, dtype="float64"):
    """Return a bound on the error: a backward-stable solve errs by a few √n u cond(K) (Higham 2002, ch. 10).

    The factor 20 u covers the sums around the solve.
    """
    n = min(len(data.Y_train), net.hidden)
    return UNIT_ROUNDOFF[dtype] * (20 + 4 * np.sqrt(n) * gram_condition(data, net, ridge))


@pytest.mark.parametrize("rows", ["sparse", "dense"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_predicted_gradient_agrees_with_autograd(activation, shape, rows):
    n, d_in, h, d_out, ridge = SHAPES[shape]
    data = random_data(n, d_in, d_out, rows, seed=3)
    net = random_network(data, h, activation)
    if activation in ("identity", "square") and ridge == 0:
        ridge = 0.1  # The rank of K is at most d_in (d_in (d_in + 1)/2).
    delta, _ = zl.predicted_gradient(net, data, ridge=ridge)
    assert relative(delta, gradient_by_autograd(net, data, ridge)) < solve_bound(net, data, ridge)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "softplus(5)"])
def test_a_well_conditioned_problem_agrees_to_1e_12(activation):
    """With a ridge of the size of K no digits are lost."""
    for n, h in ((20, 60), (60, 20)):
        data = random_data(n, 8, 4, "dense")
        net = random_network(data, h, activation)
        delta, W = zl.predicted_gradient(net, data, ridge=30.0)
        assert gram_condition(data, net, 30.0) < 1e3
        assert relative(delta, gradient_by_autograd(net, data, 30.0)) < 1e-12
        H = torch_activation(activation)(torch.tensor(data.X_train @ net.E)).numpy()
        normal_matrix = H.T @ H + 30.0 * np.eye(h)  # φ(E) solves the normal equations.
        assert relative(normal_matrix @ W, H.T @ data.Y_train) < 1e-12


def test_the_setting_of_figure_6_agrees_within_its_condition():
    """cond(K) is 3–4·10⁶, so that 1e-10 is within the bound u √n cond."""
    data, net = figure6()
    delta, W = zl.predicted_gradient(net, data)
    assert relative(delta, gradient_by_autograd(net, data, 0.0)) < 1e-10
    F = np.maximum(data.X_train @ net.E, 0) @ W
    assert np.abs(F - data.Y_train).max() < 1e-9
    float32, _ = zl.predicted_gradient(net.astype("float32"), data)
    assert relative(float32, delta) < 0.3  # u cond = 0.24


def test_the_taylor_remainder_has_slope_2():
    """R/λ(E + εV) − R/λ(E) + 2ε ΔE·V falls as ε²."""
    data = random_data(10, 6, 3, "dense")
    net = random_network(data, 16, "tanh")
    V = np.random.default_rng(5).standard_normal(net.E.shape)
    delta, _ = zl.predicted_gradient(net, data, ridge=0.5)

    def cost(E):
        run = zl.simulate(
            zl.PredictedGradient(step_size=1.0, ridge=0.5), data, zl.networks.from_arrays(E, net.W, "tanh"), steps=0
        )
        return run.history.cost.item()

    sizes = 1e-2 * 2.0 ** -np.arange(4)
    remainders = [abs(cost(net.E + e * V) - cost(net.E) + 2 * e * (delta * V).sum()) for e in sizes]
    assert np.polyfit(np.log(sizes), np.log(remainders), 1)[0] == pytest.approx(2, abs=0.05)


def test_the_history_has_cost_and_condition():
    data, net = figure6()
    history = zl.simulate(zl.PredictedGradient(step_size=1e-3), data, net, steps=0).history
    E, _ = torch_parameters(net)
    assert history.cost.item() == pytest.approx(torch_cost(E, data, "relu", 0.0).item(), rel=1e-9)
    exact = gram_condition(data, net)
    assert 0.3 * exact < history.condition.item() < 1.01 * exact


def test_the_cost_never_rises_along_small_steps():
    data = zl.datasets.modular_addition(7, train_fraction=0.7)
    net = zl.networks.normal(data, hidden=64, std=7**-0.5, seed=1)
    history = zl.simulate(zl.PredictedGradient(step_size=1e-4), data, net, steps=500, record_every=10).history
    assert (np.diff(history.cost.values) < 0).all()


@pytest.mark.parametrize("level", LEVELS)
def test_every_level_takes_the_same_steps_to_rounding(level):
    data = zl.datasets.modular_addition(7, train_fraction=0.7)
    net = zl.networks.normal(data, hidden=48, std=1.0, seed=1)
    kernels = kernels_of(level)
    samples, relu = kernels.Samples64(data.X_train, data.Y_train), kernels.Activation("relu", 0.0)
    stepper = kernels.PredictedGradient64(samples, relu, 0.1, 48, 1)
    E = net.E.copy()
    assert stepper.advance(E, 1e-3, 20) == 20
    expected = net.E.copy()
    for _ in range(20):
        expected += 1e-3 * gradient_by_autograd(zl.networks.from_arrays(expected, net.W), data, 0.1)
    assert relative(E, expected) < 20 * solve_bound(net, data, 0.1)


#: Sizes around the widths of panels (3 to 48), of blocks (48, 96, 192 rows) and of slices of a product (96 to 384).
SIZES = ((3, 5), (7, 13), (25, 47), (49, 97), (53, 151), (97, 101), (203, 293), (317, 149), (1009, 1021))


@pytest.mark.parametrize(("n", "h"), SIZES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("level", LEVELS)
def test_sizes_that_fill_no_panel_block_or_slice_agree_with_dense_algebra(level, dtype, n, h):
    assert_dense_algebra_agrees(level, dtype, random_data(n, 13, 11, "sparse", seed=n), h)


@pytest.mark.parametrize(
    ("p", "n", "h"), [(3, 5, 7), (11, 59, 128), (13, 40, 50), (17, 100, 96), (26, 60, 90), (37, 241, 250), (53, 7, 9)]
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("level", LEVELS)
def test_pairs_of_inputs_agree_with_dense_algebra(level, dtype, p, n, h):
    """Pairs have loops of their own. The sizes p and n take whole and half registers at the end of a panel."""
    assert_dense_algebra_agrees(level, dtype, zl.datasets.modular_addition(p, train_count=n, seed=0), h)


def assert_dense_algebra_agrees(level, dtype, data, h):
    """The oracle is W = Hᵀ (K + λI)⁻¹ Y or (HᵀH + λI)⁻¹ Hᵀ Y, with λ of the size of K's diagonal."""
    net, n = random_network(data, h), len(data.Y_train)
    Z = data.X_train @ net.E
    H, ridge = np.maximum(Z, 0), float(h)
    B = np.linalg.solve(H @ H.T + ridge * np.eye(n), data.Y_train)
    expected_W = H.T @ B
    expected = data.X_train.T @ ((B @ expected_W.T) * (Z > 0)) - net.E

    kernels, bits = kernels_of(level), dtype.removeprefix("float")
    X, Y = data.X_train.astype(dtype), data.Y_train.astype(dtype)
    samples = getattr(kernels, f"Samples{bits}")(X, Y)
    predicted = getattr(kernels, f"PredictedGradient{bits}")(samples, kernels.Activation("relu", 0.0), ridge, h, 1)
    delta, W = predicted.evaluate(net.E.astype(dtype))
    bound = solve_bound(net, data, ridge, dtype)
    assert relative(W, expected_W) < bound
    assert relative(delta, expected) < bound


def test_the_second_layer_is_ignored():
    data = random_data(6, 4, 2, "dense")
    net = random_network(data, 12)
    other = zl.networks.from_arrays(net.E, net.W + 1.0)
    for ours, theirs in zip(zl.predicted_gradient(net, data), zl.predicted_gradient(other, data), strict=True):
        assert (ours == theirs).all()


def test_singular_matrices_are_errors():
    duplicate = zl.datasets.from_arrays([[1.0, 0.0], [1.0, 0.0]], [[1.0], [1.0]])
    net = random_network(duplicate, 8)
    with pytest.raises(np.linalg.LinAlgError, match=r"could not be factored.*ridge 0, condition number"):
        zl.predicted_gradient(net, duplicate)
    run = zl.simulate(zl.PredictedGradient(step_size=1e-3), duplicate, net, steps=10)
    assert str(run.outcome).startswith("singular: at step 0")
    assert run.history.sizes["step"] == 0
    with pytest.raises(ValueError, match=r"ridge: must be above 0 for n = 2 .* h = 1"):
        zl.predicted_gradient(random_network(duplicate, 1), duplicate)
    zl.predicted_gradient(random_network(duplicate, 1), duplicate, ridge=0.1)


def test_a_failure_leaves_the_records_before_it():
    """One huge step turns every unit off, so that K is zero."""
    data = zl.datasets.modular_addition(5, train_fraction=0.7)
    net = zl.networks.normal(data, hidden=32, std=1.0, seed=1)
    run = zl.simulate(zl.PredictedGradient(step_size=1e200), data, net, steps=10, record_every=1)
    assert run.outcome.ending in ("singular", "diverged")
    assert run.history.step.values[0] == 0
    assert np.isfinite(run.history.norm_E.values).all()
    assert np.isfinite(run.network.E).all()
