"""Events and stopping rules of `simulate` have the conditions, steps and outcomes of a run in a directory."""

import numpy as np
import pytest

import zeroloss as zl
from problems import same_bits
from test_runs import assert_same_run, run_in, settings
from zeroloss import config, runs
from zeroloss.results import Ending
from zeroloss.simulation.conditions import parse_stop_rules

TEXTS = ["train_accuracy >= 0.6", "train_loss < 0.08", "test_loss > 0.15", "norm_W > 3", "norm_E < 1", "time >= 33"]


def simulate(kind="gradient_descent", steps=300, **options):
    given = config.from_settings(settings(kind))
    options = {"record_every": 40, "progress": False, **options}
    return zl.simulate(given.dynamics, given.data, given.network, steps=steps, **options)


@pytest.mark.parametrize("kind", ["gradient_descent", "adamw", "predicted_gradient", "predicted_flow"])
@pytest.mark.parametrize("every", [None, 30])
def test_events_agree_with_a_run_in_a_directory(tmp_path, kind, every):
    run = simulate(kind, events=TEXTS, event_every=every, loss_extremes=True)
    in_directory = run_in(tmp_path / "a", kind, events=TEXTS, event_every=every)
    assert run.events == in_directory.events
    assert run.events.keys() == set(TEXTS)
    assert any(step is not None for step in run.events.values())


def test_events_agree_with_records_of_every_step():
    run = simulate(events=TEXTS)
    every = simulate(record_every=1).history
    for text, step in run.events.items():
        name, comparison, level = text.split()
        holds = {">=": np.greater_equal, ">": np.greater, "<": np.less}[comparison](every[name].values, float(level))
        assert step == (int(holds.argmax()) if holds.any() else None), text


@pytest.mark.parametrize(("record_every", "event_every"), [(1, 7), (4, 10)])
def test_events_do_not_depend_on_checkpoints(tmp_path, record_every, event_every):
    """The accuracy rises and falls between two checks. Chunks have records within them, or end at every step."""
    settings = {
        "data": {"p": 5, "test_count": 2},
        "network": {"hidden": 6},
        "dynamics": {"kind": "gradient_descent", "lr": 3.5, "momentum": 0.9},
        "run": {"steps": 83, "record_every": record_every, "event_every": event_every},
    }
    settings["run"]["events"] = ["train_accuracy >= 0.4", "test_loss < 0.21"]
    found = []
    for name, options in (("a", {}), ("b", {"checkpoint_every": 1})):
        given = config.from_settings({**settings, "run": {**settings["run"], **options}})
        found.append(runs.run(given, tmp_path / name, progress=False).events)
    assert found[0] == found[1]


@pytest.mark.parametrize("kind", ["gradient_descent", "predicted_gradient"])
def test_an_extended_run_has_the_events_of_a_longer_one(tmp_path, kind):
    whole = simulate(kind, events=TEXTS)
    parts = simulate(kind, steps=50, events=TEXTS)
    parts.save(tmp_path / "a")
    parts.extend(250, progress=False)
    assert parts.events == whole.events
    assert same_bits(parts.history, whole.history)
    resumed = runs.resume(tmp_path / "a", extend=250, progress=False)
    assert resumed.events == whole.events
    assert same_bits(resumed.history, whole.history)


@pytest.mark.parametrize(
    ("rule", "key", "sentence"),
    [
        (
            "test_accuracy >= 0.0 for 3 records",
            {"stop_test_accuracy": 0.0, "stop_sustained_records": 3},
            "test accuracy 0 for 3",
        ),
        ("slow_time >= 0.1", {"stop_slow_time": 0.1}, "slow time 0.12 at step 120"),
        ("gradient_norm <= 1e3", {"stop_gradient_norm": 1e3}, "gradient norm"),
        ("train_loss <= 0.02 for 2 records", {"stop": ["train_loss <= 0.02 for 2 records"]}, "train loss 0.02 for 2"),
    ],
)
def test_rules_end_a_run_at_the_step_of_a_run_in_a_directory(tmp_path, rule, key, sentence):
    run = simulate(stop=[rule], loss_extremes=True)
    in_directory = run_in(tmp_path / "a", **key)
    assert run.outcome.ending is Ending.STOPPED_BY_A_RULE
    assert sentence in str(run.outcome)
    assert str(run.outcome) == str(in_directory.outcome)
    assert 0 < run.step < 300
    assert same_bits(run.history, in_directory.history)


def test_a_rule_can_use_a_measure():
    run = simulate(stop=["corner < 1e9 for 2 records"], measures={"corner": lambda net: net.E[0, 0]})
    assert run.step == 80


def test_members_of_an_ensemble_have_events_and_rules():
    given = config.from_settings(settings())
    members = [(given.dynamics, given.data, given.network)] * 2
    options = {"steps": 300, "record_every": 40, "events": TEXTS, "stop": ["norm_E < 5.35"], "progress": False}
    alone = zl.simulate(*members[0], **options)
    for run in zl.simulate_many(members, **options).runs:
        assert run.events == alone.events
        assert str(run.outcome) == str(alone.outcome)


def test_a_run_in_a_directory_is_extended_there(tmp_path):
    """An extension in memory could not be saved there."""
    whole = run_in(tmp_path / "whole")
    run_in(tmp_path / "a", steps=130)
    run = zl.load(tmp_path / "a")
    assert run.extend(170, progress=False) is run
    assert_same_run(whole, run)
    assert_same_run(whole, zl.load(tmp_path / "a"))
    with pytest.raises(ValueError, match=r"measures: cannot be given for the run in .*, because its configuration"):
        run.extend(1, measures={"corner": lambda net: net.E[0, 0]})
    with pytest.raises(ValueError, match="steps, duration: give either the number of steps or a duration, got neither"):
        run.extend()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"events": ["cost <= 1"]}, ValueError, r"events: expected a condition on a recorded value \(.*norm_E"),
        (
            {"events": ["test_accuracy = 1"]},
            ValueError,
            r"events: expected a condition on a recorded value, such as test_",
        ),
        (
            {"events": "test_accuracy >= 1"},
            TypeError,
            r"events: expected a list of conditions, got 'test_accuracy >= 1'",
        ),
        ({"events": [1]}, TypeError, r"events: expected a condition on a recorded value, .* got 1"),
        ({"events": ["test_accuracy >= nan"]}, ValueError, r"events: expected a condition"),
        ({"events": ["norm_E > 1 for 2 records"]}, ValueError, r"events: expected a condition"),
        ({"events": TEXTS, "record_every": "log"}, ValueError, r"event_every: needs a value with record_every"),
        ({"events": TEXTS, "event_every": 0}, ValueError, r"event_every: expected an integer of at least 1, got 0"),
        ({"stop": ["cost <= 1"]}, ValueError, r"stop: expected a condition on a recorded value \(gradient_norm, "),
        (
            {"stop": ["norm_E > 1 for 0 records"]},
            ValueError,
            r"stop: expected a condition on a recorded value, such as ",
        ),
        (
            {"stop": ["train_loss > 1", "train_loss <= 1"]},
            ValueError,
            r"stop: one of .train_loss > 1. and .train_loss <= 1. always",
        ),
    ],
)
def test_invalid_conditions_are_rejected_before_the_first_step(options, error, words):
    with pytest.raises(error, match=words) as raised:
        simulate(**options)
    assert raised.value.names == (words.partition(":")[0],)


@pytest.mark.parametrize(
    ("one", "other", "always"),
    [
        (">= 1", "< 1", True),
        ("> 1", "< 1", False),
        (">= 1", "<= 2", True),
        ("> 2", "< 1", False),
        (">= 1", "<= 1", True),
    ],
)
def test_rules_of_which_one_always_holds_are_rejected(one, other, always):
    texts = [f"norm_E {one}", f"norm_E {other}"]
    if always:
        with pytest.raises(ValueError, match="always holds, so the run would end at once"):
            parse_stop_rules(texts)
    else:
        assert [rule.text for rule in parse_stop_rules(texts)] == texts
    assert len(parse_stop_rules([texts[0], f"norm_W {other}"])) == 2
