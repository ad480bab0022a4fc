"""Settings under their old names mean the same, with a warning, and stored ones are read without a warning."""

import dataclasses
import json
import subprocess
import sys
import warnings

import pytest

import zeroloss as zl
from problems import same_bits
from zeroloss import _deprecated, config, runs
from zeroloss._fingerprint import section_text
from zeroloss.dynamics.registry import dynamics_from_settings

VALUES = {"hold": "fixed", "cap": "at_most", "rescale": "once"}
OLD_RUN = """\
[data]
p = 5
test_count = 2
[network]
hidden = 8
[dynamics]
lr = 0.1
norm_control = "hold"
norm_step = 3
[run]
steps = 10
"""
NEW_RUN = (
    OLD_RUN.replace("norm_control", "norm_constraint").replace("hold", "fixed").replace("norm_step", "norm_from_step")
)
SWEEP = """
[sweep]
"dynamics.norm_control, dynamics.norm_ratio" = [["hold", 0.9], ["cap", 1.1]]
"dynamics.norm_step" = [2, 4]
"""


IN_CONFIGURATION = [
    "dynamics.norm_control is deprecated; use norm_constraint",
    "dynamics.norm_step is deprecated; use norm_from_step",
]


def words_of(caught):
    """The lines of warnings, without the values that were renamed."""
    return [str(warning.message).partition(" (")[0] for warning in caught]


@pytest.mark.parametrize("kind", [zl.GradientDescent, zl.AdamW])
@pytest.mark.parametrize(("old", "new"), VALUES.items())
def test_classes_accept_old_keywords(kind, old, new):
    expected = kind(lr=0.1, norm_constraint=new, norm_from_step=3)
    with pytest.warns(DeprecationWarning, match="is deprecated") as caught:
        found = kind(lr=0.1, norm_control=old, norm_step=3)
    assert found == expected
    assert words_of(caught) == [line.removeprefix("dynamics.") for line in IN_CONFIGURATION]
    assert all(warning.filename == __file__ for warning in caught)


def test_both_names_are_an_error():
    with pytest.raises(ValueError, match="norm_step: is the old name of norm_from_step; give only norm_from_step"):
        zl.GradientDescent(lr=0.1, norm_constraint="fixed", norm_step=3, norm_from_step=3)
    with pytest.raises(config.ConfigurationError, match=r"dynamics\.norm_step: is the old name of norm_from_step"):
        config.from_settings({"dynamics": {"norm_step": 3, "norm_from_step": 3}})


def test_a_configuration_accepts_old_keys(tmp_path):
    (tmp_path / "old.toml").write_text(OLD_RUN)
    (tmp_path / "new.toml").write_text(NEW_RUN)
    new = config.from_file(tmp_path / "new.toml")
    with pytest.warns(DeprecationWarning, match="is deprecated") as caught:
        old = config.from_file(tmp_path / "old.toml")
    assert words_of(caught) == IN_CONFIGURATION
    assert (old.settings, old.dynamics, old.fingerprint()) == (new.settings, new.dynamics, new.fingerprint())
    with pytest.warns(DeprecationWarning, match=r"dynamics\.norm_control is deprecated"):
        changed = config.from_file(tmp_path / "new.toml", dynamics={"norm_control": "cap"})
    assert changed.dynamics.norm_constraint == "at_most"


def test_a_sweep_accepts_old_keys(tmp_path):
    (tmp_path / "old.toml").write_text(OLD_RUN.replace('norm_control = "hold"\nnorm_step = 3\n', "") + SWEEP)
    with pytest.warns(DeprecationWarning, match="is deprecated") as caught:
        sweep = zl.sweeps.sweep(tmp_path / "old.toml", tmp_path / "out", workers=1, progress=False)
    assert words_of(caught) == IN_CONFIGURATION
    assert sweep.cube().norm_constraint.values.tolist() == ["fixed", "at_most"]
    assert sweep.cube().norm_from_step.values.tolist() == [2, 4]


def test_the_command_prints_one_line_for_each_old_name(tmp_path):
    (tmp_path / "new.toml").write_text(NEW_RUN)
    words = ["run", "new.toml", "--out", "run", "--set", "dynamics.norm_control=cap"]
    done = subprocess.run(
        [sys.executable, "-m", "zeroloss", *words], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    lines = [line for line in done.stderr.splitlines() if "deprecated" in line]
    assert lines == [
        "zeroloss: dynamics.norm_control is deprecated; use norm_constraint "
        "(fixed instead of hold, at_most instead of cap, once instead of rescale)"
    ]


@pytest.mark.filterwarnings("error")
def test_stored_settings_are_read_without_a_warning(tmp_path):
    (tmp_path / "new.toml").write_text(NEW_RUN)
    new = config.from_file(tmp_path / "new.toml")
    runs.run(new, tmp_path / "run", progress=False)
    for file in (tmp_path / "run" / "run.json", tmp_path / "run" / "config.toml"):
        text = file.read_text().replace("norm_constraint", "norm_control").replace("norm_from_step", "norm_step")
        file.write_text(text.replace("fixed", "hold"))
    settings = json.loads((tmp_path / "run" / "run.json").read_text())["settings"]
    assert settings["dynamics"]["norm_control"] == "hold"
    assert dynamics_from_settings(settings["dynamics"]) == new.dynamics
    assert config.from_file(tmp_path / "run" / "config.toml").settings == new.settings
    runs.resume(tmp_path / "run", extend=5, progress=False)
    whole = zl.simulate(new.dynamics, new.data, new.network, steps=15, progress=False)
    assert same_bits(zl.load(tmp_path / "run").network.E, whole.network.E)


@pytest.mark.filterwarnings("error")
def test_a_stored_sweep_is_continued(tmp_path):
    base = OLD_RUN.replace('norm_control = "hold"\nnorm_step = 3\n', "")
    (tmp_path / "old.toml").write_text(base + SWEEP)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        zl.sweeps.sweep(tmp_path / "old.toml", tmp_path / "out", workers=1, progress=False)
    stored = tmp_path / "out" / "sweep.toml"
    stored.write_text(base + SWEEP)
    assert zl.sweeps.open_sweep(tmp_path / "out").norm_constraint.values.tolist() == ["fixed", "at_most"]
    assert not zl.sweeps.sweep(stored, tmp_path / "out", workers=1, progress=False).todo


def test_fingerprints_are_those_of_the_old_names():
    old = {"kind": "gradient_descent", "norm_control": "cap", "norm_step": 3}
    new = {"kind": "gradient_descent", "norm_constraint": "at_most", "norm_from_step": 3}
    assert section_text("dynamics", new) == section_text("dynamics", old)
    other = {"kind": "noisy", "norm_step": 3}
    assert _deprecated.rename_keys("dynamics", other, warn=True) == other


def test_a_crossing_is_found_under_the_old_name():
    data = zl.datasets.modular_addition(5, test_count=2)
    net = zl.networks.uniform_fan_in(data, 8, seed=0)
    history = zl.simulate(zl.GradientDescent(lr=0.1), data, net, steps=2).history
    level = zl.metrics.Level("train_loss", 1.0, direction="below")
    with pytest.warns(DeprecationWarning, match=r"Level\.crossed is deprecated; use Level\.find_crossing"):
        assert level.crossed(history) == level.find_crossing(history)


@pytest.mark.parametrize(
    ("use", "line"),
    [
        (lambda: zl.results.held is zl.results.file_lock, "zeroloss.results.held is deprecated; use file_lock"),
        (lambda: zl.results.trained is zl.results.describe_origin, "zeroloss.results.trained is deprecated; use"),
        (
            lambda: runs.Broken is runs.RunInterruptedError,
            "zeroloss.runs.Broken is deprecated; use RunInterruptedError",
        ),
        (
            lambda: zl.results.Outcome(zl.results.Ending.STIFF, "at 3").sentence == "at 3",
            "Outcome.sentence is deprecated",
        ),
        (lambda: not zl.results.Ending.STIFF.can_go_on, "Ending.can_go_on is deprecated; use can_continue"),
        (lambda: zl.results.Ending.STIFF.is_the_end, "Ending.is_the_end is deprecated; use is_final"),
    ],
)
def test_old_public_names_work_with_a_warning(use, line):
    with pytest.warns(DeprecationWarning, match=line):
        assert use()


def test_old_arguments_of_runs_work_with_a_warning(tmp_path):
    steps, configuration = [], config.from_settings({"run": {"steps": 2, "record_every": 1}})
    with pytest.warns(DeprecationWarning, match="announce is deprecated; use on_record"):
        runs.run(configuration, tmp_path / "a", progress=False, announce=lambda step, values: steps.append(step))
    assert steps == [0, 1, 2]
    with pytest.warns(DeprecationWarning, match="tell is deprecated; use on_warning"):
        runs.resume(tmp_path / "a", progress=False, tell=steps.append)
    with pytest.raises(AttributeError, match=r"module 'zeroloss.runs' has no attribute 'nothing'"):
        _ = runs.nothing


@pytest.mark.parametrize("kind", [zl.GradientDescent, zl.AdamW])
def test_old_attributes_of_settings_have_the_old_values(kind):
    with pytest.warns(DeprecationWarning, match=r"\.norm_control is deprecated; use norm_constraint"):
        assert [kind(lr=0.1, norm_constraint=new).norm_control for new in VALUES.values()] == list(VALUES)
    with pytest.warns(DeprecationWarning, match=r"\.norm_step is deprecated; use norm_from_step"):
        assert kind(lr=0.1, norm_constraint="once", norm_from_step=3).norm_step == 3
    with pytest.warns(DeprecationWarning, match=r"\.norm_control is deprecated"):
        assert kind(lr=0.1).norm_control is None


@pytest.mark.parametrize("kind", [zl.GradientDescent, zl.AdamW])
def test_settings_are_replaced_under_old_names(kind):
    start = kind(lr=0.1, norm_constraint="at_most", norm_from_step=2)
    with pytest.warns(DeprecationWarning, match="is deprecated") as caught:
        changed = dataclasses.replace(start, norm_control="hold", norm_step=3)
    assert changed == kind(lr=0.1, norm_constraint="fixed", norm_from_step=3)
    assert all(warning.filename == __file__ for warning in caught)
    with pytest.warns(DeprecationWarning, match="norm_control is deprecated"):
        assert dataclasses.replace(kind(lr=0.1), norm_control="cap").norm_constraint == "at_most"


@pytest.mark.parametrize("make", [lambda keys: config.RunSettings(**keys), config.RunSettings.model_validate])
def test_the_section_run_accepts_its_old_key(make):
    with pytest.warns(DeprecationWarning, match=r"stop_records is deprecated") as caught:
        settings = make({"stop_records": 4})
    assert settings == config.RunSettings(stop_sustained_records=4)
    assert caught[0].filename == __file__
    with pytest.raises(ValueError, match="stop_records: is the old name of stop_sustained_records"):
        make({"stop_records": 4, "stop_sustained_records": 4})
