"""Dynamics that users write: the page about them, their records and files, and errors in their code."""

import re
import shlex
import signal
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

import zeroloss as zl
from pages import cells, code_blocks
from problems import same_bits
from test_runs import assert_same_run
from zeroloss import _toml, config, runs, sweeps
from zeroloss.dynamics import registry
from zeroloss.results import Ending

PAGE = "docs/how-to/own-dynamics.md"
CODE = cells(PAGE) + code_blocks(PAGE, "python")
(COMMANDS,) = code_blocks(PAGE, "sh")
MODULE = CODE[0].partition("\ndata = ")[0] + "\n\n" + CODE[2]
OPTIONS = {"record_every": 20, "snapshot_every": 60, "progress": False}


@pytest.fixture(scope="module")
def page():
    """Return the names that the page's first block defines."""
    names = {"__name__": "own_dynamics"}
    exec(CODE[0], names)
    return names


@pytest.fixture
def registry_of_page(page):
    """Register the page's dynamics, and remove them again afterwards."""
    before = dict(registry._registered)
    for name in ("Muon", "LabelNoise"):
        zl.register_dynamics(name.lower(), page[name])
    yield page
    registry._registered.clear()
    registry._registered.update(before)


def problem():
    data = zl.datasets.modular_addition(7, test_count=8, seed=0)
    return data, zl.networks.normal(data, hidden=32, std=0.4, seed=1)


def dynamics_of(page):
    return {"muon": page["Muon"](lr=0.01), "labelnoise": page["LabelNoise"](lr=0.5)}


def test_the_page_runs_as_printed(page, registry_of_page, tmp_path, monkeypatch):
    assert len([line for line in CODE[0].splitlines() if line]) < 80
    assert page["run"].outcome.ending is Ending.REACHED_THE_END
    assert page["run"].events["train_accuracy >= 1"] > 0
    monkeypatch.chdir(tmp_path)
    exec(CODE[1], page)
    assert zl.load("out/muon").step == 300  # The extended run is not saved again.


def test_muon_steps_are_nearly_orthogonal(page):
    """Five iterations bring the singular values of a momentum of full rank into (0.6, 1.2)."""
    data, net = problem()
    before = page["Muon"](lr=1.0).start(data, net)
    before.advance(1)
    step = net.W - before.state["W"]
    values = np.linalg.svd(step, compute_uv=False)
    assert values.max() < 1.3
    assert values[: np.linalg.matrix_rank(before.state["velocity_W"], tol=1e-2)].min() > 0.3


@pytest.mark.parametrize("name", ["muon", "labelnoise"])
def test_runs_in_parts_have_the_bits_of_runs_in_one_piece(registry_of_page, tmp_path, name):
    data, net = problem()
    options = {
        **OPTIONS,
        "events": ["train_loss <= 0.1", "norm_W > 1e9"],
        "measures": {"corner": lambda net: net.E[0, 0]},
    }
    whole = zl.simulate(dynamics_of(registry_of_page)[name], data, net, steps=130, **options)
    assert {"corner", "train_loss"} <= set(whole.history.data_vars)
    assert whole.events["norm_W > 1e9"] is None
    parts = zl.simulate(dynamics_of(registry_of_page)[name], data, net, steps=50, **options)
    parts.save(tmp_path / "a")
    parts.extend(80, progress=False)
    loaded = zl.load(tmp_path / "a")
    loaded.extend(80, measures=options["measures"], progress=False)
    for run in (parts, loaded):
        assert same_bits(whole.history, run.history)
        assert same_bits(whole.snapshots, run.snapshots)
        assert same_bits(whole.network.E, run.network.E)
        assert run.events == whole.events


def settings(name, **run):
    return {
        "data": {"task": "modular_addition", "p": 7, "test_count": 8},
        "network": {"init": "normal", "hidden": 32, "std": 0.4, "seed": 1},
        "dynamics": {"kind": name, "lr": 0.1},
        "run": {"steps": 130, "record_every": 20, "checkpoint_every": 30, **run},
    }


@pytest.mark.parametrize("name", ["muon", "labelnoise"])
def test_a_resumed_run_has_the_same_bits(registry_of_page, tmp_path, name):
    configuration = config.from_settings(settings(name))
    whole = runs.run(configuration, tmp_path / "whole", progress=False)

    def interrupt(step, values):
        if step == 60:
            signal.raise_signal(signal.SIGINT)

    stopped = runs.run(configuration, tmp_path / "a", progress=False, on_record=interrupt)
    assert stopped.signal is signal.SIGINT
    assert_same_run(whole, runs.resume(tmp_path / "a", progress=False))


def test_members_of_an_ensemble_have_the_bits_of_single_runs(page):
    data, net = problem()
    dynamics = dynamics_of(page)
    many = zl.simulate_many([(one, data, net) for one in dynamics.values()], steps=40, record_every=20, progress=False)
    for one, run in zip(dynamics.values(), many.runs, strict=True):
        assert same_bits(run.history, zl.simulate(one, data, net, steps=40, record_every=20, progress=False).history)


def test_a_run_of_unknown_dynamics_is_read_but_not_extended(page, tmp_path):
    data, net = problem()
    run = zl.simulate(dynamics_of(page)["muon"], data, net, steps=40, **OPTIONS)
    run.save(tmp_path / "a")
    assert same_bits(zl.load(tmp_path / "a").history, run.history)
    with pytest.raises(ValueError, match=r"is of 'Muon', .* register it first with zeroloss\.register_dynamics"):
        zl.load(tmp_path / "a").extend(10, progress=False)


@pytest.mark.parametrize(
    ("name", "kind", "error", "words"),
    [
        ("gradient_descent", "Muon", ValueError, "name: 'gradient_descent' is already the name of GradientDescent"),
        ("not a name", "Muon", ValueError, "name: expected an identifier, got 'not a name'"),
        ("free", "Steps", TypeError, "kind: expected a frozen dataclass, got Steps"),
    ],
)
def test_invalid_names_and_classes_are_not_registered(page, name, kind, error, words):
    with pytest.raises(error, match=words):
        zl.register_dynamics(name, page[kind])


def test_registering_again_replaces_only_a_class_of_the_same_name(registry_of_page):
    other = dataclass(frozen=True)(type("Muon", (), {"__module__": "elsewhere", "start": lambda self: None}))
    with pytest.raises(ValueError, match=r"'muon' is already the name of Muon; choose another one$"):
        zl.register_dynamics("muon", other)
    zl.register_dynamics("muon", registry_of_page["Muon"])


class Stepper:
    """Gradient descent by single evaluations, with a fault from a step on."""

    def __init__(self, fault, data, network):
        self.fault, self.data, self.net, self.step = fault, data, network, 0

    @property
    def is_faulty(self):
        return self.step >= 50

    def advance(self, steps):
        for _ in range(steps):
            if self.is_faulty and self.fault == "raise":
                raise KeyError("lost")
            if self.is_faulty and self.fault == "exit":
                raise SystemExit(3)
            if self.is_faulty and self.fault == "zero":
                raise ZeroDivisionError("by zero")
            if self.is_faulty and self.fault == "singular":
                raise np.linalg.LinAlgError("no factor")
            if self.is_faulty and self.fault == "false":
                return False
            _, gE, gW = zl.loss_and_gradient(self.net, self.data)
            self.net = zl.networks.from_arrays(self.net.E - 0.5 * gE, self.net.W - 0.5 * gW, "relu")
            self.step += 1
        return None

    def record(self):
        if self.is_faulty and self.fault == "record":
            raise AttributeError("no such thing")
        return {"own": "text" if self.is_faulty and self.fault == "text" else self.step}

    def network(self):
        if self.is_faulty and self.fault == "shape":
            return zl.networks.from_arrays(self.net.E[:, :-1], self.net.W[:-1], "relu")
        if self.is_faulty and self.fault == "dtype":
            return self.net.astype("float32")
        return self.net

    def save(self):
        state = {"E": self.net.E, "W": self.net.W, "step": np.array(self.step)}
        return {**state, "E": state["E"][:1]} if self.is_faulty and self.fault == "save" else state

    def restore(self, state):
        self.net = zl.networks.from_arrays(state["E"], state["W"], "relu")
        self.step = int(state["step"])


@dataclass(frozen=True)
class Faulty:
    fault: str

    def start(self, data, network):
        return Stepper(self.fault, data, network)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("raise", r"broken off: at step 51 Faulty.advance: KeyError: 'lost' \(test_own_dynamics.py, line \d+\)"),
        ("exit", r"broken off: at step 51 Faulty.advance: SystemExit: 3"),
        ("zero", "diverged: at step 51 Faulty.advance: by zero"),
        ("singular", "singular: at step 51 Faulty.advance: no factor"),
        ("false", "diverged: the loss or a weight is not finite at step 51"),
        ("shape", r"broken off: at step 50 Faulty.network: expected .*7 → 32 → 7.* got .*7 → 31 → 7"),
        ("dtype", "broken off: at step 50 Faulty.network: expected .*float64, got .*float32"),
        ("record", r"broken off: .* Faulty.record: AttributeError: no such thing"),
        ("text", "broken off: .* Faulty.record: expected a number for own, got 'text'"),
        ("save", r"broken off: .* expected E with shape \(7, 32\) and dtype float64, as at the start, got \(1, 32\)"),
    ],
)
def test_errors_of_a_stepper_are_outcomes_and_leave_the_records(fault, words):
    data, net = problem()
    faultless = zl.simulate(Faulty("none"), data, net, steps=40, record_every=10, progress=False)
    run = zl.simulate(Faulty(fault), data, net, steps=100, record_every=10, progress=False)
    assert re.match(words, str(run.outcome)), run.outcome
    common = run.history.sel(step=faultless.history.step.values)
    assert same_bits(common, faultless.history)
    assert not run.outcome.ending.can_continue


def test_a_run_in_a_directory_is_resumed_after_a_repair(registry_of_page, tmp_path, monkeypatch):
    zl.register_dynamics("faulty", Faulty)
    given = settings("faulty")
    given["dynamics"] = {"kind": "faulty", "fault": "raise"}
    broken = runs.run(config.from_settings(given), tmp_path / "a", progress=False)
    assert broken.outcome.ending is Ending.BROKEN_OFF
    assert broken.history.step.values.tolist() == [0, 20, 40]
    assert zl.load(tmp_path / "a").own_steps == 50
    monkeypatch.setattr(Stepper, "is_faulty", property(lambda self: False))
    whole = runs.run(config.from_settings(given), tmp_path / "whole", progress=False)
    assert_same_run(whole, runs.resume(tmp_path / "a", progress=False))


@pytest.mark.parametrize("fault", ["save", "shape", "record", "raise"])
@pytest.mark.parametrize("options", [{}, {"snapshot_every": 10}, {"events": ["own >= 45"], "event_every": 50}])
def test_the_last_record_describes_the_last_network(fault, options):
    data, net = problem()
    run = zl.simulate(Faulty(fault), data, net, steps=100, record_every=10, progress=False, **options)
    last = run.history.isel(step=-1)
    assert run.outcome.ending is Ending.BROKEN_OFF
    assert run.own_steps == run.step == int(last.own) == int(run.state["step"])
    assert same_bits(run.network.E, run.state["E"])
    expected = zl.simulate(Faulty("none"), data, net, steps=run.step, record_every=10, progress=False)
    assert same_bits(run.network.W, expected.network.W)
    assert same_bits(run.history.train_loss.values, expected.history.train_loss.values)


def test_a_repeated_record_counts_once_for_a_rule(registry_of_page, tmp_path, monkeypatch):
    """Saving fails right after the first record at which the rule holds, so that the resumed run records it again."""
    zl.register_dynamics("faulty", Faulty)
    given = settings("faulty", stop=["own >= 60 for 3 records"], checkpoint_every=None)
    given["dynamics"] = {"kind": "faulty", "fault": "save"}
    monkeypatch.setattr(Stepper, "is_faulty", property(lambda self: self.step >= 60))
    assert runs.run(config.from_settings(given), tmp_path / "a", progress=False).outcome.ending is Ending.BROKEN_OFF
    monkeypatch.setattr(Stepper, "is_faulty", property(lambda self: False))
    assert runs.resume(tmp_path / "a", progress=False).step == 100


def test_the_first_record_is_computed_once(monkeypatch):
    data, net = problem()
    counts = []
    for options in ({}, {"events": ["own >= 1"], "stop": ["own >= 5"]}):
        calls = []
        monkeypatch.setattr(Stepper, "record", lambda self, calls=calls: calls.append(self.step) or {"own": self.step})
        zl.simulate(Faulty("none"), data, net, steps=3, progress=False, **options)
        counts.append(calls.count(0))
    assert counts[0] == counts[1]


class Forgetful(Stepper):
    def restore(self, state):
        self.net = zl.networks.from_arrays(2 * state["E"], state["W"], "relu")


@dataclass(frozen=True)
class Unfit:
    what: object

    def start(self, data, network):
        return self.what if not isinstance(self.what, str) else Forgetful("none", data, network)


@pytest.mark.parametrize(
    ("dynamics", "options", "error", "words"),
    [
        (Unfit(3), {}, TypeError, "dynamics: Unfit.start must return a stepper, got int, which has no"),
        (Unfit("forgetful"), {}, TypeError, "dynamics: Unfit.restore does not restore E: save returns other"),
        (Unfit(object()), {}, TypeError, "dynamics: fields must be numbers, strings, lists or mappings, got what"),
        (Faulty, {}, TypeError, "got the class Faulty"),
        (Faulty("none"), {"events": ["cost <= 1"]}, ValueError, "own, residual, test_accuracy"),
        (Faulty("none"), {"stop": ["gradient_norm <= 1"]}, ValueError, "gradient_norm: is defined for"),
    ],
    ids=["stepper", "restore", "fields", "class", "event", "rule"],
)
def test_invalid_dynamics_are_rejected_before_the_first_step(dynamics, options, error, words):
    data, net = problem()
    with pytest.raises(error, match=re.escape(words)):
        zl.simulate(dynamics, data, net, steps=1, **options)


def test_processes_of_a_sweep_know_the_class(registry_of_page, tmp_path):
    zl.register_dynamics("faulty", Faulty)
    given = settings("faulty", steps=20)
    given["dynamics"] = {"kind": "faulty", "fault": "none"}
    given["sweep"] = {"network.seed": [1, 2]}
    sweep = sweeps.sweep(given, tmp_path / "out", progress=False)
    assert [str(outcome.ending) for outcome in sweep.outcomes.values()] == ["reached the end"] * 2


@dataclass(frozen=True)
class Unstartable:
    def start(self, data, network):
        return len(3)


def test_a_start_that_raises_is_named_in_a_configuration(registry_of_page, tmp_path):
    zl.register_dynamics("unstartable", Unstartable)
    given = settings("unstartable")
    given["dynamics"] = {"kind": "unstartable"}
    with pytest.raises(config.ConfigurationError, match=r"^dynamics: object of type 'int' has no len\(\)$"):
        runs.run(config.from_settings(given), tmp_path / "a", progress=False)
    assert not (tmp_path / "a").exists()


def command(folder, *words):
    """Run the command as it is installed: without the current directory in Python's search path."""
    line = [sys.executable, "-P", "-m", "zeroloss", *map(str, words)]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path):
    """A directory with the page's module, a configuration and a sweep."""
    (tmp_path / "my_dynamics.py").write_text(MODULE)
    (tmp_path / "muon.toml").write_text(_toml.dumps(settings("muon")))
    lines = {"dynamics.lr": [0.1, 0.2], "dynamics.momentum": [0.5, 0.9]}
    (tmp_path / "sweep.toml").write_text(_toml.dumps({**settings("muon"), "sweep": lines}))
    return tmp_path


@pytest.mark.slow
def test_the_commands_of_the_page_run(folder, registry_of_page):
    for line in COMMANDS.splitlines():
        done = command(folder, *shlex.split(line)[1:])
        assert done.returncode == 0, done.stderr
    whole = runs.run(config.from_settings(settings("muon", steps=230)), folder / "whole", progress=False)
    assert_same_run(whole, zl.load(folder / "out" / "muon"))
    cube = sweeps.open_sweep(folder / "out" / "sweep")
    assert cube.last_step.values.tolist() == [[130, 130], [130, 130]]
    assert command(folder, "report", "out/muon").returncode == 0  # This needs no module.


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["run", "muon.toml", "--out", "a"], "dynamics.kind: expected one of"),
        (["resume", "out", "--extend", "1"], "zeroloss.register_dynamics('muon', …), or with --import of the command"),
        (
            ["run", "muon.toml", "--out", "a", "--import", "nowhere"],
            "--import: nowhere: ModuleNotFoundError: No module",
        ),
        (["run", "muon.toml", "--out", "a", "--import", "faulty"], "--import: faulty: NameError: name 'missing' is"),
        (["run", "muon.toml", "--out", "a", "--import", "script"], "--import: script: SystemExit: 3"),
    ],
)
def test_modules_that_cannot_be_imported_are_one_line(folder, registry_of_page, words, line):
    runs.run(config.from_settings(settings("muon")), folder / "out", progress=False)
    (folder / "faulty.py").write_text("missing")
    (folder / "script.py").write_text("raise SystemExit(3)")
    done = command(folder, *words)
    assert done.returncode == 2
    assert line in done.stderr
    assert "Traceback" not in done.stderr


def test_the_printed_defaults_include_the_dynamics_of_a_module(folder):
    defaults = command(folder, "run", "--print-defaults", "--import", "my_dynamics").stdout
    assert '# kind = "muon"' in defaults
    assert "labelnoise" not in defaults
    (folder / "defaults.toml").write_text(defaults)
    assert config.read_sections(folder / "defaults.toml")["dynamics"]["kind"] == "gradient_descent"
