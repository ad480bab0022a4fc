"""Sweeps: every cell has the bits of the run alone, whatever interrupts it, and all of them are one labelled cube."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import xarray as xr

import zeroloss as zl
from problems import same_bits
from zeroloss import config, runs, sweeps
from zeroloss.config import ConfigurationError
from zeroloss.sweeps import grid

LABELS = {"network.seed": [3, 1], "dynamics.weight_decay": [1e-2, 1e-3, 0.0]}


def settings(**sections):
    base = {
        "data": {"p": 5, "test_count": 3},
        "network": {"hidden": 16},
        "dynamics": {"lr": 0.5},
        "run": {"steps": 300, "record_every": 50, "events": ["train_accuracy >= 1"]},
        "sweep": LABELS,
    }
    return {name: {**base.get(name, {}), **sections.get(name, {})} for name in (*base, *sections)}


def with_sweep(lines, **sections):
    return {**settings(**sections), "sweep": lines}


def carried_out(given, out, **options):
    return sweeps.sweep(given, out, progress=False, **options)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return carried_out(settings(), tmp_path_factory.mktemp("sweep") / "out")


def test_cells_have_the_bits_of_runs_alone(done, tmp_path):
    cube = done.cube()
    assert list(cube.ending.dims) == list(LABELS)
    for seed in LABELS["network.seed"]:
        for decay in LABELS["dynamics.weight_decay"]:
            one = {**settings(network={"hidden": 16, "seed": seed}), "dynamics": {"lr": 0.5, "weight_decay": decay}}
            one.pop("sweep")
            alone = runs.run(config.from_settings(one), tmp_path / f"{seed} {decay}", progress=False)
            cell = cube.sel({"network.seed": seed, "dynamics.weight_decay": decay})
            for name, values in alone.history.variables.items():
                if name != "step":
                    assert same_bits(cell[name].values, values.values), name
            run = zl.load(done.store / "cells" / str(cell.cell.values))
            assert same_bits(run.network.E, alone.network.E)
            assert cell.event_step.values.tolist() == list(alone.events.values())
            assert str(cell.outcome.values) == "reached the end: 300 steps"


def test_the_cube_as_a_file_and_from_the_store(done):
    cube = done.cube()
    with xr.open_dataset(done.store / "cube.nc", engine="h5netcdf") as stored:
        xr.testing.assert_identical(stored.load(), cube)
    xr.testing.assert_identical(sweeps.open_sweep(done.store), cube)
    assert {key: cube[key].values.tolist() for key in LABELS} == LABELS
    assert cube.train_loss.attrs["long_name"]
    common = json.loads(cube.attrs["settings"])
    assert common["network"]["hidden"] == 16
    assert "seed" not in common["network"]


def test_a_report(done):
    cells, event = sweeps.report(done.store)
    assert cells.endswith("6 cells: 6 reached the end")
    steps = done.cube().event_step.values
    assert event == (
        f"train_accuracy >= 1: in 6 of 6 cells, at steps {steps.min():.0f} to {steps.max():.0f}, "
        f"median {np.median(steps):.0f}"
    )


def test_what_has_ended_is_not_carried_out_again(done):
    before = {path: path.stat().st_mtime_ns for path in done.store.glob("cells/*/*")}
    wider = carried_out({**settings(), "sweep": {**LABELS, "network.seed": [3, 1, 2]}}, done.store)
    assert len(wider.todo) == 3
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert wider.cube().sizes["network.seed"] == 3
    again = carried_out(settings(), done.store)
    assert again.todo == []
    assert again.seconds == 0
    xr.testing.assert_identical(again.cube(), done.cube())


def test_keys_that_vary_together_and_labels_that_are_no_numbers(tmp_path):
    schedule = {"schedule": "cosine", "lr": 0.5, "steps": 100}
    given = with_sweep(
        {
            "data.seed, network.seed": [[0, 7], [1, 8], [2, 9]],
            "dynamics.lr": [0.5, schedule],
            "network.activation": ["relu", "tanh"],
        },
        run={"steps": 100, "record_every": 50},
    )
    cube = carried_out(given, tmp_path / "out").cube()
    assert dict(cube.sizes) == {
        "data.seed": 3, "dynamics.lr": 2, "network.activation": 2, "step": 3, "event": 1,
    }  # fmt: skip
    assert cube["network.seed"].dims == ("data.seed",)
    assert cube["network.seed"].values.tolist() == [7, 8, 9]
    assert cube["dynamics.lr"].values[1] == '{ schedule = "cosine", lr = 0.5, steps = 100 }'
    assert cube["network.activation"].values.tolist() == ["relu", "tanh"]
    assert np.isfinite(cube.train_loss).all()


def test_failures_are_kept_and_tried_again_on_request(tmp_path):
    given = with_sweep({"dynamics.lr": [0.5, 1e30]})
    first = carried_out(given, tmp_path / "out")
    assert [cell.labels["dynamics.lr"] for cell in first.failures] == [1e30]
    cube = first.cube()
    assert cube.ending.values.tolist() == ["reached the end", "diverged"]
    assert np.isnan(cube.train_loss.sel({"dynamics.lr": 1e30, "step": 300}))
    assert np.isfinite(cube.train_loss.sel({"dynamics.lr": 1e30, "step": 0}))
    assert carried_out(given, tmp_path / "out").todo == []
    retried = carried_out(given, tmp_path / "out", retry=True)
    assert [cell.labels["dynamics.lr"] for cell in retried.todo] == [1e30]
    name = first.failures[0].name
    assert (
        zl.load(tmp_path / "out" / "cells" / f"{name}-failed-1").outcome
        == zl.load(tmp_path / "out" / "cells" / name).outcome
    )
    xr.testing.assert_identical(retried.cube(), cube)


def test_a_cube_with_cells_that_have_not_ended(done, tmp_path):
    store = tmp_path / "out"
    carried_out(with_sweep({"network.seed": [3], "dynamics.weight_decay": [1e-3]}), store)
    text = (done.store / "sweep.toml").read_text()
    (store / "sweep.toml").write_text(text)
    cube = sweeps.open_sweep(store)
    assert cube.ending.values.ravel().tolist().count("not ended") == cube.ending.size - 1
    here = cube.sel({"network.seed": 3, "dynamics.weight_decay": 1e-3})
    there = done.cube().sel({"network.seed": 3, "dynamics.weight_decay": 1e-3})
    np.testing.assert_array_equal(here.train_loss.dropna("step"), there.train_loss)
    assert np.isnan(cube.train_loss.sel({"network.seed": 1})).all()


LONG = {"steps": 400_000, "record_every": 10_000, "checkpoint_every": 5_000, "events": []}


def command(given, out, *words):
    file = out.with_suffix(".toml")
    file.write_text(zl._toml.written(given))
    start = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from zeroloss.cli import main; main()"
    )
    arguments = [sys.executable, "-c", start, "sweep", str(file), "--out", str(out), *words]
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(condition):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < 60
        time.sleep(0.01)


def under_way(out):
    """Whether two cells have kept a step of their own."""
    steps = {int(path.name[5:]): path.parent for path in out.glob("cells/*/checkpoints/step-*")}
    return len({path for step, path in steps.items() if step > 0} | set(out.glob("cells/*/run.json"))) >= 1


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    given = with_sweep({"network.seed": [1, 2, 3]}, run=LONG)
    return given, carried_out(given, tmp_path_factory.mktemp("undisturbed") / "out").cube()


@pytest.mark.parametrize("workers", ["--threads", "--workers=2"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_an_interrupted_sweep_goes_on_to_the_same_bits(undisturbed, workers, number, status, tmp_path):
    given, expected = undisturbed
    out = tmp_path / "out"
    with command(given, out, workers) as process:
        wait_for(lambda: under_way(out) or process.poll() is not None)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert err.strip().endswith("the same command goes on") or number == signal.SIGKILL
    began = time.monotonic()
    while True:  # orphans of a killed process keep a checkpoint before they end
        rest = carried_out(given, out)
        if not rest.elsewhere:
            break
        assert time.monotonic() - began < 60
    xr.testing.assert_identical(rest.cube(), expected)


def test_a_worker_that_is_killed(undisturbed, tmp_path):
    given, expected = undisturbed
    out = tmp_path / "out"
    with command(given, out, "--workers=2") as process:
        wait_for(lambda: under_way(out))
        holder = next(path for path in out.glob("locks/*") if path.name != "store")
        wait_for(lambda: holder.read_text().strip())
        os.kill(int(holder.read_text()), signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.search(r"a worker ended unexpectedly; \d of 3 cells ended", err), err
    assert "Traceback" not in err
    xr.testing.assert_identical(carried_out(given, out).cube(), expected)


def test_two_sweeps_of_one_store_share_the_cells(undisturbed, tmp_path):
    given, expected = undisturbed
    out, found = tmp_path / "out", []
    threads = [threading.Thread(target=lambda: found.append(carried_out(given, out, workers=1))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = set().union(*(set(one.outcomes) for one in found))
    assert len(names) == 3
    xr.testing.assert_identical(carried_out(given, out).cube(), expected)


BAD = [
    ({}, r"sweep: expected a section \[sweep\] with lists"),
    ({"network.seed": []}, r"sweep.network.seed: expected a list of values, got \[\]"),
    ({"network.seed": 3}, "sweep.network.seed: expected a list of values, got 3"),
    ({"seed": [1]}, "sweep: expected keys as section.key, got 'seed'"),
    ({"network": {"seed": [1]}}, 'sweep.network: expected quotes around a key, as "network.seed"'),
    ({"network.seed": [1, 1]}, r"sweep.network.seed: expected every value once, got \(1,\) again"),
    ({"network.seed, data.seed": [[1, 2], [3]]}, r"expected lists of 2 values, got \[3\]"),
    ({"network.seed, data.seed": [[1, 2]], "data.seed": [1]}, "expected every key once, got data.seed again"),
    ({"network.sed": [1]}, r"network.sed: .*did you mean seed\? \(with network.sed = 1\)"),
    ({"dynamics.lr": [1.0, -1.0]}, r"dynamics.lr: expected a number above 0, got -1.0 \(with dynamics.lr = -1.0\)"),
    ({"nowhere.lr": [1.0]}, r"nowhere: expected one of data, network, dynamics, run"),
    ({"network.seed": list(range(2000)), "data.seed": list(range(2000))}, "at most 1000000 combinations, got 4000000"),
]


@pytest.mark.parametrize(("lines", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_input_is_told_before_anything_starts(lines, message, tmp_path):
    with pytest.raises(ConfigurationError, match=message):
        carried_out({**settings(), "sweep": lines}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_a_dynamics_refuses_is_told_before_anything_starts(tmp_path):
    given = with_sweep({"network.hidden": [64, 2]}, data={"p": 5, "test_count": 3})
    given["dynamics"] = {"kind": "predicted_gradient"}
    with pytest.raises(ConfigurationError, match=r"expected .* \(with network.hidden = 2\)"):
        carried_out(given, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match=r"found no sweep.toml in"):
        sweeps.open_sweep(tmp_path)
    with pytest.raises(ValueError, match="workers: expected an integer of at least 1, got 0"):
        carried_out(settings(), tmp_path / "out", workers=0)


def test_cells_that_do_not_fit_in_memory_together(tmp_path, monkeypatch):
    one = grid.cells(settings())[0].configuration()
    need = one.dynamics.cost(one.data, one.network).memory
    monkeypatch.setattr("zeroloss._machine.available_memory", lambda: 2 * need - 1)
    with pytest.raises(ValueError, match="2 cells at a time: expected to fit in"):
        carried_out(settings(), tmp_path / "out", workers=2)
    assert len(carried_out(settings(), tmp_path / "out", workers=1).outcomes) == 6


def test_the_plan_says_how_long(tmp_path):
    plans = []
    given = with_sweep({"network.seed": [1, 2], "run.steps": [100, 400_000]}, run={"events": []})
    with pytest.raises(KeyboardInterrupt):
        carried_out(given, tmp_path / "out", workers=2, planned=lambda plan: plans.append(plan) or stop())
    (plan,) = plans
    assert (len(plan.cells), len(plan.todo), plan.workers, plan.rough) == (4, 4, 2, False)
    began = time.perf_counter()
    zl.simulate(
        plan.cells[0].configuration().dynamics,
        plan.cells[0].configuration().data,
        plan.cells[0].configuration().network,
        steps=400_000,
        record_every=50,
        loss_extremes=True,
        progress=False,
    )
    taken = time.perf_counter() - began
    assert taken / 4 < plan.seconds < 4 * taken + 1  # a long cell on each of two workers, on a machine with other work


def stop():
    raise KeyboardInterrupt


def test_the_names_of_cells_are_their_settings():
    """Another way to write the same run is the same cell; how far it goes makes another."""
    one = grid.cells(with_sweep({"network.seed": [1]}))[0]
    same = grid.cells(with_sweep({"network.activation": ["relu"]}, network={"hidden": 16, "seed": 1}))[0]
    further = grid.cells(with_sweep({"network.seed": [1]}, run={"steps": 301}))[0]
    safer = grid.cells(with_sweep({"network.seed": [1]}, run={"checkpoint_every": 7, "threads": 2}))[0]
    assert one.name == same.name == safer.name != further.name
