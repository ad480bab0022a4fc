"""Tables of predictions: the kind of each pair of operands, and the counts."""

import dataclasses
import itertools

import numpy as np
import pytest

import zeroloss as zl
from zeroloss.plots import predictions

TABLES = [
    zl.datasets.modular_addition(5, test_count=4),
    zl.datasets.modular_addition(5, test_count=9, inputs="concatenated", pairs="ordered"),
    zl.datasets.modular_division(5, test_count=6),
    zl.datasets.modular_polynomial(5, test_count=4),
    zl.datasets.permutation_composition(3, test_count=9),
]


@pytest.mark.parametrize("data", TABLES, ids=lambda data: data.settings["task"])
def test_a_table_has_the_prediction_of_every_pair(data):
    """The oracle asks the network for each pair of operands, and searches the pair among the samples."""
    net = zl.networks.uniform_fan_in(data, hidden=12, seed=1)
    run = zl.simulate(zl.GradientDescent(lr=1.0), data, net, steps=20, progress=False)
    m, net = data.d_out, run.network
    table, counts = predictions.classify_pairs(net, data)
    samples = {tuple(x): (0, y.argmax()) for x, y in zip(data.X_train, data.Y_train, strict=True)}
    samples |= {tuple(x): (2, y.argmax()) for x, y in zip(data.X_test, data.Y_test, strict=True)}
    for a, b in itertools.product(range(m), repeat=2):
        unit = np.eye(m)
        x = unit[a] + unit[b] if data.d_in == m else np.concatenate([unit[a], unit[b]])
        if tuple(x) in samples:
            part, target = samples[tuple(x)]
            assert table[a, b] == part + (net(x[None]).argmax() != target)
        else:
            assert np.isnan(table[a, b])
    assert counts[0] + counts[1] == data.train_count
    assert counts[2] + counts[3] == data.test_count
    assert counts[0] / data.train_count == run.history.train_accuracy[-1]
    assert counts[2] / data.test_count == run.history.test_accuracy[-1]


def test_a_sum_that_is_in_both_parts_is_shown_twice():
    """With ordered pairs of sums, (a, b) and (b, a) are two samples of the same inputs."""
    data = zl.datasets.modular_addition(5, test_count=9, pairs="ordered")
    table, counts = predictions.classify_pairs(zl.networks.uniform_fan_in(data, hidden=4, seed=1), data)
    np.testing.assert_array_equal([np.count_nonzero(table == kind) for kind in range(4)], counts)


def test_predictions_count_the_samples_and_cross_the_wrong_ones():
    net = zl.networks.from_arrays(np.zeros((5, 3)), np.zeros((3, 5)))  # It predicts class 0.
    data = zl.datasets.modular_addition(5, test_count=4)
    table, counts = predictions.classify_pairs(net, data)
    (axes,) = zl.plots.plot_predictions(net, data).axes
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown == [f"{name}: {count}" for name, count in zip(predictions.KINDS, counts, strict=True)]
    crosses = {(int(b), int(a)) for b, a in zip(*axes.lines[0].get_data(), strict=True)}
    assert crosses == {(int(b), int(a)) for a, b in np.argwhere(table % 2 == 1)}
    np.testing.assert_array_equal(axes.images[0].get_array(), table)


def test_predictions_that_are_not_finite_are_wrong():
    data = zl.datasets.modular_addition(3, test_count=1)
    net = dataclasses.replace(
        zl.networks.uniform_fan_in(data, hidden=4, seed=1), E=np.full((3, 4), 1e200), W=np.full((4, 3), 1e200)
    )
    assert predictions.classify_pairs(net, data)[1] == [0, data.train_count, 0, data.test_count]


@pytest.mark.parametrize(
    "data",
    [
        zl.datasets.from_arrays(np.eye(5), np.eye(5)),
        zl.datasets.from_arrays(np.eye(6), np.eye(6)[:, :3]),
        zl.datasets.from_arrays(np.eye(5)[:, :3], np.eye(5)),
        zl.datasets.sparse_parity(6, 2, train_count=8, test_count=2),
        zl.datasets.modular_addition(5, summands=3, test_count=3),
    ],
)
def test_samples_without_two_operands_have_no_table(data):
    net = zl.networks.uniform_fan_in(data, hidden=4, seed=1)
    with pytest.raises(ValueError, match="data: expected a task with two operands, such as modular addition"):
        zl.plots.plot_predictions(net, data)
