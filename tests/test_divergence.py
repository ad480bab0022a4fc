"""The step at which a run fails does not depend on chunks, records, interruptions and extensions."""

import dataclasses
import re
import signal
from functools import cache
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

import zeroloss as zl
from problems import same_bits
from test_runs import assert_same_run
from zeroloss import config, runs
from zeroloss.simulation.interruption import ExternalStop

STEPS = 60
WARM_UP = {"schedule": "linear_warm_up", "lr": 40.0, "steps": 40}
RESCALE = {"norm_constraint": "once", "norm_from_step": 12, "norm_ratio": 40.0}
CAP = {"norm_constraint": "at_most", "norm_ratio": 1e5, "norm_layers": "E"}
HOLD = {"norm_constraint": "fixed", "norm_from_step": 3, "norm_layers": "E"}

#: Dynamics, activation, dtype and hidden units of runs that fail before step 60.
CASES = {
    "momentum": (zl.GradientDescent(lr=30, momentum=0.9), "square", "float64", 32),
    "decay in float32": (zl.GradientDescent(lr=10.0, weight_decay=1.0), "leaky_relu(0.1)", "float32", 32),
    "decay": (zl.GradientDescent(lr=10.0, weight_decay=0.3), "leaky_relu(0.1)", "float64", 32),
    "schedule": (zl.GradientDescent(lr=WARM_UP), "square", "float64", 32),
    "norm control": (zl.GradientDescent(lr=1.0, **RESCALE), "square", "float64", 32),
    "cap, with lanes without a unit": (zl.GradientDescent(lr=3.8, **CAP), "square", "float64", 41),
    "hold, with lanes without a unit": (zl.GradientDescent(lr=WARM_UP, **HOLD), "square", "float64", 41),
    "cross-entropy": (zl.GradientDescent(lr=100, loss="cross_entropy"), "square", "float64", 32),
    "compensated": (zl.GradientDescent(lr=9.0, weight_decay=1.0, compensated=True), "relu", "float32", 32),
    "adamw": (zl.AdamW(lr=1e8), "relu", "float32", 32),
    "squares of adamw": (zl.AdamW(lr=10.0, weight_decay=1.0), "leaky_relu(0.1)", "float32", 32),
    "predicted gradient": (zl.PredictedGradient(step_size=1e10), "relu", "float64", 41),
    "singular": (zl.PredictedGradient(step_size=1.0), "relu", "float32", 41),
    "predicted flow": (zl.PredictedGradient(rtol=1e3), "relu", "float64", 41),
    "euler": (zl.NormFlow(step_size=2.0), "relu", "float64", 24),
    "stalled": (zl.NormFlow(step_size=5.0, method="bogacki_shampine"), "square", "float64", 24),
    "leaky ReLU": (zl.NormFlow(step_size=5.0), "leaky_relu(0.1)", "float64", 24),
    "label noise": (zl.NoiseFlow(step_size=5.0), "square", "float64", 24),
    "proximal": (zl.NormFlow(step_size=10.0, method="proximal"), "relu", "float64", 24),
}


@cache
def problem(name):
    dynamics, activation, dtype, hidden = CASES[name]
    if isinstance(dynamics, zl.NormFlow | zl.NoiseFlow):
        data = zl.datasets.modular_addition(3, test_count=2, seed=0)
        net = zl.networks.normal(data, hidden=hidden, std=0.8, seed=1, activation=activation)
        return dynamics, data, zl.geometry.project(net, data).network
    data = zl.datasets.modular_addition(7, test_count=8, seed=0)
    net = zl.networks.normal(data, hidden=hidden, std=0.4, seed=1, activation=activation, dtype=dtype)
    return dynamics, data, net


class Lag:
    """A measure of two networks; NaN without the earlier one."""

    lag = 3

    def __call__(self, network, earlier):
        return np.nan if earlier is None else float(np.abs(network.E - earlier.E).sum())


def simulate_in_parts(name, steps, record_every, loss_extremes, lag=False, chunk=None):
    dynamics, data, net = problem(name)
    options = {
        "record_every": record_every,
        "loss_extremes": loss_extremes,
        "measures": {"moved": Lag()} if lag else None,
    }
    with patch("zeroloss.simulation.chunks.plan_chunk", lambda steps, seconds: chunk or 1000):
        run = zl.simulate(
            dynamics, data, net, steps=min(steps, STEPS), snapshot_every=2 * record_every, progress=False, **options
        )
        if steps < STEPS and run.outcome.ending.can_continue:
            run.extend(STEPS - steps, progress=False)
    return run


@cache
def simulate_in_one_piece(*arguments):
    return simulate_in_parts(arguments[0], STEPS, *arguments[1:])


def assert_equal(one, other):
    assert_same_run(one, other)
    assert same_bits(one.network.E, other.network.E)
    assert same_bits(one.network.W, other.network.W)


@pytest.mark.parametrize("name", CASES)
def test_the_last_finite_step_is_before_the_step_of_failure(name):
    run = simulate_in_one_piece(name, 100, False)
    step = run.step + 1
    assert re.search(rf"at step {step}\b", str(run.outcome))
    assert run.outcome.ending in ("diverged", "singular", "not converged", "stiff")
    assert run.history.step.values.tolist() == sorted({0, step - 1})
    assert np.isfinite(run.history.train_loss.values).all()
    assert np.isfinite(run.network.E).all()
    assert np.isfinite(run.network.W).all()


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    some.sampled_from(list(CASES)),
    some.integers(0, STEPS),
    some.sampled_from([1, 2, 3, 7, 100]),
    some.sampled_from([1, 2, 7, 1000]),
    some.booleans(),
    some.booleans(),
)
def test_any_division_of_a_failing_run_has_the_same_bits(name, steps, record_every, chunk, loss_extremes, lag):
    """Records, snapshots, network and outcome agree with the run in one piece."""
    divided = simulate_in_parts(name, steps, record_every, loss_extremes, lag, chunk)
    assert_equal(divided, simulate_in_one_piece(name, record_every, loss_extremes, lag))
    assert str(divided.outcome) == str(simulate_in_one_piece(name, 100, False).outcome)
    assert same_bits(divided.network.E, simulate_in_one_piece(name, 100, False).network.E)


def configuration(name, folder, **run):
    """Return a configuration of the same run. A start on the zero-loss set comes from a file."""
    dynamics, _, net = problem(name)
    kind = next(kind for kind, made in zl.dynamics.DYNAMICS.items() if type(dynamics) is made)
    settings = {field.name: getattr(dynamics, field.name) for field in dataclasses.fields(dynamics)}
    settings = {
        key: CASES[name][0].lr if key == "lr" else value for key, value in settings.items() if value is not None
    }
    if isinstance(dynamics, zl.NormFlow | zl.NoiseFlow):
        data = {"task": "modular_addition", "p": 3, "test_count": 2}
        np.savez(folder / "net.npz", E=net.E, W=net.W)
        network = {"init": "file", "file": str(folder / "net.npz"), "activation": net.activation}
    else:
        data = {"task": "modular_addition", "p": 7, "test_count": 8}
        keys = ("hidden", "std", "seed")
        network = {"init": "normal", **{key: net.settings[key] for key in keys}, "activation": net.activation}
        network["dtype"] = net.dtype.name
    return config.from_settings({"data": data, "network": network, "dynamics": {"kind": kind, **settings}, "run": run})


EVENTS = ["train_loss > 1", "train_loss < 0.2", "norm_E > 30", "train_accuracy >= 0.9", "norm_W < 0.1"]


def run_with_interruptions(name, folder, out, chunk, patience, **run):
    """Run in a directory. Interrupt after a number of chunks, resume, and repeat until the run has ended."""
    asked = 0

    def ask():
        nonlocal asked
        asked += 1
        return signal.SIGINT if patience is not None and asked > patience else None

    with patch("zeroloss.simulation.chunks.plan_chunk", lambda steps, seconds: chunk):
        found = runs.run(configuration(name, folder, **run), out, progress=False, interruption=ExternalStop(ask))
        while found.signal is not None:
            asked, patience = 0, patience + 1
            found = runs.resume(out, progress=False, interruption=ExternalStop(ask))
    return found


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("divergence")


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    some.sampled_from(list(CASES)),
    some.sampled_from([1, 3, 100]),
    some.sampled_from([None, 1, 2, 5]),
    some.sampled_from([1, 2, 7, 1000]),
    some.one_of(some.none(), some.integers(1, 12)),
    some.sampled_from([None, 2]),
    some.booleans(),
)
@pytest.mark.slow
@pytest.mark.usefixtures("equal_content_once")
def test_any_interruptions_of_a_failing_run_leave_the_same_bits(
    base, name, record_every, checkpoint_every, chunk, patience, event_every, loss_extremes
):
    folder = base / str(len(list(base.iterdir())))
    folder.mkdir()
    options = {"steps": STEPS, "record_every": record_every, "snapshot_every": 4, "events": EVENTS}
    options |= {"event_every": event_every, "loss_extremes": loss_extremes}
    whole = run_with_interruptions(name, folder, folder / "whole", 1000, None, **options)
    other = run_with_interruptions(
        name, folder, folder / "other", chunk, patience, checkpoint_every=checkpoint_every, **options
    )
    assert_equal(other, whole)
    assert str(whole.outcome) == str(simulate_in_one_piece(name, 100, False).outcome)
    assert same_bits(whole.network.E, simulate_in_one_piece(name, 100, False).network.E)


def test_a_run_whose_loss_overflows_continues():
    """With targets of 1e160 the squared error overflows in every record. Chunks do not change the result."""
    data = zl.datasets.from_arrays(np.eye(3), 1e160 * np.eye(3))
    net = zl.networks.normal(data, hidden=8, std=0.4, seed=1, activation="identity")
    descent = zl.GradientDescent(lr=1e-170)
    whole = zl.simulate(descent, data, net, steps=200, record_every=7, loss_extremes=True, progress=False)
    assert str(whole.outcome) == "reached the end: 200 steps"
    assert np.isinf(whole.history.train_loss.values).all()
    with patch("zeroloss.simulation.chunks.plan_chunk", lambda steps, seconds: 3):
        parts = zl.simulate(descent, data, net, steps=31, record_every=7, loss_extremes=True, progress=False)
        parts.extend(169, progress=False)
    assert_equal(parts, whole)


def test_a_rule_ignores_the_unscheduled_last_record_of_a_part(tmp_path):
    """A run in one piece has no record there."""
    run = {"record_every": 10, "stop_test_accuracy": 0.0, "stop_sustained_records": 4, "steps": 100}
    settings = {"data": {"p": 7, "test_count": 8}, "network": {"hidden": 16}, "run": run}
    whole = runs.run(config.from_settings(settings), tmp_path / "whole", progress=False)
    settings["run"] = {**run, "steps": 15}
    runs.run(config.from_settings(settings), tmp_path / "parts", progress=False)
    parts = runs.resume(tmp_path / "parts", extend=85, progress=False)
    assert "at step 40" in str(whole.outcome)
    assert_equal(parts, whole)


def test_a_signal_at_the_stopping_step_of_a_rule_changes_nothing(tmp_path):
    """No step follows in which the search for the event could be repeated."""
    run = {"record_every": 10, "stop_test_accuracy": 0.0, "stop_sustained_records": 2, "events": ["norm_E < 2.8"]}
    settings = {"data": {"p": 7, "test_count": 8}, "network": {"hidden": 32}, "run": {**run, "steps": 100}}
    settings["dynamics"] = {"weight_decay": 0.01}
    whole = runs.run(config.from_settings(settings), tmp_path / "whole", progress=False)
    assert 10 < whole.events["norm_E < 2.8"] < 20
    # The first three are before the chunks to steps 1, 10 and 20. The signal comes in the search at step 20.
    asked = iter([None] * 3)
    with patch("zeroloss.simulation.chunks.plan_chunk", lambda steps, seconds: 1000):
        found = runs.run(
            config.from_settings(settings),
            tmp_path / "other",
            progress=False,
            interruption=ExternalStop(lambda: next(asked, signal.SIGINT)),
        )
    assert_equal(found, whole)


def test_targets_that_the_ridge_makes_infinite_are_rejected():
    """Without an active unit B = Y / ridge, so that W is not finite although E is."""
    data = zl.datasets.from_arrays(np.eye(3), 100 * np.eye(3))
    net = zl.networks.from_arrays(-np.ones((3, 4)), np.ones((4, 3)))
    with pytest.raises(ValueError, match="ridge: too small for targets of 100"):
        zl.simulate(zl.PredictedGradient(step_size=0.1, ridge=1e-307), data, net, steps=3)


@pytest.mark.parametrize("steps", [0, 10, 13, 21])
def test_a_measure_fails_at_the_same_step_after_an_extension(steps):
    """The record of that step has NaN for the measure, as in a run in one piece."""
    data = zl.datasets.modular_addition(7, test_count=8, seed=0)
    net = zl.networks.normal(data, hidden=16, std=0.4, seed=1)

    def run(*parts):
        def measure(network):
            if np.abs(network.E - net.E).max() > 0.44:
                raise np.linalg.LinAlgError("too far")
            return {"number": 1.0, "count": 1}

        found = zl.simulate(
            zl.GradientDescent(lr=0.5), data, net, steps=parts[0], measures={"m": measure}, record_every=10
        )
        for part in parts[1:]:
            found.extend(part)
        return found

    whole = run(100)
    assert whole.outcome.ending.name == "SINGULAR"
    assert whole.step > 20
    assert_same_run(run(steps, 100 - steps), whole)
