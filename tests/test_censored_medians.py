"""Medians of events that some runs do not reach, computed by hand, by lifelines, and over a sweep."""

import math
import re
import tracemalloc

import lifelines
import numpy as np
import pytest
import xarray as xr

import zeroloss as zl
from zeroloss import sweeps
from zeroloss.survival import kaplan_meier, median

NAN, INF = math.nan, math.inf
SEEDS = xr.DataArray([10.0, 20.0], dims="seed", coords={"seed": [0, 1]})


@pytest.mark.parametrize(
    ("steps", "ends", "expected"),
    [
        ([30, 10, 20], 99, 20),
        ([40, 10, 30, 20], 99, 20),  # By this step half of the runs have the event.
        ([17_326, 9_000, NAN, NAN, NAN], 20_000, INF),  # np.nanmedian would be 13 163.
        ([10, 20, 30, NAN, NAN], 99, 30),
        ([10, 20, NAN, NAN], 99, 20),  # Exactly half have it.
        ([30, None, None], [9, 10, 20], 30),  # Runs censored before step 30 carry no information about it.
        ([10, 20, None, 40], [9, 9, 15, 9], 20),  # 3/4, then 3/4 · 1/2
        ([10, 20, None, None, 40], [9, 9, 15, 25, 9], 40),  # 4/5, 4/5 · 2/3 = 8/15, then 0
        ([10, INF, 20], [9, 5, 9], 10),
        ([10, 20, NAN, NAN], [99, 99, INF, INF], 20),
        ([10, 20, NAN, NAN, NAN], [99, 99, INF, INF, 15], INF),  # Diverged runs stay at risk.
        ([10, NAN, NAN], [99, NAN, NAN], 10),  # An end of NaN means that there is no run.
        ([NAN, NAN], [NAN, NAN], NAN),
        ([NAN, NAN], [5, 9], INF),
        ([], [], NAN),
        ([0, 0, 5], 9, 0),
    ],
)
def test_medians_agree_with_medians_by_hand(steps, ends, expected):
    np.testing.assert_equal(median(steps, ends), expected)


def test_one_half_is_reached_in_spite_of_rounding():
    """5/6 · 4/5 · 3/4 is 1/2, but not in floating point."""
    for runs in range(2, 60, 2):
        assert median(np.arange(runs), runs) == runs / 2 - 1


def test_medians_with_ties_agree_with_lifelines():
    random = np.random.default_rng(0)
    for _ in range(100):
        runs = random.integers(1, 12)
        steps, ends = random.integers(1, 20, runs), random.integers(1, 25, runs)
        happened = steps <= ends
        curve = lifelines.KaplanMeierFitter().fit(np.minimum(steps, ends), happened).survival_function_.iloc[:, 0]
        below = curve.index[curve.values <= 0.5 + 1e-9]
        assert median(np.where(happened, steps, NAN), ends) == (below[0] if len(below) else INF)


@pytest.mark.filterwarnings("ignore")
def test_medians_of_intervals_agree_with_lifelines():
    """Records have different spacings, so that intervals overlap. The oracle is Turnbull's estimate."""
    random = np.random.default_rng(1)
    reached = 0
    for _ in range(40):
        runs = random.integers(3, 12)
        spacing, steps = random.integers(5, 30, runs), random.integers(1, 200, runs)
        latest = -(-steps // spacing) * spacing
        earliest, ends = latest - spacing + 0.5, random.integers(50, 220, runs) // spacing * spacing + 0.5
        happened = latest <= ends
        curve = lifelines.KaplanMeierFitter().fit_interval_censoring(
            np.where(happened, earliest, ends), np.where(happened, latest, INF), tol=1e-10
        )
        share = curve.survival_function_["NPMLE_estimate_lower"]  # The share of an interval is removed at its end.
        if np.abs(share.values - 0.5).min() < 1e-3:
            continue
        expected = share.index[np.argmax(share.values < 0.5)]
        assert median(np.where(happened, latest, NAN), ends, earliest=earliest) == expected
        reached += math.isfinite(expected)
    assert reached > 10


@pytest.mark.parametrize("overlap", [0, 50])
def test_the_memory_of_a_median_is_proportional_to_the_runs(overlap, monkeypatch):
    """A table of 20 000 runs by 20 000 steps would take 400 MB."""
    monkeypatch.setattr(kaplan_meier, "_MOST_ITERATIONS", 3)
    steps = np.arange(20_000.0)
    tracemalloc.start()
    found = median(steps, 1.0, earliest=np.maximum(steps - overlap, 0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert abs(found - 9_999) <= overlap
    assert peak < 20 * 2**20


def test_medians_of_one_schedule_are_records():
    """Without overlapping intervals the estimate is Kaplan and Meier's at the records."""
    steps, ends = np.array([100, 100, 200, NAN, 400]), np.array([9, 9, 9, 250, 9])
    assert median(steps, ends, earliest=steps - 99) == median(steps, ends) == 200


def test_crossings_and_delays_can_be_passed_with_their_bounds():
    history = xr.Dataset({"curve": ("step", [0.0, 0.0, 1.0])}, {"step": [0, 100, 200]})
    found = [zl.metrics.crossing(history.curve, level) for level in (0.5, 0.7, 2.0)]
    steps, earliest = [one.step for one in found], [one.earliest for one in found]
    assert median(steps, np.subtract(earliest, 1), earliest=earliest) == 200


def test_medians_are_taken_over_named_dimensions():
    steps = xr.DataArray([[[10.0, 20, 30]], [[10, NAN, NAN]]], dims=("decay", "kind", "seed"), coords={"decay": [1, 2]})
    found = median(steps, xr.DataArray([99, 99, 99], dims="seed"), "seed")
    assert found.dims == ("decay", "kind")
    assert found.sel(decay=1).item() == 20
    assert found.sel(decay=2).item() == INF
    assert median(steps, 99) == 20
    assert median(steps, 99, ["kind", "seed"]).values.tolist() == [20, INF]
    assert median(xr.DataArray(np.array([10, None, 20], object), dims="seed"), 99) == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], [1, 2, 3]), "steps, ends, earliest: shape mismatch"),
        (([1, 2], 9, "seed"), "dim: expected only with DataArrays, got 'seed'"),
        ((SEEDS, 9, "decay"), r"dim: expected dimensions of the arrays \(seed\), got 'decay'"),
        ((SEEDS, 9, []), "dim: expected at least one dimension"),
        ((SEEDS, SEEDS.assign_coords(seed=[1, 2])), "cannot align"),  # The runs are not the same.
    ],
)
def test_invalid_arguments_are_rejected(arguments, message):
    with pytest.raises(ValueError, match=message):
        median(*arguments)
    for earliest in ([1.0, 3.0], [1.0, NAN]):
        with pytest.raises(ValueError, match="expected an earliest step of at most the step of the event"):
            median([1.0, 2.0], 9, earliest=earliest)


def test_the_report_of_a_running_sweep_has_the_median_of_the_ended_cells(tmp_path):
    """The cells with the small learning rate are slow, and still run."""
    settings = {"data": {"p": 5, "test_count": 5}, "network": {"hidden": 12}, "run": {"record_every": 5}}
    settings["run"] |= {"steps": 200, "stop": ["train_accuracy >= 1"], "events": ["train_accuracy >= 1"]}
    settings["sweep"] = {"network.seed": [1, 2, 3], "dynamics.lr": [0.5, 0.05]}
    cube = sweeps.sweep(settings, tmp_path, workers=1, progress=False).cube()
    _, line, _ = sweeps.report(tmp_path)
    assert re.fullmatch(r"train_accuracy >= 1: in 3 of 6 cells, at steps \d+ to 170, median 170", line)
    for name in cube.cell.sel(lr=0.05).values:
        (tmp_path / "cells" / name / "run.json").unlink()
    _, line, _ = sweeps.report(tmp_path)
    assert re.fullmatch(r"train_accuracy >= 1: in 3 of 3 ended cells, .* to 170, median of the ended cells \d+", line)


def test_a_sweep_with_censored_and_diverged_runs_has_a_median(tmp_path):
    """Two of four cells have the event, one ends before, and one diverges."""
    given = {
        "data": {"p": 5, "test_count": 3},
        "network": {"hidden": 16},
        "dynamics": {"lr": 0.5},
        "run": {"record_every": 50, "events": ["train_accuracy >= 1", "train_loss < 1e-30"]},
        "sweep": {"network.seed, run.steps, dynamics.lr": [[0, 600, 0.5], [1, 10, 0.5], [2, 600, 0.5], [3, 600, 1e6]]},
    }
    sweeps.sweep(given, tmp_path / "out", progress=False)
    cube = sweeps.open_sweep(tmp_path / "out")
    assert cube.last_step.values[:3].tolist() == [600, 10, 600]
    assert cube.ending.values[3] == "diverged"
    steps = cube.event_step.sel(event="train_accuracy >= 1").values
    assert np.isnan(steps).tolist() == [False, True, False, True]
    assert median(cube.event_step.sel(event="train_accuracy >= 1"), cube.last_step) == np.nanmin(steps)
    _, accuracy, loss, _ = sweeps.report(tmp_path / "out")
    # Three runs are known at these steps. The one that diverged never has the event.
    first, last = f"{np.nanmin(steps):.0f}", f"{np.nanmax(steps):.0f}"
    assert accuracy.endswith(f"in 2 of 4 cells, at steps {first} to {last}, median {last}")
    assert loss == "train_loss < 1e-30: in 0 of 4 cells"
