"""Crash safety of runs: kills, signals, full and read-only disks, damaged files, two processes on one directory."""

import json
import multiprocessing
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import child_processes
import zeroloss as zl
from child_processes import wait_for
from problems import same_bits
from test_runs import assert_same_run, run_in, settings
from zeroloss import config, runs
from zeroloss.results import DamagedError, InUseError, NewerFormatError, RunDirectory, files
from zeroloss.simulation import events

LONG = {"steps": 30_000, "record_every": 500, "snapshot_every": 5_000, "checkpoint_every": 1_000}
KINDS = (("gradient_descent", "float64"), ("adamw", "float32"))


@pytest.fixture(scope="module")
def whole_runs(tmp_path_factory):
    base = tmp_path_factory.mktemp("undisturbed")
    return {kind: run_in(base / kind[0], *kind, **LONG) for kind in KINDS}


def has_reached_the_end(directory):
    paths = RunDirectory(directory).checkpoint_paths()
    return bool(paths) and zl.load(directory).outcome.ending.can_continue and (directory / "history.nc").exists()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_run_killed_at_random_times_has_the_same_bits(tmp_path, server, whole_runs, kind):
    """Each of two kinds of runs is killed 25 times, from start-up on, sometimes twice in a row."""
    random = np.random.default_rng(3)
    directory, kills = tmp_path / "a", 0
    while kills < 25:
        child = server.Process(target=child_processes.begin_or_resume, args=(settings(*kind, **LONG), directory))
        child.start()
        time.sleep(float(random.uniform(0.0, 0.25)))
        child.kill()
        child.join()
        kills += child.exitcode == -signal.SIGKILL
        if child.exitcode == 0 or has_reached_the_end(directory):  # It ended before the kill; begin another one.
            assert_same_run(whole_runs[kind], zl.load(directory))
            directory = tmp_path / f"after {kills} kills"
    child_processes.begin_or_resume(settings(*kind, **LONG), directory)
    assert_same_run(whole_runs[kind], zl.load(directory))


@pytest.mark.slow
@pytest.mark.usefixtures("equal_content_once")
def test_a_run_killed_at_every_write_has_the_same_bits(tmp_path, server):
    """A run is killed at each call that flushes, renames or removes a file, twice in a row."""
    few = {"steps": 90, "record_every": 20, "snapshot_every": 40, "checkpoint_every": 35, "keep_checkpoints": 2}
    whole = run_in(tmp_path / "whole", **few)
    number, exitcode = 0, -signal.SIGKILL
    while exitcode == -signal.SIGKILL:
        number += 2  # The second kill covers both parities.
        directory = tmp_path / f"{number}"
        for at in (number, number // 2 + 1):
            child = server.Process(
                target=child_processes.run_until_killed_at_write, args=(settings(**few), directory, at)
            )
            child.start()
            child.join()
            if at == number:
                exitcode = child.exitcode
        child_processes.begin_or_resume(settings(**few), directory)
        assert_same_run(whole, zl.load(directory))
        assert not list(directory.rglob(".*-new"))
    assert number > 30
    assert exitcode == 0


def test_a_run_killed_before_its_first_checkpoint_is_resumed(tmp_path, monkeypatch):
    """The configuration is written first. A run killed before that begins again."""
    whole = run_in(tmp_path / "whole")
    crash = RuntimeError("as if killed")

    def raise_crash(*arguments):
        raise crash

    with monkeypatch.context() as patched:
        patched.setattr("zeroloss.runs.execute.write_samples", raise_crash)
        with pytest.raises(RuntimeError, match="as if killed"):
            run_in(tmp_path / "a")
    assert_same_run(whole, runs.resume(tmp_path / "a", progress=False))
    with monkeypatch.context() as patched:
        patched.setattr("zeroloss.runs.execute.write_atomically", raise_crash)
        with pytest.raises(RuntimeError, match="as if killed"):
            run_in(tmp_path / "b")
    assert_same_run(whole, run_in(tmp_path / "b"))


def test_a_signal_during_the_search_for_an_event_loses_nothing(tmp_path, monkeypatch):
    """The replay stops, is repeated when the run is resumed, and finds the same step."""
    options = {"events": ["norm_W > 2.5"], "event_every": 100}
    whole = run_in(tmp_path / "whole", **options)
    assert 1 < whole.events["norm_W > 2.5"] < 100
    advance, parts = events._advance, []

    def advance_with_signal(stepper, steps, wanted):
        parts.append(steps)
        if len(parts) == 2:
            signal.raise_signal(signal.SIGINT)
        return advance(stepper, steps, wanted)

    monkeypatch.setattr(events, "_advance", advance_with_signal)
    stopped = run_in(tmp_path / "a", **options)
    assert stopped.signal is signal.SIGINT
    assert stopped.events == {"norm_W > 2.5": None}
    assert_same_run(whole, runs.resume(tmp_path / "a", progress=False))


def write_configuration(path, **run):
    path.write_text(config.from_settings(settings(**{**LONG, "steps": 100_000_000, **run})).text())
    return path


def command(*words):
    return subprocess.Popen(
        [sys.executable, "-m", "zeroloss", *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_command_with_a_checkpoint(tmp_path, number, status):
    file = write_configuration(tmp_path / "a.toml", checkpoint_every=None)
    process = command("run", file, "--out", tmp_path / "a")
    wait_for(lambda: RunDirectory(tmp_path / "a").checkpoint_paths())
    time.sleep(0.2)
    process.send_signal(number)
    _, error = process.communicate(timeout=20)
    assert process.returncode == status
    assert "with a checkpoint; zeroloss resume continues it" in error
    assert "Traceback" not in error
    (newest, *_) = RunDirectory(tmp_path / "a").checkpoint_paths()
    step = int(newest.name[5:])
    assert step > 0
    resumed = command("resume", tmp_path / "a", "--json")
    first = json.loads(resumed.stdout.readline())
    resumed.kill()
    resumed.communicate()
    assert first["step"] == (step // 500 + 1) * 500


def test_a_second_signal_ends_at_once(tmp_path, monkeypatch):
    """The first signal is a request, which is handled between chunks. The second one comes before that and raises."""

    def signal_twice(step, values):
        if step == 40:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        runs.run(config.from_settings(settings()), tmp_path / "a", progress=False, on_record=signal_twice)
    assert_same_run(run_in(tmp_path / "whole"), runs.resume(tmp_path / "a", progress=False))


def test_no_signal_handler_is_set_outside_the_main_thread(tmp_path):
    seen = []

    def record_handlers(step, values):
        seen.append((signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)))

    before = (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    thread = threading.Thread(
        target=lambda: runs.run(
            config.from_settings(settings()), tmp_path / "a", progress=False, on_record=record_handlers
        )
    )
    thread.start()
    thread.join()
    assert set(seen) == {before}


def test_a_full_disk_damages_nothing(tmp_path, server, whole_runs):
    """The size of files is limited to several values.

    The error says so, and the run is resumed in another directory.
    """
    kind = KINDS[0]
    for allowed in (9_000, 13_000, 30_000):
        directory = tmp_path / str(allowed)
        ours, theirs = multiprocessing.Pipe()
        child = server.Process(
            target=child_processes.run_with_file_limit, args=(settings(*kind, **LONG), directory, allowed, theirs)
        )
        child.start()
        child.join()
        assert child.exitcode == 0
        message = ours.recv()
        assert "File too large" in message
        checkpoints = RunDirectory(directory).checkpoint_paths()
        if checkpoints:
            assert f"the checkpoint of step {int(checkpoints[0].name[5:])} is valid" in message
            resumed = runs.resume(directory, out=tmp_path / f"{allowed} elsewhere", progress=False)
            assert_same_run(whole_runs[kind], resumed)
        assert not list(directory.rglob(".*-new"))
    assert checkpoints


def run_and_crash(directory, at=160, **run):
    """Begin a run that crashes at a step. Without other settings its last checkpoint is of step 140."""

    class Crash(Exception):  # noqa: N818
        pass

    def crash(step, values):
        if step == at:
            raise Crash

    with pytest.raises(Crash):
        runs.run(config.from_settings(settings(**run)), directory, progress=False, on_record=crash)


def test_an_unwritable_directory_keeps_its_files(tmp_path, monkeypatch):
    """The operating system refuses to rename files, as it does for a user without permission."""
    whole = run_in(tmp_path / "whole")
    run_and_crash(tmp_path / "a")
    before = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}

    def raise_permission_error(self, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(self))

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.replace", raise_permission_error)
        with pytest.raises(
            runs.RunInterruptedError,
            match=r"Permission denied; the checkpoint of step 140 is valid, and zeroloss resume",
        ):
            runs.resume(tmp_path / "a", progress=False)
    for path, content in before.items():
        if path.name not in {"log.txt", "lock"}:
            assert path.read_bytes() == content
    assert_same_run(whole, runs.resume(tmp_path / "a", out=tmp_path / "b", progress=False))


def truncate(content):
    return content[: len(content) // 2]


def flip_bit(content):
    return content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]


@pytest.mark.parametrize("damage", [truncate, flip_bit, lambda content: b""], ids=["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_is_reported_and_the_previous_one_used(tmp_path, damage):
    whole = run_in(tmp_path / "whole")
    run_and_crash(tmp_path / "a")
    newest, *_ = RunDirectory(tmp_path / "a").checkpoint_paths()
    newest.write_bytes(damage(newest.read_bytes()))
    lines = []
    resumed = runs.resume(tmp_path / "a", progress=False, on_warning=lines.append)
    assert newest.name in lines[0]
    assert "the previous checkpoint is used" in lines[0]
    assert_same_run(whole, resumed)
    for path in RunDirectory(tmp_path / "a").checkpoint_paths():
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedError, match="no valid checkpoint among 3: "):
        runs.resume(tmp_path / "a", progress=False, on_warning=lines.append)


def test_damaged_rows_are_an_error(tmp_path):
    """The rows are in one piece, which every checkpoint needs."""
    run_and_crash(tmp_path / "a")
    *_, last = sorted((tmp_path / "a" / "rows").glob("history-*"))
    last.write_bytes(truncate(last.read_bytes()))
    lines = []
    with pytest.raises(DamagedError, match=f"no valid checkpoint among 3: {last.name}"):
        runs.resume(tmp_path / "a", progress=False, on_warning=lines.append)
    assert lines == []


def test_a_checkpoint_of_a_newer_version_is_rejected(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(files, "VERSION", files.VERSION + 1)
        run_and_crash(tmp_path / "a")
    with pytest.raises(NewerFormatError, match=r"expected at most format .*, got .* of a newer version"):
        runs.resume(tmp_path / "a", progress=False)


def test_changed_data_and_a_changed_configuration_are_rejected(tmp_path):
    run_and_crash(tmp_path / "a")
    run_and_crash(tmp_path / "b")
    other = config.from_settings({**settings(), "data": {"task": "modular_addition", "p": 7, "test_count": 9}})
    runs.run(other, tmp_path / "other", progress=False)
    (tmp_path / "other" / "data.npz").replace(tmp_path / "a" / "data.npz")
    with pytest.raises(ValueError, match="data: expected the samples that the run was started with"):
        runs.resume(tmp_path / "a", progress=False)
    text = (tmp_path / "b" / "config.toml").read_text()
    (tmp_path / "b" / "config.toml").write_text(text.replace("momentum = 0.5", "momentum = 0.4"))
    with pytest.raises(ValueError, match="use zeroloss run to start a new run with a changed configuration"):
        runs.resume(tmp_path / "b", progress=False)


def test_a_second_process_on_one_directory_is_rejected(tmp_path, server):
    run_and_crash(tmp_path / "a")
    ready, release = server.Event(), server.Event()
    holder = server.Process(target=child_processes.lock_directory, args=(tmp_path / "a", ready, release))
    holder.start()
    assert ready.wait(20)
    with pytest.raises(InUseError, match=f"in use by process {holder.pid}"):
        runs.resume(tmp_path / "a", progress=False)
    holder.kill()  # A killed run does not block its own resumption.
    holder.join()
    assert runs.resume(tmp_path / "a", progress=False).step == 300


def test_another_build_needs_a_flag(tmp_path, monkeypatch):
    run_and_crash(tmp_path / "a")
    real = zl.provenance.describe_build()
    for module in ("execute", "continuation"):
        other = {**real, "level": "v9", "zeroloss": "9.0"}
        monkeypatch.setattr(f"zeroloss.runs.{module}.describe_build", lambda other=other: other)
    with pytest.raises(runs.DifferentBuildError, match=r"level \w+ → v9.*--allow-different-bits"):
        runs.resume(tmp_path / "a", progress=False)
    with pytest.warns(RuntimeWarning, match="its bits may differ"):
        resumed = runs.resume(tmp_path / "a", progress=False, allow_different_bits=True)
    assert resumed.step == 300
    assert resumed.settings["build"]["level"] == "v9"


def test_a_numerical_failure_saves_the_partial_results(tmp_path):
    diverging = settings(steps=500)
    diverging["dynamics"] = {"kind": "gradient_descent", "lr": 200.0}
    diverging["network"]["activation"] = "square"
    run = runs.run(config.from_settings(diverging), tmp_path / "a", progress=False)
    assert str(run.outcome).startswith("diverged")
    assert np.isfinite(run.history.train_loss.values).all()
    with pytest.raises(ValueError, match="run: cannot continue a run that failed"):
        runs.resume(tmp_path / "a", extend=10, progress=False)
    assert same_bits(zl.load(tmp_path / "a").history, run.history)
