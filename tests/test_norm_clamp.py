"""The study of controlled norms: delays of synthetic curves, equal paths before the control, and interruptions."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import zeroloss as zl
from problems import same_bits
from zeroloss.studies import Cells, Cube
from zeroloss.studies.beyond import norm_clamp

SMALL = replace(norm_clamp.STUDY.quick, ratios=(0.8, 1.1), before=200, steps=1500, sustained=3, seeds=2)
BRANCHES = SMALL.seeds * (1 + len(norm_clamp.VARIANTS) * len(SMALL.ratios))


def make_cell(settings, reached=None, lost=None, finite=True, mark=0):
    """Return a cell whose test accuracy is 6/7 from a step on, except in a stretch; it ends early if not finite."""
    steps = np.arange(0, settings.before + settings.steps + 1, settings.record_every)
    steps = steps if finite else steps[: len(steps) // 2]
    accuracy = np.zeros(len(steps)) if reached is None else np.where(steps >= reached, 6 / 7, 0.0)
    if lost:
        accuracy[(steps >= lost[0]) & (steps < lost[1])] = 0
    curves = dict.fromkeys(norm_clamp.CURVES, np.ones(len(steps)))
    return {
        "step": steps,
        **curves,
        "test_accuracy": accuracy,
        "train_accuracy_before": np.array(1.0),
        "finite": np.array(finite),
        "before": np.full(32, mark, np.uint8),
    }


def analyse_cells(settings, others):
    """Return the numbers of a study whose runs reach half at step 1000, except those in ``others``."""
    names = [norm_clamp.FREE, *norm_clamp.VARIANTS]
    over = {"seed": range(settings.seeds), "variant": names, "ratio": settings.ratios}
    keys = itertools.product(*over.values())
    return norm_clamp.analyse(settings, Cube(over, [others.get(key, make_cell(settings, 1000)) for key in keys]))


def test_delays_of_synthetic_curves():
    """Delays count from the control to the first lasting stretch, and are censored without one or by divergence."""
    others = {
        (0, "hold both", 0.8): make_cell(SMALL),
        (1, "hold both", 0.8): make_cell(SMALL, 400, lost=(450, 600)),
        (0, "hold E", 0.8): make_cell(SMALL, 0),
        (0, "hold W", 1.1): make_cell(SMALL, finite=False),
        (1, "hold W", 1.1): make_cell(SMALL, SMALL.before + SMALL.steps - 50),
    }
    numbers = analyse_cells(SMALL, others)
    half, all_of_them = (numbers.sel(accuracy=level) for level in norm_clamp.ACCURACIES)

    def delay(seed, variant, ratio):
        one = half.sel(seed=seed, variant=variant, ratio=ratio)
        return float(one.delay), bool(one.observed)

    assert delay(0, "free", 0.8) == (800, True)
    assert delay(0, "hold both", 0.8) == (1500, False)
    assert delay(1, "hold both", 0.8) == (400, True)
    assert delay(0, "hold E", 0.8) == (0, True)
    assert delay(0, "hold W", 1.1) == (600, False)
    assert delay(1, "hold W", 1.1) == (1500, False)  # two records of three
    assert not all_of_them.observed.any()
    assert int((~numbers.finite).sum()) == 1
    summary = norm_clamp.summarise(SMALL, numbers)
    assert summary["free"]["delay"]["0.5"] == {
        "median": 800.0,
        "each": [800.0, 800.0],
        "censored": 0,
        "median_share_of_free": 1.0,
    }
    held = summary["hold both"]["0.8"]["delay"]["0.5"]
    assert (held["median"], held["each"], held["censored"]) == (400.0, [None, 400.0], 1)
    assert held["median_share_of_free"] == 0.5
    late = summary["hold W"]["1.1"]["delay"]["0.5"]
    assert (late["median"], late["median_share_of_free"], late["censored"]) == (None, None, 2)
    assert summary["hold W"]["1.1"]["diverged"] == 1


@pytest.mark.parametrize("mark", [0, 1])
def test_line_reports_different_paths_before_the_control(mark):
    numbers = analyse_cells(SMALL, {(1, "hold E", 1.1): make_cell(SMALL, 1000, mark=mark)})
    assert numbers.identical_before.values.tolist() == [True, mark == 0]
    line = norm_clamp._format_line(SMALL, norm_clamp.summarise(SMALL, numbers))
    assert line.endswith(f"paths to step 200 {'NOT ' * mark}identical in every seed")


def arguments(settings, seed, variant, ratio):
    """Return the arguments of a cell."""
    return norm_clamp.grids(settings)[0].arguments(seed=seed, variant=variant, ratio=ratio)


def test_digest_identifies_the_path_before_the_control():
    """It changes with the seed and with the step, and not with the control."""
    cell = arguments(SMALL, 0, "hold both", 0.8)

    def digest(**other):
        return norm_clamp.descend(**{**cell, "steps": 50, **other})["before"].tobytes()

    assert digest() == digest(control="once", layers="E", ratio=3.0) == digest(control=None)
    assert len({digest(), digest(before=250), digest(seed=1)}) == 3


def test_a_run_equals_a_descent_in_one_piece():
    data = zl.datasets.modular_addition(11, test_count=7, seed=1)
    net = zl.networks.uniform_fan_in(data, 128, 1001)
    descent = zl.GradientDescent(
        1.0, 1e-4, norm_constraint="fixed", norm_layers="W", norm_ratio=0.8, norm_from_step=200
    )
    history = zl.simulate(descent, data, net, steps=1700, record_every=50).history
    own = norm_clamp.descend(**arguments(SMALL, 1, "hold W", 0.8))
    for name in ("step", *norm_clamp.CURVES):
        assert same_bits(own[name], history[name].values)


def test_an_interrupted_study_resumes(tmp_path, monkeypatch):
    """The free run of a seed, which is the same for every ratio, is one cell."""
    simulate, count = norm_clamp.simulate, []

    def until(last):
        def simulate_until(*given, **options):
            if len(count) == last:
                raise KeyboardInterrupt
            count.append(given)
            return simulate(*given, **options)

        return simulate_until

    monkeypatch.setattr(norm_clamp, "simulate", until(7))
    with pytest.raises(KeyboardInterrupt):
        norm_clamp.STUDY.run(SMALL, cells=Cells(tmp_path), workers=1)
    monkeypatch.setattr(norm_clamp, "simulate", until(-1))
    again = Cells(tmp_path)
    result = norm_clamp.STUDY.run(SMALL, cells=again)
    assert (again.found, len(count)) == (7, BRANCHES)
    monkeypatch.setattr(norm_clamp, "simulate", simulate)
    whole = norm_clamp.STUDY.run(SMALL)
    xr.testing.assert_identical(result.numbers, whole.numbers)
    assert whole.line == result.line
    assert whole.numbers.identical_before.all()
    more = Cells(tmp_path)
    norm_clamp.STUDY.run(
        replace(SMALL, ratios=(0.8,), sustained=5), cells=more
    )  # The same runs, with another definition of the delay.
    assert more.found == SMALL.seeds * (1 + len(norm_clamp.VARIANTS))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ratios": ()}, "ratios: expected at least 1 value, each once, got none"),
        ({"ratios": (0.9, 0.9)}, "ratios: expected at least 1 value, each once, got 0.9, 0.9"),
        ({"ratios": (0.9, 0.0)}, "ratios: expected a number above 0, got 0.0"),
        ({"steps": 0}, "steps: expected an integer of at least 1, got 0"),
        ({"sustained": 0}, "sustained: expected an integer of at least 1, got 0"),
        ({"record_every": 0}, "record_every: expected an integer of at least 1, got 0"),
        ({"before": -50}, "before: expected an integer of at least 0, got -50"),
        ({"before": 110}, "before: expected a multiple of record_every, 50, got 110"),
    ],
)
def test_invalid_settings_are_rejected_before_the_runs(changes, message, monkeypatch):
    monkeypatch.setattr(norm_clamp, "simulate", None)
    with pytest.raises(ValueError, match=message):
        norm_clamp.STUDY.run(replace(SMALL, **changes))


@pytest.mark.filterwarnings("error")
def test_runs_that_diverge_before_the_control_are_censored_at_it(tmp_path):
    result = norm_clamp.STUDY.run(replace(SMALL, lr=1e5, hidden=16, steps=200, ratios=(0.9,), seeds=1))
    numbers = result.numbers
    assert not numbers.finite.any()
    assert not numbers.observed.any()
    assert (numbers.delay == 0).all()
    assert "; 5 of 5 runs diverged; " in result.line
    result.save(tmp_path, "out")


def test_a_norm_held_below_the_free_one_leads_to_generalisation():
    """A network generalises within 4000 steps if its norm is held below the end of free descent, and not above it."""
    cells = {
        name: norm_clamp.descend(**arguments(replace(norm_clamp.STUDY.full, steps=4000), 0, *name))
        for name in (("hold both", 0.8), ("hold both", 1.1))
    }
    below, above = (cell["test_accuracy"] for cell in cells.values())
    assert below[-20:].min() == 1.0
    assert above.max() < 0.5
