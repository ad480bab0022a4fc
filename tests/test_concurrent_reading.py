"""Reading runs while a process writes them, locks them, or after it was killed."""

import errno
import json
import os
from pathlib import Path

import pytest

import child_processes
import zeroloss as zl
from command import run_command
from test_runs import assert_same_run, run_in, settings
from zeroloss import config, runs
from zeroloss.results import Ending, RunDirectory, UnreadableError

OFTEN = {"steps": 400, "record_every": 3, "snapshot_every": 7, "checkpoint_every": 1, "events": []}


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """The same run without a reader and without checkpoints on the way."""
    return run_in(tmp_path_factory.mktemp("whole") / "a", **{**OFTEN, "checkpoint_every": None})


@pytest.mark.parametrize("keep", [1, 3])
@pytest.mark.slow
def test_a_run_can_be_read_at_any_time(tmp_path, server, whole_run, keep):
    """A process reads from before the first checkpoint to the end, with a checkpoint after every step."""
    given = settings(**OFTEN, keep_checkpoints=keep)
    child = server.Process(target=child_processes.begin_or_resume, args=(given, tmp_path / "a"))
    child.start()
    while not (tmp_path / "a" / "run.json").exists():
        pass
    endings, steps = set(), [0]
    while child.is_alive():
        run = zl.load(tmp_path / "a")
        endings.add(run.outcome.ending)
        assert run.step >= steps[-1]
        assert run.history.sizes["step"] == run.step // 3 + 1 + (run.step == 400)
        steps.append(run.step)
        if run.outcome.ending is Ending.RUNNING:
            assert str(run.outcome).endswith(f"steps at the last checkpoint so far, in process {child.pid}")
    child.join()
    assert child.exitcode == 0
    assert len(set(steps)) > 5
    assert Ending.RUNNING in endings
    assert endings <= {Ending.RUNNING, Ending.INTERRUPTED, Ending.REACHED_THE_END}
    assert_same_run(whole_run, zl.load(tmp_path / "a"))


def test_reading_a_run_without_a_checkpoint_is_an_error(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("zeroloss.runs.execute.write_samples", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_in(tmp_path / "a")
    with pytest.raises(ValueError, match="has no checkpoint yet; zeroloss resume starts it again"):
        zl.load(tmp_path / "a")
    assert runs.resume(tmp_path / "a", progress=False).step == 300


def test_the_outcome_of_a_killed_run_is_interrupted(tmp_path, server):
    given = settings(checkpoint_every=None)
    child = server.Process(target=child_processes.run_until_killed_at_record, args=(given, tmp_path / "a", 40))
    child.start()
    child.join()
    run = zl.load(tmp_path / "a")
    assert str(run.outcome) == "interrupted: after 0 steps at the last checkpoint; zeroloss resume continues it"
    done = run_command("report", tmp_path / "a")
    assert done.returncode == 130
    assert done.stdout.startswith("interrupted: after 0 steps")
    assert runs.resume(tmp_path / "a", progress=False).step == 300
    assert zl.load(tmp_path / "a").outcome.ending is Ending.REACHED_THE_END


def test_a_killed_extension_leaves_the_run_and_is_resumed(tmp_path, monkeypatch):
    run_in(tmp_path / "a")
    with monkeypatch.context() as patched:
        patched.setattr("zeroloss.runs.execute.Checkpoints.write", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            runs.resume(tmp_path / "a", extend=100, progress=False)
    # This is the outcome at its last checkpoint.
    assert zl.load(tmp_path / "a").outcome.ending is Ending.REACHED_THE_END
    assert runs.resume(tmp_path / "a", progress=False).step == 300
    assert json.loads((tmp_path / "a" / "run.json").read_text())["outcome"] == "reached the end"


def start_holder(server, path):
    ready, release = server.Event(), server.Event()
    holder = server.Process(target=child_processes.open_for_appending, args=(path, ready, release))
    holder.start()
    assert ready.wait(20)
    return holder


@pytest.mark.parametrize("name", ["history.nc", "snapshots.nc"])
def test_files_that_another_program_has_locked_are_read_and_replaced(tmp_path, server, name):
    """Files are replaced by renaming, so that locks of HDF5 do not matter."""
    run = run_in(tmp_path / "a")
    holder = start_holder(server, tmp_path / "a" / name)
    try:
        assert_same_run(zl.load(tmp_path / "a"), run)
        assert run_command("report", tmp_path / "a").returncode == 0
        assert runs.resume(tmp_path / "a", extend=10, progress=False).step == 310
    finally:
        holder.kill()
        holder.join()


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ENOLCK, errno.EAGAIN], ids=errno.errorcode.get)
@pytest.mark.parametrize("name", ["checkpoints/step-000000000300", "history.nc", "snapshots.nc", "data.npz"])
def test_an_unreadable_file_is_not_called_damaged(tmp_path, monkeypatch, code, name):
    run, real = run_in(tmp_path / "a"), Path.open

    def refuse(self, *arguments, **options):
        if self == tmp_path / "a" / name:
            raise OSError(code, os.strerror(code), str(self))
        return real(self, *arguments, **options)

    def read_bytes(self):
        with refuse(self, "rb") as file:
            return file.read()

    expected = rf"cannot be read \({os.strerror(code)}\); .* its content may be valid"
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        patched.setattr(Path, "read_bytes", read_bytes)
        for read in (zl.load, runs.report, lambda path: runs.resume(path, extend=10, progress=False)):
            with pytest.raises(UnreadableError, match=expected) as error:
                read(tmp_path / "a")
            assert error.value.filename == str(tmp_path / "a" / name)
    assert_same_run(zl.load(tmp_path / "a"), run)


def save_run(directory, **options):
    made = config.from_settings(settings())
    run = zl.simulate(made.dynamics, made.data, made.network, steps=50, snapshot_every=20, **options)
    run.save(directory)
    return run


def test_a_saved_run_is_extended_by_the_command(tmp_path):
    run = save_run(tmp_path / "a", record_every=20)
    done = run_command("resume", tmp_path / "a", "--extend", 10)
    assert done.returncode == 0, done.stderr
    extended = zl.load(tmp_path / "a")
    longer = run.extend(steps=10)
    for name in ("history", "snapshots"):
        assert getattr(extended, name).equals(getattr(longer, name))
    assert extended.step == 60
    extended.extend(steps=5).save(tmp_path / "a")
    assert run_command("resume", tmp_path / "a", "--extend", 5).returncode == 0
    assert zl.load(tmp_path / "a").step == 70


def test_a_saved_run_with_measures_is_extended_in_python(tmp_path):
    save_run(tmp_path / "a", measures={"twice": lambda net: 2.0 * net.E[0, 0]})
    done = run_command("resume", tmp_path / "a", "--extend", 10)
    assert done.returncode == 2
    assert "the history has twice, measured by functions that are not saved" in done.stderr
    assert zl.load(tmp_path / "a").step == 50


@pytest.mark.parametrize("keep", [1, 2])
def test_damaged_checkpoints_do_not_replace_valid_ones(tmp_path, keep):
    """The number of checkpoints to keep counts the valid ones."""
    whole = run_in(tmp_path / "whole", steps=400)
    run_in(tmp_path / "a", keep_checkpoints=3)
    newest, before, *_ = RunDirectory(tmp_path / "a").checkpoint_paths()
    for path in (newest, before):
        path.write_bytes(path.read_bytes()[:-1])
    listings = []

    def list_checkpoints(step, values):
        listings.append([path.name for path in RunDirectory(tmp_path / "a").checkpoint_paths()])

    file = tmp_path / "a" / "config.toml"
    file.write_text(file.read_text().replace("keep_checkpoints = 3", f"keep_checkpoints = {keep}"))
    with pytest.warns(RuntimeWarning, match="the previous checkpoint is used"):
        resumed = runs.resume(tmp_path / "a", progress=False, on_record=list_checkpoints)
    assert resumed.step == 300
    assert listings[-1] == [before.name, "step-000000000210"][:keep]
    assert_same_run(runs.resume(tmp_path / "a", extend=100, progress=False), whole)
