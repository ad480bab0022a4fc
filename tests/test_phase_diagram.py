"""The studies of delays: phases of synthetic and simulated runs, laws, budgets, and interruptions."""

import io
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

import zeroloss as zl
from test_checks_and_studies import SMALL, result_of
from zeroloss.studies import Cells
from zeroloss.studies.beyond import _delays, delay_law, phase_diagram
from zeroloss.studies.beyond._delays import make_history
from zeroloss.studies.beyond.phase_diagram import PHASES, phase_of
from zeroloss.sweeps import engine

STEPS = [0, 1, 10, 20, 40, 80, 160, 320]
RISES = [0.1, 0.5, 1, 1, 1, 1, 1, 1]  # memorised at step 10


def history(train, test, norm=(7.0,) * 8):
    curves = {"train_accuracy": train, "test_accuracy": test, "norm_E": norm, "norm_W": norm}
    return xr.Dataset({name: ("step", np.array(values, float)) for name, values in curves.items()}, {"step": STEPS})


@pytest.mark.parametrize(
    ("phase", "train", "test", "norm"),
    [
        ("groks", RISES, [0, 0, 0, 0, 0.2, 0.6, 0.6, 0.9], None),
        ("groks", RISES, [0, 0, 0.9, 0, 0.2, 0.6, 0.6, 0.6], None),  # once early, but not sustained
        ("generalises at once", RISES, [0, 0.1, 0.3, 0.6, 0.9, 1, 1, 1], None),
        ("generalises at once", [0.1, 0.5, 0.9, 0.9, 0.9, 1, 1, 1], [0.1, 0.6, 0.6, 0.6, 1, 1, 1, 1], None),
        ("memorises only", RISES, [0, 0, 0, 0, 0.2, 0.4, 0.4, 0.4], None),
        ("memorises only", RISES, [0, 0, 0, 0, 0.2, 0.4, 0.6, 0.6], None),  # too late to be sustained
        ("memorises only", [0.1, 0.5, 1, 1, 1, 1, 0.9, 1], [0] * 8, None),  # one record off
        ("collapses", [0.1, 0.5, 0.3, 0.1, 0, 0, 0, 0], [0] * 8, [7, 6, 5, 4, 3, 2, 1, 0.1]),
        ("collapses", [0.1, 0.5, 1, 1, 1, 0.9, 0.5, 0.2], [0] * 8, [7, 7, 7, 6, 5, 4, 3, 2]),  # loses the fit
        ("collapses", [0.1, 0.5, 1, 1, 1, 0.9, 0.5, 0.2], [0, 0, 0.9, 0.9, 0.9, 0, 0, 0], [7, 7, 7, 6, 5, 4, 3, 2]),
        ("does not fit", [0.1, 0.5, 1, 0.9, 1, 0.9, 1, 0.9], [0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9], None),  # flickers
        ("does not fit", [0.1, 0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 1], [0, 0, 0, 0, 0.9, 0.9, 0.9, 0.9], None),  # too late
        ("does not fit", [0.1, 0.5, 0.6, 0.7, 0.8, 0.8, 0.9, 0.9], [0] * 8, None),
    ],
)
def test_phases_of_synthetic_histories(phase, train, test, norm):
    one = history(train, test) if norm is None else history(train, test, norm)
    assert phase_of(one, False, accuracy=0.5, sustained=3) == phase
    assert phase_of(one, True, accuracy=0.5, sustained=3) == "diverges"
    assert phase in PHASES


def test_definitions_have_the_levels_of_their_meaning():
    """The constant prediction of a one-hot target has the loss (1 − 1/p)/p."""
    Y = np.eye(7)
    meant = _delays.definitions(7, 0.5, 2)
    assert meant["loss"][1].level == pytest.approx(np.mean((Y - Y.mean(0)) ** 2))
    assert meant["loss"][0].level == pytest.approx(meant["loss"][1].level / 10)
    assert {level.direction for level in meant["loss"]} == {"below"}
    assert [levels[1].sustained for levels in meant.values()] == [1, 2, 2, 2]


def make_run(lr, weight_decay, steps, seed, **_):
    """Return a run with the delay 1/(lr · weight decay), a little more for later seeds; seed 1 generalises first."""
    memorised, step = 100, np.unique(np.geomspace(1, steps, 100).round())
    generalised = 20 if seed == 1 else memorised + (1 + 0.1 * (seed % 7)) / (lr * weight_decay)
    train, test, ones = step >= memorised, step >= generalised, np.ones(len(step))
    losses = {"train_loss": 1.0 - train, "test_loss": 1.0 - test, "norm_E": ones, "norm_W": ones}
    return {"step": step, "train_accuracy": 1.0 * train, "test_accuracy": 1.0 * test, **losses, "diverged": False}


@pytest.mark.parametrize(
    ("module", "changes"),
    [
        (delay_law, {"learning_rates": (0.5, 0.6, 0.7, 0.8, 1.0, 1.5, 2.0), "weight_decays": (5e-4, 1e-3)}),
        (phase_diagram, {"fractions": (0.95,), "weight_decays": (3e-4, 1e-3)}),
    ],
)
@pytest.mark.filterwarnings("error")
def test_runs_that_generalise_first_are_left_out_and_counted(module, changes, monkeypatch, tmp_path):
    """Fits, fits within budgets and the picture leave them out. The picture has points of every learning rate."""
    monkeypatch.setattr(_delays, "descend", make_run)
    result = module.STUDY.run(replace(module.STUDY.quick, **changes, seeds=2))
    law = result.summary["laws"]["sustained"]
    assert law["runs"] == result.summary["runs"] - 1
    assert law["exponent"][1] <= -1 <= law["exponent"][2]
    assert result.summary["generalised_first"] == 1
    assert ", 1 left out that generalises before it memorises" in result.line
    result.save(tmp_path, "out")
    labels = [text.get_text() for axes in result.draw().axes for text in legend_of(axes)]
    assert "1 left out: generalised first" in labels
    assert {f"lr {lr:g}" for lr in changes.get("learning_rates", ())} <= set(labels)


def legend_of(axes):
    return axes.get_legend().get_texts() if axes.get_legend() else []


def diagram():
    return result_of("phase-diagram")


def test_the_diagram_has_the_phases_that_theory_expects():
    """θ = 0 is stable above some decay, steps diverge beyond lr · weight_decay = 2, and few samples do not grok."""
    numbers = diagram().numbers
    assert set(numbers.phase.sel(weight_decay=3.0).values.ravel()) == {"diverges"}
    assert set(numbers.phase.sel(weight_decay=0.1).values.ravel()) == {"collapses"}
    assert (numbers.norm.sel(weight_decay=0.1) < 0.01).all()
    assert set(numbers.phase.sel(weight_decay=[3e-4, 1e-3], fraction=0.3).values.ravel()) == {"memorises only"}
    assert set(numbers.phase.sel(weight_decay=[3e-4, 1e-3], fraction=0.95).values.ravel()) == {"groks"}
    assert diagram().summary["law_fractions"] == [0.95]
    assert diagram().summary["laws"]["sustained"]["rate_in_fraction"] is None  # one fraction has no rate


def test_a_run_of_the_diagram_equals_one_by_hand():
    """The run by hand uses the seeds that the result lists."""
    result, at = diagram(), 5  # seed 0, fraction 0.95, decay 1e-3
    seeds = result.seeds[at]
    data = zl.datasets.modular_addition(11, train_fraction=0.95, seed=seeds["data"])
    net = zl.networks.uniform_fan_in(data, 128, seeds["network"])
    run = zl.simulate(zl.GradientDescent(1.0, 1e-3), data, net, steps=3000, record_every="log")
    own = result.numbers.sel(seed=0, fraction=0.95, weight_decay=1e-3, definition="first")
    assert own.memorisation == zl.metrics.crossing_step(run.history.train_accuracy, 1.0)
    assert own.generalisation == zl.metrics.crossing_step(run.history.test_accuracy, 0.5)
    assert own.test_accuracy == run.history.test_accuracy[-1]
    assert len({tuple(one.values()) for one in result.seeds}) == len(result.seeds)  # no two runs share a seed


def test_an_interrupted_study_resumes(tmp_path, monkeypatch):
    """After an interruption it computes only the missing runs, with the numbers of an undisturbed study."""
    settings = SMALL["phase-diagram"][1]
    simulate, count = _delays.simulate, []

    def simulate_three(*given, **options):
        if len(count) == 3:
            raise KeyboardInterrupt
        count.append(given)
        return simulate(*given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(_delays, "simulate", simulate_three)
        with pytest.raises(KeyboardInterrupt):
            phase_diagram.STUDY.run(settings, cells=Cells(tmp_path), workers=1)
    cells = Cells(tmp_path)
    (runs,) = engine.carry_out(phase_diagram.grids(settings), cells, workers=1)
    assert cells.found == 3
    (undisturbed,) = engine.carry_out(phase_diagram.grids(settings), workers=2)
    for one, other in zip(runs, undisturbed, strict=True):
        assert one.keys() == other.keys()
        assert all((one[name] == other[name]).all() for name in one)


def test_the_bar_reaches_its_end(tmp_path, monkeypatch):
    """This includes stored runs, and a run that diverges and takes fewer steps than planned."""
    bars = []

    def bar(*arguments, make=engine.progress_bar, **options):
        bars.append(make(True, **{**options, "file": io.StringIO()}))
        return bars[-1]

    monkeypatch.setattr(engine, "progress_bar", bar)
    settings = replace(SMALL["phase-diagram"][1], fractions=(0.95,), weight_decays=(0.1, 3.0), seeds=1)
    for seeds, computed in ((1, 1), (2, 1), (2, 0)):
        grids = phase_diagram.grids(replace(settings, seeds=seeds))
        (runs,) = engine.carry_out(grids, Cells(tmp_path))
        assert [bool(run["diverged"]) for run in runs] == [False, True] * seeds
        assert len(bars) == computed
        if bars:
            assert bars.pop().n == grids[0].total_steps() / seeds


def test_a_budget_cuts_a_run():
    run = {"step": np.array([0, 5, 10, 20]), **{name: np.arange(4.0) for name in _delays.CURVES}}
    assert make_history(run, 10).step.values.tolist() == [0, 5, 10]
    assert make_history(run, 19).step.values.tolist() == [0, 5, 10]
    xr.testing.assert_identical(make_history(run, 20), make_history(run))


def test_the_exponent_within_a_budget_needs_the_censored_runs():
    """The delays have a known law with the exponent −1, and a budget cuts off half of them."""
    random = np.random.default_rng(0)
    rate = np.exp(random.uniform(np.log(3e-4), np.log(1e-2), 80))
    delay = np.exp(2 - np.log(rate) + 0.7 * random.standard_normal(80))
    budget = np.median(delay)
    low, high = np.minimum(delay, budget), np.where(delay < budget, delay, np.inf)
    found = delay_law._fit_by_budget(low, high, rate)
    assert found["censored"][1] <= -1 <= found["censored"][2]
    assert found["dropped"][1] > -1
    assert found["taken"][1] > -1
    none = delay_law._fit_by_budget(low, np.full(80, np.inf), rate)
    assert np.isnan([none["censored"], none["dropped"]]).all()


def test_work_beyond_the_budget_is_rejected():
    settings = replace(phase_diagram.STUDY.quick, weight_decays=(1e-9,), fractions=(0.9,), seeds=1)
    expected = r"weight_decays: expected work of at most 24 hours, got 1 runs of 6.0e\+09 steps in all, about \S+ hours"
    with pytest.raises(ValueError, match=expected):
        phase_diagram.STUDY.run(settings)


def test_a_diagram_without_a_law(tmp_path):
    """The picture is drawn even if nothing groks."""
    settings = replace(phase_diagram.STUDY.quick, fractions=(0.3,), weight_decays=(1e-2, 3.0), duration=0.1, seeds=1)
    result = phase_diagram.STUDY.run(settings)
    assert result.line.endswith("too few grok for a law")
    result.save(tmp_path, "out")
    with xr.open_dataset(tmp_path / "out.nc", engine="h5netcdf") as stored:
        xr.testing.assert_identical(stored.load(), result.numbers)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight_decays": (1e-3, 0.0)}, "weight_decay: expected a number above 0, got 0.0"),
        ({"fractions": ()}, "fractions: expected at least 1 value, each once, got none"),
        ({"weight_decays": (1e-3, 1e-3)}, "weight_decays: expected at least 1 value, each once, got 0.001, 0.001"),
        ({"weight_decays": (1e-3, 5e-324)}, r"weight_decay: expected a finite duration / .*, got 5e-324 at lr 1.0"),
        (
            {"weight_decays": (1e-3, 1e-305)},
            r"weight_decays: expected work .*, got 16 runs of .*, about \S{1,9} hours$",
        ),
        ({"lr": 1e-200, "weight_decays": (1e-200,)}, r"weight_decay: expected a finite duration / .*, got 1e-200 at"),
        ({"duration": 0.0}, "duration: expected a number above 0, got 0.0"),
        ({"law_decay": 0.0}, "law_decay: expected a number above 0, got 0.0"),
        ({"accuracy": 1.5}, r"accuracy: expected a number in \(0, 1\], got 1.5"),
        ({"seeds": 1001}, "places, seeds: expected at least one place and at most 1000 seeds, got 24 and 1001"),
    ],
)
def test_invalid_settings_are_rejected(changes, message):
    with pytest.raises(ValueError, match=message):
        phase_diagram.STUDY.run(replace(phase_diagram.STUDY.quick, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rates": (1.0,)}, "learning_rates: expected at least 2 values, each once, got 1.0"),
        ({"learning_rates": (1.0, 1.0)}, "learning_rates: expected at least 2 values, each once, got 1.0, 1.0"),
        ({"weight_decays": ()}, "weight_decays: expected at least 2 values, each once, got none"),
        ({"budgets": ()}, "budgets: expected at least 1 value, each once, got none"),
        ({"budgets": (10, 10)}, "budgets: expected at least 1 value, each once, got 10, 10"),
        ({"budgets": (0,)}, "budgets: expected an integer of at least 1, got 0"),
        ({"accuracy": 0.0}, r"accuracy: expected a number in \(0, 1\], got 0.0"),
        ({"sustained": 0}, "sustained: expected an integer of at least 1, got 0"),
    ],
)
def test_settings_without_laws_are_rejected_before_the_runs(changes, message, monkeypatch):
    monkeypatch.setattr(delay_law, "grids", None)
    with pytest.raises(ValueError, match=message):
        delay_law.STUDY.run(replace(delay_law.STUDY.quick, **changes))
