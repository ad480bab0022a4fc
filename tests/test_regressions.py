"""Regressions: unusual numbers and arrays, overflow, sizes, and files of others."""

import os

import h5py
import numpy as np
import pytest
import scipy.sparse

import zeroloss as zl
from problems import random_network

DATA = zl.datasets.modular_addition(5, test_count=3, seed=0)
NET = zl.networks.normal(DATA, hidden=40, std=0.4, seed=1)


def test_settings_can_be_numpy_scalars(tmp_path):
    data = zl.datasets.modular_addition(5, train_count=np.int64(9), seed=np.int32(1))
    for dynamics in (
        zl.GradientDescent(lr=np.float32(0.1), momentum=np.array(0.5)),
        zl.PredictedGradient(step_size=np.float64(1e-3), ridge=np.int64(1)),
    ):
        run = zl.simulate(dynamics, data, NET, steps=np.int64(3), record_every=np.int32(2))
        run.save(tmp_path / "run")
        assert zl.load(tmp_path / "run").extend(steps=1).step == 4


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_divergence_of_the_predicted_gradient_is_an_outcome(dtype):
    net = zl.networks.normal(DATA, hidden=40, std=0.4, seed=1, activation="square", dtype=dtype)
    run = zl.simulate(zl.PredictedGradient(step_size=100.0, ridge=0.1), DATA, net, steps=50, record_every=1)
    assert str(run.outcome).startswith("diverged")
    assert np.isfinite(run.history.norm_E.values).all()
    assert run.history.sizes["step"] > 1


def test_a_singular_start_is_one_outcome_for_fixed_and_adaptive_steps():
    net = zl.networks.from_arrays(NET.E, NET.W, "identity")  # K has rank 5 at most.
    for dynamics in (zl.PredictedGradient(step_size=1e-3), zl.PredictedGradient(rtol=1e-3)):
        assert str(zl.simulate(dynamics, DATA, net, steps=5).outcome).startswith("singular: at step 0")


def test_a_retraction_that_stalls_is_an_outcome():
    on = zl.geometry.project(NET, DATA).network
    run = zl.simulate(zl.NormFlow(step_size=0.01, retraction_tolerance=1e-20), DATA, on, steps=5, record_every=1)
    assert str(run.outcome).startswith("not converged: at step 1")
    assert run.history.step.values.tolist() == [0]


TOO_MUCH = [
    (lambda: zl.networks.normal(DATA, 10**12, 0.5, 1), "a network of 1000000000000 hidden units: expected to fit in"),
    (lambda: zl.networks.uniform_fan_in(DATA, 10**18, 1), "a network of .* hidden units: expected to fit in"),
    (lambda: zl.datasets.modular_addition(10**7, test_count=1), "modular addition of p = 10000000: expected to fit in"),
    (lambda: zl.simulate(zl.GradientDescent(lr=1), DATA, NET, steps=1, threads=10**6), "threads: expected at most"),
    (lambda: zl.networks.normal(DATA, 8, 1e300, 1, dtype="float32"), "E: expected finite numbers in float32"),
    (
        lambda: zl.loss_and_gradient(NET.astype("float32"), huge_data()),
        "data: expected entries within the range of float32",
    ),
    (
        lambda: zl.predicted_gradient(NET.astype("float32"), DATA, ridge=1e-60),
        "ridge: expected a number that float32",
    ),
    (lambda: zl.datasets.from_arrays([[1.0], [1.0, 2.0]], [[1.0]]), "X_train: expected a matrix, got lists of unequal"),
]


def huge_data():
    return zl.datasets.from_arrays(np.eye(5) * 1e200, np.eye(5))


@pytest.mark.parametrize(("call", "message"), TOO_MUCH, ids=[message for _, message in TOO_MUCH])
def test_too_large_arguments_are_rejected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_measure_that_changes_its_shape_is_an_error():
    shapes = iter([(2,), (3,), (3,)])
    with pytest.raises(ValueError, match=r"measures: m must always have the same shape, \(2,\), got \(3,\) at"):
        zl.simulate(
            zl.GradientDescent(lr=0.1),
            DATA,
            NET,
            steps=2,
            record_every=1,
            measures={"m": lambda net: np.ones(next(shapes))},
        )


def test_sparse_matrices_are_accepted_and_masks_are_not():
    X = np.eye(6)[:, :4]
    sparse = zl.datasets.from_arrays(scipy.sparse.csr_array(X), scipy.sparse.coo_array(X))
    assert (sparse.X_train == X).all()
    with pytest.raises(TypeError, match="X_train: expected an array without a mask"):
        zl.datasets.from_arrays(np.ma.masked_array(X, X > 0), X)


def test_saving_leaves_foreign_files_and_a_readable_directory(tmp_path):
    run = zl.simulate(zl.GradientDescent(lr=0.1), DATA, NET, steps=1)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "run.json").write_text("{}")
    (foreign / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match="which holds other files; they stay as they are"):
        run.save(foreign)
    assert (foreign / "thesis.tex").exists()
    run.save(tmp_path / "own")
    (tmp_path / "plain").mkdir()
    assert os.stat(tmp_path / "own").st_mode == os.stat(tmp_path / "plain").st_mode  # noqa: PTH116
    with pytest.raises(ValueError, match="read-only"):
        zl.load(tmp_path / "own").data.Y_train[0, 0] = 1.0


@pytest.mark.parametrize("scale", [1e-20, 1e-10, 1e10])
def test_extreme_singular_values_agree_at_any_scale(scale):
    data = zl.datasets.from_arrays(np.eye(4) * scale, np.eye(4), rows="dense")
    net = random_network(data, 8, "relu")
    all_of_them = zl.geometry.singular_values(net, data)
    extremes = zl.geometry.singular_values(net, data, which="extremes")
    np.testing.assert_allclose(extremes, [all_of_them[0], all_of_them[-1]], rtol=1e-6)


def test_the_tangent_projection_has_its_digits_near_a_repeated_sample():
    """At cond(J) of about 4e5 a single pass through the normal equations would leave six digits."""
    random = np.random.default_rng(0)
    X = random.standard_normal((6, 8))
    X[5] = X[4] + 1e-5 * random.standard_normal(8)
    data = zl.datasets.from_arrays(X, random.standard_normal((6, 2)))
    net = random_network(data, 30, "tanh")
    dense = zl.geometry.norm_direction(net, data, method="dense")
    E, W = net.E, net.W
    H = np.tanh(X @ E)
    first = np.einsum("ia,iu,uk->ikau", X, 1 - H**2, W).reshape(12, -1)
    J = np.concatenate([first, np.einsum("iu,kl->ikul", H, np.eye(2)).reshape(12, -1)], axis=1)
    theta = np.concatenate([E.ravel(), W.ravel()])
    Q = np.linalg.qr(J.T)[0]
    expected = Q @ (Q.T @ theta) - theta
    found = np.concatenate([dense.gE.ravel(), dense.gW.ravel()])
    assert np.linalg.norm(found - expected) < 1e-9 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    "measures",
    [
        {"m": lambda net: 1j * net.E[0, 0]},
        {"m": lambda net: net.E[0, :3] + 1j, "flag": lambda net: bool(net.E[0, 0] > 0)},
        {"m": lambda net: "a" * (1 + int(100 * abs(net.E[0, 0])))},
        {"m": lambda net: np.array(["é", "bcd"])},
        {"m": lambda net: b"abc"},
        {"m": lambda net: net.E[0, :3].copy(), "m_0": lambda net: 1.0},  # The second has the name of a dimension.
    ],
    ids=["complex", "complex-vector", "string", "string-vector", "bytes", "dimension"],
)
def test_measures_that_are_not_real_numbers_are_saved_and_loaded(measures, tmp_path):
    run = zl.simulate(zl.GradientDescent(lr=0.1), DATA, NET, steps=50, record_every=7, measures=measures)
    run.save(tmp_path / "run")
    history = zl.load(tmp_path / "run").history
    for name in measures:
        assert history[name].dtype == run.history[name].dtype
        assert np.array_equal(history[name], run.history[name])


def test_a_damaged_header_of_a_variable_is_an_error(tmp_path):
    zl.simulate(zl.GradientDescent(lr=0.1), DATA, NET, steps=5).save(tmp_path / "run")
    file = tmp_path / "run" / "history.nc"
    with h5py.File(file) as stored:
        address = h5py.h5o.get_info(stored["norm_E"].id).addr
    content = bytearray(file.read_bytes())
    content[address + 30] ^= 1
    file.write_bytes(content)
    with pytest.raises(zl.results.DamagedError, match=r"history\.nc"):
        zl.load(tmp_path / "run")
