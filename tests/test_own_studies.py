"""A user's own study, as the documentation shows it: its numbers, its files, and the parts that all studies share."""

import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from threadpoolctl import threadpool_info, threadpool_limits

import zeroloss as zl
from zeroloss import plots
from zeroloss.studies import Cells, Cube, Grid, derive_seeds
from zeroloss.sweeps import engine

PAGE = Path(__file__).parent.parent / "docs" / "how-to" / "own-studies.md"
EXAMPLE = re.search(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[1]


@pytest.fixture(scope="module")
def norms(tmp_path_factory):
    """Import the example as a module."""
    file = tmp_path_factory.mktemp("example") / "norms.py"
    file.write_text(EXAMPLE, encoding="utf-8")
    spec = importlib.util.spec_from_file_location("norms", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def small(norms):
    return replace(norms.STUDY.quick, steps=50, weight_decays=(1e-3, 1e-2), seeds=2)


def test_the_example_is_short():
    code = [line for line in EXAMPLE.splitlines() if line.strip() and not line.lstrip().startswith(("import", "from"))]
    assert len(code) < 60


def test_the_numbers_agree_with_simulate(norms, small):
    numbers = norms.STUDY.run(small).numbers
    for seed in range(2):
        seeds = derive_seeds(seed)
        data = zl.datasets.modular_addition(7, train_fraction=0.8, seed=seeds["data"])
        net = zl.networks.uniform_fan_in(data, 48, seeds["network"])
        for decay in small.weight_decays:
            run = zl.simulate(zl.GradientDescent(1.0, decay), data, net, steps=50)
            expected = np.hypot(run.history.norm_E[-1], run.history.norm_W[-1])
            assert float(numbers.norm.sel(seed=seed, weight_decay=decay)) == pytest.approx(float(expected), rel=1e-15)


def test_the_files_have_the_numbers_of_the_picture(norms, small, tmp_path):
    result = norms.STUDY.run(small)
    picture = result.save(tmp_path)
    assert picture == tmp_path / "norms.png"
    about = json.loads((tmp_path / "norms.json").read_text(encoding="utf-8"))
    assert about["settings"]["steps"] == 50
    assert about["seeds"] == [derive_seeds(0), derive_seeds(1)]
    assert len(about["summary"]["norm"]) == 2
    with xr.open_dataset(tmp_path / "norms.nc", engine="h5netcdf") as stored:
        xr.testing.assert_identical(stored.load(), result.numbers)
        with plots.style():
            plots.save(norms.STUDY.draw(stored), tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == picture.read_bytes()
    other = norms.STUDY.run(replace(small, steps=60))
    assert other.save(tmp_path) == tmp_path / "norms-quick.png"


def test_the_example_runs_as_a_program(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(EXAMPLE, "norms.py", "exec"), {"__name__": "__main__"})
    assert re.fullmatch(r"norm from \d+\.\d\d to \d+\.\d\d\n", capsys.readouterr().out)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["norms.json", "norms.nc", "norms.png"]


def test_stored_cells_are_used_if_seeds_are_added(norms, small, tmp_path):
    norms.STUDY.run(replace(small, seeds=1), cells=Cells(tmp_path))
    cells = Cells(tmp_path)
    found = norms.STUDY.run(small, cells=cells)
    assert cells.found == 2
    xr.testing.assert_identical(found.numbers, norms.STUDY.run(small).numbers)


def test_changes_are_checked_against_the_types(norms):
    settings = norms.STUDY.settings(seeds=5, changes={"p": 11, "weight_decays": [1e-3]})
    assert (settings.seeds, settings.p, settings.weight_decays) == (5, 11, (1e-3,))
    with pytest.raises(ValueError, match="p: expected an integer"):
        norms.STUDY.settings(changes={"p": "eleven"})
    with pytest.raises(ValueError, match="prime: expected one of p, hidden, steps, weight_decays, got this name"):
        norms.STUDY.settings(changes={"prime": 7})


def compute_square(x, plus=0):
    return {"square": x * x + plus, "row": np.full(x, 1.0)}


def test_a_cube_has_single_cells_and_joint_arrays():
    grid = Grid(
        compute_square, {"x": [1, 2], "sign": [1, -1]}, lambda x, sign: {"x": x}, also=lambda x, sign: {"plus": 0}
    )
    (cube,) = engine.carry_out([grid])
    assert isinstance(cube, Cube)
    np.testing.assert_array_equal(cube["square"], [[1, 1], [4, 4]])
    assert [len(cell["row"]) for cell in cube] == [1, 1, 2, 2]
    assert cube[3] is cube[1, 1]
    assert cube[2] is cube[3]  # Cells of the same arguments are computed once.


def test_processes_give_the_bits_of_threads(norms, small):
    grid = Grid(compute_square, {"x": [1, 2, 3]})
    by_processes, by_threads = (engine.carry_out([grid], processes=processes)[0] for processes in (True, False))
    np.testing.assert_array_equal(by_processes["square"], by_threads["square"])


def count_blas_threads(x):
    blas = [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
    return {"threads": max(blas, default=1)}


@pytest.mark.parametrize("processes", [True, False])
def test_cells_use_one_thread_of_blas_on_any_worker(processes, monkeypatch):
    """The bits of NumPy's products depend on the number of threads, which is two outside of the cells."""
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # for new processes
    with threadpool_limits(2, "blas"):
        assert count_blas_threads(0) == {"threads": 2}
        (cube,) = engine.carry_out([Grid(count_blas_threads, {"x": [1, 2]})], processes=processes, workers=2)
    assert cube["threads"].tolist() == [1, 1]
