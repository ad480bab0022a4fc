"""The temperature of the cross-entropy in the curvature, against autograd."""

import pickle

import numpy as np
import pytest
import scipy.linalg

from problems import flat, torch_activation, torch_jacobian
from test_curvature import PARTS, REDUCTIONS, problem, random_direction
from torch_oracle import torch
from zeroloss import curvature
from zeroloss.curvature import generalised


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("temperature", [0.5, 3.0])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_temperature_divides_the_outputs(activation, temperature, reduction):
    """Autograd's Hessian of the cross-entropy of F/T, and its Gauss–Newton matrix, are the oracles."""
    data, net = problem(activation, loss="cross_entropy")
    settings = {"loss": "cross_entropy", "reduction": reduction, "temperature": temperature}
    X, Y = torch.tensor(data.X_train), torch.tensor(data.Y_train)

    def loss_of_outputs(F):
        return torch.nn.functional.cross_entropy(F / temperature, Y, reduction=reduction)

    def loss(theta):
        E, W = torch.split(theta, [net.E.size, net.W.size])
        return loss_of_outputs(torch_activation(activation)(X @ E.reshape(net.E.shape)) @ W.reshape(net.W.shape))

    theta = torch.tensor(flat(net.E, net.W))
    H = torch.autograd.functional.hessian(loss, theta).numpy()
    A = torch.autograd.functional.hessian(loss_of_outputs, torch.tensor(net(data.X_train)))
    J = torch_jacobian(net, data)
    M = J.T @ A.reshape(Y.numel(), -1).numpy() @ J
    for part, matrix in (("hessian", H), ("gauss_newton", M)):
        size = np.abs(matrix).max()
        got = curvature.operator(net, data, part, **settings) @ np.eye(len(matrix))
        np.testing.assert_allclose(got, matrix, atol=1e-13 * size)
        assert curvature.trace(net, data, part=part, **settings) == pytest.approx(np.trace(matrix), rel=1e-11)
        values = np.linalg.eigvalsh(matrix)[::-1]
        assert curvature.sharpness(net, data, part=part, **settings) == pytest.approx(values[0], rel=1e-9)
        np.testing.assert_allclose(curvature.spectrum(net, data, part=part, **settings), values, atol=1e-12 * size)
        pairs = curvature.eigenpairs(net, data, 3, part=part, **settings)
        np.testing.assert_allclose(pairs.values, values[:3], atol=1e-9 * size)
        measure = curvature.SharpnessMeasure(data, part=part, accuracy=1e-8, **settings)
        assert measure(net) == pytest.approx(values[0], rel=1e-7)
        assert pickle.loads(pickle.dumps(measure))(net) == measure(net)
        assert f"temperature={temperature}" in repr(measure)
    estimate = curvature.estimate_trace(net, data, samples=400, **settings)
    assert abs(estimate.value - np.trace(H)) < 5 * estimate.standard_error
    direction = random_direction(net)
    product = curvature.hessian_product(net, data, *direction, **settings)
    np.testing.assert_allclose(flat(*product), H @ flat(*direction), atol=1e-13 * np.abs(H).max())
    product = curvature.gauss_newton_product(net, data, *direction, **settings)
    np.testing.assert_allclose(flat(*product), M @ flat(*direction), atol=1e-13 * np.abs(M).max())


@pytest.mark.parametrize("dense", [True, False])
def test_a_temperature_divides_the_outputs_in_the_metric(dense, monkeypatch):
    monkeypatch.setattr(generalised, "_DENSE_BELOW", 10**6 if dense else 0)
    data, net = problem("tanh", loss="cross_entropy")
    settings = {"loss": "cross_entropy", "temperature": 3.0}
    H, M = (
        curvature.operator(net, data, part, weight_decay=0.01, **settings) @ np.eye(net.E.size + net.W.size)
        for part in PARTS
    )
    expected = scipy.linalg.eigh((H + H.T) / 2, (M + M.T) / 2, eigvals_only=True)[0]
    assert curvature.smallest(net, data, 0.01, **settings).value == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    "function",
    [
        lambda *arguments, **options: curvature.hessian_product(*arguments, arguments[0].E, arguments[0].W, **options),
        curvature.operator,
        curvature.sharpness,
        curvature.eigenpairs,
        curvature.spectrum,
        curvature.trace,
        curvature.estimate_trace,
        lambda *arguments, **options: curvature.smallest(*arguments, 0.1, **options),
        lambda net, data, **options: curvature.SharpnessMeasure(data, **options),
    ],
)
def test_a_temperature_needs_the_cross_entropy(function):
    data, net = problem()
    with pytest.raises(ValueError, match="temperature: needs loss 'cross_entropy', got 'mse'"):
        function(net, data, temperature=2.0)
    with pytest.raises(ValueError, match="temperature: expected a number above 0, got 0"):
        function(net, data, loss="cross_entropy", temperature=0)
