"""Checks of theorems and studies: their claims, their files, their lines, and the input that they reject."""

import functools
import json
import signal
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import xarray as xr

import zeroloss as zl
from zeroloss import cli, plots
from zeroloss.cli.command import Terminated
from zeroloss.studies import CHECKS, STUDIES, load
from zeroloss.studies.beyond import (
    delay_law,
    direction,
    edge_of_stability,
    end_states,
    label_noise,
    norm_clamp,
    phase_diagram,
    sliding,
    vanishing_decay,
)
from zeroloss.studies.paper import figure4
from zeroloss.studies.theorems import theorem48, theorem51, theorem410, theorem414
from zeroloss.sweeps.engine import carry_out

SMALL = {
    "4.8": (
        theorem48,
        replace(theorem48.STUDY.quick, p=5, hidden=24, decays_network=(1e-3, 3e-4), duration_network=0.1),
    ),
    "4.10": (theorem410, replace(theorem410.STUDY.quick, seeds=1, steps=2000, record_every=500)),
    "4.14": (theorem414, replace(theorem414.STUDY.quick, points=9, directions=1)),
    "5.1": (theorem51, replace(theorem51.STUDY.quick, points=7, seeds=1)),
    "vanishing-decay": (
        vanishing_decay,
        replace(
            vanishing_decay.STUDY.quick, weight_decays=(1e-3, 3e-4, 1e-4), duration=0.5, before_branching=0.3, times=5
        ),
    ),
    "sliding": (
        sliding,
        replace(sliding.STUDY.quick, duration=0.2, proximal=(1e-1, 3e-2), long_duration=0.3, weight_decays=(1e-4,)),
    ),
    "edge-of-stability": (edge_of_stability, edge_of_stability.STUDY.quick),
    "end-states": (
        end_states,
        replace(end_states.STUDY.quick, weight_decays=(1e-2, 1e-3), slow_time=2.0, activations=("softplus(5)", "relu")),
    ),
    "phase-diagram": (
        phase_diagram,
        replace(phase_diagram.STUDY.quick, fractions=(0.3, 0.95), weight_decays=(3e-4, 1e-3, 0.1, 3.0), duration=3.0),
    ),
    "delay-law": (
        delay_law,
        replace(delay_law.STUDY.quick, learning_rates=(1.0, 2.0), weight_decays=(5e-4, 1e-3), budgets=(4000,)),
    ),
    "norm-clamp": (norm_clamp, replace(norm_clamp.STUDY.quick, steps=2000, ratios=(0.8, 1.0))),
    "direction": (
        direction,
        replace(direction.STUDY.quick, p=5, hidden=32, test_count=3, duration=1.0, marks=9, span=5, kept_time=0.2),
    ),
    "label-noise": (
        label_noise,
        replace(label_noise.STUDY.quick, p=5, hidden=24, steps=6000, times=3, lr=0.25, batch_size=4),
    ),
}


@functools.cache
def result_of(name):
    """Return the result of a small form that takes seconds."""
    module, settings = SMALL[name]
    # Processes take longer to start than to work. test_direction.py runs its study in processes.
    return module.STUDY.run(settings, workers=1 if name in {"direction", "end-states"} else None)


@pytest.mark.parametrize("name", SMALL)
def test_picture_is_redrawn_from_the_file(name, tmp_path):
    result = result_of(name)
    result.save(tmp_path, "out")
    about = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert about["summary"]
    with xr.open_dataset(tmp_path / "out.nc", engine="h5netcdf") as stored:
        xr.testing.assert_identical(stored.load(), result.numbers)
        with plots.style():
            plots.save(result.study.draw(stored), tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "out.png").read_bytes()
    assert result.line


def test_every_name_has_a_module_with_a_quick_form():
    assert {**CHECKS, **STUDIES}.keys() == SMALL.keys()
    for name, module in {**CHECKS, **STUDIES}.items():
        assert load(module) is SMALL[name][0].STUDY
        assert load(module).quick.quick


def test_hyperbola_distance_agrees_with_a_general_optimiser():
    for w in np.random.default_rng(0).normal(0, 2, (10, 2)):
        feet = [
            scipy.optimize.minimize_scalar(
                lambda t, w=w: np.hypot(t - w[0], 1 / t - w[1]), bounds=ends, method="bounded", options={"xatol": 1e-12}
            ).fun
            for ends in ((0.02, 0.3), (0.3, 1), (1, 3), (3, 20), (-0.3, -0.02), (-1, -0.3), (-3, -1), (-20, -3))
        ]
        assert theorem48.hyperbola_distance([w], 1.0)[0] == pytest.approx(min(feet), abs=1e-8)


def test_theorem_4_8_distance_is_proportional_to_the_decay():
    settings = replace(theorem48.STUDY.full, duration_product=0.5)
    (paths,) = carry_out(theorem48.grids(settings)[:1])
    distances = [theorem48.hyperbola_distance(path["weights"], settings.target).max() for path in paths]
    assert settings.decays_product[0] / settings.decays_product[-1] >= 1000
    slope = np.polyfit(np.log(settings.decays_product), np.log(distances), 1)[0]
    assert slope == pytest.approx(1, abs=0.05)


def test_theorem_4_8_holds_for_networks():
    """The sup distance to the set is proportional to the decay over two decades, and small at the smallest decay."""
    decays = (1e-4, 1e-5, 1e-6)
    settings = replace(theorem48.STUDY.full, p=5, hidden=24, decays_network=decays, seeds=3, duration_product=0.1)
    result = theorem48.STUDY.run(settings)
    assert result.summary["slope_network"].keys() == {"softplus(5)", "relu"}
    for slope in result.summary["slope_network"].values():
        assert slope == pytest.approx(1, abs=0.01)
    assert (result.numbers.network.sel(decay=1e-6) < 2e-4).all()


def test_theorem_4_10_has_no_singular_point_except_for_target_0():
    result = result_of("4.10")
    assert result.summary["smallest"][0] > 0.3
    assert result.summary["smallest_of_product"]["1.0"] >= np.sqrt(2) - 1e-12
    assert result.summary["smallest_of_product"]["0.0"] < 0.01


def test_theorem_4_14_cosine_is_proportional_to_the_distance():
    result = result_of("4.14")
    for low, high in result.summary["slope"].values():
        assert low == pytest.approx(1, abs=0.01)
        assert high == pytest.approx(1, abs=0.01)
    assert result.summary["slope_of_figure_4"] == pytest.approx(1, abs=1e-4)
    assert figure4.STUDY.run(figure4.STUDY.full).summary["slope"] == pytest.approx(1, abs=1e-4)


def test_theorem_5_1_holds_to_the_accuracy_of_differences():
    result = result_of("5.1")
    for errors in result.summary.values():
        assert set(errors) == {"0", "0.01", "1", "100"}
        assert max(errors.values()) < 1e-7


def test_the_flow_is_the_limit_of_vanishing_decay():
    """The sup distance falls with the decay, for both activations."""
    result = result_of("vanishing-decay")
    for orders in result.summary.values():
        distances = list(orders["sup_distance"].values())
        assert distances == sorted(distances, reverse=True)
        assert orders["order_early"] > 0.5


def test_proximal_steps_are_fewer_for_a_smaller_error():
    result = result_of("sliding")
    flows = result.summary["flows"]
    plain, proximal = flows["plain 0.01"], flows["proximal 0.03"]
    assert proximal["solves"] < plain["solves"]
    assert proximal["error"] < 0.1
    assert result.summary["most_pinned"] > 300


def test_end_states_are_certified_and_the_flow_approaches_them():
    """The points of softplus(5) are strict minima. Descent and the gradient flow are equally far from a point."""
    summary = result_of("end-states").summary
    for both in summary.values():
        points = both["points"].values()
        assert all(point["greatest_kkt"] <= 1e-8 for point in points)
        assert all(point["distance_gradient_flow"] <= point["distance_norm_flow"] for point in points)
        assert all(
            point["distance_descent"] == pytest.approx(point["distance_gradient_flow"], rel=0.1) for point in points
        )
    assert all(point["minima"] == 1 for point in summary["softplus(5)"]["points"].values())


def test_the_delay_law_of_a_small_grid():
    """The exponent of the summary is that of a fit to the numbers in the file (four places of two runs)."""
    result = result_of("delay-law")
    numbers, law = result.numbers, result.summary["laws"]["sustained"]
    runs = numbers.sel(definition="sustained").stack(run=("seed", "lr", "weight_decay"))
    again = zl.survival.fit_law(runs.earliest, runs.latest, powers={"rate": runs.lr.values * runs.weight_decay.values})
    power = again.powers["rate"]
    assert law["exponent"] == [power.value, power.low, power.high]
    assert -1.5 < power.value < -0.5
    assert result.summary["diverged"] == 0
    assert 0 < float(numbers.censored_share[0]) < 1


def test_relu_reaches_the_edge_of_stability_and_the_setting_of_the_paper_does_not():
    summary = result_of("edge-of-stability").summary
    for name in ("relu", "softplus(5)"):
        assert summary[f"{name}, lr 1, weight decay 0.0001"]["greatest"] < 0.75
    edge = summary["relu, lr 4, weight decay 2.5e-05"]
    assert edge["mean"] == pytest.approx(1, abs=0.015)
    assert 0.96 < edge["least"] < edge["greatest"] < 1.02


def test_label_noise_follows_its_flow_and_minibatches_do_not_drift():
    """tr H falls while the norm rises, and the norm flow lowers both. The order in lr is 1.

    The standard error of the order is that of the two mean differences, relative to their sizes, over log 2.
    """
    result = result_of("label-noise")
    summary, numbers = result.summary, result.numbers
    for way in ("label noise", "noise flow"):
        assert (numbers.trace.sel(way=way).diff("part") < 0).all()
        assert (numbers.norm_squared.sel(way=way).diff("part") > 0).all()
    norm_flow = numbers.sel(way="norm flow")
    assert (norm_flow.norm_squared.diff("part") < 0).all()
    assert (norm_flow.trace.isel(part=-1) < norm_flow.trace.isel(part=0)).all()
    assert max(map(abs, summary["relative_trace"])) < 0.05
    assert summary["largest_drift"] < 1e-6
    first, last = summary["rate"].values()
    spread = np.hypot(*(rate["standard_error"] / rate["difference"] for rate in (first, last))) / np.log(2)
    assert spread < 0.25
    assert summary["order"] == pytest.approx(1, abs=4 * spread)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check"], "THEOREM"),
        (["check", "4.9"], "check '4.9': unknown; there are 4.8, 4.10, 4.14, 5.1"),
        (["study", "everything"], f"study 'everything': unknown; there are {', '.join(STUDIES)}"),
        (["study", "sliding", "--seeds", "0"], "--seeds"),
        (["study", "sliding", "--set", "p"], "--set: expected NAME=VALUE, got 'p'"),
        (["study", "sliding", "--set", "prime=3"], "prime: expected one of p, hidden"),
        (["check", "4.8", "--set", "p=eleven"], "p: expected an integer"),
        (
            ["study", "edge-of-stability", "--set", "last=300"],
            "first, last: expected a record in between and 0 ≤ first < last ≤ 4000, got 400 and 300",
        ),
        (
            ["study", "label-noise", "--set", "batch_size=100"],
            "batch_size: expected 1 to 59, the number of training samples, got 100",
        ),
        (
            ["study", "label-noise", "--set", "activation=relu"],
            "activation: expected a smooth one, which the flow needs",
        ),
        (["study", "label-noise", "--set", "rate_p=1"], " rate_p: expected an integer of at least 2, got 1"),
        (
            ["study", "label-noise", "--set", "rate_hidden=2"],
            " rate_hidden: expected at least 7, so that all samples can be fitted, got 2",
        ),
        (["study", "label-noise", "--set", "rate_hidden=0"], " rate_hidden: expected an integer of at least 1, got 0"),
        (
            ["study", "label-noise", "--set", "rate_test_count=15"],
            "rate_test_count: expected less than 15, the number of samples, got 15",
        ),
        (
            ["study", "vanishing-decay", "--set", "weight_decays=[1e-12]"],
            "weight_decays: expected work of at most 24 hours, got 2 runs of 6.0e+12 steps in all, about",
        ),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert printed.err.count("\n") == 1
    assert message in printed.err


def test_the_command_prints_table_and_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(theorem51, "STUDY", replace(theorem51.STUDY, quick=SMALL["5.1"][1]))
    with pytest.raises(SystemExit) as ended:
        cli.main(["check", "5.1", "--quick", "--out", str(tmp_path)])
    printed = capsys.readouterr().out.splitlines()
    assert ended.value.code == 0
    assert printed[0].split() == ["activation", "λ", "relative", "difference"]
    assert printed[-1].startswith("check 5.1 (quick): ")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"theorem51.{e}" for e in ("json", "nc", "png")]


@pytest.mark.parametrize(
    ("end", "status", "word"), [(KeyboardInterrupt, 130, "interrupted"), (Terminated, 143, "terminated")]
)
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("delay-law", "study delay-law: {}; finished cells are saved, and the same command continues"),
        ("sliding", "{}; unfinished files were not written"),
    ],
)
def test_an_interruption_reports_saved_cells(name, message, end, status, word, capsys, monkeypatch, tmp_path):
    def interrupt(*_):
        raise end

    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    module = SMALL[name][0]
    monkeypatch.setattr(
        module,
        "STUDY",
        replace(module.STUDY, check=lambda settings: None, analyse=None, grids=interrupt, simulate=interrupt),
    )
    with pytest.raises(SystemExit) as ended:
        cli.main(["study", name, "--out", str(tmp_path)])
    assert (ended.value.code, capsys.readouterr().err) == (status, f"\nzeroloss: {message.format(word)}\n")


@pytest.mark.parametrize(
    ("name", "continuation"),
    [("delay-law", "; finished cells are saved, and the same command continues"), ("sliding", "")],
)
def test_a_worker_that_is_killed_ends_a_study_with_one_line(name, continuation, capsys, monkeypatch, tmp_path):
    def lose_worker(*_):
        raise BrokenProcessPool

    module = SMALL[name][0]
    study = replace(module.STUDY, check=lambda settings: None, analyse=None, grids=lose_worker, simulate=lose_worker)
    monkeypatch.setattr(module, "STUDY", study)
    with pytest.raises(SystemExit) as ended:
        cli.main(["study", name, "--out", str(tmp_path)])
    line = "a worker process ended unexpectedly; was it killed, or is there too little memory?"
    assert (ended.value.code, capsys.readouterr().err) == (1, f"zeroloss: study {name}: {line}{continuation}\n")
