"""Sweeps: each cell has the bits of a single run, and all cells make one labelled cube."""

import json
import pickle
import shutil
import sys

import numpy as np
import pytest
import xarray as xr
from matplotlib.backends.backend_agg import FigureCanvasAgg

import zeroloss as zl
from command import run_command
from problems import is_labelled, same_bits
from zeroloss import config, plots, runs, sweeps
from zeroloss.config import ConfigurationError
from zeroloss.sweeps import grid, picture
from zeroloss.sweeps.cost import CostModel
from zeroloss.sweeps.grid import Axis

LABELS = {"network.seed": [3, 1], "dynamics.weight_decay": [1e-2, 1e-3, 0.0]}
DIMS = ["network_seed", "weight_decay"]


def settings(**sections):
    base = {
        "data": {"p": 5, "test_count": 3},
        "network": {"hidden": 16},
        "dynamics": {"lr": 0.5},
        "run": {"steps": 300, "record_every": 50, "events": ["train_accuracy >= 1"]},
        "sweep": LABELS,
    }
    return {name: {**base.get(name, {}), **sections.get(name, {})} for name in (*base, *sections)}


def with_sweep(lines, **sections):
    return {**settings(**sections), "sweep": lines}


def run_sweep(given, out, **options):
    return sweeps.sweep(given, out, progress=False, **options)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return run_sweep(settings(), tmp_path_factory.mktemp("sweep") / "out")


def test_cells_have_the_bits_of_runs_alone(done, tmp_path):
    cube = done.cube()
    assert list(cube.ending.dims) == DIMS
    for seed in LABELS["network.seed"]:
        for decay in LABELS["dynamics.weight_decay"]:
            one = {**settings(network={"hidden": 16, "seed": seed}), "dynamics": {"lr": 0.5, "weight_decay": decay}}
            one.pop("sweep")
            alone = runs.run(config.from_settings(one), tmp_path / f"{seed} {decay}", progress=False)
            cell = cube.sel(network_seed=seed, weight_decay=decay)
            for name, values in alone.history.variables.items():
                if name != "step":
                    assert same_bits(cell[name].values, values.values), name
            run = zl.load(done.store.cell(str(cell.cell.values)))
            assert same_bits(run.network.E, alone.network.E)
            assert cell.event_step.values.tolist() == list(alone.events.values())
            assert str(cell.outcome.values) == "reached the end: 300 steps"


def test_the_cube_in_the_file_and_from_the_store_is_the_same(done):
    cube = done.cube()
    with xr.open_dataset(done.store.path / "cube.nc", engine="h5netcdf") as stored:
        xr.testing.assert_identical(stored.load(), cube)
    xr.testing.assert_identical(sweeps.open_sweep(done.store.path), cube)
    assert [cube[dim].values.tolist() for dim in DIMS] == list(LABELS.values())
    assert is_labelled(cube)
    common = json.loads(cube.attrs["settings"])
    assert common["network"]["hidden"] == 16
    assert "seed" not in common["network"]


def test_a_report_counts_cells_and_events(done):
    cells, event, drawn = sweeps.report(done.store.path)
    assert drawn == f"picture: {done.store.path / 'report.png'}"
    assert cells.endswith("6 cells: 6 reached the end")
    steps = done.cube().event_step.values
    assert event == (
        f"train_accuracy >= 1: in 6 of 6 cells, at steps {steps.min():.0f} to {steps.max():.0f}, "
        f"median {np.sort(steps.ravel())[2]:.0f}"
    )


def test_names_of_dimensions_are_identifiers_that_no_variable_has(tmp_path):
    """The section is part of the name only if the key is in two sections or is the name of a variable."""
    store = sweeps.Store(
        tmp_path,
        [Axis((key,), ((1,), (2,))) for key in ("data.seed", "dynamics.weight_decay", "run.step", "network.p")],
        [],
        {"data": {"p": 5}, "network": {"hidden": 16, "seed": 0}},
    )
    assert list(store.names_of_keys().values()) == ["data_seed", "weight_decay", "run_step", "network_p"]
    assert all(name.isidentifier() for name in store.names_of_keys().values())


def test_coordinates_have_readable_names(done):
    assert done.cube().weight_decay.attrs["long_name"] == "weight decay"
    assert done.cube().network_seed.attrs["description"] == "value of network.seed"


def draw(cube, **options):
    """Draw the picture and return its axes by position."""
    with plots.style():
        figure = picture.draw(cube, "name", **options)
    return [part.axes[0] for part in figure.subfigs]


def test_the_picture_has_delays_and_curves_by_group(done):
    cube = done.cube()
    delays, curves = draw(cube)
    expected = zl.survival.median(cube.event_step.isel(event=0), cube.last_step, "network_seed").values
    np.testing.assert_array_equal(np.ma.getdata(delays.images[0].get_array())[0], expected)
    assert [text.get_text() for text in delays.get_xticklabels()] == ["0.01", "0.001", "0"]
    assert [text.get_text() for text in curves.get_legend().get_texts()] == ["0.01", "0.001", "0"]
    mean = next(line for line in curves.lines if line.get_label() == "0.001")
    np.testing.assert_allclose(mean.get_ydata(), cube.test_accuracy.sel(weight_decay=1e-3).mean("network_seed"))
    assert [text.get_text() for text in draw(cube, by="network_seed")[1].get_legend().get_texts()] == ["3", "1"]
    with pytest.raises(ValueError, match="by: expected one of network_seed, weight_decay, got lr"):
        picture.draw(cube, "name", by="lr")


def test_censored_cells_are_hatched(done):
    """A median is not reached if one of three cells has the event; a cell may also have diverged."""
    cube = done.cube().copy(deep=True)
    cube["event_step"] = cube.event_step.where(cube.weight_decay != 1e-3)
    delays = draw(cube)[0]
    (hatched,) = delays.patches
    assert hatched.get_hatch()
    assert (hatched.get_x(), hatched.get_y()) == (0.5, -0.5)
    assert np.ma.getmaskarray(delays.images[0].get_array()).tolist() == [[False, True, False]]


def test_dollars_in_names_of_a_sweep_are_not_mathematics(done):
    cube = done.cube()
    labels = ("weight_decay", np.array(["$a_{$", "b$", "c"], object), cube.weight_decay.attrs)
    cube = cube.assign_coords(weight_decay=labels)
    with plots.style():
        figure = picture.draw(cube, "$x_{$")
    FigureCanvasAgg(figure).draw()
    assert figure.get_suptitle() == "$x_{$"


def test_a_sweep_without_events_has_only_curves(tmp_path):
    given = with_sweep({"dynamics.lr": [0.5, 0.1]}, run={"events": [], "record_every": "log"})
    done = run_sweep(given, tmp_path / "out")
    (curves,) = draw(done.cube())
    assert curves.get_xscale() == "log"
    assert sweeps.report(done.store.path, tmp_path / "a.png", by="lr")[-1] == f"picture: {tmp_path / 'a.png'}"


def test_cells_that_have_ended_are_not_run_again(done):
    before = {path: path.stat().st_mtime_ns for path in done.store.path.glob("cells/*/*")}
    wider = run_sweep({**settings(), "sweep": {**LABELS, "network.seed": [3, 1, 2]}}, done.store.path)
    assert len(wider.todo) == 3
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert wider.cube().sizes["network_seed"] == 3
    again = run_sweep(settings(), done.store.path)
    assert again.todo == []
    assert again.seconds == 0
    xr.testing.assert_identical(again.cube(), done.cube())


def test_keys_can_vary_together_and_need_not_be_numbers(tmp_path):
    schedule = {"schedule": "cosine", "lr": 0.5, "steps": 100}
    given = with_sweep(
        {
            "data.seed, network.seed": [[0, 7], [1, 8], [2, 9]],
            "dynamics.lr": [0.5, schedule],
            "network.activation": ["relu", "tanh"],
        },
        run={"steps": 100, "record_every": 50},
    )
    cube = run_sweep(given, tmp_path / "out").cube()
    assert dict(cube.sizes) == {
        "data_seed": 3, "lr": 2, "activation": 2, "step": 3, "event": 1,
    }  # fmt: skip
    assert cube.network_seed.dims == ("data_seed",)
    assert cube.network_seed.values.tolist() == [7, 8, 9]
    assert cube["lr"].values[1] == '{ schedule = "cosine", lr = 0.5, steps = 100 }'
    assert cube["activation"].values.tolist() == ["relu", "tanh"]
    assert np.isfinite(cube.train_loss).all()


def test_failures_are_saved_and_repeated_on_request(tmp_path):
    given = with_sweep({"dynamics.lr": [0.5, 1e30]})
    first = run_sweep(given, tmp_path / "out")
    assert [cell.labels["dynamics.lr"] for cell in first.failures] == [1e30]
    cube = first.cube()
    assert cube.ending.values.tolist() == ["reached the end", "diverged"]
    assert np.isnan(cube.train_loss.sel(lr=1e30, step=300))
    assert np.isfinite(cube.train_loss.sel(lr=1e30, step=0))
    assert run_sweep(given, tmp_path / "out").todo == []
    retried = run_sweep(given, tmp_path / "out", retry=True)
    assert [cell.labels["dynamics.lr"] for cell in retried.todo] == [1e30]
    name = first.failures[0].name
    assert (
        zl.load(tmp_path / "out" / "cells" / f"{name}-failed-1").outcome
        == zl.load(tmp_path / "out" / "cells" / name).outcome
    )
    xr.testing.assert_identical(retried.cube(), cube)


def test_cells_that_have_not_ended_are_nan_in_the_cube(done, tmp_path):
    store = tmp_path / "out"
    run_sweep(with_sweep({"network.seed": [3], "dynamics.weight_decay": [1e-3]}), store)
    for name in ("sweep.toml", "cells.json"):
        (store / name).write_bytes((done.store.path / name).read_bytes())
    cube = sweeps.open_sweep(store)
    assert cube.ending.values.ravel().tolist().count("not ended") == cube.ending.size - 1
    here = cube.sel(network_seed=3, weight_decay=1e-3)
    there = done.cube().sel(network_seed=3, weight_decay=1e-3)
    np.testing.assert_array_equal(here.train_loss.dropna("step"), there.train_loss)
    assert np.isnan(cube.train_loss.sel(network_seed=1)).all()


BAD = [
    ({}, r"sweep: needs a section \[sweep\] with lists"),
    ({"network.seed": []}, r"sweep.network.seed: expected a list of values, got \[\]"),
    ({"network.seed": 3}, "sweep.network.seed: expected a list of values, got 3"),
    ({"seed": [1]}, "sweep: expected keys of the form section.key, got 'seed'"),
    ({"network": {"seed": [1]}}, 'sweep.network: a key needs quotes: "network.seed"'),
    ({"network.seed": [1, 1]}, r"sweep.network.seed: the value \[1\] appears twice"),
    ({3: [1]}, "sweep: expected keys of the form section.key, got 3"),
    ({"run.threads": [1, 2]}, "sweep.run.threads: does not change the records, so it cannot be swept"),
    ({"dynamics.lr": [1, 1.0]}, "sweep: the run is the same as with dynamics.lr = 1"),
    ({"network.seed, data.seed": [[1, 2], [3]]}, r"expected lists of 2 values, got \[3\]"),
    ({"network.seed, data.seed": [[1, 2]], "data.seed": [1]}, "the key data.seed appears twice"),
    ({"network.sed": [1]}, r"network.sed: .*did you mean seed\? \(with network.sed = 1\)"),
    ({"dynamics.lr": [1.0, -1.0]}, r"dynamics.lr: expected a number above 0, got -1.0 \(with dynamics.lr = -1.0\)"),
    ({"nowhere.lr": [1.0]}, r"nowhere: unknown section; expected one of data, network, dynamics, run"),
    ({"network.seed": list(range(2000)), "data.seed": list(range(2000))}, "at most 1000000 combinations, got 4000000"),
]


@pytest.mark.parametrize(("lines", "message"), BAD, ids=[message for _, message in BAD])
def test_invalid_sweeps_are_rejected_before_the_start(lines, message, tmp_path):
    with pytest.raises(ConfigurationError, match=message):
        run_sweep({**settings(), "sweep": lines}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_cells_that_cannot_start_are_named_before_the_start(tmp_path):
    given = with_sweep({"network.hidden": [64, 2]}, data={"p": 5, "test_count": 3})
    given["dynamics"] = {"kind": "predicted_gradient"}
    with pytest.raises(ConfigurationError, match=r"ridge: must be above 0 .* \(with network.hidden = 2\)"):
        run_sweep(given, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match=r"expected the directory of a sweep, but .* lacks sweep.toml"):
        sweeps.open_sweep(tmp_path)
    with pytest.raises(ValueError, match="workers: expected an integer of at least 1, got 0"):
        run_sweep(settings(), tmp_path / "out", workers=0)


def test_cells_that_do_not_fit_in_memory_together_are_rejected(tmp_path, monkeypatch):
    one = grid.cells(settings())[0].configuration()
    need = one.dynamics.cost(one.data, one.network).memory
    monkeypatch.setattr("zeroloss._resources.available_memory", lambda: 2 * need - 1)
    with pytest.raises(ValueError, match="2 cells at a time: expected to fit in"):
        run_sweep(settings(), tmp_path / "out", workers=2)
    assert len(run_sweep(settings(), tmp_path / "out", workers=1).outcomes) == 6


def test_the_plan_estimates_the_time(tmp_path, monkeypatch):
    """At a millisecond a step it is the time of the longest cell, or of all cells divided by the number of processors
    used.
    """
    monkeypatch.setattr("zeroloss.sweeps.cost.CostModel._measure_unit", lambda self, configuration: 1e-3)
    monkeypatch.setattr(sys.modules["zeroloss.sweeps.sweep"], "available_processors", lambda: 2)
    plans = []
    for given, workers in (
        (with_sweep({"network.seed": [1, 2], "run.steps": [1000, 4000]}), 2),
        (with_sweep({"network.seed": [1, 2], "run.steps": [1000, 4000]}), 4),
        (with_sweep({"run.steps": [1000, 9000]}), 2),
        (with_sweep({"run.duration": [100.0]}, dynamics={"lr": 0.5}, run={"steps": None}), 1),
    ):
        with pytest.raises(KeyboardInterrupt):
            run_sweep(given, tmp_path / "out", workers=workers, on_plan=lambda plan: plans.append(plan) or stop())
    per_cell = 0.1  # Each directory takes this time.
    assert [plan.seconds for plan in plans] == pytest.approx(
        [5 + 2 * per_cell, 5 + 2 * per_cell, 9 + per_cell, 0.2 + per_cell]
    )
    assert not (tmp_path / "out").exists()


def stop():
    raise KeyboardInterrupt


def test_a_step_is_timed():
    """The time is above 0, and longer for a wider network."""
    one = with_sweep({"network.hidden": [16, 2048]})
    narrow, wide = CostModel().seconds(grid.cells(one))
    assert 0 < narrow < wide


def test_the_settings_determine_the_names_of_cells():
    """The name depends on the number of steps, and not on how the settings are written."""
    one = grid.cells(with_sweep({"network.seed": [1]}))[0]
    number = grid.cells(with_sweep({"network.seed": [1]}, data={"label_noise": 0}))[0]  # The integer stands for 0.0.
    same = grid.cells(with_sweep({"network.activation": ["relu"]}, network={"hidden": 16, "seed": 1}))[0]
    further = grid.cells(with_sweep({"network.seed": [1]}, run={"steps": 301}))[0]
    safer = grid.cells(with_sweep({"network.seed": [1]}, run={"checkpoint_every": 7, "threads": 2}))[0]
    assert one.name == same.name == safer.name == number.name != further.name


def test_numpy_values_and_schedules_are_accepted(tmp_path):
    schedule = zl.learning_rate.LinearWarmUp(0.5, 10, then=zl.learning_rate.Cosine(0.5, 90))
    given = with_sweep(
        {"dynamics.weight_decay": np.logspace(-4, -3, 2), "network.seed": list(np.arange(1, 3))},
        dynamics={"lr": schedule},
        run={"steps": np.int64(60)},
    )
    done = run_sweep(given, tmp_path / "out")
    assert len(done.outcomes) == 4
    cube = sweeps.open_sweep(tmp_path / "out")
    xr.testing.assert_identical(cube, done.cube())
    assert cube.weight_decay.values.tolist() == [1e-4, 1e-3]
    run = zl.load(done.store.cell(str(cube.cell.values[0, 0])))
    assert run.extend(steps=40, progress=False).step == 100


def test_cells_depend_on_the_content_of_files_not_on_their_paths(tmp_path, monkeypatch):
    samples = zl.datasets.modular_addition(5, test_count=3, seed=0)
    arrays = {name: getattr(samples, name) for name in ("X_train", "Y_train", "X_test", "Y_test")}
    np.savez(tmp_path / "one.npz", **arrays)
    np.savez(tmp_path / "other.npz", **{**arrays, "Y_train": arrays["Y_train"][::-1]})
    (tmp_path / "a.toml").write_text(
        '[data]\ntask = "arrays"\n[network]\nhidden = 8\n[run]\nsteps = 5\n'
        '[sweep]\n"data.file" = ["one.npz", "other.npz"]\n'
    )
    done = run_sweep(tmp_path / "a.toml", tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    relative = {**config.read_sections("a.toml"), "sweep": {"data.file": ["one.npz", "other.npz"]}}
    assert run_sweep(relative, tmp_path / "out").todo == []
    np.savez(tmp_path / "one.npz", **{**arrays, "X_train": arrays["X_train"][::-1]})
    changed = run_sweep(tmp_path / "a.toml", tmp_path / "out")
    assert [cell.labels["data.file"] for cell in changed.todo] == [str(tmp_path / "one.npz")]
    assert done.store.names[1] == changed.store.names[1]


def test_seeds_beyond_64_bits_are_labels(tmp_path):
    cube = run_sweep(with_sweep({"network.seed": [2**64, 1]}, run={"steps": 2}), tmp_path / "out").cube()
    assert cube.network_seed.values.tolist() == [str(2**64), "1"]


def test_errors_of_a_configuration_can_be_pickled():
    error = pickle.loads(pickle.dumps(ConfigurationError(["network.seed: bad", "p: bad"])))
    assert error.problems == ["network.seed: bad", "p: bad"]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda out: run_sweep(None, out), TypeError, "configuration: expected a file or a mapping, got NoneType"),
        (lambda out: run_sweep({**settings(), "data": 3}, out), ConfigurationError, "data: expected a section"),
    ],
)
def test_invalid_arguments_are_rejected(call, error, message, tmp_path):
    with pytest.raises(error, match=message):
        call(tmp_path / "out")


def test_the_status_of_a_report_is_not_read_from_its_text(tmp_path, monkeypatch, done):
    shutil.copytree(done.store.path, tmp_path / "interrupted:")
    monkeypatch.chdir(tmp_path)
    shown = run_command("report", "interrupted:")
    assert shown.stdout.startswith("interrupted:: ")
    assert shown.returncode == 0
