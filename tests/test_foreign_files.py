"""Files of others stay as they are, whatever their names, next to everything that writes into a directory."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import zeroloss as zl
from test_run_commands import zeroloss
from test_runs import assert_same_run, carried_out, settings
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


def foreign(directory, names=NAMES):
    """A directory with files of others, and what is in them."""
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
    "run": lambda run, path: carried_out(path),
    "resume": lambda run, path: runs.resume(path, progress=False),
    "sweep": lambda run, path: sweeps.sweep(sweep_settings(), path, progress=False),
    "report": lambda run, path: runs.report(path),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("writer", WRITERS)
def test_one_file_of_another_is_enough_to_refuse_a_directory(tmp_path, run, writer, name):
    before = foreign(tmp_path, [name])
    with pytest.raises((ValueError, OSError)) as refusal:
        WRITERS[writer](run, tmp_path)
    assert str(tmp_path) in str(refusal.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("writer", WRITERS)
def test_a_directory_is_not_recognised_by_its_names(tmp_path, run, writer):
    before = foreign(tmp_path)
    with pytest.raises((ValueError, OSError)):
        WRITERS[writer](run, tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["run", "resume"])
def test_a_copy_goes_to_a_new_directory_alone(tmp_path, name):
    carried_out(tmp_path / "a")
    before = foreign(tmp_path / "b")
    with pytest.raises(ValueError, match="out: expected a new or empty directory"):
        runs.resume(tmp_path / "a", out=tmp_path / "b", progress=False)
    assert contents(tmp_path / "b") == before


@pytest.mark.parametrize("command", ["run", "sweep"])
def test_a_command_beside_its_own_configuration(tmp_path, command):
    """``--out .`` where config.toml or sweep.toml is the user's own, with comments."""
    given = sweep_settings() if command == "sweep" else settings()
    text = "# My notes: lr 0.3 was too high.\n" + zl._toml.dumps(given)
    for name in ("config.toml", "sweep.toml"):
        (tmp_path / name).write_text(text)
        done = zeroloss(command, tmp_path / name, "--out", tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("zeroloss: out: expected a new or empty directory")
        assert "they stay as they are" in done.stderr
        assert contents(tmp_path) == dict.fromkeys(contents(tmp_path), text.encode())


@pytest.mark.parametrize("place", ["link", "file/below"])
def test_places_where_no_directory_can_be_made(tmp_path, place):
    """A link that leads nowhere, and a name below a file."""
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "deep")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "run.toml").write_text(zl._toml.dumps(settings()))
    done = zeroloss("run", tmp_path / "run.toml", "--out", tmp_path / place)
    assert done.returncode == 2
    assert str(tmp_path / place) in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "link", "run.toml"]


def test_comments_in_a_sweep_s_configuration_stay(tmp_path):
    """A sweep goes on from the file that it wrote, to which the user has added a comment."""
    given = {**sweep_settings(), "sweep": {"network.seed": [1]}}
    sweeps.sweep(given, tmp_path / "out", progress=False)
    file = tmp_path / "out" / "sweep.toml"
    file.write_text("# The first try.\n" + file.read_text())
    assert zeroloss("sweep", file, "--out", tmp_path / "out").returncode == 0
    assert file.read_text().startswith("# The first try.\n")


def test_another_sweep_is_refused(tmp_path):
    given = {**sweep_settings(), "sweep": {"network.seed": [1]}}
    sweeps.sweep(given, tmp_path, progress=False)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="which holds another sweep: none of its 1 cells is one of this sweep's"):
        sweeps.sweep({**given, "dynamics": {"lr": 0.25}}, tmp_path, progress=False)
    assert contents(tmp_path) == before


def test_saving_next_to_files_of_others(tmp_path, run):
    """In a directory that holds a saved run, only the files of that run are replaced."""
    run.save(tmp_path)
    names = ("thesis.tex", "checkpoints/epoch=9.ckpt", "checkpoints/step-7", "rows/history-of-1848", ".notes.new")
    foreign(tmp_path, names)
    before = contents(tmp_path, names)
    longer = zl.load(tmp_path).extend(steps=10)
    longer.save(tmp_path)
    assert contents(tmp_path, names) == before
    assert zl.load(tmp_path).step == 40
    resumed = runs.resume(tmp_path, out=tmp_path.parent / "copy", progress=False)
    assert resumed.step == 40


@pytest.mark.parametrize("name", ["data.npz", "history.nc", "snapshots.nc"])
def test_a_file_of_another_under_the_name_of_a_run_s(tmp_path, run, name):
    run.save(tmp_path)
    np.savez(tmp_path / name, x=1)
    (tmp_path / f"{name}.npz").rename(tmp_path / name) if name != "data.npz" else None
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match=f"in which {name} is damaged or of another program"):
        run.save(tmp_path)
    assert contents(tmp_path) == before


def test_a_run_of_the_command_is_not_saved_over(tmp_path, run):
    carried_out(tmp_path / "a")
    before = contents(tmp_path / "a")
    with pytest.raises(FileExistsError, match="holds a run of zeroloss run"):
        run.save(tmp_path / "a")
    after = contents(tmp_path / "a")
    assert {**after, "lock": b""} == {**before, "lock": b""}


def test_saving_respects_the_lock_of_a_running_process(tmp_path, run):
    run.save(tmp_path / "a")
    with RunDirectory(tmp_path / "a").locked(), pytest.raises(InUseError, match=f"in use by process {os.getpid()}"):
        run.save(tmp_path / "a")


def downgraded(directory):
    """A run's directory as version 0.1.0 left it, without a mark."""
    about = json.loads((directory / "run.json").read_text())
    del about["zeroloss"]
    (directory / "run.json").write_text(json.dumps(about))


def test_directories_of_version_0_1_0(tmp_path, run):
    run.save(tmp_path / "saved")
    downgraded(tmp_path / "saved")
    assert_same_run(zl.load(tmp_path / "saved"), run)
    run.save(tmp_path / "saved")
    carried_out(tmp_path / "ended")
    downgraded(tmp_path / "ended")
    assert runs.resume(tmp_path / "ended", extend=10, progress=False).step == 310
    (tmp_path / "ended" / "run.json").unlink()  # as while it was under way
    assert zl.load(tmp_path / "ended").step == 310


def test_a_sweep_of_version_0_1_0(tmp_path):
    given = {**sweep_settings(), "sweep": {"network.seed": [1]}}
    done = sweeps.sweep(given, tmp_path, progress=False)
    about = json.loads((tmp_path / "cells.json").read_text())
    del about["zeroloss"]
    (tmp_path / "cells.json").write_text(json.dumps(about))
    again = sweeps.sweep(given, tmp_path, progress=False)
    assert again.todo == []
    assert again.cube().equals(done.cube())


def test_a_report_is_chosen_by_content(tmp_path):
    """A run next to the user's own sweep.toml is not a sweep."""
    carried_out(tmp_path / "a")
    Path(tmp_path / "a" / "sweep.toml").write_text("# mine")
    done = zeroloss("report", tmp_path / "a")
    assert done.returncode == 0
    assert "reached the end" in done.stdout


def test_pictures_of_others(tmp_path):
    carried_out(tmp_path / "a")
    (tmp_path / "a" / "report.png").write_bytes(b"mine")
    for _ in range(2):
        assert runs.report(tmp_path / "a")[-1] == f"picture: {tmp_path / 'a' / 'report-2.png'}"
    with pytest.raises(FileExistsError, match=r"report.png is a file that zeroloss did not write"):
        runs.report(tmp_path / "a", tmp_path / "a" / "report.png")
    assert (tmp_path / "a" / "report.png").read_bytes() == b"mine"
    with pytest.raises(ValueError, match=r"out: expected a name that ends in .png, got .*a.pdf"):
        runs.report(tmp_path / "a", tmp_path / "a.pdf")


@pytest.mark.parametrize("content", [b"", b"mine", b"\xff" * 100])
def test_networks_of_others(tmp_path, run, content):
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
