"""The zero-loss set against autograd's Jacobian and dense algebra: Gram matrix, direction, projection, spectrum."""

import numpy as np
import pytest

import zeroloss as zl
from problems import (
    ACTIVATIONS,
    LEVELS,
    UNIT_ROUNDOFF,
    figure5,
    flat,
    kernels_of,
    odd_sizes,
    random_data,
    random_network,
    relative,
    same_bits,
    torch_jacobian,
)
from zeroloss.geometry import solver

geometry = zl.geometry
SMOOTH = [name for name in ACTIVATIONS if "relu" not in name]
METHODS = ("dense", "matrix_free")
EPS = 2 * UNIT_ROUNDOFF["float64"]


def problem(activation="relu", rows="dense", n=7, d_in=9, h=14, d_out=3):
    data = random_data(n, d_in, d_out, rows)
    return data, random_network(data, h, activation)


def near_the_set(activation, size=1e-2, seed=0):
    """Return a network at a distance of about ``size`` from the set of its own outputs, with J of full rank."""
    data, net = problem(activation)
    F = data.Y_train + random_outputs(net, data)
    random = np.random.default_rng(seed)
    shift = flat(random.standard_normal(net.E.shape), random.standard_normal(net.W.shape))
    shift *= size / np.linalg.norm(shift)
    E, W = net.E + shift[: net.E.size].reshape(net.E.shape), net.W + shift[net.E.size :].reshape(net.W.shape)
    own = zl.datasets.from_arrays(data.X_train, F, rows="dense")
    return own, zl.networks.from_arrays(E, W, activation)


def random_outputs(net, data):
    """Return F − Y of a network."""
    zero = np.zeros_like(data.Y_train)
    own = zl.datasets.from_arrays(data.X_train, zero, rows="dense")
    set_ = solver.make_zero_loss_set(net, own)
    return set_.residual(net.E, net.W) - data.Y_train


def simulate_figure_5(steps=1000):
    data, net = figure5()
    return data, zl.simulate(zl.GradientDescent(lr=1.0, weight_decay=1e-4), data, net, steps=steps).network


@pytest.mark.parametrize("rows", ["sparse", "dense"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gram_and_products_agree_with_autograd(activation, rows):
    data, net = problem(activation, rows)
    J = torch_jacobian(net, data)
    K = geometry.gram(net, data)
    assert K.shape == (21, 21)
    assert same_bits(K, K.T.copy())
    assert relative(K, J @ J.T) < 1e-12
    random = np.random.default_rng(2)
    vE, vW, R = (random.standard_normal(shape) for shape in (net.E.shape, net.W.shape, data.Y_train.shape))
    assert relative(geometry.jacobian_product(net, data, vE, vW).ravel(), J @ flat(vE, vW)) < 1e-13
    assert relative(flat(*geometry.jacobian_transposed_product(net, data, R)), J.T @ R.ravel()) < 1e-13
    assert relative(solver.dense_jacobian(net, data), J) < 1e-13


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("sizes", odd_sizes(), ids=str)
def test_gram_of_odd_sizes_agrees_at_every_level(level, sizes):
    n, d_in, h, d_out = sizes
    kernels = kernels_of(level)
    data = random_data(n, d_in, d_out)
    net = random_network(data, h, "tanh")
    samples = kernels.Samples64(data.X_train, data.Y_train)
    K = kernels.ZeroLossSet(samples, kernels.Activation("tanh", 0.0), "dense", 1e-12, 1).gram(net.E, net.W)
    J = solver.dense_jacobian(net, data)
    assert relative(K, J @ J.T) < 1e-12


def test_a_repeated_column_in_a_row_counts_as_its_sum():
    kernels = kernels_of(LEVELS[-1])
    Y = np.zeros((2, 1))
    starts, columns, values = np.array([0, 3, 4]), np.array([0, 1, 0, 0]), np.array([1.0, 2.0, 3.0, 5.0])
    sparse, dense = kernels.Samples64(starts, columns, values, 2, Y), kernels.Samples64(np.array([[4.0, 2], [5, 0]]), Y)
    net = zl.networks.from_arrays([[0.3, 0.1], [0.2, -0.4]], [[0.5], [0.7]])
    sets = (kernels.ZeroLossSet(s, kernels.Activation("tanh", 0.0), "dense", 1e-12, 1) for s in (sparse, dense))
    assert relative(*(one.gram(net.E, net.W) for one in sets)) < 1e-15


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("rows", ["sparse", "dense"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_direction_agrees_with_the_pseudo_inverse(activation, rows, method):
    """The bound is the rounding of the normal equations, eps cond(J)², or the tolerance of conjugate gradients."""
    data, net = problem(activation, rows)
    J, theta = torch_jacobian(net, data), flat(net.E, net.W)
    expected = -theta + np.linalg.pinv(J) @ (J @ theta)
    found = geometry.norm_direction(net, data, method)
    g = flat(found.gE, found.gW)
    condition = np.linalg.cond(J)
    assert condition < 1e3
    tolerance = EPS if method == "dense" else solver.TOLERANCE
    assert relative(g, expected) < 1e-9
    assert np.linalg.norm(J @ g) <= 10 * tolerance * condition**2 * np.linalg.norm(J @ theta)
    assert found.norm == pytest.approx(np.linalg.norm(g), rel=1e-14)
    assert found.tangent_fraction == pytest.approx(found.norm / np.linalg.norm(theta), rel=1e-14)


@pytest.mark.parametrize("activation", ["identity", "relu", "leaky_relu(0.1)"])
def test_homogeneous_activations_have_j_theta_equal_to_2f(activation):
    data, net = problem(activation)
    F = random_outputs(net, data) + data.Y_train
    assert relative(geometry.jacobian_product(net, data, net.E, net.W), 2 * F) < 1e-14


@pytest.mark.parametrize("activation", SMOOTH)
def test_projection_converges_quadratically(activation):
    """The exponent log(r₃/r₂)/log(r₂/r₁) of residuals above rounding is 2.

    A change of the constant by a factor of three changes the exponent by log 3/log(r₂/r₁) < 0.2.
    """
    data, net = near_the_set(activation, size=1.0)
    residuals = geometry.project(net, data).residuals
    first, second, third = residuals[residuals > 1e-13][-3:]
    assert second < 1e-2 * first
    assert np.log(third / second) / np.log(second / first) == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("solver_", METHODS)
@pytest.mark.parametrize("method", ["gauss_newton", "chord"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_projection_reaches_the_set(activation, method, solver_):
    data, net = near_the_set(activation)
    found = geometry.project(net, data, method, solver=solver_)
    F = random_outputs(found.network, data)
    assert np.abs(F).max() <= 1e-12
    assert found.residuals[-1] <= 1e-12
    assert (np.diff(found.residuals) < 0).all()
    moved = flat(found.network.E - net.E, found.network.W - net.W)
    assert found.distance == pytest.approx(np.linalg.norm(moved), rel=1e-13)
    assert found.distance <= 1.1 * found.distance_estimate  # Curvature adds about 1 %.
    assert found.network.activation == activation


def test_the_paper_s_projection_is_100_steps_of_momentum_descent():
    data, net = simulate_figure_5()
    found = geometry.project(net, data, method="momentum", lr=0.5)
    run = zl.simulate(zl.GradientDescent(lr=0.5, momentum=0.9), data, net, steps=100)
    assert same_bits(found.network.E, run.network.E)
    assert same_bits(found.network.W, run.network.W)
    assert len(found.residuals) == 101
    assert found.residuals[-1] < found.residuals[0] / 2


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_singular_values_agree_with_autograd_s_jacobian(activation):
    """The bound is eps σ_max/σ_min or, from the Gram matrix, eps (σ_max/σ_min)²; extremes are within 1e-9."""
    data, net = problem(activation)
    expected = np.linalg.svd(torch_jacobian(net, data), compute_uv=False)
    found = geometry.singular_values(net, data)
    condition = expected[0] / expected[-1]
    assert found.shape == expected.shape
    assert np.abs(found / expected - 1).max() < 10 * EPS * condition**2
    for method in METHODS:
        extremes = geometry.singular_values(net, data, which="extremes", method=method)
        assert np.abs(extremes / expected[[0, -1]] - 1).max() < 1e-9
    assert geometry.condition_number(net, data) == pytest.approx(condition, rel=2e-9)


def test_small_singular_values_have_their_digits():
    """At cond(J) = 10⁷ the Gram matrix has no digits left, and J itself has nine."""
    data = zl.datasets.from_arrays(np.eye(2), np.zeros((2, 1)))
    net = zl.networks.from_arrays([[1.0, 0], [0, 1e-7]], [[1e-7], [1e-7]], "identity")
    expected = np.linalg.svd(torch_jacobian(net, data), compute_uv=False)
    assert expected[0] / expected[1] > 5e6
    np.testing.assert_allclose(geometry.singular_values(net, data), expected, rtol=1e-8)


def test_singular_values_of_a_tall_jacobian_agree():
    data, net = problem(h=1)
    expected = np.linalg.svd(torch_jacobian(net, data), compute_uv=False)
    # Beyond the rank they are rounding errors, which differ between machines: at most one unit of the largest per row.
    rounding = len(expected) * np.finfo(float).eps * expected[0]
    np.testing.assert_allclose(geometry.singular_values(net, data), expected, rtol=1e-10, atol=rounding)


def test_the_setting_of_figure_5_has_the_measured_geometry():
    """Ranges over seeds after memorisation, the smallest singular value and the iterations were measured elsewhere."""
    data, net = simulate_figure_5()
    J = torch_jacobian(net, data)
    assert relative(geometry.gram(net, data), J @ J.T) < 1e-13
    largest, smallest = geometry.singular_values(net, data, which="extremes")
    assert 0.4 < smallest < 0.6
    assert 10 < largest < 20
    found = geometry.project(net, data)
    assert 4 <= len(found.residuals) - 1 <= 9
    assert found.residuals[-1] < 1e-12


def test_threads_change_no_bit_and_inputs_stay():
    data, net = problem()
    copies = net.E.copy(), net.W.copy()
    for call in (geometry.gram, geometry.norm_direction, geometry.singular_values, geometry.project):
        call(net, data)
    assert same_bits(net.E, copies[0])
    assert same_bits(net.W, copies[1])


SINGULAR = {
    "few parameters": ({"h": 1}, "there are 21 outputs but only 12 parameters"),
    "duplicates": (None, "1 training inputs are duplicates of others"),
    "dead": ("dead", "13 of 14 hidden units are dead"),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", SINGULAR)
def test_a_singular_jacobian_is_an_error_with_its_cause(case, method):
    change, cause = SINGULAR[case]
    data, net = problem(**change) if isinstance(change, dict) else problem()
    if change is None:
        X = data.X_train.copy()
        X[3] = X[5]
        data = zl.datasets.from_arrays(X, data.Y_train, rows="dense")
    if change == "dead":
        data = zl.datasets.from_arrays(np.abs(data.X_train), data.Y_train, rows="dense")
        E = net.E.copy()
        E[:, :13] = -np.abs(E[:, :13])
        E[:, 13:] = np.abs(E[:, 13:])
        net = zl.networks.from_arrays(E, net.W)
    calls = (
        lambda: geometry.norm_direction(net, data, method),
        lambda: geometry.project(net, data, solver=method),
        lambda: geometry.singular_values(net, data, which="extremes", method=method),
        lambda: geometry.alignment(net, net, data, solver=method),
    )
    for call in calls:
        with pytest.raises(np.linalg.LinAlgError, match=cause) as error:
            call()
        assert "smallest singular value is" in str(error.value)
    assert geometry.gram(net, data).shape[0] == data.Y_train.size


def test_a_projection_that_does_not_converge_raises_with_its_residuals():
    data, net = near_the_set("tanh", size=0.5)
    with pytest.raises(geometry.ProjectionError, match=r"too many iterations.*the residuals were") as error:
        geometry.project(net, data, max_iterations=1)
    assert len(error.value.residuals) == 2
    with pytest.raises(geometry.ProjectionError, match=r"stalled|too many iterations"):
        geometry.project(net, data, tolerance=1e-30)
    with pytest.raises(geometry.ProjectionError, match="diverged; use a smaller lr"):
        geometry.project(net, data, method="momentum", lr=1e9)


def test_invalid_arguments_are_rejected():
    data, net = problem()
    single = net.astype("float32")
    for call in (geometry.gram, geometry.norm_direction, geometry.project, geometry.singular_values):
        with pytest.raises(TypeError, match=r'expected float64, got float32; use network.astype\("float64"\)'):
            call(single, data)
        with pytest.raises(ValueError, match=r"network: expected \(inputs, outputs\)"):
            call(net, figure5()[0])
    with pytest.raises(ValueError, match="method: expected one of auto, dense, matrix_free, got 'svd'"):
        geometry.norm_direction(net, data, "svd")
    with pytest.raises(ValueError, match="which: expected one of all, extremes"):
        geometry.singular_values(net, data, which="few")
    with pytest.raises(ValueError, match=r"vE: expected shape \(9, 14\)"):
        geometry.jacobian_product(net, data, net.W, net.W)
    with pytest.raises(ValueError, match=r"R: expected the shape of Y_train, \(7, 3\)"):
        geometry.jacobian_transposed_product(net, data, net.W)


def test_problems_beyond_the_memory_are_rejected_before_the_start(monkeypatch):
    data, net = problem(n=40, h=50)
    needed = geometry.memory_needed(net, data, "dense")
    assert needed >= 8 * 120**2
    assert geometry.memory_needed(net, data) == needed
    monkeypatch.setattr("zeroloss._resources.available_memory", lambda: needed - 1)
    with pytest.raises(ValueError, match=r"the dense geometry of n·d_out = 120: expected to fit in .* needs"):
        geometry.norm_direction(net, data)
    with pytest.raises(ValueError, match="gram: expected to fit"):
        geometry.gram(net, data)
    geometry.norm_direction(net, data, "matrix_free")


@pytest.mark.parametrize("rows", ["pairs", "dense"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu(0.1)", "tanh"])
def test_solvers_agree_if_samples_units_and_outputs_fill_several_panels(activation, rows):
    """The error is at most the residual times the condition of J Jᵀ, which is below 10⁴."""
    data = zl.datasets.modular_addition(29, train_count=60, seed=0)
    if rows == "dense":
        data = zl.datasets.from_arrays(data.X_train, data.Y_train, rows="dense")
    net = random_network(data, 100, activation)
    assert geometry.condition_number(net, data) < 100
    dense, free = (geometry.norm_direction(net, data, method) for method in METHODS)
    assert relative(flat(free.gE, free.gW), flat(dense.gE, dense.gW)) < 1e4 * solver.TOLERANCE


@pytest.mark.parametrize("scales", [(1, 1, 1), (30, 5, 0.1), (100, 1e-3, 0)], ids=str)
def test_solvers_agree_if_the_weights_of_outputs_differ(scales):
    """Eigenvalues of WᵀW over many magnitudes have preconditioners of their own."""
    data, net = problem("tanh")
    net = zl.networks.from_arrays(net.E, net.W * np.array(scales), "tanh")
    dense, free = (geometry.norm_direction(net, data, method) for method in METHODS)
    assert relative(flat(free.gE, free.gW), flat(dense.gE, dense.gW)) < 1e-8


def test_large_problems_are_solved_without_the_gram_matrix():
    """J of figure 6 has 18 204 rows. The Gram matrix would take 2.7 GB; g is tangent to the tolerance."""
    data = zl.datasets.modular_addition(37, train_fraction=0.7, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=512, seed=1)
    assert geometry.memory_needed(net, data, "dense") > 2.6e9
    assert geometry.memory_needed(net, data) < 5e7
    found = geometry.norm_direction(net, data)
    along = geometry.jacobian_product(net, data, found.gE, found.gW)
    theta = geometry.jacobian_product(net, data, net.E, net.W)
    assert np.linalg.norm(along) <= 2 * solver.TOLERANCE * np.linalg.norm(theta)


def test_the_norm_of_the_residual_falls_even_if_its_maximum_rises():
    data = zl.datasets.modular_addition(11, test_count=7, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=128, seed=0, activation="softplus(5)")
    residuals = geometry.project(net, data).residuals
    assert residuals[1] > residuals[0]
    set_, norms = solver.make_zero_loss_set(net, data), []
    for iterations in range(len(residuals)):
        E, W = net.E.copy(), net.W.copy()
        assert set_.retract(E, W, 1e-12, iterations, False)[1] == residuals[: iterations + 1].tolist()
        norms.append(np.linalg.norm(set_.residual(E, W)))
    assert (np.diff(norms) < 0).all()
    assert "the greatest entry may rise" in geometry.Projection.__doc__
