"""Ensembles: each member has the bits of a single simulation, and all members stop together."""

import os
import signal
import threading

import numpy as np
import pytest

import zeroloss as zl
from problems import is_labelled, same_bits


def members(dtype="float64"):
    data = [zl.datasets.modular_addition(p, train_fraction=0.7, seed=p) for p in (5, 7)]
    nets = [zl.networks.uniform_fan_in(d, hidden=16, seed=seed, dtype=dtype) for seed, d in enumerate(data)]
    return [
        (zl.GradientDescent(lr=0.5, weight_decay=1e-3, momentum=0.5), data[0], nets[0]),
        (zl.AdamW(lr=1e-2), data[1], nets[1]),
        (zl.GradientDescent(lr=0.1), data[1], nets[1]),
        (zl.PredictedGradient(step_size=1e-3, ridge=1e-2), data[0], nets[0]),
    ]


@pytest.mark.parametrize("at_once", [1, 2, 8])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_members_have_the_bits_of_single_simulations(dtype, at_once):
    given, options = members(dtype), {"steps": 200, "record_every": 30, "progress": False}
    ensemble = zl.simulate_many(given, at_once=at_once, **options)
    assert len(ensemble) == len(given)
    for place, (member, run) in enumerate(zip(given, ensemble, strict=True)):
        alone = zl.simulate(*member, **options)
        assert same_bits(run.history, alone.history)
        assert same_bits(run.network.E, alone.network.E)
        assert run.outcome == alone.outcome
        for name, values in alone.history.data_vars.items():
            assert same_bits(ensemble.history[name].sel(run=place, step=values.step).values, values.values)


def test_the_joint_history_has_all_members(tmp_path):
    ensemble = zl.simulate_many(members(), steps=100, record_every=50, progress=False)
    history = ensemble.history
    assert dict(history.sizes) == {"run": 4, "step": 3}
    assert history.train_loss.dims == ("run", "step")
    assert history.ending.values.tolist() == ["reached the end"] * 4
    assert np.isnan(history.condition.sel(run=0)).all()  # A descent does not record it.
    assert np.isfinite(history.condition.sel(run=3)).all()
    assert is_labelled(history)
    np.testing.assert_array_equal(ensemble.train_loss, history.train_loss)
    history.to_netcdf(tmp_path / "ensemble.nc", engine="h5netcdf")
    with pytest.raises(AttributeError):
        _ = ensemble.nothing_of_the_kind


def test_a_member_that_diverges_ends_alone():
    data = zl.datasets.modular_addition(5, train_fraction=0.7, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=16, seed=0)
    wild = zl.networks.from_arrays(1e3 * net.E, 1e3 * net.W, "identity")
    descent = zl.GradientDescent(lr=1.0)
    ensemble = zl.simulate_many(
        [(descent, data, net), (descent, data, wild), (descent, data, net)], steps=300, record_every=100, progress=False
    )
    assert [str(run.outcome.ending) for run in ensemble] == ["reached the end", "diverged", "reached the end"]
    assert same_bits(ensemble[0].history, ensemble[2].history)
    assert np.isnan(ensemble.train_loss.sel(run=1, step=300))
    assert ensemble[0].extend(steps=100, progress=False).step == 400


def test_measures_use_the_data_of_their_member():
    ensemble = zl.simulate_many(
        members(),
        steps=20,
        record_every=10,
        measures=lambda data: {"samples": lambda network: float(len(data.Y_train))},
        progress=False,
    )
    expected = [float(len(data.Y_train)) for _, data, _ in members()]
    np.testing.assert_array_equal(ensemble.samples, np.repeat(expected, 3).reshape(4, 3))


def test_an_error_of_a_measure_ends_all_members():
    def raise_error(network):
        raise RuntimeError("no measure")

    with pytest.raises(RuntimeError, match="no measure"):
        zl.simulate_many(members(), steps=10**9, record_every=10**9, measures={"broken": raise_error}, progress=False)
    for thread in threading.enumerate():
        if thread.name.startswith("zeroloss"):
            thread.join()


@pytest.mark.parametrize("at_once", [1, 2])
def test_ctrl_c_ends_all_members_with_partial_results(at_once):
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    ensemble = zl.simulate_many(members()[:3], steps=10**9, record_every=10**6, at_once=at_once, progress=False)
    timer.join()
    assert {str(run.outcome.ending) for run in ensemble} == {"stopped by the user"}
    assert ensemble[0].step > 0
    assert ensemble[2].step == 0 or at_once > 2
    alone = zl.simulate(*members()[0], steps=ensemble[0].step, record_every=10**9, progress=False)
    assert same_bits(ensemble[0].network.W, alone.network.W)


BAD = [
    ([], ValueError, "members: expected at least one"),
    ([1], TypeError, r"members\[0\]: expected \(dynamics, data, network\), got 1"),
    ([(*members()[0][:2], "net")], TypeError, r"members\[0\]: network: expected a Network, got str"),
    ([members()[0], ("descent", *members()[0][1:])], TypeError, r"members\[1\]: dynamics: expected one of Gradient"),
    ([members()[0], (*members()[0][:2], members()[1][2])], ValueError, r"members\[1\]: network: expected"),
]


@pytest.mark.parametrize(("given", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_invalid_members_are_rejected(given, error, message):
    with pytest.raises(error, match=message):
        zl.simulate_many(given, steps=3, progress=False)


def test_invalid_arguments_are_rejected():
    with pytest.raises(ValueError, match="at_once: expected an integer of at least 1, got 0"):
        zl.simulate_many(members(), steps=3, at_once=0, progress=False)
    with pytest.raises(TypeError, match=r"members: expected a sequence of \(dynamics, data, network\), got None"):
        zl.simulate_many(None, steps=3, progress=False)
    with pytest.raises(TypeError, match=r"members\[0\]: measures: expected a mapping.*, got 3"):
        zl.simulate_many(members(), steps=3, measures=lambda data: 3, progress=False)
    with pytest.raises(ValueError, match=r"members\[0\]: steps: expected an integer of at least 0, got -1"):
        zl.simulate_many(members(), steps=-1, progress=False)


def test_members_that_cannot_start_are_rejected_before_the_work():
    data, net = members()[0][1:]
    seen = []
    given = [members()[0], (zl.PredictedGradient(step_size=1e-3), data, zl.networks.uniform_fan_in(data, 4, 0))]
    with pytest.raises(ValueError, match=r"members\[1\]: "):
        zl.simulate_many(given, steps=3, measures={"seen": lambda network: seen.append(1) or 0.0}, progress=False)
    with pytest.raises(ValueError, match=r"members\[1\]: network: is not on the zero-loss set"):
        zl.simulate_many([members()[0], (zl.NormFlow(step_size=0.1), data, net)], steps=3, progress=False)
    given = [(zl.PredictedGradient(step_size=1e-3, ridge=1e-3), data, net), (zl.AdamW(), data, net)]
    with pytest.raises(ValueError, match=r"members\[1\]: events: expected a condition on a recorded value"):
        zl.simulate_many(given, steps=3, events=["cost <= 1"], measures={"seen": seen.append}, progress=False)
    assert seen == []


def test_the_joint_history_includes_extensions():
    ensemble = zl.simulate_many(members()[:2], steps=20, record_every=10, progress=False)
    assert ensemble.sizes["step"] == 3
    assert ensemble.history is ensemble.history
    ensemble[0].extend(steps=10, progress=False)
    assert ensemble.sizes["step"] == 4
    assert np.isnan(ensemble.train_loss.sel(run=1, step=30))


def test_measures_of_different_shapes_are_an_error():
    ensemble = zl.simulate_many(
        [(zl.GradientDescent(lr=0.1), *member[1:]) for member in members()[:2]],
        steps=2,
        measures={"biggest": lambda network: abs(network.E).max(axis=1)},
        progress=False,
    )
    with pytest.raises(ValueError, match="measures: expected arrays of the same shapes in all runs"):
        ensemble.history  # noqa: B018
    assert ensemble[0].history.biggest.shape == (2, 5)


def test_the_limit_on_threads_holds_for_members(monkeypatch):
    monkeypatch.setenv("ZEROLOSS_NUM_THREADS", "1")
    names = set()
    zl.simulate_many(
        members(),
        steps=2,
        at_once=4,
        measures={"thread": lambda network: names.add(threading.current_thread().name) or 0.0},
        progress=False,
    )
    assert len(names) == 1
