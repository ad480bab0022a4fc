"""Tasks against their definitions, sample by sample; splits, label noise, and the table of tasks."""

import itertools
import math
import sys

import numpy as np
import pytest
from scipy.sparse import issparse

import zeroloss as zl
from problems import same_bits

TASKS = zl.datasets.TASKS
ARRAYS = ("X_train", "Y_train", "X_test", "Y_test")
PERMUTATIONS = list(itertools.permutations(range(4)))


def compose(a, b):
    return PERMUTATIONS.index(tuple(PERMUTATIONS[a][i] for i in PERMUTATIONS[b]))


#: Task, arguments, number of numbers, number of operands, class of the operands, and which operands are samples.
ALGEBRA = [
    ("modular_addition", {"p": 7}, 7, 2, lambda a, b: (a + b) % 7, lambda a, b: a <= b),
    ("modular_addition", {"p": 6, "pairs": "ordered"}, 6, 2, lambda a, b: (a + b) % 6, lambda a, b: True),
    (
        "modular_addition",
        {"p": 4, "summands": 3, "inputs": "concatenated"},
        4,
        3,
        lambda *a: sum(a) % 4,
        lambda a, b, c: a <= b <= c,
    ),
    (
        "modular_addition",
        {"p": 3, "summands": 4, "pairs": "ordered", "inputs": "concatenated"},
        3,
        4,
        lambda *a: sum(a) % 3,
        lambda *a: True,
    ),
    ("modular_subtraction", {"p": 7}, 7, 2, lambda a, b: (a - b) % 7, lambda a, b: True),
    ("modular_multiplication", {"p": 6}, 6, 2, lambda a, b: a * b % 6, lambda a, b: a <= b),
    (
        "modular_division",
        {"p": 7},
        7,
        2,
        lambda a, b: next(c for c in range(7) if b * c % 7 == a),
        lambda a, b: b != 0,
    ),
    ("modular_polynomial", {"p": 7}, 7, 2, lambda a, b: (a * a + a * b + b * b) % 7, lambda a, b: a <= b),
    (
        "modular_polynomial",
        {"p": 7, "terms": [[-2, 3, 0], [1, 1, 2], [5, 0, 0]], "pairs": "ordered", "inputs": "concatenated"},
        7,
        2,
        lambda a, b: (-2 * a**3 + a * b * b + 5) % 7,
        lambda a, b: True,
    ),
    ("permutation_composition", {"symbols": 4}, 24, 2, compose, lambda a, b: True),
]


def operands(row, numbers, count, inputs):
    if inputs == "sum":
        return tuple(np.repeat(np.arange(numbers), row.astype(int)))
    parts = row.reshape(count, numbers)
    assert (np.sort(parts, axis=1) == np.eye(numbers)[-1]).all()
    return tuple(parts.argmax(axis=1))


@pytest.mark.parametrize(("task", "arguments", "numbers", "count", "result", "sampled"), ALGEBRA)
def test_tasks_of_algebra_agree_with_their_definitions(task, arguments, numbers, count, result, sampled):
    data = TASKS[task](**arguments, train_fraction=0.4, seed=2)
    X, Y = np.vstack([data.X_train, data.X_test]), np.vstack([data.Y_train, data.Y_test])
    inputs = data.settings.get("inputs", "concatenated")
    assert (inputs == "sum") == (data.d_in == numbers)
    found = [operands(row, numbers, count, inputs) for row in X]
    expected = [t for t in itertools.product(range(numbers), repeat=count) if sampled(*t)]
    key = sorted if inputs == "sum" else list  # The order of the terms cannot be found from their sum.
    assert sorted(map(key, found)) == sorted(map(key, expected))
    assert (np.eye(numbers)[[result(*t) for t in found]] == Y).all()
    assert data.train_count == len(data.X_train) == math.floor(0.4 * len(expected))
    assert data.test_count == len(data.X_test)
    assert (data.classes, data.chance_level) == (numbers, 1 / numbers)
    assert f"{numbers} classes with chance level {1 / numbers:.3g}" in repr(data)


def test_compositions_of_five_symbols_have_their_sizes():
    data = zl.datasets.permutation_composition(train_count=1000)
    assert (data.d_in, data.d_out, data.train_count + data.test_count) == (240, 120, 14400)


@pytest.mark.parametrize("bits", [7, 40, 100])
@pytest.mark.parametrize("targets", ["one_hot", "sign"])
def test_sparse_parity_agrees_with_its_definition(bits, targets):
    data = zl.datasets.sparse_parity(bits, 3, train_count=100, test_count=28, targets=targets, seed=4)
    X, Y = np.vstack([data.X_train, data.X_test]), np.vstack([data.Y_train, data.Y_test])
    assert set(np.unique(X)) == {-1.0, 1.0}
    assert len(np.unique(X, axis=0)) == 128
    odd = (X[:, :3] < 0).sum(axis=1) % 2 == 1
    assert ((np.where(odd, -1, 1)[:, None] if targets == "sign" else np.stack([~odd, odd], axis=1)) == Y).all()
    assert data.classes == (2 if targets == "one_hot" else None)
    assert data.chance_level == (0.5 if targets == "one_hot" else None)
    assert np.abs(X.mean(axis=0)).max() < 6 * 128**-0.5  # This is six standard deviations of a mean of 128 signs.


def test_a_linear_teacher_fits_its_samples_exactly():
    data = zl.datasets.linear_teacher(6, 3, train_count=50, test_count=20, seed=1)
    A, *none = zl.datasets.teacher_layers(data)
    assert none == []
    fitted = np.linalg.lstsq(data.X_train, data.Y_train, rcond=None)[0]
    assert np.abs(fitted - A).max() < 1e-13
    assert np.abs(data.X_test @ fitted - data.Y_test).max() < 1e-12
    assert data.classes is None


def test_relu_teacher_is_a_network_without_loss():
    data = zl.datasets.relu_teacher(6, 4, 2, train_count=50, test_count=20, seed=1)
    net = zl.networks.from_arrays(*zl.datasets.teacher_layers(data))
    assert net.hidden == 4
    history = zl.simulate(zl.GradientDescent(lr=1.0), data, net, steps=0).history
    assert float(history.train_loss[0]) < 1e-30
    assert float(history.test_loss[0]) < 1e-30


@pytest.mark.parametrize("task", ["linear_teacher", "relu_teacher"])
def test_teachers_have_their_spreads_and_independent_noise(task):
    arguments = {"d_in": 40, "d_out": 30, **({"hidden": 50} if task == "relu_teacher" else {})}
    make = TASKS[task]
    plain, noisy = (make(**arguments, train_count=300, test_count=20, noise=noise, seed=5) for noise in (0, 0.3))
    assert same_bits(plain.X_train, noisy.X_train)
    assert same_bits(plain.Y_test, noisy.Y_test)
    deviation = 6 * (2 * 9000) ** -0.5  # six standard deviations of the relative error of 9000 draws
    assert (noisy.Y_train - plain.Y_train).std() == pytest.approx(0.3, rel=deviation)
    for layer in zl.datasets.teacher_layers(plain):
        assert layer.std() == pytest.approx(len(layer) ** -0.5, rel=6 * (2 * layer.size) ** -0.5)
    more = make(**arguments, train_count=300, test_count=40, seed=5)
    assert same_bits(more.Y_train, plain.Y_train)
    other = make(**arguments, train_count=200, test_count=20, seed=5)
    assert same_bits(other.Y_test, plain.Y_test)


def test_digits_agree_with_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    X, labels = datasets.load_digits(return_X_y=True)
    data, value = (zl.datasets.digits(train_count=1400, targets=targets, seed=3) for targets in ("one_hot", "value"))
    assert (data.train_count, data.test_count, data.classes) == (1400, 397, 10)
    assert same_bits(data.X_train, value.X_train)
    assert value.classes is None
    assert (data.Y_train.argmax(axis=1) == value.Y_train[:, 0]).all()
    ours = np.hstack([np.vstack([value.X_train, value.X_test]) * 16, np.vstack([value.Y_train, value.Y_test])])
    assert (ours[np.lexsort(ours.T)] == (theirs := np.hstack([X, labels[:, None]]))[np.lexsort(theirs.T)]).all()


def test_digits_without_scikit_learn_name_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'scikit-learn, .*"data".* pip install scikit-learn, or .*"\.\[data\]"'):
        zl.datasets.digits(train_count=5)


NOISY = [
    ("modular_addition", {"p": 11, "train_fraction": 0.7}),
    ("permutation_composition", {"symbols": 3, "train_count": 30}),
    ("sparse_parity", {"bits": 9, "relevant": 2, "train_count": 100, "test_count": 50}),
    ("sparse_parity", {"bits": 9, "relevant": 2, "train_count": 100, "test_count": 50, "targets": "sign"}),
    ("digits", {"train_count": 500}),
]


@pytest.mark.parametrize(("task", "arguments"), NOISY)
def test_label_noise_changes_its_share_of_labels(task, arguments):
    plain, noisy = (TASKS[task](**arguments, label_noise=noise, seed=6) for noise in (0.0, 0.29))
    for name in ("X_train", "X_test", "Y_test"):
        assert same_bits(getattr(plain, name), getattr(noisy, name))
    wrong = (plain.Y_train != noisy.Y_train).any(axis=1)
    assert wrong.sum() == math.floor(0.29 * plain.train_count + 1e-9)
    assert noisy.classes == plain.classes
    if plain.classes is None:
        assert (noisy.Y_train[wrong] == -plain.Y_train[wrong]).all()
    after = zl.datasets.with_label_noise(plain, 0.29, seed=6)
    assert same_bits(after.Y_train, noisy.Y_train)
    assert after.settings["label_noise_seed"] == 6


def test_wrong_labels_are_uniform_over_the_other_classes():
    Y = np.eye(4)[np.zeros(30000, int)]
    data = zl.datasets.with_label_noise(zl.datasets.from_arrays(np.ones((30000, 1)), Y), 1.0, seed=8)
    counts = data.Y_train.sum(axis=0)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 10000).max() < 6 * (30000 * 2 / 9) ** 0.5  # These are six standard deviations.


EVERY_TASK = {
    "modular_addition": {"p": 5, "test_count": 3},
    "modular_subtraction": {"p": 5, "test_count": 3},
    "modular_multiplication": {"p": 5, "train_fraction": 0.5},
    "modular_division": {"p": 5, "train_count": 3, "label_noise": 0.4},
    "modular_polynomial": {"p": 5, "test_count": 3},
    "permutation_composition": {"symbols": 3, "test_count": 3},
    "sparse_parity": {"bits": 5, "relevant": 2, "train_count": 9},
    "linear_teacher": {"d_in": 3, "train_count": 9},
    "relu_teacher": {"d_in": 3, "hidden": 2, "train_count": 9, "noise": 0.1},
    "digits": {"test_count": 3},
}


def test_every_task_is_in_the_table():
    assert set(TASKS) == set(EVERY_TASK) <= set(zl.datasets.__all__)


@pytest.mark.parametrize("task", TASKS)
def test_settings_determine_the_dataset(task):
    data = TASKS[task](**EVERY_TASK[task], seed=1)
    again = TASKS[task](**{name: value for name, value in data.settings.items() if name != "task"})
    other = TASKS[task](**EVERY_TASK[task], seed=2)
    assert data.settings["task"] == task
    assert data.settings == again.settings
    assert all(same_bits(getattr(data, name), getattr(again, name)) for name in ARRAYS)
    assert not all(same_bits(getattr(data, name), getattr(other, name)) for name in ARRAYS)
    rows = (data.rows_train, data.rows_test)
    for array in (data.Y_train, data.Y_test, *(part.data if issparse(part) else part for part in rows)):
        assert not array.flags.writeable


HALF = {"train_fraction": 0.5}
BAD = [
    ("modular_addition", {"p": 5, "summands": 1, **HALF}, ValueError, "summands: expected an integer of at least 2"),
    (
        "modular_addition",
        {"p": 5, "inputs": "product", **HALF},
        ValueError,
        "inputs: expected one of sum, concatenated",
    ),
    ("modular_addition", {"p": 97, "summands": 300, "pairs": "ordered", **HALF}, ValueError, "needs more than"),
    (
        "modular_addition",
        {"p": 5, "label_noise": 1.5, **HALF},
        ValueError,
        r"label_noise: expected a number in \[0, 1\]",
    ),
    ("modular_division", {"p": 6, **HALF}, ValueError, "p: expected a prime, got 6"),
    ("modular_subtraction", {"p": 5}, ValueError, "train_fraction, train_count, test_count: .* got none"),
    (
        "modular_polynomial",
        {"p": 5, "terms": [(1, 2, 1)], **HALF},
        ValueError,
        "because the polynomial depends on the order",
    ),
    ("modular_polynomial", {"p": 5, "terms": [(1, 2)], **HALF}, ValueError, "terms: expected .coefficient, power of a"),
    ("modular_polynomial", {"p": 5, "terms": 3, **HALF}, ValueError, "terms: expected .coefficient, power of a"),
    (
        "modular_polynomial",
        {"p": 5, "terms": [(1, -1, 1)], **HALF},
        ValueError,
        r"terms\[0\]\[1\]: expected an integer of at least 0, got -1",
    ),
    ("permutation_composition", {"symbols": 1, **HALF}, ValueError, "symbols: expected an integer of at least 2"),
    ("permutation_composition", {"symbols": 40, **HALF}, ValueError, "permutations of 40 symbols: expected to fit"),
    ("sparse_parity", {"bits": 3, "relevant": 4, "train_count": 2}, ValueError, "relevant: expected at most bits = 3"),
    ("sparse_parity", {"bits": 3, "relevant": 1, "train_count": 9}, ValueError, r"expected at most 2\^3 .* got 9"),
    (
        "sparse_parity",
        {"bits": 3, "relevant": 1, "train_count": 2, "targets": "x"},
        ValueError,
        "targets: expected one",
    ),
    ("linear_teacher", {"d_in": 3, "train_count": 0}, ValueError, "train_count: expected an integer of at least 1"),
    (
        "linear_teacher",
        {"d_in": 3, "train_count": 2, "noise": -1},
        ValueError,
        "noise: expected a number of at least 0",
    ),
    (
        "relu_teacher",
        {"d_in": 3, "hidden": 0, "train_count": 2},
        ValueError,
        "hidden: expected an integer of at least 1",
    ),
    ("digits", {"train_count": 1798}, ValueError, "train_count: expected to leave 1 to 1797"),
    (
        "digits",
        {"train_count": 9, "targets": "value", "label_noise": 0.5},
        ValueError,
        "targets: expected one-hot rows",
    ),
]


@pytest.mark.parametrize(("task", "arguments", "error", "message"), BAD)
def test_invalid_arguments_are_rejected(task, arguments, error, message):
    with pytest.raises(error, match=message) as caught:
        TASKS[task](**arguments)
    assert "\n" not in str(caught.value)


def test_noise_on_noise_and_teachers_of_other_tasks_are_rejected():
    data = zl.datasets.modular_addition(5, test_count=3, label_noise=0.2)
    with pytest.raises(ValueError, match=r"data: expected labels without noise, got label_noise=0\.2"):
        zl.datasets.with_label_noise(data, 0.1)
    with pytest.raises(
        ValueError, match="data: expected a linear_teacher or relu_teacher, got task 'modular_addition'"
    ):
        zl.datasets.teacher_layers(data)
