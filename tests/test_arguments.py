"""Invalid arguments raise one clear message with the argument, the expectation and the value; unusual but valid arrays
work.
"""

import numpy as np
import pytest

import zeroloss as zl
from problems import random_data, random_network, same_bits

DATA = zl.datasets.modular_addition(5, train_fraction=0.7, seed=0)
NET = zl.networks.normal(DATA, hidden=24, std=0.5, seed=1)
X, Y = np.eye(3), np.ones((3, 2))
DESCENT = zl.GradientDescent(lr=0.1)


def addition(p=5, **options):
    return zl.datasets.modular_addition(p, **options)


def normal(**options):
    return zl.networks.normal(DATA, **{"hidden": 4, "std": 1.0, "seed": 0, **options})


def simulate(dynamics=DESCENT, data=DATA, net=NET, **options):
    return zl.simulate(dynamics, data, net, **{"steps": 1, **options})


def from_labels(labels, classes=3):
    return zl.datasets.from_arrays(X, labels, classes=classes)


class Module:
    """Stands for a module of PyTorch."""

    def state_dict(self):
        """Stand for the method of PyTorch."""


BAD = [
    (lambda: addition(1, train_fraction=0.5), ValueError, "p: expected an integer of at least 2, got 1"),
    (lambda: addition(2.5, train_fraction=0.5), TypeError, "p: expected an integer, got 2.5"),
    (lambda: addition(True, train_fraction=0.5), TypeError, "p: expected an integer, got True"),
    (lambda: addition(train_fraction=0.01), ValueError, "train_fraction: expected in .* 15 samples, got 0.01"),
    (lambda: addition(train_fraction=1.5), ValueError, "train_fraction: expected in"),
    (lambda: addition(train_fraction=float("nan")), ValueError, "train_fraction: expected a finite number"),
    (lambda: addition(train_fraction="half"), TypeError, "train_fraction: expected a number, got 'half'"),
    (addition, ValueError, "expected exactly one of them, got none"),
    (lambda: addition(train_count=3, test_count=3), ValueError, "got train_count and test_count"),
    (lambda: addition(train_count=16), ValueError, "train_count: expected .* 15 .* got 16"),
    (lambda: addition(test_count=15), ValueError, "test_count: expected .* which leaves 0"),
    (lambda: addition(test_count=3, pairs="all"), ValueError, "pairs: expected one of unordered, ordered, got 'all'"),
    (lambda: addition(test_count=3, seed=-1), ValueError, "seed: expected an integer of at least 0, got -1"),
    (
        lambda: zl.datasets.from_arrays(X, Y[:2]),
        ValueError,
        "Y_train: expected 3 rows, the number of rows of X_train, got 2",
    ),
    (lambda: from_labels([0, 1, 3]), ValueError, "Y_train: expected labels from 0 to 2, got 3 in row 2"),
    (lambda: from_labels([0, -1, 2]), ValueError, "Y_train: expected labels from 0 to 2, got -1 in row 1"),
    (lambda: from_labels([0.0, 1.0, 2.0]), TypeError, "Y_train: expected integer labels .*, got dtype float64"),
    (lambda: from_labels(np.eye(3, dtype=int)), ValueError, r"Y_train: expected integer labels of shape \(n,\)"),
    (lambda: from_labels([0, 1]), ValueError, "Y_train: expected 3 rows"),
    (lambda: from_labels([0, 1, 2], classes=0), ValueError, "classes: expected an integer of at least 1, got 0"),
    (lambda: from_labels([0, 1, 2], classes=2.5), TypeError, "classes: expected an integer, got 2.5"),
    (lambda: zl.datasets.from_arrays(X, [0, 1, 2]), ValueError, "Y_train: .* classes=10"),
    (lambda: zl.datasets.from_arrays(X[0], Y), ValueError, r"X_train: expected a matrix .* got shape \(3,\)"),
    (lambda: zl.datasets.from_arrays(X * 1j, Y), TypeError, "X_train: expected real numbers, got dtype complex128"),
    (
        lambda: zl.datasets.from_arrays(X.astype(object), Y),
        TypeError,
        "X_train: expected real numbers, got dtype object",
    ),
    (lambda: zl.datasets.from_arrays(X * np.nan, Y), ValueError, "X_train: expected finite numbers"),
    (lambda: zl.datasets.from_arrays(X, Y * np.inf), ValueError, "Y_train: expected finite numbers"),
    (lambda: zl.datasets.from_arrays(X[:0], Y[:0]), ValueError, "X_train: expected at least one row"),
    (lambda: zl.datasets.from_arrays(X, Y, X), ValueError, "Y_test: expected together with X_test, got None"),
    (lambda: zl.datasets.from_arrays(X, Y, X[:, :2], Y), ValueError, "X_test: expected 3 columns"),
    (lambda: zl.datasets.from_arrays(X, Y, X, Y[:, :1]), ValueError, r"Y_test: expected shape \(3, 2\)"),
    (lambda: zl.datasets.from_arrays(X, Y, rows="csr"), ValueError, "rows: expected one of auto, sparse, dense"),
    (lambda: normal(hidden=0), ValueError, "hidden: expected an integer of at least 1, got 0"),
    (lambda: normal(std=0), ValueError, "std: expected a number above 0, got 0"),
    (lambda: normal(std_W=-1.0), ValueError, "std_W: expected a number above 0, got -1.0"),
    (lambda: normal(seed=-1), ValueError, "seed: expected an integer of at least 0"),
    (lambda: normal(activation="elu"), ValueError, "activation: expected one of identity, relu, .* got 'elu'"),
    (lambda: normal(activation="relu(2)"), ValueError, "activation: expected relu without a parameter"),
    (lambda: normal(activation="softplus(x)"), ValueError, "activation: expected a number in softplus"),
    (lambda: normal(activation="softplus(-1)"), ValueError, r"activation: expected softplus\(…\) in"),
    (lambda: normal(activation="leaky_relu(inf)"), ValueError, r"activation: expected leaky_relu\(…\) in"),
    (lambda: normal(activation=3), ValueError, "activation: expected one of"),
    (lambda: normal(dtype="float16"), ValueError, "dtype: expected one of float64, float32, got 'float16'"),
    (lambda: NET.astype("int"), ValueError, "dtype: expected one of"),
    (lambda: zl.networks.normal(X, 4, 1.0, 0), TypeError, "data: expected a Dataset, got ndarray"),
    (lambda: zl.networks.from_arrays(X, np.ones((2, 2))), ValueError, "W: expected 3 rows"),
    (lambda: zl.networks.from_arrays(X * np.nan, Y), ValueError, "E: expected finite"),
    (lambda: zl.GradientDescent(lr=0), ValueError, "lr: expected a number above 0, got 0"),
    (lambda: zl.GradientDescent(lr="fast"), TypeError, "lr: expected a number, got 'fast'"),
    (lambda: zl.GradientDescent(lr=1, weight_decay=-1e-4), ValueError, "weight_decay: expected .* at least 0"),
    (lambda: zl.GradientDescent(lr=1, momentum=1.0), ValueError, r"momentum: expected a number in \[0, 1\)"),
    (
        lambda: zl.GradientDescent(lr=1, loss="hinge"),
        ValueError,
        "loss: expected one of mse, cross_entropy, got 'hinge'",
    ),
    (lambda: zl.GradientDescent(lr=1, reduction="max"), ValueError, "reduction: expected one of mean, sum"),
    (lambda: zl.PredictedGradient(step_size=-1), ValueError, "step_size: expected a number above 0"),
    (lambda: zl.PredictedGradient(step_size=1, ridge=-1), ValueError, "ridge: expected a number of at least 0"),
    (lambda: zl.PredictedGradient(step_size=1, ridge=np.nan), ValueError, "ridge: expected a finite number"),
    (lambda: simulate(steps=-1), ValueError, "steps: expected an integer of at least 0, got -1"),
    (lambda: simulate(steps=1.0), TypeError, "steps: expected an integer, got 1.0"),
    (lambda: simulate(record_every=0), ValueError, "record_every: expected an integer of at least 1, got 0"),
    (lambda: simulate(record_every="often"), ValueError, "record_every: .* \"log\", got 'often'"),
    (lambda: simulate(snapshot_every=-2), ValueError, "snapshot_every: expected an integer of at least 1"),
    (lambda: simulate(measures={"time": len}), ValueError, "measures: expected an identifier that no recorded"),
    (lambda: simulate(measures={"a b": len}), ValueError, "measures: expected an identifier"),
    (lambda: simulate(measures={"a": 3}), TypeError, "measures: 'a' must be a function of the network, got int"),
    (
        lambda: simulate(dynamics="descent"),
        TypeError,
        "dynamics: expected one of GradientDescent, AdamW, PredictedGradient",
    ),
    (lambda: simulate(net=DATA), TypeError, "network: expected a Network, got Dataset"),
    (lambda: simulate(data=addition(7, test_count=3)), ValueError, r"network: expected .* \(7, 7\), .* got \(5, 5\)"),
    (
        lambda: zl.GradientDescent(lr=1, minibatch=32),
        TypeError,
        "minibatch: there is no such argument; .* have batch_size",
    ),
    (
        lambda: zl.AdamW(epochs=3),
        TypeError,
        "epochs: there is no such argument; one step .* is one epoch",
    ),
    (
        lambda: simulate(net=Module()),
        TypeError,
        "got Module; convert a PyTorch module of two Linear layers with zeroloss.networks.from_torch",
    ),
    (lambda: zl.loss_and_gradient(NET, addition(7, test_count=3)), ValueError, "network: expected"),
    (lambda: zl.loss_and_gradient(NET, DATA, loss="l1"), ValueError, "loss: expected one of mse"),
    (lambda: zl.predicted_gradient(NET, DATA, ridge=-1), ValueError, "ridge: expected a number of at least 0"),
    (lambda: zl.fourier.features(np.ones(3)), ValueError, "E: expected a matrix"),
    (lambda: zl.fourier.features(np.ones((1, 3))), ValueError, "E: expected at least two rows"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=[message for _, _, message in BAD])
def test_invalid_arguments_are_rejected_in_one_line(call, error, message):
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


UNUSUAL = {
    "integers": lambda A: np.round(A).astype(np.int16),
    "booleans": lambda A: A > 0,
    "Fortran order": np.asfortranarray,
    "strided": lambda A: np.repeat(np.repeat(A, 2, 0), 3, 1)[::2, ::3],
    "reversed": lambda A: A[::-1].copy()[::-1],
    "big-endian": lambda A: A.astype(">f8"),
    "float32": lambda A: A.astype(np.float32),
    "lists": lambda A: A.tolist(),
}


def make_read_only(A):
    A = A.copy()
    A.flags.writeable = False
    return A


@pytest.mark.parametrize("make", [*UNUSUAL.values(), make_read_only], ids=[*UNUSUAL, "read-only"])
def test_unusual_arrays_give_the_bits_of_plain_ones(make):
    data = random_data(6, 4, 3)
    net = random_network(data, 10)
    X, Y, E, W = (make(A) for A in (data.X_train, data.Y_train, net.E, net.W))
    plain = [np.array(A, dtype=np.float64) for A in (X, Y, E, W)]
    ours = zl.loss_and_gradient(zl.networks.from_arrays(E, W).astype("float64"), zl.datasets.from_arrays(X, Y))
    expected = zl.loss_and_gradient(zl.networks.from_arrays(*plain[2:]), zl.datasets.from_arrays(*plain[:2]))
    assert ours[0] == expected[0]
    assert same_bits(ours[1], expected[1])
    assert same_bits(ours[2], expected[2])


def test_a_network_has_the_wider_precision_of_its_arrays():
    E, W = np.ones((2, 3), np.float32), np.ones((3, 2))
    assert zl.networks.from_arrays(E, W).dtype == np.float64
    assert zl.networks.from_arrays(E, W.astype(np.float32)).dtype == np.float32


def test_arrays_of_datasets_and_networks_are_read_only_copies():
    for array in (DATA.Y_train, DATA.Y_test, NET.E, NET.W):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1.0
    E = np.ones((2, 3))
    net = zl.networks.from_arrays(E, np.ones((3, 2)))
    E[0, 0] = 7.0
    assert net.E[0, 0] == 1.0
