"""Biases in geometry, curvature, flows and end states, against autograd and against an explicit constant input."""

import numpy as np
import pytest

import zeroloss as zl
from problems import ACTIVATIONS, torch_activation
from test_biases import leaves, network, one_hots, torch_loss, torch_outputs
from torch_oracle import torch
from zeroloss.geometry.directions import TangentSpace


def dense_data():
    random = np.random.default_rng(5)
    X, Y = random.standard_normal((15, 4)), random.standard_normal((15, 2))
    return zl.datasets.from_arrays(X[:12], Y[:12], X[12:], Y[12:], rows="dense")


DATA = {
    "pairs": lambda: zl.datasets.modular_addition(5, test_count=6, seed=0),
    "3-hot": lambda: one_hots(n=14, d_in=6, d_out=3, k=3, n_test=5),
    "dense": dense_data,
}
BIASES = ("hidden", "output", "both")


def with_column(net, data):
    """Return the network and the data in which the hidden biases are weights of an explicit constant input."""
    X, X_test = (np.hstack([A, np.ones((len(A), 1))]) for A in (data.X_train, data.X_test))
    rows = "dense" if isinstance(data.rows_train, np.ndarray) else "sparse"
    column = zl.datasets.from_arrays(X, data.Y_train, X_test, data.Y_test, rows=rows)
    return zl.networks.from_arrays(*net.layers, net.activation), column


def flat(parameters):
    """Return parameters in the order of `layers`: E, hidden biases, W, biases of the outputs."""
    order = ("E", "bias_hidden", "W", "bias_output")
    return torch.cat([parameters[name].reshape(-1) for name in order if name in parameters])


def jacobian(net, X):
    """Return J, (n·d_out, d), by autograd."""
    parameters = leaves(net)
    outputs = torch_outputs(parameters, torch.tensor(np.asarray(X)), net.activation).reshape(-1)
    names = list(parameters)
    rows = [
        flat(dict(zip(names, torch.autograd.grad(entry, list(parameters.values()), retain_graph=True), strict=True)))
        for entry in outputs
    ]
    return torch.stack(rows).numpy()


def theta(net):
    return np.concatenate([layer.ravel() for layer in net.layers])


@pytest.mark.parametrize("rows", DATA)
@pytest.mark.parametrize("activation", ["relu", "tanh", "softplus(5)"])
@pytest.mark.parametrize("bias", BIASES)
def test_geometry_agrees_with_autograd(rows, activation, bias):
    data = DATA[rows]()
    net = network(data, bias, hidden=60, activation=activation)
    J = jacobian(net, data.X_train)
    scale = np.linalg.norm(J) ** 2
    np.testing.assert_allclose(zl.geometry.gram(net, data), J @ J.T, atol=1e-13 * scale)
    np.testing.assert_allclose(zl.geometry.ntk(net, data), J @ J.T, atol=1e-13 * scale)
    np.testing.assert_allclose(
        zl.geometry.ntk(net, data, data.X_test), J @ jacobian(net, data.X_test).T, atol=1e-13 * scale
    )
    singular = np.linalg.svd(J, compute_uv=False)
    np.testing.assert_allclose(zl.geometry.singular_values(net, data), singular, rtol=1e-7)
    v = np.random.default_rng(0).standard_normal(J.shape[1])
    parts = np.split(v, [net.layers[0].size])
    vE, vW = (part.reshape(layer.shape) for part, layer in zip(parts, net.layers, strict=True))
    np.testing.assert_allclose(zl.geometry.jacobian_product(net, data, vE, vW).ravel(), J @ v, atol=1e-11)
    R = np.random.default_rng(1).standard_normal(data.Y_train.shape)
    back = zl.geometry.jacobian_transposed_product(net, data, R)
    np.testing.assert_allclose(np.concatenate([part.ravel() for part in back]), J.T @ R.ravel(), atol=1e-11)
    g = -(theta(net) - np.linalg.pinv(J) @ (J @ theta(net)))
    for method in ("dense", "matrix_free"):
        direction = zl.geometry.norm_direction(net, data, method)
        got = np.concatenate([direction.gE.ravel(), direction.gW.ravel()])
        condition = singular[0] / singular[-1]
        np.testing.assert_allclose(got, g, atol=1e-12 * condition**2 * np.linalg.norm(theta(net)))


@pytest.mark.parametrize("rows", DATA)
@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("bias", BIASES)
def test_the_hessian_agrees_with_autograd(rows, loss, activation, bias):
    data = DATA[rows]()
    net = network(data, bias, hidden=5, activation=activation)
    X, Y = torch.tensor(data.X_train), torch.tensor(np.eye(data.d_out)[data.Y_train.argmax(1)])
    data = zl.datasets.from_arrays(data.X_train, Y.numpy(), rows="dense" if rows == "dense" else "sparse")
    sizes = {
        name: net.parameters[name].shape for name in ("E", "bias_hidden", "W", "bias_output") if name in net.parameters
    }

    def function(vector):
        parts = torch.split(vector, [int(np.prod(shape)) for shape in sizes.values()])
        parameters = {name: part.reshape(sizes[name]) for name, part in zip(sizes, parts, strict=True)}
        return torch_loss(torch_outputs(parameters, X, activation), Y, loss, "mean")

    expected = torch.autograd.functional.hessian(function, torch.tensor(theta(net))).numpy()
    operator = zl.curvature.operator(net, data, loss=loss)
    np.testing.assert_allclose(operator @ np.eye(len(expected)), expected, atol=1e-12 * max(1, np.abs(expected).max()))
    assert zl.curvature.trace(net, data, loss=loss) == pytest.approx(np.trace(expected), rel=1e-10, abs=1e-12)
    largest = np.linalg.eigvalsh(expected)[-1]
    assert zl.curvature.sharpness(net, data, loss=loss, accuracy=1e-6) == pytest.approx(largest, rel=1e-5)
    assert zl.curvature.SharpnessMeasure(data, loss)(net) == pytest.approx(largest, rel=0.02)


@pytest.mark.parametrize("rows", DATA)
@pytest.mark.parametrize("ridge", [0.0, 0.1])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("bias", BIASES)
def test_the_predicted_gradient_agrees_with_autograd(rows, ridge, activation, bias):
    """ΔE = −½ ∇(R/λ) with R/λ = ‖E‖² + tr(Yᵀ (H Hᵀ + λI)⁻¹ Y).

    E has the hidden biases as last row, and H has ones as last column if the outputs have biases.
    """
    data = DATA[rows]()
    net = network(data, bias, hidden=40, activation=activation)
    E = torch.tensor(net.layers[0], requires_grad=True)
    X, Y = torch.tensor(data.X_train), torch.tensor(data.Y_train)
    ones = torch.ones(len(X), 1, dtype=X.dtype)
    H = torch_activation(activation)((X if net.bias_hidden is None else torch.hstack([X, ones])) @ E)
    H = H if net.bias_output is None else torch.hstack([H, ones])
    B = torch.linalg.solve(H @ H.T + ridge * torch.eye(len(X), dtype=X.dtype), Y)
    cost = (E * E).sum() + (Y * B).sum()
    (gradient,) = torch.autograd.grad(cost, E)
    delta, W = zl.predicted_gradient(net, data, ridge)
    condition = np.linalg.cond((H @ H.T).detach().numpy() + ridge * np.eye(len(X)))
    scale = 1e-14 * condition * np.abs(gradient.numpy()).max()
    np.testing.assert_allclose(delta, -gradient.numpy() / 2, atol=scale)
    np.testing.assert_allclose(W, (H.T @ B).detach(), atol=1e-14 * condition * float(B.detach().abs().max()))
    run = zl.simulate(zl.PredictedGradient(step_size=1e-3, ridge=ridge), data, net, steps=1)
    assert run.network.bias == bias
    np.testing.assert_allclose(run.network.layers[0], net.layers[0] + 1e-3 * delta, atol=1e-15 + 1e-3 * scale)
    assert float(run.history.cost[0]) == pytest.approx(cost.item(), rel=1e-10 * max(1, condition * 1e-4))


#: Flows, numbers of steps, and how far two runs with other orders of additions may be apart. An implicit step ends when
#: the residual of its equations is below 3 % of its size in slow time.
FLOWS = {
    "euler": (zl.NormFlow(step_size=0.01), 20, 1e-9),
    "bogacki_shampine": (zl.NormFlow(rtol=1e-4), 8, 1e-9),
    "proximal": (zl.NormFlow(step_size=0.01, method="proximal"), 8, 1e-4),
    "chebyshev": (zl.GradientFlow(weight_decay=1e-3, method="chebyshev"), 8, 1e-9),
    "implicit": (zl.GradientFlow(weight_decay=1e-3, method="proximal"), 8, 1e-4),
    "predicted": (zl.PredictedGradient(rtol=1e-4), 8, 1e-9),
}


@pytest.mark.parametrize("kind", FLOWS)
@pytest.mark.parametrize("rows", DATA)
def test_flows_with_hidden_biases_are_flows_with_a_constant_input(kind, rows):
    data = DATA[rows]()
    net = zl.geometry.project(network(data, "hidden", hidden=40), data).network
    assert net.bias == "hidden"
    assert np.abs(net(data.X_train) - data.Y_train).max() <= 1e-12
    flow, steps, tolerance = FLOWS[kind]
    run, other = (
        zl.simulate(flow, data, net, steps=steps),
        zl.simulate(flow, *with_column(net, data)[::-1], steps=steps),
    )
    assert run.network.bias == "hidden"
    for got, expected in zip(run.network.layers, other.network.layers, strict=True):
        np.testing.assert_allclose(got, expected, atol=tolerance)
    assert "norm_bias" in run.history
    np.testing.assert_allclose(
        np.hypot(run.history.norm_E, run.history.norm_bias), other.history.norm_E, rtol=tolerance
    )
    again = run.extend(steps=2)
    whole = zl.simulate(flow, data, net, steps=steps + 2)
    assert theta(again.network).tobytes() == theta(whole.network).tobytes()


@pytest.mark.parametrize("rows", ["pairs", "dense"])
def test_directions_with_kinks_and_alignments_include_hidden_biases(rows):
    data = DATA[rows]()
    nets = [zl.geometry.project(network(data, "hidden", hidden=40), data).network]
    nets.append(zl.simulate(zl.GradientDescent(lr=0.05, weight_decay=0.1), data, nets[0], steps=30).network)
    column = [with_column(net, data)[0] for net in nets]
    plain = with_column(nets[0], data)[1]
    kinks = zl.geometry.sign_changes(nets, data)
    np.testing.assert_array_equal(kinks, zl.geometry.sign_changes(column, plain))
    assert len(kinks) > 0
    first, second = (
        zl.geometry.norm_direction(net, samples, kinks=kinks[:3])
        for net, samples in ((nets[0], data), (column[0], plain))
    )
    np.testing.assert_allclose(first.gE, second.gE, atol=1e-10)
    one, two = zl.geometry.alignment(*nets, data), zl.geometry.alignment(*column, plain)
    assert one.cosine == pytest.approx(two.cosine, abs=1e-6)
    assert one.distance == pytest.approx(two.distance, rel=1e-6)
    space, other = (
        TangentSpace(nets[0], data),
        TangentSpace(column[0], plain),
    )
    np.testing.assert_allclose(space.steepest_direction(), other.steepest_direction(), atol=1e-10)
    run = zl.simulate(
        zl.GradientDescent(lr=0.05, weight_decay=1e-3),
        data,
        nets[0],
        steps=20,
        record_every=10,
        measures={"a": zl.geometry.AlignmentMeasure(data)},
    )
    assert np.isfinite(run.history.a_distance).all()


@pytest.mark.parametrize("activation", ["relu", "softplus(5)"])
@pytest.mark.parametrize("bias", BIASES)
def test_the_gradient_vanishes_at_stationary_points(activation, bias):
    data, decay = DATA["pairs"](), 1e-3
    net = network(data, bias, hidden=24, activation=activation)
    point = zl.stationary_point(net, data, decay)
    assert point.network.bias == bias
    assert point.network.hidden == 24
    assert point.kkt <= 1e-9
    gradients = zl.loss_and_gradient(point.network, data)[1:]
    force = np.concatenate([(g + decay * A).ravel() for g, A in zip(gradients, point.network.layers, strict=True)])
    if activation != "relu" or point.pinned_pairs == 0:
        assert np.linalg.norm(force) <= 1e-8 * decay * np.linalg.norm(theta(point.network))
    assert zl.geometry.kkt_residual(point.network, data, decay, kink_tolerance=1e-9) <= 1e-7
    if bias != "hidden":
        return
    column, plain = with_column(net, data)
    other = zl.stationary_point(column, plain, decay)
    assert point.objective == pytest.approx(other.objective, rel=1e-9)


@pytest.mark.parametrize("bias", ["none", "hidden", "output", "both"])
@pytest.mark.parametrize("rows", DATA)
def test_which_identities_of_homogeneity_hold(bias, rows):
    """For ReLU, F is homogeneous of order 2 in (E, b, W) jointly, so J θ = 2 F. It is not with biases of the outputs.

    In each unit F is homogeneous of order 1 in (E_u, b_u) and in W_u, so ‖E_u‖² + b_u² − ‖W_u‖² of each unit is
    conserved by the gradient flow in any case, and ‖E_u‖² − ‖W_u‖² only without hidden biases.
    """
    data = DATA[rows]()
    net = network(data, "both", hidden=30)
    biases = {name: net.parameters[name] for name in ("bias_hidden", "bias_output") if bias in ("both", name[5:])}
    net = zl.networks.from_arrays(net.E, net.W, **biases)
    J, F = jacobian(net, data.X_train), net(data.X_train).ravel()
    along = J @ theta(net)
    missing = 0 if net.bias_output is None else np.tile(net.bias_output, len(data.X_train))
    np.testing.assert_allclose(along, 2 * F - missing, atol=1e-12)
    assert (np.abs(along - 2 * F).max() < 1e-12) == (net.bias_output is None)
    _, gE, gW = zl.loss_and_gradient(net, data)
    h = net.hidden
    change = (gE * net.layers[0]).sum(axis=0) - (gW[:h] * net.W).sum(axis=1)
    np.testing.assert_allclose(change, 0, atol=1e-14)
    without = (gE[: len(net.E)] * net.E).sum(axis=0) - (gW[:h] * net.W).sum(axis=1)
    assert (np.abs(without).max() < 1e-14) == (net.bias_hidden is None)
