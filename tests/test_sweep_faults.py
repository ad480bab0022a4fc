"""Sweeps that are interrupted, killed, shared, or find what they do not expect: to the bits of an undisturbed one."""

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


def under_way(out):
    """Whether a cell has kept a step of its own."""
    return any(int(path.name[5:]) > 0 for path in out.glob("cells/*/checkpoints/step-*"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    given = with_sweep({"network.seed": [1, 2, 3]}, run=LONG)
    return given, run_sweep(given, tmp_path_factory.mktemp("undisturbed") / "out").cube()


@pytest.mark.parametrize("workers", ["--use-threads", "--workers=2"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_an_interrupted_sweep_goes_on_to_the_same_bits(undisturbed, workers, number, status, tmp_path):
    given, expected = undisturbed
    out = tmp_path / "out"
    with command(given, out, workers) as process:
        wait_for(lambda: under_way(out) or process.poll() is not None)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert err.strip().endswith("the same command continues it") or number == signal.SIGKILL
    rest = run_sweep(given, out)
    while rest.elsewhere:  # orphans of a killed process keep a checkpoint before they end
        rest = run_sweep(given, out)
    xr.testing.assert_identical(rest.cube(), expected)


def test_ctrl_c_on_a_terminal_while_workers_start(tmp_path):
    """The terminal sends it to all processes of the group."""
    out = tmp_path / "out"
    with command(with_sweep({"network.seed": [1, 2, 3]}, run=LONG), out, "--workers=2") as process:
        wait_for((out / "locks").exists)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert re.fullmatch(r"zeroloss: .*0 of 3 cells ended; the same command continues it\n", err)


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
    xr.testing.assert_identical(run_sweep(given, out).cube(), expected)


def test_two_sweeps_of_one_store_share_the_cells(undisturbed, tmp_path):
    given, expected = undisturbed
    out, found = tmp_path / "out", []
    threads = [threading.Thread(target=lambda: found.append(run_sweep(given, out, workers=1))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = set().union(*(set(one.outcomes) for one in found))
    assert len(names) == 3
    xr.testing.assert_identical(run_sweep(given, out).cube(), expected)


def test_the_unfinished_file_may_be_removed_by_a_sweep_that_prepares_the_same_store(undisturbed, tmp_path, monkeypatch):
    given, expected = undisturbed

    def removed(path, content):
        monkeypatch.setattr(store, "write_atomically", write_atomically)
        write_atomically(path, content)  # the other sweep's file
        raise FileNotFoundError(path)

    monkeypatch.setattr(store, "write_atomically", removed)
    xr.testing.assert_identical(run_sweep(given, tmp_path / "out", workers=1).cube(), expected)


def test_a_cell_that_an_error_breaks_off_is_kept_and_the_others_go_on(tmp_path):
    """A start on the zero-loss set of one split is off that of another, which no plan tries out."""
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
    assert "ValueError: network: expected on the zero-loss set" in str(cube.outcome.values[1])
    assert run_sweep(given, tmp_path / "out").todo == []
    with pytest.raises(ConfigurationError, match=r"expected on the zero-loss set, .* \(with data.seed = 1\)"):
        run_sweep(given, tmp_path / "out", retry=True)  # of which the plan tries that cell


def test_damaged_and_foreign_files_in_the_store(tmp_path):
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
