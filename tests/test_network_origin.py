"""A network's settings say how it was made, after training, extension, projection, saving and in reports."""

import zeroloss as zl
from zeroloss import config, runs

MADE = {"init": "uniform_fan_in", "hidden": 16, "seed": 1}


def problem():
    data = zl.datasets.modular_addition(5, test_count=3, seed=0)
    return data, zl.networks.uniform_fan_in(data, hidden=16, seed=1, activation="softplus(5)")


def test_a_simulation_adds_its_steps_to_the_origin(tmp_path):
    data, net = problem()
    run = zl.simulate(zl.GradientDescent(lr=0.5), data, net, steps=20, record_every=10, progress=False)
    assert run.network.settings == {**MADE, "then": ["gradient_descent, 20 steps"]}
    run.extend(steps=10)
    assert run.network.settings == {**MADE, "then": ["gradient_descent, 30 steps"]}
    run.save(tmp_path / "a")
    loaded = zl.load(tmp_path / "a")
    assert loaded.network.settings == run.network.settings
    assert loaded.extend(steps=5).network.settings == {**MADE, "then": ["gradient_descent, 35 steps"]}
    assert "init='uniform_fan_in', hidden=16, seed=1, then=['gradient_descent, 30 steps']" in repr(run.network)
    assert net.settings == MADE
    assert zl.simulate(zl.GradientDescent(lr=0.5), data, net, steps=0, progress=False).network.settings == MADE


def test_the_origin_lists_all_operations_in_order():
    data, net = problem()
    descent = zl.simulate(zl.GradientDescent(lr=0.5), data, net, steps=2000, progress=False).network
    start = zl.geometry.project(descent.astype("float64"), data, "chord").network
    run = zl.simulate(zl.NormFlow(step_size=0.01), data, start, steps=3, record_every=1, progress=False)
    then = ["gradient_descent, 2000 steps", "chord projection", "norm_flow, 3 steps"]
    assert run.network.settings == {**MADE, "then": then}
    assert run.settings["network"]["then"] == then[:2]


def test_a_report_has_the_origin_of_the_network(tmp_path):
    given = {
        "data": {"p": 5, "test_count": 3},
        "network": {"hidden": 16, "seed": 1},
        "run": {"steps": 40, "record_every": 10, "snapshot_every": 20},
    }
    run = runs.run(config.from_settings(given), tmp_path / "a", progress=False)
    assert run.network.settings == {**MADE, "then": ["gradient_descent, 40 steps"]}
    longer = runs.resume(tmp_path / "a", extend=10, progress=False)
    assert longer.network.settings == {**MADE, "then": ["gradient_descent, 50 steps"]}
    (line,) = [line for line in runs.report(tmp_path / "a") if line.startswith("Network(")]
    assert "init='uniform_fan_in', hidden=16, seed=1, then=['gradient_descent, 50 steps']" in line
