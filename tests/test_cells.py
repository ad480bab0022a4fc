"""Cells of a study: computed once, told apart by settings and build, whole or computed again."""

import multiprocessing
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

import zeroloss.experiments.cells as module
from zeroloss.experiments import Experiment
from zeroloss.experiments.cells import Cells

SETTINGS = {"study": "a", "ratio": 0.1, "seed": 3, "layers": ["E", "W"]}
ARRAYS = {"steps": np.arange(5), "norm": np.array([0.1, np.nan, np.inf]), "text": np.float32(1 / 3)}


class Counted:
    """Arrays to compute, and how often that was done."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        return ARRAYS


def files(directory):
    return sorted(path for path in directory.iterdir() if path.name != "lock")


def assert_whole(arrays):
    assert arrays.keys() == ARRAYS.keys()
    for name, values in ARRAYS.items():
        assert arrays[name].dtype == np.asarray(values).dtype
        np.testing.assert_array_equal(arrays[name], values)


def test_a_cell_is_computed_once(tmp_path):
    compute = Counted()
    for count in range(3):
        cells = Cells(tmp_path / "new" / "cells")
        assert_whole(cells.cell(SETTINGS, compute))
        assert cells.found == (count > 0)
    assert compute.times == 1


def test_without_a_directory_nothing_is_kept():
    compute, cells = Counted(), Cells()
    assert_whole(cells.cell(SETTINGS, compute))
    assert_whole(cells.cell(SETTINGS, compute))
    assert (compute.times, cells.found) == (2, 0)


@pytest.mark.parametrize("changed", [{"ratio": np.nextafter(0.1, 1)}, {"seed": 4}, {"study": "b"}, {"more": None}])
def test_other_settings_are_another_cell(tmp_path, changed):
    compute, cells = Counted(), Cells(tmp_path)
    cells.cell(SETTINGS, compute)
    cells.cell({**SETTINGS, **changed}, compute)
    assert (compute.times, cells.found, len(files(tmp_path))) == (2, 0, 2)


def test_another_build_is_another_cell(tmp_path, monkeypatch):
    compute = Counted()
    Cells(tmp_path).cell(SETTINGS, compute)
    build = module.build_of_results()
    monkeypatch.setattr(module, "build_of_results", lambda: {**build, "level": "another"})
    Cells(tmp_path).cell(SETTINGS, compute)
    assert compute.times == 2
    monkeypatch.undo()
    Cells(tmp_path).cell(SETTINGS, compute)
    assert compute.times == 2


@pytest.mark.parametrize("length", [0, 50, 400, -1])
def test_a_damaged_cell_is_told_and_computed_again(tmp_path, length):
    compute = Counted()
    Cells(tmp_path).cell(SETTINGS, compute)
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:length])
    with pytest.warns(RuntimeWarning, match=f"{path.name}: .*; the cell is computed again"):
        assert_whole(Cells(tmp_path).cell(SETTINGS, compute))
    assert compute.times == 2
    assert path.read_bytes() == whole


def test_a_cell_under_another_s_name_is_not_taken_for_it(tmp_path):
    compute = Counted()
    Cells(tmp_path).cell(SETTINGS, compute)
    (path,) = files(tmp_path)
    Cells(tmp_path).cell({**SETTINGS, "seed": 4}, compute)
    (other,) = set(files(tmp_path)) - {path}
    path.write_bytes(other.read_bytes())
    with pytest.warns(RuntimeWarning, match="it holds another cell"):
        Cells(tmp_path).cell(SETTINGS, compute)
    assert compute.times == 3


def test_an_interruption_leaves_the_finished_cells(tmp_path):
    def interrupted():
        raise KeyboardInterrupt

    cells, compute = Cells(tmp_path), Counted()
    cells.cell(SETTINGS, compute)
    with pytest.raises(KeyboardInterrupt):
        cells.cell({**SETTINGS, "seed": 4}, interrupted)
    assert len(files(tmp_path)) == 1
    again = Cells(tmp_path)
    again.cell(SETTINGS, compute)
    assert (compute.times, again.found) == (1, 1)


def keep_many(directory, barrier):
    cells = Cells(directory)
    for seed in range(20):
        barrier.wait()
        cells.cell({**SETTINGS, "seed": seed}, lambda: ARRAYS)


def test_two_processes_at_once_do_no_harm(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    both = [context.Process(target=keep_many, args=(tmp_path, barrier)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    compute, cells = Counted(), Cells(tmp_path)
    for seed in range(20):
        assert_whole(cells.cell({**SETTINGS, "seed": seed}, compute))
    assert (compute.times, cells.found, len(files(tmp_path))) == (0, 20, 20)


@dataclass(frozen=True)
class Seeds:
    seeds: int


def test_only_what_is_resumable_is_given_cells(monkeypatch):
    given = []
    study = SimpleNamespace(FULL=Seeds(5), QUICK=Seeds(1), run=lambda *arguments: given.append(arguments))
    monkeypatch.setattr("importlib.import_module", lambda name, package: study)
    cells = Cells()
    Experiment("study", resumable=True).reproduce(cells=cells)
    Experiment("study").reproduce(cells=cells, seeds=2)
    Experiment("study").reproduce(quick=True)
    assert given == [(Seeds(5), cells), (Seeds(2),), (Seeds(1),)]
