"""Directories of runs and sweeps with one damaged file: an error names it, or the result does not need it."""

import shutil
import warnings
from itertools import product

import pytest

import zeroloss as zl
from test_runs import run_in, settings
from test_sweeps import settings as sweep_settings
from zeroloss import config, plots, runs, sweeps
from zeroloss.results import DamagedError
from zeroloss.sweeps import picture

pytestmark = pytest.mark.usefixtures("equal_content_once")


def flip_at(place):
    def flip(content):
        at = int(place * (len(content) - 1))
        return content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :]

    return flip


DAMAGES = {
    "empty": lambda content: b"",
    "halved": lambda content: content[: len(content) // 2],
    "cut by a byte": lambda content: content[:-1],
    "another type": lambda content: b"PK\x03\x04 no zip",
    "a list": lambda content: b"[[1, 2], 3]",
    "zeros": lambda content: bytes(len(content)),
    **{f"flipped at {place:.2f}": flip_at(place) for place in (0.0, 0.1, 0.5, 0.97, 1.0)},
}


@pytest.fixture(scope="module")
def directories(tmp_path_factory):
    """A run that has ended, an interrupted run, a saved run, and a sweep."""
    base = tmp_path_factory.mktemp("directories")
    run_in(base / "ended")

    def crash(step, values):
        if step == 160:
            raise KeyError

    with pytest.raises(KeyError):
        runs.run(config.from_settings(settings()), base / "broken off", progress=False, on_record=crash)
    zl.load(base / "ended").save(base / "saved")
    sweeps.sweep({**sweep_settings(), "sweep": {"network.seed": [1, 2]}}, base / "sweep", progress=False)
    return base


def check_that_errors_name_the_file(target, damaged, function, *arguments, **options):
    """Call a function. If it raises, the error or a warning must name the damaged file or the directory."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            function(*arguments, **options)
        except (ValueError, OSError, runs.RunInterruptedError) as error:
            lines = [str(error), *(str(warning.message) for warning in warned)]
            assert any(damaged.name in line or str(target) in line for line in lines), lines


def files(directory):
    return [path for path in sorted(directory.rglob("*")) if path.is_file() and path.name not in {"lock", "log.txt"}]


@pytest.mark.parametrize("name", ["ended", "broken off", "saved"])
@pytest.mark.slow
def test_errors_of_damaged_runs_name_the_file(directories, tmp_path, name):
    for place, damage in product(files(directories / name), DAMAGES.values()):
        target = tmp_path / "damaged"
        shutil.copytree(directories / name, target)
        file = target / place.relative_to(directories / name)
        file.write_bytes(damage(file.read_bytes()))
        check_that_errors_name_the_file(target, file, zl.load, target)
        check_that_errors_name_the_file(
            target, file, runs.resume, target, extend=None if name == "broken off" else 10, progress=False
        )
        shutil.rmtree(target)


@pytest.mark.parametrize("name", ["history", "snapshots"])
def test_changed_numbers_are_detected(directories, tmp_path, name):
    shutil.copytree(directories / "ended", tmp_path / "a")
    file = tmp_path / "a" / f"{name}.nc"
    last = getattr(zl.load(tmp_path / "a"), name)
    values = last["E" if name == "snapshots" else "norm_E"].values.tobytes()[-80:-16]
    content = file.read_bytes()
    assert content.count(values) == 1
    at = content.index(values) + 20
    file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with pytest.raises(DamagedError, match=f"{name}.nc"):
        zl.load(tmp_path / "a")


@pytest.mark.slow
def test_errors_of_damaged_sweeps_name_the_file(directories, tmp_path, monkeypatch):
    """A report draws its picture only if the damage changes it, because pictures take most of the time."""
    cube, draw, save = sweeps.open_sweep(directories / "sweep"), picture.draw, plots.save
    monkeypatch.setattr(picture, "draw", lambda found, *rest: None if found.identical(cube) else draw(found, *rest))
    monkeypatch.setattr(plots, "save", lambda figure, file: figure and save(figure, file))
    other = max((directories / "sweep" / "cells").iterdir())  # Its files are like the files of the first cell.
    places = [path for path in files(directories / "sweep") if other not in path.parents]
    for place, damage in product(places, DAMAGES.values()):
        target = tmp_path / "damaged"
        shutil.copytree(directories / "sweep", target)
        file = target / place.relative_to(directories / "sweep")
        file.write_bytes(damage(file.read_bytes()))
        check_that_errors_name_the_file(target, file, sweeps.report, target)
        shutil.rmtree(target)


def test_a_sweep_with_a_damaged_list_of_cells_is_rejected(directories, tmp_path):
    shutil.copytree(directories / "sweep", tmp_path / "a")
    (tmp_path / "a" / "cells.json").write_bytes(b"{")
    with pytest.raises(ValueError, match=r"its cells.json is damaged or of another program"):
        sweeps.sweep({**sweep_settings(), "sweep": {"network.seed": [1, 2]}}, tmp_path / "a", progress=False)
