"""Figures 5 and 7 in their quick form, compared with the ranges of an independent implementation."""

import json
import os
import signal
import threading
from dataclasses import asdict, replace

import numpy as np
import pytest
import xarray as xr

import zeroloss as zl
from problems import is_labelled, same_bits
from zeroloss import geometry, plots
from zeroloss.studies import Cells, Grid, NumericalFailureError, checked_run
from zeroloss.studies._memorised import make_addition
from zeroloss.studies.paper import memorisation
from zeroloss.studies.paper._kink_alignment import KinkAlignment
from zeroloss.studies.paper.memorisation import FIGURE5, FIGURE7
from zeroloss.sweeps import engine

DESCENT = zl.GradientDescent(lr=1.0, weight_decay=1e-4)


def start_of(settings, seed):
    """Return the data and the initial network of a seed index."""
    return make_addition(settings.p, settings.hidden, settings.activation, seed, test_count=settings.test_count)


@pytest.fixture(scope="module")
def settings():
    return replace(FIGURE5.quick, seeds=2, record_every=100, compared_every=5000)


@pytest.fixture(scope="module")
def result(settings):
    return FIGURE5.run(settings)


@pytest.fixture(scope="module", params=[FIGURE5, FIGURE7], ids=lambda study: study.name)
def saved_study(request, result, settings, tmp_path_factory):
    """The study, the result and the directory of each figure, from one simulation."""
    directory = tmp_path_factory.mktemp("figure")
    own = replace(result, study=request.param)
    own.save(directory, "figure")
    return request.param, own, directory


def test_defaults_are_the_paper_s_setting():
    expected = {"p": 11, "hidden": 128, "activation": "relu", "test_count": 7, "lr": 1, "weight_decay": 1e-4}
    expected |= {"steps": 40_000, "record_every": 1, "lag": 10, "seeds": 5, "quick": False}
    assert expected.items() <= asdict(FIGURE5.full).items()
    data, network = start_of(FIGURE5.full, 3)
    assert (len(data.Y_train), len(data.Y_test), network.hidden) == (59, 7, 128)
    assert (data.settings["seed"], network.settings["seed"]) == (3, 1003)


def test_memorisation_and_delayed_generalisation(result):
    for seed in result.summary["per_seed"]:
        assert seed["first_steps"]["train_accuracy_1"] <= 300
        assert 8000 < seed["first_steps"]["test_accuracy_above_half"] < 30_000
        assert 0.1 < seed["peak_test_loss"] < 0.17
        assert seed["final_test_loss"] < 0.06
        assert seed["final_train_loss"] < 1e-4


@pytest.mark.parametrize(
    ("step", "low", "high"),
    [(300, -0.2, -0.2), (1000, 0.17, 0.29), (2500, 0.76, 0.81), (5000, 0.67, 0.72), (10_000, 0.53, 0.57)],
)
def test_the_cosine_is_in_the_reference_s_range(result, step, low, high):
    for cosine in result.summary["cosine"][str(step)]:
        assert low - 0.06 < cosine < high + 0.06


def test_the_cosine_is_greatest_before_generalisation_and_above_the_naive_one(result):
    for seed in result.summary["per_seed"]:
        assert seed["peak_test_loss_step"] < seed["peak_cosine_step"] < 5000
        later = result.numbers.sel(seed=seed["seed"], step=slice(1000, None))
        assert (later.alignment_cosine > later.alignment_decay_cosine).all()


@pytest.mark.parametrize("step", ["5000", "10000", "30000"])
def test_kink_aware_and_smooth_cosines_are_near_1(result, step):
    """Updates follow the direction of the theory, if pairs on kinks are held or the activation is smooth."""
    assert min(result.summary["kink_cosine"][step]) > 0.97
    assert min(result.summary["smooth_cosine"][step]) > 0.94
    assert 0.05 < min(result.summary["kink_share"][step]) < max(result.summary["kink_share"][step]) < 0.16


def test_kink_aware_cosine_equals_that_of_norm_direction(settings):
    """Only a record that is a window after an earlier one has a cosine."""
    data, network = start_of(settings, 0)
    measure = KinkAlignment(data, DESCENT, lag=50, short=10)
    run = zl.simulate(DESCENT, data, network, steps=320, record_every=100, measures={"k": measure})
    path = zl.simulate(DESCENT, data, network, steps=300, snapshot_every=1).snapshots.isel(step=slice(250, 301))
    kinks = geometry.sign_changes(path.E, data, at_least=2)
    here = zl.networks.from_arrays(path.E[-1], path.W[-1])
    found = geometry.norm_direction(here, data, kinks=kinks)
    g, update = (
        np.concatenate([np.ravel(E), np.ravel(W)])
        for E, W in ((found.gE, found.gW), (path.E[-1] - path.E[0], path.W[-1] - path.W[0]))
    )
    expected = g @ update / np.linalg.norm(g) / np.linalg.norm(update)
    assert float(run.history.k_cosine.sel(step=300)) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(run.history.k_cosine.values[0])


def test_no_singular_point_and_no_failed_projection_on_the_way(result):
    assert result.summary["smallest_singular_value"][0] > 0.15
    assert result.summary["records_not_measured"] == [0, 0]


def test_numbers_equal_those_of_alignment(settings):
    """This holds at every step, and for runs in parallel."""
    short = replace(settings, seeds=3, steps=40, record_every=1)
    numbers = FIGURE5.run(short).numbers
    data, network = start_of(short, 2)
    kept = zl.simulate(DESCENT, data, network, steps=40, snapshot_every=1).snapshots
    for step in (3, 10, 40):
        now, earlier = (
            zl.networks.from_arrays(kept.E.sel(step=s), kept.W.sel(step=s)) for s in (step, max(0, step - 10))
        )
        found = geometry.alignment(now, earlier, data)
        one = numbers.sel(seed=2, step=step)
        assert float(one.alignment_decay_cosine) == found.decay_cosine
        assert float(one.alignment_smallest_singular_value) == found.smallest_singular_value
        np.testing.assert_equal(float(one.alignment_cosine), found.cosine)
        assert float(numbers.alignment_smallest_singular_value.sel(seed=2, step=step)) == found.smallest_singular_value


def test_momentum_projection_gives_the_paper_s_cosine(settings):
    short = replace(settings, seeds=1, steps=300, record_every=300, projection="momentum")
    (cosine,) = set(FIGURE5.run(short).summary["cosine"]["300"])
    assert cosine == pytest.approx(-0.11, abs=0.05)


def test_figure_7_is_not_simulated_again(settings, monkeypatch):
    short, cells = replace(settings, steps=50), Cells()
    first = FIGURE5.run(short, cells=cells)
    monkeypatch.setattr(memorisation, "simulate", None)
    other = FIGURE7.run(short, cells=cells)
    assert other.numbers.title.startswith("Figure 7")
    assert first.numbers.title.startswith("Figure 5")
    assert same_bits(other.numbers, first.numbers)
    assert other.line == first.line


def test_line_reports_a_level_that_is_not_reached(settings):
    short = FIGURE5.run(replace(settings, seeds=1, steps=20, record_every=10))
    assert short.summary["first_steps"]["train_accuracy_1"] is None
    assert short.line.startswith("1 seed; train accuracy 1 in no run, test accuracy > 1/2 in no run, ")
    with plots.style():
        short.draw()


def test_runs_that_do_not_reach_a_level_are_counted():
    assert memorisation._format_steps("x", [7, 5, 6]) == "x at 5–7 (median 6)"
    assert memorisation._format_steps("x", [7, None, 5]) == "x at 5–7 (median 7) in 2 of 3 runs"
    assert memorisation._format_steps("x", [7, None, None]) == "x at 7 in 1 of 3 runs"


def test_files_hold_numbers_settings_and_picture(saved_study, settings, tmp_path):
    study, result, directory = saved_study
    assert sorted(path.name for path in directory.iterdir()) == [f"figure.{e}" for e in ("json", "nc", "png")]
    about = json.loads((directory / "figure.json").read_text(encoding="utf-8"))
    assert about["settings"] == asdict(settings)
    assert about["seeds"] == [{"seed": 0, "data": 0, "network": 1000}, {"seed": 1, "data": 1, "network": 1001}]
    assert len(about["summary"]["per_seed"]) == 2
    with xr.open_dataset(directory / "figure.nc", engine="h5netcdf") as stored:
        xr.testing.assert_identical(stored.load(), result.numbers)
        assert is_labelled(stored)
        assert all("units" in variable.attrs for variable in stored.variables.values())
        with plots.style():
            plots.save(study.draw(stored), tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (directory / "figure.png").read_bytes()


def test_only_quick_pictures_are_marked(saved_study, settings):
    study, result, _ = saved_study
    full = result.numbers.assign_attrs(settings=json.dumps(asdict(replace(settings, quick=False))))
    marked, unmarked = ([text.get_text() for text in study.draw(numbers).texts] for numbers in (result.numbers, full))
    assert marked == ["QUICK RUN  2 seeds, measured every 100 steps"]
    assert unmarked == []


def descend(seed, steps, wild=None):
    """Return the history and the first layer of a descent, which diverges for one seed."""
    data, network = start_of(FIGURE5.quick, seed)
    if seed == wild:
        network = zl.networks.from_arrays(1e3 * network.E, 1e3 * network.W, "identity")
    run = checked_run(zl.simulate(DESCENT, data, network, steps=steps, record_every=7))
    return run.history.assign(E=(("input", "unit"), run.network.E))


def run_in_parallel(workers, progress=None, **options):
    grid = Grid(descend, {"seed": range(3)}, lambda seed: {"seed": seed, **options}, lambda steps, **_: steps)
    return engine.carry_out([grid], workers=workers, progress=progress)[0]


def test_cells_in_parallel_have_the_bits_of_single_runs():
    together = run_in_parallel(3, steps=100).dataset()
    for seed in range(3):
        assert same_bits(together.sel(seed=seed, drop=True), descend(seed, 100))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_raises_and_ends_the_other_cells(workers):
    """With two workers the second cell fails, while the first one has many steps left."""
    with pytest.raises(NumericalFailureError, match=f"seed {workers - 1} diverged") as failure:
        run_in_parallel(workers, steps=10**7, wild=workers - 1)
    assert np.isfinite(failure.value.run.network.E).all()


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_ends_all_cells(workers):
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run_in_parallel(workers, steps=10**7)
    timer.join()
    assert [one.name for one in threading.enumerate() if one.name.startswith("zeroloss")] == []
