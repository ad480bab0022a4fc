"""Sweeps that are interrupted, killed, shared or damaged end with the bits of an uninterrupted sweep."""

import os
import re
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import xarray as xr

import zeroloss as zl
from child_processes import wait_for
from test_sweeps import run_sweep, with_sweep
from zeroloss.config import ConfigurationError
from zeroloss.results.files import write_atomically
from zeroloss.sweeps import store

LONG = {"steps": 400_000, "record_every": 10_000, "checkpoint_every": 5_000, "events": []}


def command(given, out, *words):
    file = out.with_suffix(".toml")
    file.write_text(zl._toml.dumps(given))
    start = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from zeroloss.cli import main; main()"
    )
    arguments = [sys.executable, "-c", start, "sweep", str(file), "--out", str(out), *words]
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, start_new_session=True)


def has_saved_steps(out):
    """Return whether a cell has a checkpoint after its start."""
    return any(int(path.name[5:]) > 0 for path in out.glob("cells/*/checkpoints/step-*"))


@pytest.fixture(scope="module")
def whole_sweep(tmp_path_factory):
    given = with_sweep({"network.seed": [1, 2, 3]}, run=LONG)
    return given, run_sweep(given, tmp_path_factory.mktemp("undisturbed") / "out").cube()


@pytest.mark.parametrize("workers", ["--use-threads", "--workers=2"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_an_interrupted_sweep_is_continued_to_the_same_bits(whole_sweep, workers, number, status, tmp_path):
    given, expected = whole_sweep
    out = tmp_path / "out"
    with command(given, out, workers) as process:
        wait_for(lambda: has_saved_steps(out) or process.poll() is not None)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert err.strip().endswith("the same command continues it") or number == signal.SIGKILL
    rest = run_sweep(given, out)
    while rest.elsewhere:  # Orphans of a killed process save a checkpoint before they end.
        rest = run_sweep(given, out)
    xr.testing.assert_identical(rest.cube(), expected)


def test_ctrl_c_while_workers_start_is_one_line(tmp_path):
    """A terminal sends the signal to all processes of the group."""
    out = tmp_path / "out"
    with command(with_sweep({"network.seed": [1, 2, 3]}, run=LONG), out, "--workers=2") as process:
        wait_for((out / "locks").exists)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert re.fullmatch(r"zeroloss: .*0 of 3 cells ended; the same command continues it\n", err)


def test_a_killed_worker_ends_the_sweep_with_a_line(whole_sweep, tmp_path):
    given, expected = whole_sweep
    out = tmp_path / "out"
    with command(given, out, "--workers=2") as process:
        wait_for(lambda: has_saved_steps(out))
        holder = next(path for path in out.glob("locks/*") if path.name != "store")
        wait_for(lambda: holder.read_text().strip())
        os.kill(int(holder.read_text()), signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.search(r"a worker ended unexpectedly; \d of 3 cells ended", err), err
    assert "Traceback" not in err
    xr.testing.assert_identical(run_sweep(given, out).cube(), expected)


def test_two_sweeps_of_one_store_share_the_cells(whole_sweep, tmp_path):
    given, expected = whole_sweep
    out, found = tmp_path / "out", []
    threads = [threading.Thread(target=lambda: found.append(run_sweep(given, out, workers=1))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = set().union(*(set(one.outcomes) for one in found))
    assert len(names) == 3
    xr.testing.assert_identical(run_sweep(given, out).cube(), expected)


def test_a_store_can_be_prepared_by_two_sweeps_at_once(whole_sweep, tmp_path, monkeypatch):
    given, expected = whole_sweep

    def write_and_lose(path, content):
        monkeypatch.setattr(store, "write_atomically", write_atomically)
        write_atomically(path, content)  # This is the other sweep's file.
        raise FileNotFoundError(path)

    monkeypatch.setattr(store, "write_atomically", write_and_lose)
    xr.testing.assert_identical(run_sweep(given, tmp_path / "out", workers=1).cube(), expected)


def test_a_cell_that_raises_does_not_end_the_others(tmp_path):
    """A start on the zero-loss set of one split is off the set of another split. The plan does not try this out."""
    data = zl.datasets.modular_addition(5, test_count=3, seed=0)
    net = zl.networks.normal(data, hidden=32, std=0.5, seed=1, activation="tanh")
    zl.networks.to_checkpoint(zl.geometry.project(net, data).network, tmp_path / "start.safetensors")
    given = {
        "data": {"p": 5, "test_count": 3},
        "network": {"init": "file", "file": str(tmp_path / "start.safetensors")},
        "dynamics": {"kind": "norm_flow", "step_size": 0.01},
        "run": {"steps": 3, "record_every": 1, "events": []},
        "sweep": {"data.seed": [0, 1]},
    }
    done = run_sweep(given, tmp_path / "out")
    assert [cell.labels for cell in done.failures] == [{"data.seed": 1}]
    cube = done.cube()
    assert cube.ending.values.tolist() == ["reached the end", "broken off"]
    assert "ValueError: network: is not on the zero-loss set" in str(cube.outcome.values[1])
    assert run_sweep(given, tmp_path / "out").todo == []
    with pytest.raises(ConfigurationError, match=r"is not on the zero-loss set: .* \(with data.seed = 1\)"):
        run_sweep(given, tmp_path / "out", retry=True)  # The plan tries the cells to be repeated.


def test_damaged_and_foreign_files_in_the_store_affect_only_their_cells(tmp_path):
    given, out = with_sweep({"network.seed": [1, 2, 3, 4]}), tmp_path / "out"
    done = run_sweep(given, out)
    expected = done.cube()
    first, second, third = (done.store.cell(name) for name in done.store.names[:3])
    (first / "history.nc").write_bytes(b"not a file of HDF5")
    (second / "run.json").write_text("[]")
    for path in (*third.glob("*.*"), *third.glob("*/*")):
        path.unlink()
    (third / "notes.txt").write_text("not ours")
    with pytest.warns(RuntimeWarning, match="history.nc: it cannot be read"):
        again = run_sweep(given, out)
    assert [cell.labels["network.seed"] for cell in again.failures] == [3]
    with pytest.warns(RuntimeWarning, match="history.nc: it cannot be read"):
        cube = again.cube()
    assert np.isnan(cube.train_loss.sel(network_seed=1)).all()
    whole = {"network_seed": [2, 4]}
    xr.testing.assert_identical(cube.sel(whole), expected.sel(whole))
    with pytest.warns(RuntimeWarning, match="history.nc: it cannot be read"):
        assert run_sweep(given, out, retry=True).failures == []
    assert (out / "cells" / f"{third.name}-failed-1" / "notes.txt").is_file()
    assert (out / "cells" / f"{third.name}-failed-1.error").is_file()
