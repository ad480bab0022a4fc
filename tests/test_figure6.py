"""Figure 6 in its quick form: the claims of the paper, and the files."""

import json
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import xarray as xr

import zeroloss as zl
from problems import is_labelled
from zeroloss import plots
from zeroloss.studies.paper import figure6


@pytest.fixture(scope="module")
def settings():
    return replace(figure6.STUDY.quick, seeds=2)


@pytest.fixture(scope="module")
def result(settings):
    return figure6.STUDY.run(settings)


@pytest.fixture(scope="module")
def files(result, tmp_path_factory):
    directory = tmp_path_factory.mktemp("figure6")
    result.save(directory, "figure6")
    return directory


def test_defaults_are_the_paper_s_setting():
    expected = {"p": 37, "hidden": 512, "activation": "relu", "train_fraction": 0.7, "step_size": 1e-3, "steps": 5000}
    assert expected.items() <= asdict(figure6.STUDY.full).items()
    assert (figure6.STUDY.full.seeds, figure6.STUDY.full.spread, figure6.STUDY.full.quick) == (5, "std", False)


def test_first_step_is_not_converged_at_the_paper_s_setting():
    """Step 1 moves ‖E‖² from about 507 to thousands."""
    data, network = figure6.make_problem(figure6.STUDY.full, 0)
    assert len(data.Y_train) == 492
    run = zl.simulate(zl.PredictedGradient(figure6.STUDY.full.step_size), data, network, steps=1, record_every=1)
    before, after = run.history.norm_E.values**2
    assert 480 < before < 535
    assert 1500 < after < 10000
    assert 2e6 < run.history.condition[0] < 6e6


def test_generalisation_is_delayed(result):
    accuracy = result.numbers.test_accuracy
    assert (result.numbers.train_accuracy == 1).all()
    assert (accuracy.sel(step=slice(0, 500)) < 0.15).all()
    assert (accuracy.isel(step=-1) >= 0.95).all()
    np.testing.assert_allclose(result.numbers.mean_test_accuracy, accuracy.mean("seed"))


def test_features_become_circles(result):
    for seed in result.summary["per_seed"]:
        initial, final = seed["fourier_initial"], seed["fourier_final"]
        assert final["spread"] < initial["spread"] / 1.5
        assert final["largest_cosine"] < initial["largest_cosine"] / 1.5
        assert abs(initial["within"] - initial["across"]) < 0.05
        assert final["within"] - final["across"] > 0.25
        assert final["strongest_share"] > 2 * initial["strongest_share"]
        assert final["frequencies_used"] == 8


def test_norms_follow_the_balance_of_the_flow(result, settings):
    """For ReLU d‖E‖²/dt = 2 (‖W‖² − ‖E‖²) along the flow, which the later steps resolve."""
    late = result.numbers.isel(seed=0).sel(step=slice(1000, None))
    balance = 2 * (late.norm_W**2 - late.norm_E**2)
    gained = float(late.norm_E[-1] ** 2 - late.norm_E[0] ** 2)
    assert gained == pytest.approx(np.trapezoid(balance, late.time), rel=0.03)


def test_crossings_agree_with_the_curves(result):
    for seed in result.summary["per_seed"]:
        accuracy = result.numbers.test_accuracy.sel(seed=seed["seed"])
        for level, step in seed["crossing_steps"].items():
            assert (accuracy.sel(step=slice(0, step - 1)) < float(level)).all()
            assert accuracy.sel(step=step) >= float(level)


def test_each_seed_has_its_own_split_and_start(settings):
    (data, network), (other_data, other_network) = (figure6.make_problem(settings, index) for index in (0, 1))
    assert (data.settings["seed"], network.settings["seed"]) == (0, 1000)
    assert (other_data.settings["seed"], other_network.settings["seed"]) == (1, 1001)
    assert not np.array_equal(data.X_train, other_data.X_train)
    assert not np.array_equal(network.E, other_network.E)


@pytest.mark.parametrize(("spread", "power"), [("std", -0.5), ("variance", -0.25)])
def test_spread_is_a_standard_deviation_or_a_variance(spread, power):
    _, network = figure6.make_problem(replace(figure6.STUDY.full, spread=spread), 0)
    assert network.E.std() == pytest.approx(37**power, rel=0.03)


def test_line_reports_a_level_that_is_not_reached(settings):
    short = figure6.STUDY.run(replace(settings, seeds=1, steps=20))
    assert short.summary["crossing_steps"]["0.5"] is None
    assert short.line.startswith("1 seed; test accuracy reaches 0.5 not in every run")


def test_nc_file_holds_labelled_numbers(files, result, settings):
    with xr.open_dataset(files / "figure6.nc", engine="h5netcdf") as stored:
        xr.testing.assert_identical(stored.load(), result.numbers)
        assert stored.norm.dims == ("stage", "seed", "vector")
        assert stored.sizes["vector"] == stored.sizes["other"] == settings.p - 1
        assert list(stored.part.values[:4]) == ["Re", "Im", "Re", "Im"]
        assert json.loads(stored.attrs["settings"]) == asdict(settings)
        assert is_labelled(stored)
        assert all("units" in variable.attrs for variable in stored.data_vars.values())
        final = figure6.STUDY.run(replace(settings, seeds=1, steps=0)).numbers
        np.testing.assert_array_equal(final.norm.sel(stage="initial")[0], stored.norm.sel(stage="initial")[0])
        np.testing.assert_array_equal(final.norm.sel(stage="final"), final.norm.sel(stage="initial"))


def test_json_file_holds_settings_seeds_and_summary(files, settings):
    about = json.loads((files / "figure6.json").read_text(encoding="utf-8"))
    assert about["settings"] == asdict(settings)
    assert about["seeds"] == [{"seed": 0, "data": 0, "network": 1000}, {"seed": 1, "data": 1, "network": 1001}]
    assert about["build"]["zeroloss"] == zl.build_info()["zeroloss"]
    assert len(about["summary"]["per_seed"]) == 2
    low, high = about["summary"]["final_norm_E_squared"]
    assert low <= about["summary"]["per_seed"][0]["final_norm_E_squared"] <= high


def test_picture_is_drawn_from_the_numbers_alone(files, result, tmp_path):
    picture = (files / "figure6.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    with xr.open_dataset(files / "figure6.nc", engine="h5netcdf") as stored, plots.style():
        plots.save(result.study.draw(stored.load()), tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == picture


def test_only_quick_pictures_are_marked(result, settings):
    full = result.numbers.assign_attrs(settings=json.dumps(asdict(replace(settings, quick=False))))
    marked, unmarked = (
        [text.get_text() for text in figure6.STUDY.draw(numbers).texts] for numbers in (result.numbers, full)
    )
    assert [text.startswith("QUICK RUN") for text in marked] == [True]
    assert unmarked == []


def test_pictures_leave_matplotlib_s_state_alone(files):
    """Matplotlib is loaded with the first picture, pyplot never, and the user's settings do not change."""
    script = f"""
import sys, pathlib
import zeroloss, zeroloss.cli, zeroloss.studies.paper.figure6
from zeroloss import plots
assert "matplotlib" not in sys.modules and "xarray" not in sys.modules
import matplotlib, xarray
before = matplotlib.rcParams.copy()
with plots.style():
    numbers = xarray.load_dataset({str(files / "figure6.nc")!r}, engine="h5netcdf")
    figure = zeroloss.studies.paper.figure6.STUDY.draw(numbers)
assert "matplotlib.pyplot" not in sys.modules and matplotlib.rcParams.copy() == before
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_without_fixed_steps_all_numbers_are_those_of_the_flow(settings):
    changes = {"seeds": 2, "fixed_steps": False, "flow_duration": 0.2, "record_every": 20}
    result = figure6.STUDY.run(replace(settings, **changes))
    numbers = result.numbers
    np.testing.assert_array_equal(numbers.step, np.arange(0, 201, 20))
    np.testing.assert_allclose(numbers.time, numbers.step * settings.step_size)
    np.testing.assert_array_equal(numbers.test_accuracy, numbers.flow_test_accuracy)
    data, network = figure6.make_problem(settings, 1)
    flow = zl.simulate(zl.PredictedGradient(rtol=settings.flow_rtol), data, network, duration=0.2)
    assert float(numbers.norm_E.sel(seed=1)[-1]) == pytest.approx(np.linalg.norm(flow.network.E))
    legend = figure6.STUDY.draw(numbers).axes[0].get_legend()
    assert not any("single seeds" in text.get_text() for text in legend.get_texts())
    assert result.summary["per_seed"][0]["flow_crossing_times"]["0.5"] is None
