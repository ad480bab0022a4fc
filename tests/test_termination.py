"""Every call ends: contradictory settings, runs without an end, and steps that are too small."""

import inspect
import itertools

import numpy as np
import pytest

import zeroloss as zl
from zeroloss import _sections, config, runs
from zeroloss.config import ConfigurationError

#: For every key of a dynamics, a value other than the default.
VALUES = {
    "lr": 0.5,
    "weight_decay": 1e-3,
    "momentum": 0.5,
    "loss": "cross_entropy",
    "reduction": "sum",
    "compensated": True,
    "decay_layers": "W",
    "norm_constraint": "at_most",
    "norm_layers": "E",
    "norm_ratio": 2.0,
    "norm_from_step": 3,
    "train_layers": "W",
    "lr_W": 0.2,
    "batch_size": 3,
    "batch_seed": 1,
    "label_noise_std": 0.1,
    "noise_seed": 2,
    "temperature": 2.0,
    "decay_biases": False,
    "betas": [0.5, 0.9],
    "eps": 1e-6,
    "step_size": 0.02,
    "ridge": 0.1,
    "rtol": 1e-3,
    "atol": 1e-5,
    "method": "euler",
    "retraction_tolerance": 1e-9,
}
PAIRS = [
    (name, keys)
    for name, kind in zl.dynamics.DYNAMICS.items()
    for count in (1, 2, 3)
    for keys in itertools.combinations(inspect.signature(kind).parameters, count)
]


def error_text(kind, settings):
    try:
        kind(**settings)
    except ValueError as error:
        return str(error)
    return None


def test_any_settings_of_a_dynamics_are_accepted_or_rejected():
    """One to three keys of every dynamics give the same messages in a configuration and in Python."""
    rejected = 0
    for name, keys in PAIRS:
        given = {key: VALUES[key] for key in keys}
        kind = zl.dynamics.DYNAMICS[name]
        defaults = {} if "rtol" in given or "step_size" in given else _sections.BUILT["dynamics"].defaults.get(name, {})
        if name == "gradient_descent":
            defaults = {"lr": 1.0}
        settings = {"dynamics": {"kind": name, **given}}
        message = error_text(kind, {**defaults, **given})
        if message is None:
            config.from_settings(settings)
            continue
        rejected += 1
        with pytest.raises(ConfigurationError) as found:
            config.from_settings(settings)
        assert found.value.problems[0] == f"dynamics.{message}"
        assert len(set(found.value.problems)) == len(found.value.problems)
    assert rejected > 50


@pytest.mark.parametrize("kind", ["norm_flow", "noise_flow", "predicted_gradient"])
def test_a_step_size_and_tolerances_exclude_each_other(kind):
    with pytest.raises(ConfigurationError) as error:
        config.from_settings({"dynamics": {"kind": kind, "rtol": 1e-3, "step_size": 0.02}})
    assert error.value.problems == [
        "dynamics.step_size, rtol: give either step_size (fixed) or rtol (adaptive steps), got both, 0.02 and 0.001"
    ]


@pytest.mark.parametrize("keys", [("train_fraction", "test_count"), ("train_count", "test_count")])
def test_ways_to_split_exclude_each_other(keys):
    values = {"train_fraction": 0.5, "test_count": 3, "train_count": 60}
    settings = {"data": {"p": 7, **{key: values[key] for key in keys}}, "network": {"hidden": 0}}
    with pytest.raises(ConfigurationError) as error:
        config.from_settings(settings)
    assert len(error.value.problems) == 2


def problem(activation="tanh"):
    data = zl.datasets.modular_addition(3, test_count=2, seed=0)
    net = zl.networks.normal(data, hidden=24, std=0.8, seed=1, activation=activation)
    return data, zl.geometry.project(net, data).network


FLOWS = {
    "explicit": zl.NormFlow,
    "proximal": lambda **step: zl.NormFlow(method="proximal", **step),
    "noise": zl.NoiseFlow,
    "predicted": lambda **step: zl.PredictedGradient(ridge=0.1, **step),
}


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("flow", FLOWS)
def test_a_tolerance_that_no_step_meets_ends_the_run(flow, activation):
    if flow == "noise" and activation == "relu":
        activation = "softplus(5)"  # This flow needs a smooth activation.
    run = zl.simulate(FLOWS[flow](rtol=1e-300), *problem(activation), steps=10, progress=False)
    assert run.outcome.ending.name == "STIFF"
    assert "meets rtol = 1e-300" in str(run.outcome)


@pytest.mark.parametrize("flow", FLOWS)
def test_a_duration_that_no_step_reaches_ends_the_run(flow):
    data, net = problem()
    run = zl.simulate(FLOWS[flow](rtol=0.1), data, net, duration=1e300, progress=False)
    assert str(run.outcome).startswith("stiff: after step 0 a step of ")
    assert str(run.outcome).endswith("is too small to reach the time 1e+300; lower the duration")
    with pytest.raises(ValueError, match=r"duration: expected at most 2\^53 steps, got 1e\+300"):
        zl.simulate(FLOWS[flow](step_size=0.1), data, net, duration=1e300)


def test_a_flow_at_rest_takes_bounded_steps():
    """At E = 0 and without targets nothing moves. Every step is without error, so that the next one is longer."""
    data = zl.datasets.from_arrays(np.eye(3), np.zeros((3, 2)))
    net = zl.networks.from_arrays(np.zeros((3, 4)), np.zeros((4, 2)), "tanh")
    run = zl.simulate(zl.PredictedGradient(rtol=0.1, ridge=0.1), data, net, steps=600, progress=False)
    assert str(run.outcome) == "reached the end: 600 steps"
    assert np.isfinite(run.history.time.values).all()


@pytest.mark.parametrize("steps", [2**53 + 1, 10**30])
def test_more_than_2_to_the_53_steps_are_rejected(steps, tmp_path):
    data, net = problem()
    with pytest.raises(ValueError, match=r"steps: expected an integer of at most 2\^53"):
        zl.simulate(zl.GradientDescent(lr=0.1), data, net, steps=steps)
    with pytest.raises(ValueError, match=r"steps: expected an integer of at most 2\^53"):
        runs.run(config.from_settings({"run": {"steps": steps}}), tmp_path / "run")
