"""Runs in directories: their files, resumption to the same bits, events, stopping rules, extension, reports."""

import json

import numpy as np
import pytest
import xarray as xr

import zeroloss as zl
from problems import same_bits
from zeroloss import config, runs
from zeroloss.simulation.checkpoints import Checkpoints
from zeroloss.simulation.conditions import parse_events
from zeroloss.simulation.events import Events
from zeroloss.simulation.observer import View
from zeroloss.simulation.stopping import StoppingRules

GRADIENT_DESCENT = {"kind": "gradient_descent", "lr": 0.5, "weight_decay": 1e-3, "momentum": 0.5}
DYNAMICS = {
    "gradient_descent": GRADIENT_DESCENT,
    "compensated": {**GRADIENT_DESCENT, "compensated": True, "loss": "cross_entropy"},
    "adamw": {"kind": "adamw"},
    "predicted_gradient": {"kind": "predicted_gradient"},
    "predicted_flow": {"kind": "predicted_gradient", "rtol": 1e-2},
}

ONLY_FLOAT64 = ("predicted_flow", "float32")


def settings(kind="gradient_descent", dtype="float64", **run):
    hidden = {"init": "normal", "hidden": 32, "std": 0.4, "seed": 1, "dtype": dtype}
    run = {"steps": 300, "record_every": 40, "snapshot_every": 100, "checkpoint_every": 70, **run}
    data = {"task": "modular_addition", "p": 7, "test_count": 8}
    return {"data": data, "network": hidden, "dynamics": DYNAMICS[kind], "run": run}


def run_in(directory, *arguments, **run):
    return runs.run(config.from_settings(settings(*arguments, **run)), directory, progress=False)


def assert_same_run(one, other):
    assert same_bits(one.history, other.history)
    assert (one.snapshots is None) == (other.snapshots is None)
    assert one.snapshots is None or same_bits(one.snapshots, other.snapshots)
    assert one.state.keys() == other.state.keys()
    assert all(same_bits(one.state[name], other.state[name]) for name in one.state)
    assert one.events == other.events
    assert str(one.outcome) == str(other.outcome)


class Interruption(Exception):  # noqa: N818
    pass


BOTH = [(kind, dtype) for kind in DYNAMICS for dtype in ("float64", "float32") if (kind, dtype) != ONLY_FLOAT64]


@pytest.mark.parametrize(("kind", "dtype"), BOTH)
def test_a_run_resumed_from_every_checkpoint_has_the_same_bits(tmp_path, kind, dtype):
    """The run stops after some records, which are between checkpoints, and is resumed each time."""
    events = ["train_loss < 0.1", "test_loss > 0.2", "train_accuracy >= 0.5"]
    whole = run_in(tmp_path / "whole", kind, dtype, events=events, event_every=30)
    assert whole.history.step.values.tolist() == [*range(0, 300, 40), 300]
    assert whole.snapshots.step.values.tolist() == [0, 100, 200, 300]

    def interrupt(step, values):
        if step in interruptions:
            interruptions.remove(step)
            raise Interruption

    interruptions = {0, 80, 120, 280}
    with pytest.raises(Interruption):
        runs.run(
            config.from_settings(settings(kind, dtype, events=events, event_every=30)),
            tmp_path / "broken",
            progress=False,
            on_record=interrupt,
        )
    assert list((tmp_path / "broken" / "checkpoints").glob("step-*")), "step 0 is saved before anything else"
    for _ in range(20):
        try:
            resumed = runs.resume(tmp_path / "broken", progress=False, on_record=interrupt)
        except Interruption:
            continue
        break
    assert_same_run(whole, resumed)
    assert_same_run(whole, zl.load(tmp_path / "broken"))


def test_a_norm_flow_starts_from_a_user_s_files_on_the_set(tmp_path):
    """A start off the set raises an error before the directory is made."""
    data = zl.datasets.modular_addition(5, test_count=5)
    net = zl.networks.normal(data, hidden=24, std=0.5, seed=1, activation="softplus(5)")
    off_the_set = net.E, net.W
    on = zl.geometry.project(net, data).network
    np.savez(
        tmp_path / "data.npz", **{name: getattr(data, name) for name in ("X_train", "Y_train", "X_test", "Y_test")}
    )
    for name, (E, W) in (("on", (on.E, on.W)), ("off", off_the_set)):
        np.savez(tmp_path / f"{name}.npz", E=E, W=W)
        text = f"""
[data]
task = "arrays"
file = "data.npz"
[network]
init = "file"
file = "{name}.npz"
activation = "softplus(5)"
[dynamics]
kind = "norm_flow"
rtol = 1e-3
[run]
duration = 0.3
record_every = 2
checkpoint_every = 3
"""
        (tmp_path / f"{name}.toml").write_text(text)
    whole = runs.run(config.from_file(tmp_path / "on.toml"), tmp_path / "whole", progress=False)

    def interrupt(step, values):
        if step == 2:
            raise Interruption

    with pytest.raises(Interruption):
        runs.run(config.from_file(tmp_path / "on.toml"), tmp_path / "a", progress=False, on_record=interrupt)
    assert_same_run(whole, runs.resume(tmp_path / "a", progress=False))
    with pytest.raises(ValueError, match="is not on the zero-loss set"):
        runs.run(config.from_file(tmp_path / "off.toml"), tmp_path / "b", progress=False)
    assert not (tmp_path / "b").exists()


def test_the_files_of_a_run_open_in_other_programs(tmp_path):
    run = run_in(tmp_path / "a")
    history = xr.open_dataset(tmp_path / "a" / "history.nc")
    assert same_bits(history.load(), run.history)
    assert history.train_loss.attrs["long_name"]
    snapshots = xr.open_dataset(tmp_path / "a" / "snapshots.nc", chunks=None)
    assert snapshots.E.shape == (4, 7, 32)
    about = json.loads((tmp_path / "a" / "run.json").read_text())
    assert about["outcome"] == "reached the end"
    assert about["settings"]["fingerprint"] == config.from_file(tmp_path / "a" / "config.toml").fingerprint()
    with np.load(tmp_path / "a" / "data.npz") as stored:
        assert same_bits(stored["Y_train"], run.data.Y_train)
    assert "reached the end: 300 steps" in (tmp_path / "a" / "log.txt").read_text()


def test_a_run_in_a_directory_has_the_bits_of_simulate(tmp_path):
    """Checkpoints and checks for events change no bit; the loss extremes cover every step."""
    configuration = config.from_settings(settings())
    run = runs.run(configuration, tmp_path / "a", progress=False)
    start = (configuration.dynamics, configuration.data, configuration.network)
    alone = zl.simulate(*start, steps=300, record_every=40, loss_extremes=True)
    assert same_bits(run.history, alone.history)
    every = zl.simulate(*start, steps=300, record_every=1)
    for before, after in zip(run.history.step.values[:-1], run.history.step.values[1:], strict=True):
        losses = every.history.train_loss.sel(step=slice(before, after))
        record = run.history.sel(step=after)
        assert record.train_loss_min == pytest.approx(float(losses.min()), rel=1e-13)
        assert record.train_loss_max == pytest.approx(float(losses.max()), rel=1e-13)


@pytest.mark.parametrize("kind", ["gradient_descent", "predicted_gradient", "predicted_flow"])
def test_events_have_their_exact_steps(tmp_path, kind):
    """The oracle records every step."""
    texts = ["train_accuracy >= 0.6", "train_loss < 0.08", "test_loss > 0.15", "norm_W > 3", "norm_E < 1"]
    run = run_in(tmp_path / "a", kind, events=texts, event_every=100, record_every=150)
    configuration = config.from_settings(settings(kind))
    every = zl.simulate(
        configuration.dynamics, configuration.data, configuration.network, steps=300, record_every=1
    ).history
    for text in texts:
        (event,) = parse_events([text])
        holds = event.holds(every[event.name].values)
        step = run.events[text]
        if step is not None:
            assert holds[step]
            assert step == 0 or not holds[step - 1]
        else:
            assert not holds[[0, 100, 200, 300]].any()
        if kind == "gradient_descent" and event.name == "train_loss":
            assert step == (int(holds.argmax()) if holds.any() else None)
    assert any(step is not None for step in run.events.values()), "some of them happen"


def test_a_search_for_events_does_not_change_the_state():
    data = zl.datasets.modular_addition(7, test_count=8)
    net = zl.networks.normal(data, hidden=32, std=0.4, seed=1)
    stepper = zl.PredictedGradient(step_size=1e-3).start(data, net)
    events = Events(parse_events(["norm_E < 1e9", "norm_W < 1e9"]), 10)
    events.observe(View(stepper, 0, 0))
    stepper.advance(10)
    before = stepper.save()
    events.observe(View(stepper, 10, 0))
    assert all(same_bits(array, stepper.save()[name]) for name, array in before.items())
    assert events.first_steps == {"norm_E < 1e9": 0, "norm_W < 1e9": 0}


@pytest.mark.parametrize(
    ("rule", "words", "step"),
    [
        ({"stop_test_accuracy": 0.0, "stop_sustained_records": 3}, "test accuracy 0 for 3 records at step 120", 120),
        ({"stop_slow_time": 0.1}, "slow time 0.12 at step 120", 120),
        ({"stop_gradient_norm": 1e3}, "gradient norm", 40),
        ({"stop_minutes": 1e-9}, "after 1e-09 minutes", None),
    ],
)
def test_stopping_rules_end_a_run_at_their_step(tmp_path, rule, words, step):
    run = run_in(tmp_path / "a", **rule)
    assert str(run.outcome).startswith(f"stopped by a rule: {words}")
    assert step is None or run.step == step
    extended = runs.resume(tmp_path / "a", extend=300 - run.step, progress=False)
    assert "stopped by a rule" in str(extended.outcome) or extended.step == 300


@pytest.mark.parametrize("kind", ["predicted_gradient", "adamw", "predicted_flow"])
def test_a_run_stopped_by_time_is_resumed_to_the_same_bits(tmp_path, monkeypatch, kind):
    """It stops between records, several times."""
    whole = run_in(tmp_path / "whole", kind)
    run = run_in(tmp_path / "a", kind, stop_minutes=1e-9)
    assert run.step not in range(0, 300, 40)
    for _ in range(2):
        before, run = run.step, runs.resume(tmp_path / "a", progress=False)
        assert before < run.step < 300
    monkeypatch.setattr(StoppingRules, "_is_time_up", lambda self: False)
    run = runs.resume(tmp_path / "a", progress=False)
    assert_same_run(whole, run)


@pytest.mark.parametrize("kind", ["gradient_descent", "predicted_gradient"])
def test_a_run_killed_before_its_last_checkpoint_has_the_same_bits(tmp_path, monkeypatch, kind):
    """The last step has a checkpoint. It is recorded only because it is the last."""
    whole = run_in(tmp_path / "whole", kind, checkpoint_every=100)

    def raise_interruption(self, *arguments):
        raise Interruption

    with monkeypatch.context() as patched:
        patched.setattr("zeroloss.runs.execute.Checkpoints.write", replace_last_write(raise_interruption))
        with pytest.raises(Interruption):
            run_in(tmp_path / "a", kind, checkpoint_every=100)
    assert_same_run(whole, runs.resume(tmp_path / "a", progress=False))


def replace_last_write(function):
    """Return `Checkpoints.write` with another function for the last checkpoint."""
    real = Checkpoints.write

    def write(self, view, outcome=None, *arguments):
        return real(self, view, outcome, *arguments) if outcome is None else function(self)

    return write


@pytest.mark.parametrize(
    ("kind", "passing", "first", "whole", "more"),
    [
        ("gradient_descent", "norm_E > 5.55", {"steps": 170}, {"steps": 300}, {"extend": 130}),
        (
            "predicted_flow",
            "norm_E > 5.62",
            {"steps": None, "duration": 0.05},
            {"steps": None, "duration": 0.1},
            {"duration": 0.05},
        ),
    ],
)
def test_an_extended_run_has_the_events_of_a_longer_one(tmp_path, kind, passing, first, whole, more):
    """A norm passes a level at an unscheduled last step and comes back. The check at that step does not count."""
    options = {"events": [passing, "norm_W < 5.2", "test_loss > 0.25"], "event_every": 100, "record_every": 100}
    short = run_in(tmp_path / "short", kind, **options, **first)
    assert 0 < short.events[passing] <= short.step
    extended = runs.resume(tmp_path / "short", progress=False, **more)
    longer = run_in(tmp_path / "long", kind, **options, **whole)
    assert longer.events[passing] is None
    assert extended.events == longer.events
    assert any(step is not None for step in longer.events.values())


def test_the_gradient_norm_includes_the_decay():
    data = zl.datasets.modular_addition(7, test_count=8)
    net = zl.networks.normal(data, hidden=32, std=0.4, seed=1)
    stepper = zl.GradientDescent(lr=0.1, weight_decay=0.3, decay_layers="W").start(data, net)
    _, gE, gW = zl.loss_and_gradient(net, data)
    expected = np.hypot(np.linalg.norm(gE), np.linalg.norm(gW + 0.3 * net.W))
    assert stepper.gradient_norm() == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("kind", ["gradient_descent", "predicted_flow"])
def test_an_extended_run_has_the_bits_of_a_longer_one(tmp_path, kind):
    run_in(tmp_path / "short", kind, steps=130)
    extended = runs.resume(tmp_path / "short", extend=170, progress=False)
    whole = run_in(tmp_path / "long", kind, steps=300)
    assert_same_run(whole, extended)
    loaded = zl.load(tmp_path / "long").extend(steps=20)
    assert loaded.step == 320
    again = runs.resume(tmp_path / "short", progress=False)
    assert_same_run(again, extended)


def test_a_duration_is_extended(tmp_path):
    run = run_in(tmp_path / "a", "predicted_flow", steps=None, duration=0.05)
    assert float(run.history.time[-1]) == 0.05
    longer = runs.resume(tmp_path / "a", duration=0.05, progress=False)
    assert float(longer.history.time[-1]) == pytest.approx(0.1)


def test_a_resumed_run_has_the_same_alignment(tmp_path):
    on_the_set = {"steps": 60, "record_every": 20, "snapshot_every": None, "checkpoint_every": 25, "events": []}
    whole = run_in(tmp_path / "whole", measures=["alignment"], **on_the_set)

    def interrupt(step, values):
        if step == 40:
            raise Interruption

    with pytest.raises(Interruption):
        runs.run(
            config.from_settings(settings(measures=["alignment"], **on_the_set)),
            tmp_path / "a",
            progress=False,
            on_record=interrupt,
        )
    resumed = runs.resume(tmp_path / "a", progress=False)
    assert same_bits(whole.history, resumed.history)
    assert whole.history.alignment_cosine.attrs == resumed.history.alignment_cosine.attrs


def test_a_saved_run_is_a_run_directory(tmp_path):
    configuration = config.from_settings(settings())
    run = zl.simulate(configuration.dynamics, configuration.data, configuration.network, steps=50, snapshot_every=20)
    run.save(tmp_path / "a")
    lines = runs.report(tmp_path / "a")
    assert lines[0] == "reached the end: 50 steps"
    assert_same_run(run, zl.load(tmp_path / "a"))


def test_a_report_has_events_and_a_picture(tmp_path):
    run_in(tmp_path / "a", measures=["alignment"], events=["train_accuracy >= 0.6"])
    lines = runs.report(tmp_path / "a", tmp_path / "picture.png")
    assert lines[0] == "reached the end: 300 steps"
    assert any("train_accuracy >= 0.6" in line for line in lines)
    assert (tmp_path / "picture.png").stat().st_size > 10_000
