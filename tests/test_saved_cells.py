"""Cells in checksummed files: computed once, distinguished by settings and build, and computed again if damaged."""

import multiprocessing

import numpy as np
import pytest

import zeroloss.sweeps.sealed as module
from zeroloss.sweeps.sealed import Cells

SETTINGS = {"study": "a", "ratio": 0.1, "seed": 3, "layers": ["E", "W"]}
ARRAYS = {"steps": np.arange(5), "norm": np.array([0.1, np.nan, np.inf]), "text": np.float32(1 / 3)}


class CountedComputation:
    """A computation of arrays that counts its calls."""

    def __init__(self):
        self.times = 0

    def __call__(self):
        self.times += 1
        return ARRAYS


def cell_of(cells, settings, compute):
    """Return the saved cell, or compute and save it."""
    found = cells.find(settings)
    if found is None:
        found = {name: np.asarray(values) for name, values in compute().items()}
        cells.store(settings, found)
    return found


def files(directory):
    return sorted(path for path in directory.iterdir() if path.name != "lock")


def assert_whole(arrays):
    assert arrays.keys() == ARRAYS.keys()
    for name, values in ARRAYS.items():
        assert arrays[name].dtype == np.asarray(values).dtype
        np.testing.assert_array_equal(arrays[name], values)


def test_a_cell_is_computed_once(tmp_path):
    compute = CountedComputation()
    for count in range(3):
        cells = Cells(tmp_path / "new" / "cells")
        assert_whole(cell_of(cells, SETTINGS, compute))
        assert cells.found == (count > 0)
    assert compute.times == 1


def test_cells_without_a_directory_can_share_memory():
    compute, memory = CountedComputation(), {}
    cells = Cells(memory=memory)
    for one in (cells, cells, Cells(memory=memory)):
        assert_whole(cell_of(one, SETTINGS, compute))
        assert one.found == 0
    assert compute.times == 1
    assert_whole(cell_of(Cells(), SETTINGS, compute))
    assert compute.times == 2


@pytest.mark.parametrize("changed", [{"ratio": np.nextafter(0.1, 1)}, {"seed": 4}, {"study": "b"}, {"more": None}])
def test_other_settings_are_another_cell(tmp_path, changed):
    compute, cells = CountedComputation(), Cells(tmp_path)
    cell_of(cells, SETTINGS, compute)
    cell_of(cells, {**SETTINGS, **changed}, compute)
    assert (compute.times, cells.found, len(files(tmp_path))) == (2, 0, 2)


def test_another_build_is_another_cell(tmp_path, monkeypatch):
    compute = CountedComputation()
    cell_of(Cells(tmp_path), SETTINGS, compute)
    build = module.describe_build()
    monkeypatch.setattr(module, "describe_build", lambda: {**build, "level": "another"})
    cell_of(Cells(tmp_path), SETTINGS, compute)
    assert compute.times == 2
    monkeypatch.undo()
    cell_of(Cells(tmp_path), SETTINGS, compute)
    assert compute.times == 2


@pytest.mark.parametrize("length", [0, 50, 400, -1])
def test_a_damaged_cell_is_reported_and_computed_again(tmp_path, length):
    compute = CountedComputation()
    cell_of(Cells(tmp_path), SETTINGS, compute)
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:length])
    with pytest.warns(RuntimeWarning, match=f"{path.name}: .*; the cell is computed again"):
        assert_whole(cell_of(Cells(tmp_path), SETTINGS, compute))
    assert compute.times == 2
    assert path.read_bytes() == whole


def test_a_cell_in_the_file_of_another_is_computed_again(tmp_path):
    compute = CountedComputation()
    cell_of(Cells(tmp_path), SETTINGS, compute)
    (path,) = files(tmp_path)
    cell_of(Cells(tmp_path), {**SETTINGS, "seed": 4}, compute)
    (other,) = set(files(tmp_path)) - {path}
    path.write_bytes(other.read_bytes())
    with pytest.warns(RuntimeWarning, match="it contains another cell"):
        cell_of(Cells(tmp_path), SETTINGS, compute)
    assert compute.times == 3


def test_an_interruption_leaves_the_finished_cells(tmp_path):
    def raise_interrupt():
        raise KeyboardInterrupt

    cells, compute = Cells(tmp_path), CountedComputation()
    cell_of(cells, SETTINGS, compute)
    with pytest.raises(KeyboardInterrupt):
        cell_of(cells, {**SETTINGS, "seed": 4}, raise_interrupt)
    assert len(files(tmp_path)) == 1
    again = Cells(tmp_path)
    cell_of(again, SETTINGS, compute)
    assert (compute.times, again.found) == (1, 1)


def store_cells(directory, barrier):
    cells = Cells(directory)
    for seed in range(20):
        barrier.wait()
        cell_of(cells, {**SETTINGS, "seed": seed}, lambda: ARRAYS)


def test_two_processes_can_store_the_same_cells_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    both = [context.Process(target=store_cells, args=(tmp_path, barrier)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        assert process.exitcode == 0
    compute, cells = CountedComputation(), Cells(tmp_path)
    for seed in range(20):
        assert_whole(cell_of(cells, {**SETTINGS, "seed": seed}, compute))
    assert (compute.times, cells.found, len(files(tmp_path))) == (0, 20, 20)
