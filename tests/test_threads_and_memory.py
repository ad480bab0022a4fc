"""Threads never change a bit, survive a fork, and are limited by the process; too large problems are rejected."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import zeroloss as zl
from problems import figure5, random_data, random_network, same_bits
from zeroloss import _resources
from zeroloss._kernels import kernels
from zeroloss.datasets import kernel_samples
from zeroloss.networks import kernel_activation

DYNAMICS = {
    "descent": zl.GradientDescent(lr=0.1, weight_decay=1e-3, momentum=0.9),
    "predicted": zl.PredictedGradient(step_size=1e-3, ridge=0.1),
}
SIZES = {"modular": (23, 256), "one panel": (5, 16), "n > h": (23, 70)}


def final_network(dynamics, dtype, size, threads, activation="relu"):
    p, hidden = SIZES[size]
    data = zl.datasets.modular_addition(p, train_fraction=0.7, seed=0)
    net = zl.networks.normal(data, hidden=hidden, std=p**-0.5, seed=1, dtype=dtype, activation=activation)
    return zl.simulate(DYNAMICS[dynamics], data, net, steps=3, threads=threads).network


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("dynamics", DYNAMICS)
def test_bits_do_not_depend_on_threads(dynamics, dtype, size):
    alone = final_network(dynamics, dtype, size, threads=1)
    for threads in (2, 3, 8):
        together = final_network(dynamics, dtype, size, threads)
        assert same_bits(together.E, alone.E)
        assert same_bits(together.W, alone.W)


@pytest.mark.parametrize("hidden", [150, 250])  # fewer and more units than samples
@pytest.mark.parametrize("dynamics", DYNAMICS)
def test_bits_of_dense_rows_do_not_depend_on_threads(dynamics, hidden):
    data = random_data(210, 30, 7)
    net = random_network(data, hidden, "tanh", std=0.1)
    runs = [zl.simulate(DYNAMICS[dynamics], data, net, steps=3, threads=threads).network.E for threads in (1, 2, 3)]
    assert same_bits(runs[1], runs[0])
    assert same_bits(runs[2], runs[0])


FLOWS = {
    "explicit": zl.NormFlow(step_size=1e-3),
    "proximal": zl.NormFlow(rtol=3e-2, method="proximal"),
    "noise": zl.NoiseFlow(step_size=1e-5),
}


def solvable_problem(data, activation, rows, hidden):
    """Return the data with the outputs of a network as targets, and this network."""
    net = random_network(data, hidden, activation)
    H, _ = kernels.hidden(kernel_samples(data, "train", np.dtype("float64")), net.E, kernel_activation(net))
    return zl.datasets.from_arrays(data.X_train, H @ net.W, data.X_test, data.Y_test, rows=rows), net


@pytest.mark.parametrize("hidden", [120, 300])  # fewer and more units than samples
@pytest.mark.parametrize("activation", ["relu", "softplus(5)"])
@pytest.mark.parametrize("rows", ["sparse", "dense"])
@pytest.mark.parametrize("method", FLOWS)
def test_bits_of_norm_flows_do_not_depend_on_threads(method, rows, activation, hidden):
    if method == "noise" and activation == "relu":
        activation = "tanh"  # This flow needs a smooth activation.
    # 22 makes two blocks of right-hand sides. 7 makes a matrix of 910 rows, which has several slices on every level.
    d_out = 22 if method == "proximal" else 7
    data, net = solvable_problem(random_data(130, 20, d_out, rows), activation, rows, hidden)
    runs = {n: zl.simulate(FLOWS[method], data, net, steps=2, record_every=1, threads=n) for n in (1, 2, 3, 8)}
    for run in runs.values():
        run.extend(2)
        assert same_bits(run.network.E, runs[1].network.E)
        assert same_bits(run.network.W, runs[1].network.W)


@pytest.mark.parametrize("hidden", [120, 300])
@pytest.mark.parametrize("kind", ["dense", "matrix_free"])
@pytest.mark.parametrize("rows", ["sparse", "dense"])
def test_bits_of_the_geometry_do_not_depend_on_threads(rows, kind, hidden):
    data, net = solvable_problem(random_data(130, 20, 9 if kind == "dense" else 22, rows), "tanh", rows, hidden)
    samples = kernel_samples(data, "train", np.dtype("float64"))
    pinned = np.random.default_rng(0).random((130, hidden)) < 0.05
    found = {}
    for threads in (1, 2, 3, 8):
        zero_loss = kernels.ZeroLossSet(samples, kernel_activation(net), kind, 1e-10, 500, threads)
        E, W = net.E * 1.001, net.W.copy()
        assert zero_loss.retract(E, W, 1e-8, 20, True)[0] == "converged"
        free, fixed = zero_loss.direction(E, W), zero_loss.pinned_direction(E, W, pinned.astype("float64"))
        found[threads] = [E, W, zero_loss.gram(E, W), *free, *fixed[:2], np.array(zero_loss.extremes(E, W, 0.01, 9))]
    for arrays in found.values():
        assert all(same_bits(one, alone) for one, alone in zip(arrays, found[1], strict=True))


def test_callers_at_once_get_the_same_bits():
    """The second caller finds the threads in use and works alone: same bits, no deadlock."""
    expected = final_network("predicted", "float64", "modular", 1).E
    found = []
    callers = [
        threading.Thread(target=lambda: found.append(final_network("predicted", "float64", "modular", 2).E))
        for _ in range(3)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(timeout=60)
    assert len(found) == 3
    assert all(same_bits(E, expected) for E in found)


FORKED = """
import os
import numpy as np, zeroloss as zl
data = zl.datasets.modular_addition(23, train_fraction=0.7, seed=0)
net = zl.networks.normal(data, hidden=256, std=0.2, seed=1)
end = lambda: zl.simulate(zl.PredictedGradient(step_size=1e-3), data, net, steps=3, threads=2).network.E
before = end()
if os.fork() == 0:
    os._exit(0 if (end() == before).all() else 1)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""


def test_a_forked_child_has_its_own_threads():
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "0"


def test_the_number_of_threads_depends_on_work_and_limits(monkeypatch):
    monkeypatch.delenv("ZEROLOSS_NUM_THREADS", raising=False)
    available = _resources.available_processors()
    assert _resources.checked_threads(None, work=1.0, worthwhile=2.0) == 1
    assert _resources.checked_threads(None, work=2.0, worthwhile=2.0) == available
    assert _resources.checked_threads(5, work=1.0, worthwhile=2.0) == 5
    monkeypatch.setenv("ZEROLOSS_NUM_THREADS", "1")
    assert _resources.checked_threads(5, work=2.0, worthwhile=2.0) == 1
    assert zl.build_info()["threads"] == 1
    monkeypatch.setenv("ZEROLOSS_NUM_THREADS", "many")
    with pytest.raises(ValueError, match="ZEROLOSS_NUM_THREADS: expected an integer of at least 1, got 'many'"):
        _resources.available_processors()
    monkeypatch.delenv("ZEROLOSS_NUM_THREADS")
    with pytest.raises(ValueError, match="threads: expected an integer of at least 1, got 0"):
        final_network("descent", "float64", "one panel", threads=0)


def test_problems_beyond_the_memory_are_rejected(monkeypatch):
    monkeypatch.setattr(_resources, "available_memory", lambda: 2**20)
    with pytest.raises(ValueError, match=r"PredictedGradient: expected to fit in 0\.0 GiB of free memory, needs"):
        final_network("predicted", "float64", "modular", 1)


def test_the_cost_of_a_step_counts_work_and_memory():
    cost = DYNAMICS["predicted"].cost
    data = zl.datasets.modular_addition(37, train_fraction=0.7)
    net = zl.networks.normal(data, hidden=512, std=1.0, seed=0)
    n, h = 492, 512
    assert np.isclose(cost(data, net).flops, n * n * h + n**3 / 3 + 2 * n * n * 37 + 4 * n * h * 37)
    assert cost(data, net).memory > 8 * (n * n + n * h)  # This is the Gram matrix and the hidden activations.


def test_denormals_are_zeros_only_inside_the_kernels():
    """Weights below the normal range stay unchanged outside, and the bits are the same for any number of threads."""
    data, net = figure5()
    tiny = np.finfo("float64").tiny
    net = zl.networks.from_arrays(net.E * tiny, net.W * tiny)
    runs = [zl.simulate(zl.GradientDescent(lr=0.1), data, net, steps=50, threads=threads) for threads in (1, 2)]
    assert same_bits(runs[0].network.E, runs[1].network.E)
    assert not runs[0].network.E.any()
    assert np.float64(tiny) * 0.5 > 0


CROWDED = """
import os, pathlib, re, time
import zeroloss as zl
data = zl.datasets.modular_addition(23, train_fraction=0.7, seed=0)
net, wide = (zl.networks.normal(data, hidden=hidden, std=0.02, seed=1) for hidden in (256, 8192))

def switches():
    others = [task for task in pathlib.Path("/proc/self/task").iterdir() if task.name != str(os.getpid())]
    return {task: re.findall(r"ctxt_switches:\\s*(\\d+)", (task / "status").read_text()) for task in others}

zl.PredictedGradient(step_size=1e-3, ridge=1.0).start(data, wide, 64).advance(1)
small = zl.PredictedGradient(step_size=1e-3, ridge=1.0).start(data, net, 2)
before = None
while before != (before := switches()):
    time.sleep(0.05)
small.advance(200)
print(len(before), sum(before[task] != count for task, count in switches().items()))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="no list of this process's threads")
def test_a_call_wakes_only_the_threads_it_needs():
    """A large team leaves threads. Waking them in vain at every call would make later small teams 100 times slower."""
    done = subprocess.run([sys.executable, "-c", CROWDED], capture_output=True, text=True, timeout=60, check=True)
    threads, awake = map(int, done.stdout.split())
    assert threads > 60
    assert awake < 10
