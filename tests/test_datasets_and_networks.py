"""Modular addition and initialisations against their definitions."""

import numpy as np
import pytest

import zeroloss as zl


@pytest.mark.parametrize(("pairs", "samples"), [("unordered", 66), ("ordered", 121)])
def test_modular_addition_agrees_with_its_definition(pairs, samples):
    data = zl.datasets.modular_addition(11, train_fraction=0.9, pairs=pairs, seed=3)
    X, Y = np.vstack([data.X_train, data.X_test]), np.vstack([data.Y_train, data.Y_test])
    assert X.shape == Y.shape == (samples, 11)
    assert len(data.X_train) == int(0.9 * samples)
    numbers = [np.repeat(np.arange(11), row.astype(int)) for row in X]
    assert all(len(pair) == 2 for pair in numbers)
    assert (np.eye(11)[[pair.sum() % 11 for pair in numbers]] == Y).all()
    if pairs == "unordered":
        assert len({tuple(pair) for pair in numbers}) == samples


def test_the_seed_determines_the_split():
    one, same, other = (zl.datasets.modular_addition(11, test_count=7, seed=s) for s in (0, 0, 1))
    assert (one.X_test == same.X_test).all()
    assert (one.X_test != other.X_test).any()


def test_counts_and_fractions_determine_the_sizes():
    assert zl.datasets.modular_addition(5, train_count=4).X_test.shape == (11, 5)
    assert zl.datasets.modular_addition(5, test_count=0).X_test.shape == (0, 5)
    assert zl.datasets.modular_addition(5, train_fraction=1.0).X_train.shape == (15, 5)


def test_the_density_of_inputs_determines_their_storage():
    X = np.eye(8)
    assert "sparse rows" in repr(zl.datasets.from_arrays(X, X))
    assert "dense rows" in repr(zl.datasets.from_arrays(X + 1, X))
    assert "dense rows" in repr(zl.datasets.from_arrays(X, X, rows="dense"))


def test_normal_networks_have_their_standard_deviations():
    data = zl.datasets.modular_addition(97, train_fraction=0.5)
    net = zl.networks.normal(data, hidden=1024, std=0.3, seed=1)
    assert net.E.std() == pytest.approx(0.3, rel=0.01)
    assert net.W.std() == pytest.approx(1024**-0.5, rel=0.01)
    assert zl.networks.normal(data, hidden=1024, std=0.3, seed=1, std_W=2.0).W.std() == pytest.approx(2, rel=0.01)


def test_uniform_fan_in_has_the_range_of_torch_linear():
    data = zl.datasets.modular_addition(97, train_fraction=0.5)
    net = zl.networks.uniform_fan_in(data, hidden=1024, seed=1)
    assert np.abs(net.E).max() == pytest.approx(97**-0.5, rel=1e-3)
    assert np.abs(net.W).max() == pytest.approx(1024**-0.5, rel=1e-3)
    assert net.E.std() == pytest.approx((3 * 97) ** -0.5, rel=0.01)


def test_float32_is_rounded_float64():
    data = zl.datasets.modular_addition(7, train_fraction=0.5)
    for make in (zl.networks.uniform_fan_in, lambda *a, **k: zl.networks.normal(*a, std=1.0, **k)):
        single, double = (make(data, hidden=5, seed=2, dtype=dtype) for dtype in ("float32", "float64"))
        assert single.E.dtype == np.float32
        assert (double.E.astype(np.float32) == single.E).all()
        assert (double.astype("float32").W == single.W).all()


def test_integer_labels_are_one_hot_rows(tmp_path):
    X, labels = np.random.default_rng(0).standard_normal((6, 4)), np.array([2, 0, 1, 1, 2, 0], np.uint8)
    data = zl.datasets.from_arrays(X[:4], labels[:4], X[4:], labels[4:], classes=4)
    assert (data.classes, data.d_out) == (4, 4)
    assert (np.eye(4)[labels[:4]] == data.Y_train).all()
    assert (np.eye(4)[labels[4:]] == data.Y_test).all()
    assert zl.datasets.from_arrays(X, labels, classes=4).test_count == 0
    np.savez(tmp_path / "a.npz", X_train=X, Y_train=labels)
    settings = {"task": "arrays", "file": str(tmp_path / "a.npz"), "classes": 3}
    configuration = zl.config.from_settings({"data": settings, "run": {"steps": 1}})
    assert (configuration.data.Y_train == np.eye(3)[labels]).all()
    with pytest.raises(zl.config.ConfigurationError, match=r"expected labels from 0 to 1, got 2 in row 0"):
        zl.config.from_settings({"data": {**settings, "classes": 2}})
