"""Sweeps on a Dask cluster of real processes have the bits of the local sweep, even if a worker is killed."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import replace

import pytest
import xarray as xr

import zeroloss as zl
from child_processes import wait_for
from command import run_command
from problems import LEVELS
from test_own_dynamics import MODULE
from test_own_dynamics import settings as own_settings
from test_sweeps import run_sweep, settings, with_sweep
from zeroloss import cli, sweeps
from zeroloss.studies import Cells
from zeroloss.studies.paper import figure3
from zeroloss.studies.theorems import theorem51

needs_base = pytest.mark.skipif(len(LEVELS) == 1 or "base" not in LEVELS, reason="only one level is compiled")

distributed = pytest.importorskip("distributed")
# Dask warns about its own threads and sockets.
pytestmark = pytest.mark.filterwarnings("ignore")

GIVEN = with_sweep(
    {"network.seed": [1, 2, 3], "dynamics.lr": [0.5, 0.25]},
    run={"steps": 300_000, "record_every": 10_000, "checkpoint_every": 5_000, "events": []},
)


def find_free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_dask(module, *words, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{module}", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "DASK_DISTRIBUTED__DASHBOARD__LINK": "", **environment},
    )


def start_worker(address, **environment):
    return start_dask("dask_worker", address, "--no-nanny", "--nthreads=1", "--no-dashboard", **environment)


@contextlib.contextmanager
def cluster(*environments):
    """Start a scheduler and a worker for each environment; yield its address and the workers' processes."""
    port = find_free_port()
    address = f"tcp://127.0.0.1:{port}"
    processes = [start_dask("dask_scheduler", "--host=127.0.0.1", f"--port={port}", "--no-dashboard", "--no-show")]
    try:
        processes += [start_worker(address, **environment) for environment in environments]
        with distributed.Client(address, timeout=60, set_as_default=False) as client:
            if environments:
                client.wait_for_workers(len(environments), timeout=60)
        yield address, processes[1:]
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def local_cube(tmp_path_factory):
    return run_sweep(GIVEN, tmp_path_factory.mktemp("local") / "out").cube()


def command(given, out, *words, cwd=None):
    file = out.with_suffix(".toml")
    file.write_text(zl._toml.dumps(given))
    return subprocess.Popen(
        [sys.executable, "-m", "zeroloss", "sweep", str(file), "--out", str(out), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )


def is_in_the_middle(out, pid):
    """Return whether a process runs a cell that has saved a step and is far from its end."""
    for lock in out.glob("locks/*"):
        steps = [int(path.name[5:]) for path in out.glob(f"cells/{lock.name}/checkpoints/step-*")]
        if lock.read_text().strip() == str(pid) and steps and 0 < max(steps) < GIVEN["run"]["steps"] // 3:
            return True
    return False


@pytest.mark.slow
def test_other_workers_finish_the_cells_of_a_killed_worker(local_cube, tmp_path):
    out = tmp_path / "out"
    with cluster({}, {}) as (address, workers), command(GIVEN, out, "--scheduler", address) as process:
        wait_for(lambda: is_in_the_middle(out, workers[0].pid) or process.poll() is not None)
        workers[0].kill()
        printed, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert "6 of 6 cells ended" in printed
    assert any("resumed at step" in path.read_text() for path in out.glob("cells/*/log.txt"))
    xr.testing.assert_identical(sweeps.open_sweep(out), local_cube)
    assert not list(out.glob("wanted-*"))


def test_a_sweep_can_move_between_command_python_and_local_workers(local_cube, tmp_path):
    out = tmp_path / "out"
    with cluster({}) as (address, _):
        with command(GIVEN, out, "--scheduler", address) as process:
            wait_for(lambda: list(out.glob("cells/*/checkpoints/step-*5000")) or process.poll() is not None)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=60)
        assert process.returncode == 143, err
        assert re.search(r"[0-5] of 6 cells ended.*; the same command continues it", err)
        with sweeps.connect(address) as client:
            few = with_sweep({"network.seed": [1], "dynamics.lr": [0.5, 0.25]}, run=GIVEN["run"])
            done = sweeps.sweep(few, out, client=client, progress=False)
    assert len(done.outcomes) == 2
    xr.testing.assert_identical(run_sweep(GIVEN, out).cube(), local_cube)


@needs_base
def test_workers_of_another_level_are_rejected_unless_allowed(tmp_path):
    few = settings(run={"steps": 10})
    with cluster({"ZEROLOSS_ISA": "base"}) as (address, _), sweeps.connect(address) as client:
        with pytest.raises(sweeps.ClusterError, match=r"tcp://.* has level base instead of .*--allow-different-bits"):
            sweeps.sweep(few, tmp_path / "out", client=client, progress=False)
        done = sweeps.sweep(few, tmp_path / "out", client=client, allow_different_bits=True, progress=False)
    assert len(done.outcomes) == 6


@needs_base
def test_workers_that_join_late_get_cells_except_of_another_level(tmp_path):
    """There is no worker at first, as on an adaptive cluster.

    Then one joins that is rejected, and one that runs the sweep.
    """
    out, late = tmp_path / "out", []
    few = with_sweep({"network.seed": [1, 2, 3]}, run=GIVEN["run"])
    with cluster() as (address, _), command(few, out, "--scheduler", address) as process:
        try:
            wait_for(lambda: list(out.glob("wanted-*")) or process.poll() is not None)
            late.append(start_worker(address, ZEROLOSS_ISA="base"))
            line = process.stderr.readline()
            late.append(start_worker(address))
            printed, err = process.communicate(timeout=100)
        finally:
            for worker in late:
                worker.kill()
                worker.wait()
    assert re.match(r"zeroloss: tcp://.* has level base instead of .*; it gets no cells", line)
    assert process.returncode == 0, err
    assert "3 of 3 cells ended" in printed


def test_a_scheduler_that_does_not_answer_is_an_error(tmp_path, monkeypatch):
    from zeroloss.sweeps import cluster as module  # noqa: PLC0415 — it imports Dask

    assert module._CONNECT_SECONDS < 10
    monkeypatch.setattr(module, "_CONNECT_SECONDS", 1.0)
    (tmp_path / "a.toml").write_text(zl._toml.dumps(GIVEN))
    words = ("--out", tmp_path / "out", "--scheduler", f"tcp://127.0.0.1:{find_free_port()}")
    done = run_command("sweep", tmp_path / "a.toml", *words)
    assert done.returncode == 2
    assert re.fullmatch(r"zeroloss: scheduler: no answer from tcp://.*: .*\n", done.stderr)
    with pytest.raises(sweeps.ClusterError, match="scheduler: expected an address such as tcp://HOST:8786, got"):
        sweeps.connect("nowhere")


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "zeroloss.sweeps.cluster", raising=False)
    monkeypatch.delattr(sweeps, "cluster", raising=False)
    with pytest.raises(ImportError, match=r'the extra "cluster"; pip install distributed, or .*"\.\[cluster\]"'):
        sweeps.connect("tcp://127.0.0.1:1")


@pytest.mark.parametrize("importable", [True, False])
def test_workers_import_the_module_of_a_dynamics(tmp_path, importable):
    """The scheduler does not import it."""
    (tmp_path / "my_dynamics.py").write_text(MODULE)
    given = {**own_settings("muon", steps=20), "sweep": {"network.seed": [1, 2]}}
    out, words = tmp_path / "out", ("--import", "my_dynamics", "--scheduler")
    environment = {"PYTHONPATH": str(tmp_path)} if importable else {}
    with cluster(environment) as (address, _), command(given, out, *words, address, cwd=tmp_path) as process:
        _, err = process.communicate()
    if importable:
        assert process.returncode == 0, err
        assert sweeps.open_sweep(out).last_step.values.tolist() == [20, 20]
    else:
        assert process.returncode == 2, err
        assert err == (
            "zeroloss: dynamics: its module must be importable on every worker: No module named 'my_dynamics'\n"
        )


def test_a_study_on_a_cluster_has_the_numbers_of_this_machine(tmp_path, capsys, monkeypatch):
    """Cells return arrays, and are stored in a directory in which workers also check whether they should continue."""
    from zeroloss.sweeps import cluster as module  # noqa: PLC0415 — it imports Dask

    awaited = []

    def wait(futures, **options):
        awaited.append(len(distributed.client.futures_of(futures)))
        return distributed.wait(futures, **options)

    monkeypatch.setattr(module, "wait", wait)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    settings = replace(theorem51.STUDY.quick, points=7, seeds=1)
    short = replace(figure3.STUDY.quick, duration=0.2, duration_on_set=0.2)  # Its cells train networks.
    with cluster({}, {}) as (address, _), sweeps.connect(address) as client:
        with pytest.raises(ValueError, match="cells: needs a directory that all workers of the cluster see"):
            theorem51.STUDY.run(settings, client=client)
        cells = Cells(tmp_path / "cells")
        found = theorem51.STUDY.run(settings, client=client, cells=cells)
        again = theorem51.STUDY.run(settings, cells=Cells(tmp_path / "cells"))
        trained = figure3.STUDY.run(short, client=client, cells=Cells(tmp_path / "trained"))
        words = ["--set", "points=7", "--seeds", "1", "--scheduler", address, "--out", str(tmp_path / "out")]
        with pytest.raises(SystemExit) as ended:
            cli.main(["check", "5.1", "--quick", *words])
    assert ended.value.code == 0
    assert "check 5.1 (quick): " in capsys.readouterr().out
    assert not list((tmp_path / "cells").glob("wanted-*"))
    assert min(awaited) > 0, "Without futures Dask does not wait."
    xr.testing.assert_identical(found.numbers, again.numbers)
    xr.testing.assert_identical(trained.numbers, figure3.STUDY.run(short).numbers)
    with xr.open_dataset(tmp_path / "out" / "theorem51.nc", engine="h5netcdf") as stored:
        xr.testing.assert_identical(stored.load(), theorem51.STUDY.run(settings).numbers)
