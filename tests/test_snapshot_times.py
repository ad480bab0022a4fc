"""Snapshots have the times of the history, for fixed and adaptive steps, in memory and on the disk."""

import numpy as np
import pytest

import zeroloss as zl
from problems import same_bits
from zeroloss import config, runs
from zeroloss.results import directory


def problem():
    data = zl.datasets.modular_addition(5, test_count=3, seed=0)
    net = zl.networks.normal(data, hidden=24, std=0.5, seed=1, activation="softplus(5)")
    return data, zl.geometry.project(net, data).network


def assert_times_agree(run):
    """Check that the times are the times of the records at the same steps."""
    assert set(run.snapshots.coords) == set(run.history.coords) >= {"step", "time"}
    records = run.history.sel(step=run.snapshots.step)
    for name in run.history.coords:
        assert same_bits(run.snapshots[name].values, records[name].values), name
        assert run.snapshots[name].attrs == run.history[name].attrs


DYNAMICS = {
    "descent": zl.GradientDescent(lr=0.5, weight_decay=1e-3),
    "schedule": zl.GradientDescent(lr=zl.learning_rate.Cosine(0.5, 20), weight_decay=1e-3),
    "adaptive flow": zl.NormFlow(rtol=1e-3),
    "adaptive predicted gradient": zl.PredictedGradient(rtol=1e-3),
}


@pytest.mark.parametrize("name", DYNAMICS)
@pytest.mark.parametrize("lazy", [False, True])
def test_times_agree_in_memory_and_after_saving_and_extending(tmp_path, monkeypatch, name, lazy):
    if lazy:
        monkeypatch.setattr(directory, "_LAZY_ABOVE", 0)
    data, net = problem()
    run = zl.simulate(DYNAMICS[name], data, net, steps=9, record_every=1, snapshot_every=4, progress=False)
    assert run.snapshots.step.values.tolist() == [0, 4, 8, 9]
    assert_times_agree(run)
    run.save(tmp_path / "a")
    loaded = zl.load(tmp_path / "a")
    assert_times_agree(loaded)
    assert same_bits(loaded.snapshots.load(), run.snapshots)
    longer = zl.load(tmp_path / "a").extend(steps=6)
    assert longer.snapshots.step.values.tolist() == [0, 4, 8, 12, 15]
    assert_times_agree(longer)


def test_times_agree_in_a_directory(tmp_path):
    given = {
        "data": {"p": 5, "test_count": 3},
        "network": {"hidden": 24, "seed": 1},
        "dynamics": {"kind": "predicted_gradient", "rtol": 1e-3},
        "run": {"duration": 0.05, "record_every": 1, "snapshot_every": 4, "checkpoint_every": 3},
    }
    run = runs.run(config.from_settings(given), tmp_path / "a", progress=False)
    assert_times_agree(run)
    assert_times_agree(zl.load(tmp_path / "a"))
    longer = runs.resume(tmp_path / "a", duration=0.02, progress=False)
    assert_times_agree(longer)
    whole = runs.run(
        config.from_settings({**given, "run": {**given["run"], "duration": 0.07}}), tmp_path / "whole", progress=False
    )
    assert same_bits(longer.history, whole.history)
    assert same_bits(longer.snapshots, whole.snapshots)


@pytest.mark.parametrize("resumed", [False, True])
def test_an_extension_replaces_the_record_at_the_end_of_a_duration(tmp_path, resumed):
    """That record is between two steps. This holds even if its step is on the schedule."""
    data, net = problem()
    options = {"record_every": 1, "snapshot_every": 1, "progress": False}
    zl.simulate(zl.NormFlow(rtol=1e-3), data, net, duration=0.05, **options).save(tmp_path / "a")
    if resumed:
        longer = runs.resume(tmp_path / "a", duration=0.05, progress=False)
    else:
        longer = zl.load(tmp_path / "a").extend(duration=0.05)
    whole = zl.simulate(zl.NormFlow(rtol=1e-3), data, net, duration=0.1, **options)
    assert same_bits(longer.history, whole.history)
    assert same_bits(longer.snapshots, whole.snapshots)


def test_snapshots_of_the_first_version_are_extended_without_times():
    data, net = problem()
    run = zl.simulate(DYNAMICS["descent"], data, net, steps=9, record_every=1, snapshot_every=4, progress=False)
    run.snapshots = run.snapshots.drop_vars(["time", "slow_time"])
    run.extend(steps=6)
    assert set(run.snapshots.coords) == {"step"}
    assert run.snapshots.step.values.tolist() == [0, 4, 8, 12, 15]
    assert np.isfinite(run.snapshots.E.values).all()
