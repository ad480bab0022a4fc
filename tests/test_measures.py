"""Measures that papers report: tangent kernel, alignment, margins, active units, ratios; each against an oracle."""

import functools
import math

import numpy as np
import pytest

import zeroloss as zl
from problems import ACTIVATIONS, figure5, random_data, random_network, torch_activation, torch_jacobian
from torch_oracle import torch


def kernel_by_autograd(net, X, X2):
    """Return J J'ᵀ with both Jacobians from autograd."""
    first, second = (torch_jacobian(net, dataset_of(net, A)) for A in (X, X2))
    return first @ second.T


def dataset_of(net, X):
    return zl.datasets.from_arrays(X, np.zeros((len(X), net.W.shape[1])))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("rows", ["dense", "sparse"])
def test_the_tangent_kernel_agrees_with_autograd(activation, rows):
    data = random_data(7, 5, 3, rows, n_test=4)
    net = random_network(data, 11, activation)
    cases = [(None, data.X_train), (data.rows_test, data.X_test), (dataset_of(net, data.X_test), data.X_test)]
    for other, X2 in cases:
        expected = kernel_by_autograd(net, data.X_train, X2)
        found = zl.geometry.ntk(net, data, other)
        bound = 1e-13 * np.abs(expected).max()  # sums of at most 11 + 5 · 11 terms of about the same size
        np.testing.assert_allclose(found, expected, rtol=0, atol=bound)
        mean = np.einsum("ikjk->ij", expected.reshape(7, 3, len(X2), 3)) / 3
        np.testing.assert_allclose(zl.geometry.ntk(net, data, other, outputs="mean"), mean, rtol=0, atol=bound)


def test_the_tangent_kernel_on_the_training_samples_is_the_gram_matrix():
    data, net = figure5()
    K = zl.geometry.ntk(net, data)
    np.testing.assert_allclose(K, zl.geometry.gram(net, data), rtol=0, atol=1e-14 * np.abs(K).max())
    np.testing.assert_array_equal(K, K.T)
    rounded = zl.geometry.ntk(net.astype("float32"), data)
    assert rounded.dtype == np.float64
    np.testing.assert_allclose(rounded, K, rtol=0, atol=2.0**-22 * np.abs(K).max())


def test_the_tangent_kernel_rejects_inputs_of_another_length():
    data, net = figure5()
    with pytest.raises(ValueError, match=r"other: expected 11 columns"):
        zl.geometry.ntk(net, data, np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"outputs: expected one of all, mean"):
        zl.geometry.ntk(net, data, outputs="trace")


def test_the_alignment_is_the_cosine_of_the_two_kernels():
    data, net = figure5()
    y = data.Y_train.reshape(-1, 1)
    for outputs, targets in (("all", y), ("mean", data.Y_train)):
        K = zl.geometry.ntk(net, data, outputs=outputs)
        T = targets @ targets.T
        cosine = np.sum(K * T) / np.sqrt(np.sum(K * K) * np.sum(T * T))
        assert zl.geometry.kernel_target_alignment(K, data.Y_train) == pytest.approx(cosine, rel=1e-12)
    assert math.isnan(zl.geometry.kernel_target_alignment(np.zeros((59, 59)), data.Y_train))
    with pytest.raises(ValueError, match=r"K: expected shape \(59, 59\) or \(649, 649\), got \(3, 3\)"):
        zl.geometry.kernel_target_alignment(np.eye(3), data.Y_train)


@pytest.mark.parametrize("activation", ["relu", "square"])
def test_margins_agree_with_their_definition(activation):
    data, net = figure5()
    net = zl.networks.from_arrays(net.E, net.W, activation)
    F = (torch_activation(activation)(torch.tensor(data.X_train @ net.E)) @ torch.tensor(net.W)).numpy()
    labels = data.Y_train.argmax(axis=1)
    expected = [row[c] - max(np.delete(row, c)) for row, c in zip(F, labels, strict=True)]
    for Y in (data.Y_train, labels):
        np.testing.assert_allclose(zl.metrics.margins(net, data.rows_train, Y), expected, rtol=0, atol=1e-14)
    degree = {"relu": 2, "square": 3}[activation]
    norm = math.sqrt(np.sum(net.E**2) + np.sum(net.W**2))
    found = zl.metrics.normalised_margin(net, data.X_train, labels)
    assert found == pytest.approx(min(expected) / norm**degree, rel=1e-12)
    scaled = zl.networks.from_arrays(3 * net.E, 3 * net.W, activation)
    assert zl.metrics.normalised_margin(scaled, data.X_train, labels) == pytest.approx(found, rel=1e-11)


def test_margins_are_positive_exactly_for_samples_that_are_right():
    data, net = figure5()
    run = zl.simulate(zl.GradientDescent(lr=1.0), data, net, steps=60)
    accuracy = np.mean(zl.metrics.margins(run.network, data.X_train, data.Y_train) > 0)
    assert 0.1 < accuracy < 1
    assert accuracy == run.history.train_accuracy[-1]


def test_the_margin_of_one_output_has_the_sign_of_the_target():
    net = zl.networks.from_arrays([[1.0, -1.0]], [[2.0], [-3.0]])
    X, y = np.array([[1.0], [-1.0]]), np.array([1, -1])
    np.testing.assert_array_equal(zl.metrics.margins(net, X, y), [2.0, 3.0])
    np.testing.assert_array_equal(zl.metrics.margins(net, X, y[:, None]), [2.0, 3.0])
    with pytest.raises(ValueError, match=r"Y: expected 2 signs"):
        zl.metrics.margins(net, X, [0, 1])


@pytest.mark.parametrize(
    ("Y", "message"),
    [
        (np.full(59, 11), r"Y: expected integers from 0 to 10"),
        (np.full(59, -1), r"Y: expected integers from 0 to 10"),
        (np.zeros(59), r"Y: expected integers from 0 to 10"),
        (np.zeros((59, 11)), r"Y: .* not one-hot"),
        (np.zeros((3, 11)), r"Y: expected shape \(59, 11\) or \(59,\), got \(3, 11\)"),
    ],
)
def test_margins_reject_other_classes(Y, message):
    data, net = figure5()
    with pytest.raises(ValueError, match=message):
        zl.metrics.margins(net, data.X_train, Y)


def test_normalised_margins_need_a_homogeneous_network():
    data, net = figure5()
    net = zl.networks.from_arrays(net.E, net.W, "tanh")
    with pytest.raises(ValueError, match=r"net: expected a homogeneous activation \(.*\), got tanh"):
        zl.metrics.normalised_margin(net, data.X_train, data.Y_train)


def test_active_units_are_those_that_change_the_outputs():
    data, net = figure5()
    E, W = net.E.copy(), net.W.copy()
    E[:, :5] = -1.0  # never above the kink
    W[5:8] = 0.0
    E[:, 8:10] *= 1e-3
    net = zl.networks.from_arrays(E, W)
    outputs = net.outputs(data.X_train)
    changes = 0
    for unit in range(net.hidden):
        without = W.copy()
        without[unit] = 0
        changes += np.abs(zl.networks.from_arrays(E, without).outputs(data.X_train) - outputs).max() > 0
    assert zl.metrics.active_units(net, data) == changes == 120
    assert zl.metrics.active_units(net, data, threshold=0.01) == 118
    with pytest.raises(ValueError, match=r"threshold: expected a number in \[0, 1\)"):
        zl.metrics.active_units(net, data, threshold=1)


def test_ratios_and_ranks_agree_with_exact_cases():
    ratio, rank = zl.metrics.participation_ratio, zl.metrics.effective_rank
    assert ratio(np.full((2, 3), 1e-200)) == pytest.approx(6)
    assert ratio([0, 0, 5]) == 1
    assert ratio([1, 2, 3]) == pytest.approx(36 / 14)
    assert math.isnan(ratio([0.0]))
    random = np.random.default_rng(0)
    Q, _ = np.linalg.qr(random.standard_normal((8, 8)))
    assert rank(Q[:, :4] @ Q[:4]) == pytest.approx(4)
    p = np.array([0.5, 0.25, 0.25])
    assert rank(Q[:, :3] * p) == pytest.approx(2 * math.sqrt(2))  # 2^(½ + ½ + ½)
    assert math.isnan(rank(np.zeros((2, 2))))
    with pytest.raises(ValueError, match="values: expected finite numbers"):
        ratio([1.0, np.nan])
    with pytest.raises(ValueError, match="values: expected finite numbers, at least one"):
        ratio([])


def test_the_inverse_participation_ratio_counts_frequencies():
    angles = 2 * np.pi * np.arange(13) / 13
    E = np.column_stack([np.cos(angles), 1 + np.sin(2 * angles) + np.cos(5 * angles), np.ones(13)])
    found = zl.fourier.inverse_participation_ratio(E)
    np.testing.assert_allclose(found[:2], [1, 0.5], rtol=1e-12)
    A = np.random.default_rng(1).standard_normal((13, 4))
    power = np.abs(np.array([np.exp(-2j * np.pi * k * np.arange(13) / 13) @ A for k in range(1, 7)])) ** 2
    expected = (power**2).sum(axis=0) / power.sum(axis=0) ** 2
    np.testing.assert_allclose(zl.fourier.inverse_participation_ratio(A), expected, rtol=1e-12)


def test_the_value_at_an_event_is_interpolated_between_records():
    data, net = figure5()
    run = zl.simulate(
        zl.GradientDescent(lr=1.0), data, net, steps=900, record_every=300, events=["train_accuracy >= 0.5"]
    )
    step = run.events["train_accuracy >= 0.5"]
    before = step // 300 * 300
    low, high = (float(run.history.norm_E.sel(step=at)) for at in (before, before + 300))
    share = (step - before) / 300
    value = zl.metrics.value_at(run.history.norm_E, step)
    assert 0 < share < 1
    assert value == pytest.approx((1 - share) * low + share * high, rel=1e-14)
    assert zl.metrics.value_at(run.history.norm_E, 300) == float(run.history.norm_E.sel(step=300))
    assert math.isnan(zl.metrics.value_at(run.history.norm_E, None))
    assert math.isnan(zl.metrics.value_at(run.history.norm_E, 901))
    with pytest.raises(ValueError, match='series: expected a DataArray over "step"'):
        zl.metrics.value_at([1.0], 3)


def test_every_measure_is_one_line_of_a_simulation():
    data, net = figure5("float32")
    measures = {
        "alignment": lambda net: zl.geometry.kernel_target_alignment(
            zl.geometry.ntk(net, data, outputs="mean"), data.Y_train
        ),
        "margin": functools.partial(zl.metrics.normalised_margin, X=data.rows_train, Y=data.Y_train),
        "active": functools.partial(zl.metrics.active_units, data=data),
        "rank": lambda net: zl.metrics.effective_rank(net.E),
        "dimension": lambda net: zl.metrics.participation_ratio(np.linalg.svd(net.W, compute_uv=False) ** 2),
        "frequencies": lambda net: np.nanmean(zl.fourier.inverse_participation_ratio(net.E, data)),
    }
    run = zl.simulate(zl.GradientDescent(lr=1.0), data, net, steps=20, record_every=10, measures=measures)
    for name, measure in measures.items():
        assert run.history[name].values[-1] == measure(run.network)
        assert np.isfinite(run.history[name].values).all()
