"""Outcomes and errors name the true cause, and no other."""

import numpy as np
import pytest

import zeroloss as zl
from problems import figure5
from zeroloss import config, runs

X, Y = np.array([[0.0, 1], [1, 1], [2, 1]]), np.array([[1.0], [2], [3]])
E = np.array([[1, 0.5, 2, -1], [1, 1, 0.3, -1]])  # The last unit is dead.
INACTIVE = "no hidden unit is active on the training samples"


def on_the_set(X, Y, E):
    data = zl.datasets.from_arrays(X, Y)
    W = np.linalg.lstsq(np.maximum(X @ E, 0), Y, rcond=None)[0]
    return data, zl.networks.from_arrays(E, W)


@pytest.mark.parametrize("method", ["euler", "bogacki_shampine", "proximal"])
def test_dependent_inputs_without_a_kink_between_them_are_named_as_the_cause(method):
    run = zl.simulate(zl.NormFlow(step_size=0.1, method=method), *on_the_set(X, Y, E), steps=3, progress=False)
    assert "the training inputs 0, 1, 2 have rank 2 only, and every hidden unit is linear on them" in str(run.outcome)
    assert "dead" not in str(run.outcome)


def test_a_kink_between_dependent_inputs_makes_their_outputs_independent():
    kink = np.array([[1, 0.5, 2, -1], [1, 1, 0.3, 1.5]])
    run = zl.simulate(zl.NormFlow(step_size=0.01), *on_the_set(X, Y, kink), steps=3, progress=False)
    assert str(run.outcome) == "reached the end: 3 steps"


def test_duplicate_inputs_are_named_as_the_cause():
    twice = np.vstack([X, X[:1]]), np.vstack([Y, Y[:1]])
    data, net = on_the_set(*twice, E)
    with pytest.raises(np.linalg.LinAlgError, match="1 training inputs are duplicates of others; its smallest"):
        zl.geometry.project(net, data)


def test_units_that_all_become_inactive_are_reported():
    data, net = figure5()
    run = zl.simulate(zl.GradientDescent(lr=100.0), data, net, steps=100, progress=False)
    assert str(run.outcome).startswith(f"reached the end: 100 steps; {INACTIVE}")
    assert str(run.extend(10, progress=False).outcome).startswith(f"reached the end: 110 steps; {INACTIVE}")
    sound = zl.simulate(zl.GradientDescent(lr=1.0), data, net, steps=100, progress=False)
    assert str(sound.outcome) == "reached the end: 100 steps"


def test_a_start_without_an_active_unit_is_reported():
    data, net = figure5()
    dead = zl.networks.from_arrays(-np.abs(net.E), net.W)
    with pytest.warns(RuntimeWarning, match=INACTIVE):
        run = zl.simulate(zl.GradientDescent(lr=1.0), data, dead, steps=3, progress=False)
    assert INACTIVE in str(run.outcome)
    dense = zl.datasets.from_arrays(data.X_train, data.Y_train, rows="dense")
    with pytest.warns(RuntimeWarning, match=INACTIVE):
        zl.simulate(zl.AdamW(lr=1.0), dense, dead.astype("float32"), steps=3, progress=False)
    leaky = zl.networks.from_arrays(dead.E, dead.W, "leaky_relu(0.1)")
    assert INACTIVE not in str(zl.simulate(zl.GradientDescent(lr=1.0), data, leaky, steps=3, progress=False).outcome)


def test_a_run_in_a_directory_reports_inactive_units(tmp_path):
    settings = {"dynamics": {"lr": 100.0}, "run": {"steps": 100}}
    run = runs.run(config.from_settings(settings), tmp_path / "run", progress=False)
    assert INACTIVE in str(run.outcome)
    assert str(zl.load(tmp_path / "run").outcome) == str(run.outcome)
