"""Files of others stay unchanged, whatever their names, next to everything that writes into a directory."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import zeroloss as zl
from command import run_command
from test_runs import assert_same_run, run_in, settings
from test_sweeps import settings as sweep_settings
from zeroloss import config, runs, sweeps
from zeroloss.results import InUseError, RunDirectory

#: Names that this package uses, in directories that it did not write.
NAMES = (
    "run.json",
    "config.toml",
    "data.npz",
    "history.nc",
    "snapshots.nc",
    "log.txt",
    "lock",
    "checkpoints/epoch=9.ckpt",
    "checkpoints/step-000000000007",
    "rows/history-000000000000-000000000009",
    "rows/history-of-1848",
    "rows/snapshots-000000000000-000000000003",
    "sweep.toml",
    "cells.json",
    "cube.nc",
    "cells/0123456789abcdef/history.nc",
    "locks/store",
    "report.png",
    ".config.toml.new",
)


def contents(directory, names=None):
    paths = directory.rglob("*") if names is None else map(directory.joinpath, names)
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths if path.is_file()}


def write_foreign_files(directory, names=NAMES):
    """Write files of others into a directory; return their contents."""
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}: years of work\n")
    return contents(directory)


@pytest.fixture(scope="module")
def run():
    made = config.from_settings(settings())
    return zl.simulate(made.dynamics, made.data, made.network, steps=30, snapshot_every=10)


WRITERS = {
    "save": lambda run, path: run.save(path),
    "run": lambda run, path: run_in(path),
    "resume": lambda run, path: runs.resume(path, progress=False),
    "sweep": lambda run, path: sweeps.sweep(sweep_settings(), path, progress=False),
    "report": lambda run, path: runs.report(path),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("writer", WRITERS)
def test_a_directory_with_one_foreign_file_is_rejected(tmp_path, run, writer, name):
    before = write_foreign_files(tmp_path, [name])
    with pytest.raises((ValueError, OSError)) as error:
        WRITERS[writer](run, tmp_path)
    assert str(tmp_path) in str(error.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("writer", WRITERS)
def test_a_directory_is_not_recognised_by_its_names(tmp_path, run, writer):
    before = write_foreign_files(tmp_path)
    with pytest.raises((ValueError, OSError)):
        WRITERS[writer](run, tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["run", "resume"])
def test_a_copy_goes_only_into_a_new_directory(tmp_path, name):
    run_in(tmp_path / "a")
    before = write_foreign_files(tmp_path / "b")
    with pytest.raises(ValueError, match="out: expected a new or empty directory"):
        runs.resume(tmp_path / "a", out=tmp_path / "b", progress=False)
    assert contents(tmp_path / "b") == before


@pytest.mark.parametrize("command", ["run", "sweep"])
def test_a_command_does_not_overwrite_its_configuration(tmp_path, command):
    """The option is ``--out .`` in a directory with the user's own config.toml or sweep.toml, which has comments."""
    given = sweep_settings() if command == "sweep" else settings()
    text = "# My notes: lr 0.3 was too high.\n" + zl._toml.dumps(given)
    for name in ("config.toml", "sweep.toml"):
        (tmp_path / name).write_text(text)
        done = run_command(command, tmp_path / name, "--out", tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("zeroloss: out: expected a new or empty directory")
        assert "they stay as they are" in done.stderr
        assert contents(tmp_path) == dict.fromkeys(contents(tmp_path), text.encode())


@pytest.mark.parametrize("place", ["link", "file/below"])
def test_an_impossible_directory_is_named_in_the_error(tmp_path, place):
    """One is a broken link, the other is below a file."""
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "deep")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "run.toml").write_text(zl._toml.dumps(settings()))
    done = run_command("run", tmp_path / "run.toml", "--out", tmp_path / place)
    assert done.returncode == 2
    assert str(tmp_path / place) in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "run.toml"]


def test_comments_in_a_sweep_s_configuration_stay(tmp_path):
    """A sweep is continued from its own file, to which the user has added a comment."""
    given = {**sweep_settings(), "sweep": {"network.seed": [1]}}
    sweeps.sweep(given, tmp_path / "out", progress=False)
    file = tmp_path / "out" / "sweep.toml"
    file.write_text("# The first try.\n" + file.read_text())
    assert run_command("sweep", file, "--out", tmp_path / "out").returncode == 0
    assert file.read_text().startswith("# The first try.\n")


def test_another_sweep_in_the_same_directory_is_rejected(tmp_path):
    given = {**sweep_settings(), "sweep": {"network.seed": [1]}}
    sweeps.sweep(given, tmp_path, progress=False)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="has another sweep: none of its 1 cells belongs to this sweep"):
        sweeps.sweep({**given, "dynamics": {"lr": 0.25}}, tmp_path, progress=False)
    assert contents(tmp_path) == before


def test_saving_replaces_only_the_files_of_the_run(tmp_path, run):
    run.save(tmp_path)
    names = ("thesis.tex", "checkpoints/epoch=9.ckpt", "checkpoints/step-7", "rows/history-of-1848", ".notes.new")
    write_foreign_files(tmp_path, names)
    before = contents(tmp_path, names)
    longer = zl.load(tmp_path).extend(steps=10)
    longer.save(tmp_path)
    assert contents(tmp_path, names) == before
    assert zl.load(tmp_path).step == 40
    resumed = runs.resume(tmp_path, out=tmp_path.parent / "copy", progress=False)
    assert resumed.step == 40


@pytest.mark.parametrize("name", ["data.npz", "history.nc", "snapshots.nc"])
def test_a_foreign_file_with_the_name_of_a_run_s_file_stays(tmp_path, run, name):
    run.save(tmp_path)
    np.savez(tmp_path / name, x=1)
    (tmp_path / f"{name}.npz").rename(tmp_path / name) if name != "data.npz" else None
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match=f"in which {name} is damaged or not from zeroloss"):
        run.save(tmp_path)
    assert contents(tmp_path) == before


def test_a_run_of_the_command_is_not_saved_over(tmp_path, run):
    run_in(tmp_path / "a")
    before = contents(tmp_path / "a")
    with pytest.raises(FileExistsError, match="is the directory of a zeroloss run"):
        run.save(tmp_path / "a")
    after = contents(tmp_path / "a")
    assert {**after, "lock": b""} == {**before, "lock": b""}


def test_saving_respects_the_lock_of_a_running_process(tmp_path, run):
    run.save(tmp_path / "a")
    with RunDirectory(tmp_path / "a").lock(), pytest.raises(InUseError, match=f"in use by process {os.getpid()}"):
        run.save(tmp_path / "a")


def remove_mark(directory):
    """Change a run's directory to one of version 0.1.0, which wrote no mark."""
    about = json.loads((directory / "run.json").read_text())
    del about["zeroloss"]
    (directory / "run.json").write_text(json.dumps(about))


def test_directories_of_version_0_1_0_are_recognised(tmp_path, run):
    run.save(tmp_path / "saved")
    remove_mark(tmp_path / "saved")
    assert_same_run(zl.load(tmp_path / "saved"), run)
    run.save(tmp_path / "saved")
    run_in(tmp_path / "ended")
    remove_mark(tmp_path / "ended")
    assert runs.resume(tmp_path / "ended", extend=10, progress=False).step == 310
    (tmp_path / "ended" / "run.json").unlink()  # A run in progress has no such file.
    assert zl.load(tmp_path / "ended").step == 310


def test_a_sweep_of_version_0_1_0_is_recognised(tmp_path):
    given = {**sweep_settings(), "sweep": {"network.seed": [1]}}
    done = sweeps.sweep(given, tmp_path, progress=False)
    about = json.loads((tmp_path / "cells.json").read_text())
    del about["zeroloss"]
    (tmp_path / "cells.json").write_text(json.dumps(about))
    again = sweeps.sweep(given, tmp_path, progress=False)
    assert again.todo == []
    assert again.cube().equals(done.cube())


def test_the_kind_of_report_depends_on_the_content(tmp_path):
    """A run next to the user's own sweep.toml is not a sweep."""
    run_in(tmp_path / "a")
    Path(tmp_path / "a" / "sweep.toml").write_text("# mine")
    done = run_command("report", tmp_path / "a")
    assert done.returncode == 0
    assert "reached the end" in done.stdout


def test_pictures_of_others_stay(tmp_path):
    run_in(tmp_path / "a")
    (tmp_path / "a" / "report.png").write_bytes(b"mine")
    for _ in range(2):
        assert runs.report(tmp_path / "a")[-1] == f"picture: {tmp_path / 'a' / 'report-2.png'}"
    with pytest.raises(FileExistsError, match=r"report.png is a file that zeroloss did not write"):
        runs.report(tmp_path / "a", tmp_path / "a" / "report.png")
    assert (tmp_path / "a" / "report.png").read_bytes() == b"mine"
    with pytest.raises(ValueError, match=r"out: expected a name that ends in .png, got .*a.pdf"):
        runs.report(tmp_path / "a", tmp_path / "a.pdf")


@pytest.mark.parametrize("content", [b"", b"mine", b"\xff" * 100])
def test_networks_of_others_stay(tmp_path, run, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(FileExistsError, match=r"model.safetensors is a file that to_checkpoint did not write"):
        zl.networks.to_checkpoint(run.network, tmp_path / "model.safetensors")
    assert (tmp_path / "model.safetensors").read_bytes() == content
    for _ in range(2):
        zl.networks.to_checkpoint(run.network, tmp_path / "ours.safetensors")


def test_links_to_the_marks_of_runs_and_sweeps_stay(run, tmp_path):
    """A link is not a file that this package wrote, even if it leads to one."""
    run.save(tmp_path / "saved")
    sweeps.sweep({**sweep_settings(), "sweep": {"network.seed": [1]}}, tmp_path / "sweep", progress=False)
    for mark, target in (("run.json", tmp_path / "saved"), ("cells.json", tmp_path / "sweep")):
        directory = tmp_path / f"link of {mark}"
        directory.mkdir()
        (directory / mark).symlink_to(target / mark)
        with pytest.raises((ValueError, FileExistsError), match="other files"):
            run.save(directory)
        with pytest.raises(ValueError, match="other files"):
            runs.run(config.from_settings(settings()), directory, progress=False)
        with pytest.raises(ValueError, match=r"other files|another program"):
            sweeps.sweep({**sweep_settings(), "sweep": {"network.seed": [1]}}, directory, progress=False)
        assert [path.name for path in directory.iterdir()] == [mark]
        assert (directory / mark).is_symlink()
