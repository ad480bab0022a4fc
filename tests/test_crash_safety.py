"""What can happen to a run, really done to it: kills, signals, full and read-only disks, damaged files, two at once."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import child_processes
import zeroloss as zl
from problems import same_bits
from test_runs import assert_same_run, carried_out, settings
from zeroloss import config, runs
from zeroloss.results import DamagedError, InUseError, NewerFormatError, RunDirectory, files
from zeroloss.simulation import events

LONG = {"steps": 30_000, "record_every": 500, "snapshot_every": 5_000, "checkpoint_every": 1_000}
KINDS = (("gradient_descent", "float64"), ("adamw", "float32"))


@pytest.fixture(scope="module")
def server():
    """A process that has all loaded and forks at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["child_processes"])
    warm = context.Process(target=len, args=((),))
    warm.start()
    warm.join()
    return context


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    base = tmp_path_factory.mktemp("undisturbed")
    return {kind: carried_out(base / kind[0], *kind, **LONG) for kind in KINDS}


def is_ended(directory):
    paths = RunDirectory(directory).checkpoint_paths()
    return bool(paths) and zl.load(directory).outcome.ending.can_continue and (directory / "history.nc").exists()


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_killed_at_random_moments(tmp_path, server, undisturbed, kind):
    """25 kills for each of two kinds of run, some of them two in a row, from start-up on; then to the end."""
    random = np.random.default_rng(3)
    directory, kills = tmp_path / "a", 0
    while kills < 25:
        child = server.Process(target=child_processes.begin_or_resume, args=(settings(*kind, **LONG), directory))
        child.start()
        time.sleep(float(random.uniform(0.0, 0.25)))
        child.kill()
        child.join()
        kills += child.exitcode == -signal.SIGKILL
        if child.exitcode == 0 or is_ended(directory):  # it was quicker: another one
            assert_same_run(undisturbed[kind], zl.load(directory))
            directory = tmp_path / f"after {kills} kills"
    child_processes.begin_or_resume(settings(*kind, **LONG), directory)
    assert_same_run(undisturbed[kind], zl.load(directory))


@pytest.mark.slow
def test_killed_at_every_write(tmp_path, server):
    """At each call that flushes, renames or removes a file, from the first to the last of a run, two kills in a row."""
    few = {"steps": 90, "record_every": 20, "snapshot_every": 40, "checkpoint_every": 35, "keep_checkpoints": 2}
    whole = carried_out(tmp_path / "whole", **few)
    number, exitcode = 0, -signal.SIGKILL
    while exitcode == -signal.SIGKILL:
        number += 2  # both parities come with the second kill
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
    """The configuration comes first, whole; what was killed before that is begun again."""
    whole = carried_out(tmp_path / "whole")
    crash = RuntimeError("as if killed")

    def crashed(*arguments):
        raise crash

    with monkeypatch.context() as patched:
        patched.setattr("zeroloss.runs.execute.write_samples", crashed)
        with pytest.raises(RuntimeError, match="as if killed"):
            carried_out(tmp_path / "a")
    assert_same_run(whole, runs.resume(tmp_path / "a", progress=False))
    with monkeypatch.context() as patched:
        patched.setattr("zeroloss.runs.execute.write_atomically", crashed)
        with pytest.raises(RuntimeError, match="as if killed"):
            carried_out(tmp_path / "b")
    assert_same_run(whole, carried_out(tmp_path / "b"))


def test_a_signal_while_an_event_is_placed(tmp_path, monkeypatch):
    """The replay is given up, and made again on resumption, to the same step."""
    options = {"events": ["norm_W > 2.5"], "event_every": 100}
    whole = carried_out(tmp_path / "whole", **options)
    assert 1 < whole.events["norm_W > 2.5"] < 100
    advance, parts = events._advance, []

    def signalled(stepper, steps, wanted):
        parts.append(steps)
        if len(parts) == 2:
            signal.raise_signal(signal.SIGINT)
        return advance(stepper, steps, wanted)

    monkeypatch.setattr(events, "_advance", signalled)
    stopped = carried_out(tmp_path / "a", **options)
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


def wait_for(condition, seconds=30.0):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


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
    """The first one is a request, seen between chunks; the second comes before that and raises."""

    def twice(step, values):
        if step == 40:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        runs.run(config.from_settings(settings()), tmp_path / "a", progress=False, on_record=twice)
    assert_same_run(carried_out(tmp_path / "whole"), runs.resume(tmp_path / "a", progress=False))


def test_no_handler_off_the_main_thread(tmp_path):
    seen = []

    def look(step, values):
        seen.append((signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)))

    before = (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    thread = threading.Thread(
        target=lambda: runs.run(config.from_settings(settings()), tmp_path / "a", progress=False, on_record=look)
    )
    thread.start()
    thread.join()
    assert set(seen) == {before}


def test_a_full_disk(tmp_path, server, undisturbed):
    """No file may grow beyond a size, at each of several sizes: told, nothing harmed, and it goes on elsewhere."""
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
            assert "is whole" in message
            resumed = runs.resume(directory, out=tmp_path / f"{allowed} elsewhere", progress=False)
            assert_same_run(undisturbed[kind], resumed)
        assert not list(directory.rglob(".*-new"))
    assert checkpoints


def broken_off(directory, at=160, **run):
    """A run of which the last checkpoint is of step 140, as in a crash."""

    class Crashed(Exception):  # noqa: N818
        pass

    def crash(step, values):
        if step == at:
            raise Crashed

    with pytest.raises(Crashed):
        runs.run(config.from_settings(settings(**run)), directory, progress=False, on_record=crash)


def test_a_directory_that_cannot_be_written(tmp_path, monkeypatch):
    """As the operating system refuses it to one who is not root: at the start, and in the middle."""
    whole = carried_out(tmp_path / "whole")
    broken_off(tmp_path / "a")
    real, before = os.open, {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}

    def refused(self, *arguments, **options):
        raise PermissionError(13, "Permission denied", str(self))

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.replace", refused)
        with pytest.raises(
            runs.RunInterruptedError,
            match=r"Permission denied; the checkpoint of step 140 is valid, and zeroloss resume",
        ):
            runs.resume(tmp_path / "a", progress=False)
    assert os.open is real
    for path, content in before.items():
        if path.name not in {"log.txt", "lock"}:
            assert path.read_bytes() == content
    assert_same_run(whole, runs.resume(tmp_path / "a", out=tmp_path / "b", progress=False))


def truncated(content):
    return content[: len(content) // 2]


def flipped(content):
    return content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]


@pytest.mark.parametrize("damage", [truncated, flipped, lambda content: b""], ids=["truncated", "flipped", "empty"])
def test_a_damaged_checkpoint_is_told_and_the_one_before_it_used(tmp_path, damage):
    whole = carried_out(tmp_path / "whole")
    broken_off(tmp_path / "a")
    newest, *_ = RunDirectory(tmp_path / "a").checkpoint_paths()
    newest.write_bytes(damage(newest.read_bytes()))
    told = []
    resumed = runs.resume(tmp_path / "a", progress=False, tell=told.append)
    assert newest.name in told[0]
    assert "the checkpoint before it is used" in told[0]
    assert_same_run(whole, resumed)
    for path in RunDirectory(tmp_path / "a").checkpoint_paths():
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedError, match="expected a checkpoint that is whole, got 3 damaged ones"):
        runs.resume(tmp_path / "a", progress=False, tell=told.append)


def test_damaged_rows_are_told(tmp_path):
    """They are joined to one piece, of which all checkpoints count rows: none is of use without it."""
    broken_off(tmp_path / "a")
    *_, last = sorted((tmp_path / "a" / "rows").glob("history-*"))
    last.write_bytes(truncated(last.read_bytes()))
    told = []
    with pytest.raises(DamagedError, match=f"got 3 damaged ones: {last.name}"):
        runs.resume(tmp_path / "a", progress=False, tell=told.append)
    assert told == []


def test_a_checkpoint_of_a_newer_version_is_refused(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(files, "VERSION", files.VERSION + 1)
        broken_off(tmp_path / "a")
    with pytest.raises(NewerFormatError, match="which a newer version wrote"):
        runs.resume(tmp_path / "a", progress=False)


def test_other_data_and_another_configuration_are_refused(tmp_path):
    broken_off(tmp_path / "a")
    broken_off(tmp_path / "b")
    other = config.from_settings({**settings(), "data": {"task": "modular_addition", "p": 7, "test_count": 9}})
    runs.run(other, tmp_path / "other", progress=False)
    (tmp_path / "other" / "data.npz").replace(tmp_path / "a" / "data.npz")
    with pytest.raises(ValueError, match="data: expected the samples that the run began with"):
        runs.resume(tmp_path / "a", progress=False)
    text = (tmp_path / "b" / "config.toml").read_text()
    (tmp_path / "b" / "config.toml").write_text(text.replace("momentum = 0.5", "momentum = 0.4"))
    with pytest.raises(ValueError, match="a changed configuration is a new run"):
        runs.resume(tmp_path / "b", progress=False)


def test_two_processes_on_one_directory(tmp_path, server):
    broken_off(tmp_path / "a")
    ready, release = server.Event(), server.Event()
    holder = server.Process(target=child_processes.lock_directory, args=(tmp_path / "a", ready, release))
    holder.start()
    assert ready.wait(20)
    with pytest.raises(InUseError, match=f"in use by process {holder.pid}"):
        runs.resume(tmp_path / "a", progress=False)
    holder.kill()  # and a killed run does not block its own resumption
    holder.join()
    assert runs.resume(tmp_path / "a", progress=False).step == 300


def test_another_build_is_told_and_needs_a_flag(tmp_path, monkeypatch):
    broken_off(tmp_path / "a")
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


def test_a_numerical_failure_keeps_what_there_is(tmp_path):
    diverging = settings(steps=500)
    diverging["dynamics"] = {"kind": "gradient_descent", "lr": 200.0}
    diverging["network"]["activation"] = "square"
    run = runs.run(config.from_settings(diverging), tmp_path / "a", progress=False)
    assert str(run.outcome).startswith("diverged")
    assert np.isfinite(run.history.train_loss.values).all()
    with pytest.raises(ValueError, match="run: cannot continue a run that failed"):
        runs.resume(tmp_path / "a", extend=10, progress=False)
    assert same_bits(zl.load(tmp_path / "a").history, run.history)
