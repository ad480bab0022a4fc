"""The curvature of the loss against central differences, autograd, and dense matrices."""

import mpmath
import numpy as np
import pytest
import scipy.linalg

import zeroloss as zl
from problems import (
    ACTIVATIONS,
    LEVELS,
    flat,
    kernels_of,
    odd_sizes,
    random_data,
    random_network,
    relative,
    same_bits,
    torch_jacobian,
    torch_loss,
    torch_parameters,
)
from torch_oracle import torch
from zeroloss.curvature import eigenvalues, generalised

curvature = zl.curvature
LOSSES = ("mse", "cross_entropy")
REDUCTIONS = ("mean", "sum")
PARTS = ("hessian", "gauss_newton")


def problem(activation="tanh", rows="dense", loss="mse", n=7, d_in=9, h=14, d_out=3):
    """A small problem. The targets of cross-entropy are positive, with sums that differ."""
    data = random_data(n, d_in, d_out, rows)
    if loss == "cross_entropy":
        data = zl.datasets.from_arrays(data.X_train, np.abs(data.Y_train), rows=rows)
    return data, random_network(data, h, activation)


def random_direction(net, seed=2):
    """Return a direction of length 1, by layers."""
    random = np.random.default_rng(seed)
    VE, VW = random.standard_normal(net.E.shape), random.standard_normal(net.W.shape)
    length = np.linalg.norm(flat(VE, VW))
    return VE / length, VW / length


def gradient(net, data, loss, reduction):
    return flat(*zl.loss_and_gradient(net, data, loss, reduction)[1:])


def central_difference(net, data, direction, loss, reduction, step=1e-3):
    """Return the derivative of the gradient along a direction, of fourth order in the step."""
    VE, VW = direction

    def at(factor):
        moved = zl.networks.from_arrays(net.E + factor * step * VE, net.W + factor * step * VW, net.activation)
        return gradient(moved, data, loss, reduction)

    return (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * step)


def torch_hessian_product(net, data, direction, loss, reduction):
    """Return the product by differentiating the gradient twice."""
    parameters = tuple(torch_parameters(net))
    value = torch_loss(*parameters, data, net.activation, reduction, loss)
    gradients = torch.autograd.grad(value, parameters, create_graph=True)
    along = sum((g * torch.tensor(v)).sum() for g, v in zip(gradients, direction, strict=True))
    return flat(*(part.numpy() for part in torch.autograd.grad(along, parameters)))


def dense_hessian(net, data, loss="mse", reduction="mean"):
    """Return ∇²L by autograd, one column after the other."""
    columns = []
    for unit in np.eye(net.E.size + net.W.size):
        direction = unit[: net.E.size].reshape(net.E.shape), unit[net.E.size :].reshape(net.W.shape)
        columns.append(torch_hessian_product(net, data, direction, loss, reduction))
    return np.array(columns)


def dense_gauss_newton(net, data, loss="mse", reduction="mean"):
    """Return Jᵀ A J from autograd's Jacobian, with A by autograd, too."""
    Y = torch.tensor(data.Y_train)
    function = {"mse": torch.nn.functional.mse_loss, "cross_entropy": torch.nn.functional.cross_entropy}[loss]
    outputs = torch.tensor(net(data.X_train))
    A = torch.autograd.functional.hessian(lambda F: function(F, Y, reduction=reduction), outputs)
    J = torch_jacobian(net, data)
    return J.T @ A.reshape(Y.numel(), -1).numpy() @ J


DENSE = {"hessian": dense_hessian, "gauss_newton": dense_gauss_newton}


def memorise_network(activation="relu"):
    """A network on the zero-loss set, to max|F − Y| ≤ 1e-12."""
    data = zl.datasets.modular_addition(11, test_count=7, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=128, seed=1, activation=activation)
    run = zl.simulate(zl.GradientDescent(lr=1.0, weight_decay=1e-4), data, net, steps=1000)
    return data, zl.geometry.project(run.network, data).network


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_products_against_central_differences_of_the_gradient(activation, loss, reduction):
    data, net = problem(activation, "sparse", loss)
    direction = random_direction(net)
    Z, dZ = data.X_train @ net.E, data.X_train @ direction[0]
    assert (np.abs(Z) > 3e-3 * np.abs(dZ))[Z != 0].all()  # No pre-activation crosses a kink.
    product = flat(*curvature.hessian_product(net, data, *direction, loss, reduction))
    assert relative(product, central_difference(net, data, direction, loss, reduction)) < 1e-8


@pytest.mark.parametrize("rows", ["sparse", "dense"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_products_and_traces_against_autograd(activation, loss, reduction, rows):
    data, net = problem(activation, rows, loss)
    direction = random_direction(net)
    products = curvature.hessian_product, curvature.gauss_newton_product
    for part, multiply in zip(PARTS, products, strict=True):
        A = DENSE[part](net, data, loss, reduction)
        assert relative(flat(*multiply(net, data, *direction, loss, reduction)), A @ flat(*direction)) < 1e-12
        decayed = flat(*multiply(net, data, *direction, loss, reduction, weight_decay=0.3))
        assert relative(decayed, A @ flat(*direction) + 0.3 * flat(*direction)) < 1e-12
        trace = curvature.trace(net, data, loss, reduction, weight_decay=0.3, part=part)
        assert trace == pytest.approx(np.trace(A) + 0.3 * len(A), rel=1e-12)
    oracle = torch_hessian_product(net, data, direction, loss, reduction)
    assert relative(flat(*curvature.hessian_product(net, data, *direction, loss, reduction)), oracle) < 1e-12


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("sizes", odd_sizes(), ids=str)
def test_kernels_of_odd_sizes_at_every_level(level, sizes):
    n, d_in, h, d_out = sizes
    kernels = kernels_of(level)
    for loss in LOSSES:
        data, net = problem("softplus(5)", "dense", loss, n, d_in, h, d_out)
        samples = kernels.Samples64(data.X_train, data.Y_train)
        activation, function = kernels.Activation("softplus", 5.0), kernels.Loss(loss, "sum")
        kernel = kernels.Curvature(samples, activation, function, np.zeros_like(net.E), net.W, threads=2)
        kernel.move(net.E, net.W)
        direction = random_direction(net)
        v = flat(*direction)
        oracle = torch_hessian_product(net, data, direction, loss, "sum")
        assert np.linalg.norm(kernel.multiply(v, "hessian", 0.0) - oracle) <= 1e-12 * max(1e-3, np.linalg.norm(oracle))
        parts = sum(kernel.multiply(v, part, 0.0) for part in ("gauss_newton", "remainder"))
        assert np.linalg.norm(parts - oracle) <= 1e-12 * max(1e-3, np.linalg.norm(oracle))
        traces = [kernel.trace(part) for part in ("hessian", "gauss_newton", "remainder")]
        assert traces[0] == pytest.approx(traces[1] + traces[2], rel=1e-12)
        Jv = kernel.multiply_jacobian(v)
        assert relative(Jv, zl.geometry.jacobian_product(net, data, *direction)) < 1e-13
        transposed = flat(*zl.geometry.jacobian_transposed_product(net, data, Jv))
        assert relative(kernel.multiply_jacobian_transposed(Jv), transposed) < 1e-13


@pytest.mark.parametrize("activation", ["square", "tanh", "gelu", "softplus(5)", "softplus(0.5)"])
def test_second_derivatives_of_activations_in_many_digits(activation):
    """With one sample, input and unit, the trace of the rest of the Hessian is G σ''(z), and here G = 1."""
    kind, _, text = activation.rstrip(")").partition("(")
    b = mpmath.mpf(text or 1)
    sigma = {
        "square": lambda z: z**2,
        "tanh": mpmath.tanh,
        "gelu": lambda z: z * mpmath.ncdf(z),
        "softplus": lambda z: mpmath.log1p(mpmath.exp(b * z)) / b,
    }[kind]
    for z in (-30.0, -8.0, -2.5, -0.3, 0.0, 0.2, 1.0, 4.0, 20.0):
        with mpmath.workdps(60):
            expected, value = mpmath.diff(sigma, mpmath.mpf(z), 2, h=mpmath.mpf("1e-12")), float(sigma(mpmath.mpf(z)))
        data = zl.datasets.from_arrays([[1.0]], [[value - 0.5]], rows="dense")
        net = zl.networks.from_arrays([[z]], [[1.0]], activation)
        whole, first = (curvature.trace(net, data, reduction="sum", part=part) for part in PARTS)
        assert whole - first == pytest.approx(float(expected), rel=1e-10, abs=3e-15 * max(1.0, abs(whole)))


def test_the_second_derivative_far_from_zero_keeps_its_digits():
    """Where σ and σ' are about 1e-20, σ'' is about 1e-20 too, and its last digits survive."""
    data = zl.datasets.from_arrays([[1.0]], [[-0.5]], rows="dense")
    for activation, z, expected in (
        ("tanh", 23.0, -8 * np.exp(-46.0)),
        ("gelu", -9.0, (2 - 81.0) * np.exp(-40.5) / np.sqrt(2 * np.pi)),
        ("softplus(5)", -9.0, 5 * np.exp(-45.0)),
    ):
        net = zl.networks.from_arrays([[z]], [[1.0]], activation)
        G = zl.loss_and_gradient(net, data, reduction="sum")[2].item() / net(np.ones((1, 1))).item()
        kernel = eigenvalues.make_curvature(net, data, "mse", "sum")
        assert kernel.trace("remainder") == pytest.approx(G * expected, rel=1e-12)


@pytest.mark.parametrize("activation", ["relu", "softplus(5)"])
def test_sharpness_on_the_zero_loss_set(activation):
    data, net = memorise_network(activation)
    largest = zl.geometry.singular_values(net, data, "extremes")[0]
    expected = 2 * largest**2 / data.Y_train.size
    assert curvature.sharpness(net, data) == pytest.approx(expected, rel=1e-9)
    assert curvature.sharpness(net, data, part="gauss_newton") == pytest.approx(expected, rel=1e-9)
    assert curvature.sharpness(net, data, weight_decay=0.25) == pytest.approx(expected + 0.25, rel=1e-9)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_eigenvalues_against_the_dense_matrix(activation, loss, part, monkeypatch):
    data, net = problem(activation, "sparse", loss)
    values, vectors = np.linalg.eigh(DENSE[part](net, data, loss))
    size = np.abs(values).max()
    assert curvature.spectrum(net, data, loss, part=part) == pytest.approx(values[::-1], abs=1e-13 * size)
    assert curvature.sharpness(net, data, loss, part=part) == pytest.approx(values[-1], abs=1e-9 * size)
    for dense in (256, 0):
        monkeypatch.setattr(eigenvalues, "_DENSE_BELOW", dense)
        pairs = curvature.eigenpairs(net, data, 3, loss, part=part)
        assert pairs.values == pytest.approx(values[:-4:-1], abs=1e-9 * size)
        assert (pairs.residuals <= 1e-8 * size).all()
        assert np.abs(np.abs(np.sum(pairs.vectors * vectors[:, :-4:-1], axis=0)) - 1).max() < 1e-6
        if part == "hessian" and activation != "square":
            lowest = curvature.eigenpairs(net, data, 1, loss, which="smallest")
            assert lowest.values == pytest.approx(values[:1], abs=1e-9 * size)


def generalised_problem(net, data, loss, reduction, weight_decay):
    """Return the smallest μ of the dense matrices of autograd."""
    unit = weight_decay * np.eye(net.E.size + net.W.size)
    H = dense_hessian(net, data, loss, reduction) + unit
    return scipy.linalg.eigvalsh((H + H.T) / 2, dense_gauss_newton(net, data, loss, reduction) + unit)[0]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_smallest_curvature_against_dense_matrices(activation, loss, reduction, monkeypatch):
    data, net = problem(activation, "sparse", loss)
    expected = generalised_problem(net, data, loss, reduction, 0.03)
    for dense in (256, 0):
        monkeypatch.setattr(generalised, "_DENSE_BELOW", dense)
        found = curvature.smallest(net, data, 0.03, loss, reduction)
        assert found.residual < 1e-8 * max(1.0, abs(expected))
        assert float(found) == pytest.approx(expected, rel=1e-9, abs=1e-9)
        v = found.vector
        Mv = curvature.operator(net, data, "gauss_newton", loss, reduction, 0.03) @ v
        assert v @ Mv == pytest.approx(1, rel=1e-9)
        Hv = curvature.operator(net, data, "hessian", loss, reduction, 0.03) @ v
        assert v @ Hv == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_the_smallest_curvature_is_1_if_no_residual_is_left(monkeypatch):
    data, net = problem("relu")
    exact = zl.datasets.from_arrays(data.X_train, net(data.X_train), rows="dense")
    for dense in (256, 0):
        monkeypatch.setattr(generalised, "_DENSE_BELOW", dense)
        assert curvature.smallest(net, exact, 1e-3).value == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("part", PARTS)
def test_the_estimate_of_a_trace_agrees_with_the_exact_one(part):
    data, net = problem("softplus(5)")
    exact = curvature.trace(net, data, part=part)
    estimate = curvature.estimate_trace(net, data, part=part, samples=400, seed=3)
    assert estimate.samples == 400
    assert 0 < estimate.standard_error < 0.2 * exact
    assert abs(float(estimate) - exact) < 4 * estimate.standard_error
    assert estimate == curvature.estimate_trace(net, data, part=part, samples=400, seed=3)
    assert estimate.value != curvature.estimate_trace(net, data, part=part, samples=400, seed=4).value
    more = curvature.estimate_trace(net, data, part=part, samples=1600, seed=3)
    assert more.standard_error == pytest.approx(estimate.standard_error / 2, rel=0.25)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("rows", ["sparse", "dense"])
def test_bits_do_not_depend_on_the_number_of_threads(rows, loss):
    data, net = problem("gelu", rows, loss, n=300, d_in=9, h=140, d_out=5)
    v = flat(*random_direction(net))
    for part in PARTS:
        alone, *others = (curvature.operator(net, data, part, loss, threads=threads) @ v for threads in (1, 2, 3))
        assert all(same_bits(alone, other) for other in others)
    alone, *others = (curvature.sharpness(net, data, loss, threads=threads) for threads in (1, 2, 3))
    assert others == [alone, alone]


@pytest.mark.parametrize("loss", LOSSES)
def test_sparse_and_dense_rows_agree(loss):
    sparse, net = problem("tanh", "sparse", loss)
    dense = zl.datasets.from_arrays(sparse.X_train, sparse.Y_train, rows="dense")
    direction = random_direction(net)
    products = [flat(*curvature.hessian_product(net, data, *direction, loss)) for data in (sparse, dense)]
    assert relative(*products) < 1e-14
    assert curvature.trace(net, sparse, loss) == pytest.approx(curvature.trace(net, dense, loss), rel=1e-13)
    assert float(curvature.smallest(net, sparse, 0.1, loss)) == pytest.approx(
        float(curvature.smallest(net, dense, 0.1, loss)), rel=1e-12
    )


def test_an_operator_is_symmetric_and_serves_scipy():
    data, net = problem("gelu")
    hessian = curvature.operator(net, data)
    A = hessian @ np.eye(168)
    assert hessian.shape == (168, 168)
    assert relative(A, A.T) < 1e-14
    assert relative(hessian.rmatvec(np.ones(168)), A @ np.ones(168)) < 1e-13
    with pytest.raises(TypeError, match="complex"):
        hessian @ (1j * np.ones(168))


def test_float32_networks_are_converted():
    data, net = problem("tanh")
    single = net.astype("float32")
    double = single.astype("float64")
    assert curvature.sharpness(single, data) == curvature.sharpness(double, data)
    assert float(curvature.smallest(single, data, 0.1)) == float(curvature.smallest(double, data, 0.1))


def test_networks_without_curvature_and_with_outputs_far_apart():
    data = zl.datasets.from_arrays([[1.0, 2.0]], [[0.0]])
    dead = zl.networks.from_arrays([[-1.0], [-1.0]], [[1.0]])  # Its only unit is 0.
    assert curvature.sharpness(dead, data) == 0
    assert curvature.trace(dead, data) == 0
    data, net = problem("relu", loss="cross_entropy")
    confident = zl.networks.from_arrays(net.E * 1e4, net.W * 1e4)  # probabilities of 0 and 1
    product = flat(*curvature.hessian_product(confident, data, *random_direction(net), "cross_entropy"))
    assert np.isfinite(product).all()


def test_invalid_arguments_are_rejected():
    data, net = problem("tanh")
    VE, VW = random_direction(net)
    functions = (curvature.hessian_product, curvature.gauss_newton_product)
    for multiply in functions:
        with pytest.raises(ValueError, match=r"VE: expected shape \(9, 14\), got \(14, 9\)"):
            multiply(net, data, VE.T, VW)
        with pytest.raises(ValueError, match=r"VW: expected finite numbers in float64"):
            multiply(net, data, VE, np.full_like(VW, np.nan))
        with pytest.raises(ValueError, match=r"weight_decay: .* at least 0.*-1"):
            multiply(net, data, VE, VW, weight_decay=-1)
    with pytest.raises(ValueError, match="loss: expected one of mse, cross_entropy, got 'hinge'"):
        curvature.operator(net, data, loss="hinge")
    with pytest.raises(ValueError, match="reduction: expected one of mean, sum, got 'max'"):
        curvature.spectrum(net, data, reduction="max")
    with pytest.raises(ValueError, match="part: expected one of hessian, gauss_newton, got 'fisher'"):
        curvature.sharpness(net, data, part="fisher")
    for weight_decay in (0, -1e-3):
        with pytest.raises(ValueError, match=r"weight_decay: .*above 0"):
            curvature.smallest(net, data, weight_decay)
    with pytest.raises(ValueError, match="count: expected at most 168, the number of parameters, got 169"):
        curvature.eigenpairs(net, data, 169)
    with pytest.raises(ValueError, match=r"samples: .*at least 2"):
        curvature.estimate_trace(net, data, samples=1)
    with pytest.raises(ValueError, match=r"accuracy: .*above 0"):
        curvature.SharpnessMeasure(data, accuracy=0)
    with pytest.raises(ValueError, match=r"data: .*negative sum"):
        curvature.smallest(net, data, 0.1, "cross_entropy")


def test_failures_are_clear(monkeypatch):
    data, net = problem("tanh")
    huge = zl.networks.from_arrays(net.E * 1e200, net.W * 1e200, "square")
    for function in (curvature.sharpness, curvature.spectrum, curvature.eigenpairs, curvature.estimate_trace):
        with np.errstate(all="ignore"), pytest.raises(np.linalg.LinAlgError, match="the Hessian is not finite"):
            function(huge, data)
    with pytest.raises(np.linalg.LinAlgError, match="singular to rounding"):
        curvature.smallest(net, data, 1e-300)
    monkeypatch.setattr(eigenvalues, "_MOST_ITERATIONS", 3)
    with pytest.raises(np.linalg.LinAlgError, match=r"reached an accuracy of .* in 3 iterations instead of 1e-09"):
        curvature.sharpness(net, data)
    large = random_network(data, 20_000)
    with pytest.raises(ValueError, match=r"the Hessian of d = 240000 parameters: expected to fit in .* free memory"):
        curvature.spectrum(large, data)
    many = zl.datasets.from_arrays(np.ones((60_000, 9)), np.ones((60_000, 3)), rows="dense")
    with pytest.raises(ValueError, match="n·d_out = 180000: expected to fit in"):
        curvature.smallest(random_network(many, 50), many, 0.1)
