"""Minibatches and label noise: their random numbers, PyTorch on the same samples, and equal bits."""

import dataclasses
import math

import numpy as np
import pytest

import zeroloss as zl
from problems import LEVELS, figure5, flat, kernels_of, random_data, random_network, relative, same_bits
from test_training_options import torch_step_groups
from zeroloss import config, runs

DENSE, SPARSE = random_data(23, 6, 4, n_test=5), random_data(23, 9, 4, "sparse", n_test=5)
PAIRS = zl.datasets.modular_addition(7, train_count=23, seed=2)
TRIPLES = zl.datasets.modular_addition(5, summands=3, train_count=23, seed=2)
CONCATENATED = zl.datasets.modular_addition(7, inputs="concatenated", train_count=23, seed=2)
CLASSES = zl.datasets.from_arrays(DENSE.X_train, np.arange(23) % 4, classes=4)


def words_of(seed, stream, step, count):
    key, counter = (np.array(words, np.uint64) for words in ([seed, stream], [0, step, 0, 0]))
    return np.random.Philox(key=key, counter=counter).random_raw(count)


def defined_order(seed, epoch, n):
    """Shuffle by Fisher and Yates with integers of Python."""
    order, words = list(range(n)), words_of(seed, 0, epoch, n)
    for place, i in enumerate(range(n - 1, 0, -1)):
        other = int(words[place]) * (i + 1) >> 64
        order[i], order[other] = order[other], order[i]
    return order


def defined_noise(seed, step, count):
    """Return the normal numbers by the method of Box and Muller, in float64."""
    groups = -(-count // 64)
    words = words_of(seed, 1, step, 32 * groups).reshape(groups, 8, 4).swapaxes(1, 2).reshape(groups, 32)
    u, a = ((words % 2**32) // 2 + 0.5) * 2.0**-31, (words // 2**32) * 2.0**-32
    r = np.sqrt(-2 * np.log(u))
    return np.concatenate([r * np.cos(2 * np.pi * a), r * np.sin(2 * np.pi * a)], axis=1).ravel()[:count]


@pytest.mark.parametrize("level", LEVELS)
def test_the_order_of_an_epoch_is_that_of_numpy_s_philox(level):
    for seed, epoch, n in ((0, 0, 1), (0, 0, 2), (3, 7, 59), (2**64 - 1, 2**40, 491)):
        np.testing.assert_array_equal(kernels_of(level).epoch_order(seed, epoch, n), defined_order(seed, epoch, n))


@pytest.mark.parametrize("level", LEVELS)
def test_the_noise_is_that_of_numpy_s_philox(level):
    """Single precision has an error of some rounding units of the radius, which is below 6.7."""
    for seed, step, count in ((0, 0, 0), (0, 0, 7), (5, 123456789, 64), (2**64 - 1, 2**62, 200_001)):
        noise = kernels_of(level).label_noise(seed, step, count)
        assert noise.dtype == np.float32
        np.testing.assert_allclose(noise, defined_noise(seed, step, count), rtol=0, atol=8 * 6.7 * 2.0**-24)


def test_the_noise_is_normal_and_fresh():
    """Moments of 10⁶ numbers, within five standard errors, and correlations of steps, outputs and seeds."""
    noise = kernels_of(LEVELS[-1]).label_noise
    x = noise(1, 0, 10**6).astype(float)
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((x**power).mean() - moment) < 5 * math.sqrt(variance / x.size)
    others = [noise(1, 1, 10**6), noise(2, 0, 10**6), np.roll(x, 1)]
    assert all(abs((x * other).mean()) < 5 / math.sqrt(x.size) for other in others)


def samples_of_step(dynamics, data, step):
    """Return the inputs and the targets of a step, from the definitions."""
    n, X, Y = data.train_count, data.X_train, data.Y_train
    size = dynamics.batch_size or n
    per_epoch = math.ceil(n / size)
    order = defined_order(dynamics.batch_seed, step // per_epoch, n)
    first = step % per_epoch * size
    rows = np.sort(order[first : first + size])
    noise = kernels_of(LEVELS[-1]).label_noise(dynamics.noise_seed, step, len(rows) * Y.shape[1])
    return X[rows], Y[rows] + dynamics.label_noise_std * noise.astype(float).reshape(len(rows), -1)


SGD = zl.GradientDescent(lr=0.05, weight_decay=1e-3)
CASES = [
    (SGD, {"batch_size": 5, "batch_seed": 3}, DENSE),
    (SGD, {"batch_size": 5, "batch_seed": 3}, SPARSE),
    (SGD, {"batch_size": 11, "batch_seed": 1}, PAIRS),
    (SGD, {"batch_size": 11, "batch_seed": 1}, TRIPLES),
    (SGD, {"batch_size": 9, "batch_seed": 2}, CONCATENATED),
    (SGD, {"label_noise_std": 0.3, "noise_seed": 4}, DENSE),
    (SGD, {"label_noise_std": 0.3, "noise_seed": 4}, PAIRS),
    (SGD, {"batch_size": 1, "label_noise_std": 0.1, "noise_seed": 2**64 - 1}, PAIRS),
    (dataclasses.replace(SGD, momentum=0.9, lr=0.01), {"batch_size": 22, "label_noise_std": 0.5}, SPARSE),
    (zl.AdamW(lr=1e-3), {"batch_size": 8, "label_noise_std": 0.5, "loss": "cross_entropy"}, CLASSES),
]


@pytest.mark.parametrize(("dynamics", "options", "data"), CASES, ids=lambda x: str(x) if isinstance(x, dict) else "")
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_200_steps_agree_with_pytorch(dynamics, options, data, activation):
    net = random_network(data, 19, activation, std=0.5)
    dynamics = dataclasses.replace(dynamics, **options)
    run = zl.simulate(dynamics, data, net, steps=200, record_every=100)
    batches = [samples_of_step(dynamics, data, step) for step in range(200)]
    E, W = torch_step_groups(net, dynamics, batches)
    assert relative(flat(run.network.E, run.network.W), flat(E, W)) < 1e-9


def test_each_epoch_has_every_sample_once():
    order = [kernels_of(LEVELS[-1]).epoch_order(7, epoch, 23) for epoch in range(50)]
    assert all((np.sort(one) == np.arange(23)).all() for one in order)
    assert len({one.tobytes() for one in order}) == 50


def test_records_are_over_all_samples_without_noise():
    data, net = figure5()
    dynamics = zl.GradientDescent(lr=1.0, batch_size=20, label_noise_std=0.2)
    run = zl.simulate(dynamics, data, net, steps=20, record_every=7)
    plain = zl.simulate(zl.GradientDescent(lr=1.0), data, run.network, steps=0).history
    for name in ("train_loss", "test_loss", "train_accuracy", "residual", "norm_E"):
        assert float(run.history[name][-1]) == float(plain[name][0])
    assert (run.history.step.values == [0, 7, 14, 20]).all()
    assert not same_bits(run.network.E, zl.simulate(zl.GradientDescent(lr=1.0), data, net, steps=20).network.E)


SAMPLED = {"batch_size": 13, "batch_seed": 1, "label_noise_std": 0.1, "noise_seed": 2}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bits_do_not_depend_on_threads_chunks_or_extension(dtype):
    data, net = figure5(dtype)
    dynamics = zl.GradientDescent(lr=1.0, weight_decay=1e-3, momentum=0.5, **SAMPLED)
    one = zl.simulate(dynamics, data, net, steps=300, record_every=50, threads=1)
    many = zl.simulate(dynamics, data, net, steps=300, record_every=50, threads=3)
    parts = zl.simulate(dynamics, data, net, steps=103, record_every=50)
    parts.extend(steps=4)
    parts.extend(steps=193)
    for other in (many, parts):
        assert same_bits(one.network.E, other.network.E)
        assert same_bits(one.network.W, other.network.W)
    assert same_bits(one.history.train_loss.values, many.history.train_loss.values)


def test_a_resumed_run_has_the_same_bits(tmp_path):
    settings = {"dynamics": {"kind": "gradient_descent", "lr": 1.0, **SAMPLED}, "run": {"steps": 40, "record_every": 9}}
    whole = runs.run(config.from_settings(settings), tmp_path / "whole", progress=False)
    settings["run"]["steps"] = 25
    runs.run(config.from_settings(settings), tmp_path / "part", progress=False)
    resumed = runs.resume(tmp_path / "part", extend=15, progress=False)
    assert same_bits(whole.network.E, resumed.network.E)
    assert zl.load(tmp_path / "part").settings["dynamics"]["batch_size"] == 13


def test_an_event_on_the_training_loss_is_exact():
    data, net = figure5()
    dynamics = zl.GradientDescent(lr=1.0, batch_size=30)
    event = "train_loss < 0.07"
    run = zl.simulate(dynamics, data, net, steps=400, record_every=100, events=[event])
    step = run.events[event]
    every = zl.simulate(dynamics, data, net, steps=step, record_every=1).history.train_loss.values
    assert 1 < step < 400
    assert every[-1] < 0.07 <= every[-2]
