"""Flows of this package have the same bits however they are divided into chunks and extensions."""

from functools import cache
from unittest.mock import patch

import pytest

import zeroloss as zl
from problems import same_bits

DATA = zl.datasets.modular_addition(5, test_count=5, seed=0)
STEPS, DURATION = 40, 2.0
EVENTS = ["train_loss < 0.1", "train_accuracy >= 0.9", "norm_W > 3"]

ON_SET = (zl.NormFlow, zl.NoiseFlow)

#: Dynamics, activation, standard deviation of the weights, and words of the outcome.
CASES = {
    "chebyshev": (zl.GradientFlow(weight_decay=1e-2), "relu", 0.4, "reached the end"),
    "implicit": (zl.GradientFlow(weight_decay=1e-2, method="proximal"), "relu", 0.4, "reached the end"),
    "stiff": (zl.GradientFlow(loss="cross_entropy", rtol=1e6), "square", 3.0, "stiff: at step "),
    "noise": (zl.NoiseFlow(step_size=0.01), "tanh", 0.4, "reached the end"),
    "noise, adaptive": (zl.NoiseFlow(rtol=1e-3), "softplus(5)", 0.4, "reached the end"),
    "beyond rank": (zl.NormFlow(step_size=0.5), "softplus(5)", 0.4, "reached the end"),
    "beyond rank, adaptive": (zl.NormFlow(rtol=1e-2), "tanh", 0.4, "reached the end"),
    "beyond rank, implicit": (zl.NormFlow(rtol=1e-2, method="proximal"), "softplus(5)", 0.4, "reached the end"),
}


@cache
def problem(name):
    dynamics, activation, std, _ = CASES[name]
    net = zl.networks.normal(DATA, hidden=24, std=std, seed=1, activation=activation)
    return dynamics, DATA, zl.geometry.project(net, DATA).network if isinstance(dynamics, ON_SET) else net


def simulate(name, chunk, unit, *parts):
    """Simulate and extend by parts of "steps" or "duration"."""
    events = [*EVENTS, "hessian_trace < 9" if name.startswith("noise") else "slow_time > 0.5"]
    options = {"record_every": 7, "snapshot_every": 9, "events": events, "event_every": 10, "progress": False}
    with patch("zeroloss.simulation.chunks.plan_chunk", lambda steps, seconds: chunk):
        run = zl.simulate(*problem(name), **{unit: parts[0]}, **options)
        for part in parts[1:]:
            if run.outcome.ending.can_continue:
                run.extend(**{unit: part}, progress=False)
    return run


@cache
def whole(name, unit):
    return simulate(name, 1000, unit, STEPS if unit == "steps" else DURATION)


def assert_same(run, other):
    assert str(run.outcome) == str(other.outcome)
    assert run.events == other.events
    for name in ("history", "snapshots"):
        assert same_bits(getattr(run, name), getattr(other, name))
    assert same_bits(run.network.E, other.network.E)
    assert same_bits(run.network.W, other.network.W)


@pytest.mark.parametrize("name", CASES)
def test_steps_in_parts_have_the_bits_of_one_piece(name):
    run = whole(name, "steps")
    assert str(run.outcome).startswith(CASES[name][3])
    assert run.step > 29  # The run is longer than the first parts below.
    for chunk, first in ((1, STEPS), (3, 13), (1000, 21), (2, 29)):
        assert_same(simulate(name, chunk, "steps", first, STEPS - first), run)


@pytest.mark.parametrize(
    "name", ["chebyshev", "implicit", "noise, adaptive", "beyond rank, adaptive", "beyond rank, implicit"]
)
def test_times_in_parts_have_the_bits_of_one_piece(name):
    run = whole(name, "duration")
    assert float(run.history.time[-1]) == DURATION
    for first in (0.125, 1.75):
        assert_same(simulate(name, 1000, "duration", first, DURATION - first), run)
