"""Directories of runs and sweeps with damaged files or other kinds of files: one line each, and nothing blocks."""

import os
import shutil

import pytest

import zeroloss as zl
from command import run_in_turn
from zeroloss import config, runs, sweeps
from zeroloss.results.files import DamagedError

SETTINGS = {
    "data": {"p": 5, "test_count": 3},
    "network": {"hidden": 8, "seed": 1},
    "dynamics": {"lr": 0.1},
    "run": {"steps": 20, "record_every": 7, "snapshot_every": 10, "checkpoint_every": 10},
}
SWEEP = {**SETTINGS, "sweep": {"network.seed": [1, 2]}}
RUN_FILES = ("run.json", "config.toml", "data.npz", "history.nc", "snapshots.nc", "log.txt", "lock")
SWEEP_FILES = ("cells.json", "sweep.toml", "cube.nc")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A directory with a run and a sweep that have ended."""
    base = tmp_path_factory.mktemp("base")
    runs.run(config.from_settings(SETTINGS), base / "run", progress=False)
    sweeps.sweep(SWEEP, base / "sweep", progress=False, workers=1)
    return base


def check_one_line_error(function, *arguments, **options):
    """Call a function; an error must be about a file and have one line."""
    try:
        function(*arguments, **options)
    except (ValueError, OSError, runs.RunInterruptedError) as error:
        message = str(error)
    else:
        return
    assert message.isprintable()
    assert len(message) < 1000


@pytest.mark.filterwarnings("ignore::zeroloss._checks.ZerolossWarning")
@pytest.mark.parametrize("name", [*RUN_FILES, "checkpoints/step-000000000020"])
def test_a_pipe_in_a_run_does_not_block(name, base, tmp_path):
    for number, function in enumerate((zl.load, runs.report, runs.resume)):
        shutil.copytree(base / "run", work := tmp_path / str(number))
        (work / name).unlink(missing_ok=True)
        os.mkfifo(work / name)
        check_one_line_error(function, work)


@pytest.mark.filterwarnings("ignore::zeroloss._checks.ZerolossWarning")
@pytest.mark.parametrize(
    "name", ["cells.json", "sweep.toml", "cube.nc", "cells/NAME/run.json", "cells/NAME/history.nc"]
)
def test_a_pipe_in_a_sweep_does_not_block(name, base, tmp_path):
    shutil.copytree(base / "sweep", work := tmp_path / "a")
    path = work / name.replace("NAME", next((work / "cells").iterdir()).name)
    path.unlink()
    os.mkfifo(path)
    check_one_line_error(sweeps.open_sweep, work)
    check_one_line_error(sweeps.report, work)
    check_one_line_error(sweeps.sweep, SWEEP, work, progress=False, workers=1)


CELLS = [
    b"",
    b"[]",
    b"{}",
    b"[" * 100_000,
    b"\xff\xfe",
    b'{"names": [], "settings": {}}',
    b'{"names": "ab", "settings": []}',
]


@pytest.mark.parametrize("content", CELLS, ids=range(len(CELLS)))
def test_damaged_lists_of_cells_are_rejected(content, base, tmp_path):
    shutil.copytree(base / "sweep", work := tmp_path / "a")
    (work / "cells.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"directory: expected .*cells\.json") as caught:
        sweeps.open_sweep(work)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["history.nc", "snapshots.nc"])
def test_a_missing_file_is_named(name, base, tmp_path):
    shutil.copytree(base / "run", work := tmp_path / "a")
    (work / name).unlink()
    for action in (zl.load, lambda path: zl.runs.resume(path, extend=1, progress=False)):
        with pytest.raises(DamagedError, match=rf"no valid checkpoint among \d: {name} is missing$"):
            action(work)


@pytest.mark.parametrize("name", ["history.nc", "snapshots.nc", "data.npz"])
def test_damage_is_one_line_on_standard_error(name, base, tmp_path):
    """This excludes messages that libraries print when their objects are freed."""
    commands = []
    for content in (b"", b"\x89PNG", (base / "run" / name).read_bytes()[:-200]):
        shutil.copytree(base / "run", work := tmp_path / str(len(commands)))
        (work / name).write_bytes(content)
        commands.append(("report", work))
    for done in run_in_turn(commands, tmp_path / "streams"):
        assert done.returncode == 2
        assert all(line.startswith(b"zeroloss: ") for line in done.stderr.splitlines())
