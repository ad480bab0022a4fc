"""Configurations are complete, checked as a whole, and the same from a file, from Python and from a run."""

import itertools
import re
import tomllib

import numpy as np
import pytest

import zeroloss as zl
from zeroloss import config, runs
from zeroloss._fingerprint import fingerprint_of, section_text
from zeroloss.config import ConfigurationError


def problems_of(**sections):
    with pytest.raises(ConfigurationError) as caught:
        config.from_settings(sections)
    return caught.value.problems


def test_an_empty_configuration_is_complete():
    configuration = config.from_settings({})
    assert configuration.dynamics == zl.GradientDescent(lr=1.0, weight_decay=1e-4)
    assert len(configuration.data.Y_train) == 59
    assert configuration.network.hidden == 128
    assert configuration.run.steps == 100_000


def test_the_printed_defaults_are_the_defaults(tmp_path):
    """This holds for the text as printed, and for every alternative section without its comment marks."""
    text = config.defaults_text()
    (tmp_path / "defaults.toml").write_text(text)
    configuration = config.from_file(tmp_path / "defaults.toml")
    assert configuration.settings == config.from_settings({}).settings
    assert configuration.fingerprint() == config.from_settings({}).fingerprint()
    given = tomllib.loads(text)
    assert all(
        set(given[name]) == {k for k, v in keys.items() if v is not None}
        for name, keys in configuration.settings.items()
    )
    for kind in ("adamw", "predicted_gradient", "norm_flow", "noise_flow"):
        block = re.search(rf'# kind = "{kind}".*?\n\n', text, re.S)[0]
        lines = [line.removeprefix("# ") for line in block.splitlines() if "…" not in line]
        alternative = tomllib.loads("\n".join(lines))
        expected = config.from_settings({"dynamics": {"kind": kind}}).settings["dynamics"]
        assert alternative == {
            key: list(v) if isinstance(v, tuple) else v for key, v in expected.items() if v is not None
        }


def test_the_text_of_a_configuration_makes_the_same_one(tmp_path):
    settings = {
        "data": {"p": 5, "train_fraction": 0.6, "pairs": "ordered"},
        "network": {"init": "normal", "hidden": 9, "std": 1, "activation": "softplus(5)", "dtype": "float32"},
        "dynamics": {"kind": "adamw", "lr": 1e-05, "betas": [0.5, 0.75]},
        "run": {"steps": 7, "record_every": "log", "event_every": 3, "events": ["norm_E < 1e-3"], "stop_minutes": 2},
    }
    configuration = config.from_settings(settings)
    (tmp_path / "a.toml").write_text(configuration.text())
    again = config.from_file(tmp_path / "a.toml")
    assert again.fingerprint() == configuration.fingerprint()
    assert again.dynamics == configuration.dynamics == zl.AdamW(lr=1e-5, betas=(0.5, 0.75))
    assert again.run == configuration.run
    np.testing.assert_array_equal(again.network.E, configuration.network.E)


def test_all_problems_are_reported_at_once():
    found = problems_of(
        data={"task": "modular_addition", "p": 1, "seed": "x"},
        network={"hidden": 0, "activaton": "relu"},
        dynamics={"lr": -1.0, "momentum": 2, "weight_dacay": 1e-4},
        run={"steps": 1.5, "record_every": 0, "stop_minutes": -1},
        runs={},
    )
    for line in (
        "data.p: expected an integer of at least 2, got 1",
        "data.seed: expected an integer of at least 0, got 'x'",
        "network.hidden: expected an integer of at least 1, got 0",
        "dynamics.lr: expected a number above 0, got -1.0",
        "dynamics.momentum: expected a number in [0, 1), got 2.0",
        "run.steps: expected an integer of at least 0, got 1.5",
        "run.stop_minutes: expected a number above 0, got -1",
    ):
        assert line in found
    assert "network.activaton: unknown key; did you mean activation?" in found
    assert "dynamics.weight_dacay: unknown key; did you mean weight_decay?" in found
    assert "runs: unknown section; did you mean run?" in found
    assert 'run.record_every: expected an integer of at least 1 or "log", got 0' in found
    assert len(found) == 11


@pytest.mark.parametrize(
    ("sections", "line"),
    [
        ({"data": {"task": "modular_adition"}}, "did you mean modular_addition?"),
        (
            {"dynamics": {"kind": "norm_flow", "rtol": 1e-3, "method": "euler"}},
            "dynamics.method: 'euler' has no error",
        ),
        ({"run": {"steps": 3, "duration": 1.0}}, "run.steps, run.duration: expected one of them, got 3 and 1.0"),
        ({"run": {"events": ["test_accuracy ≥ 1"]}}, "run.events: expected a condition on a recorded value"),
        ({"run": {"events": ["accuracy >= 1"]}}, "run.events: expected a condition on a recorded value"),
        ({"run": {"record_every": "log"}}, 'run.event_every: needs a value with record_every = "log"'),
        ({"run": {"record_every": True}}, "run.record_every: expected"),
        ({"run": {"steps": 10**100}}, "run.steps: expected an integer of at most 256 bits, got more"),
        ({"dynamics": {"weight_decay": 0.0}, "run": {"stop_slow_time": 1.0}}, "run.stop_slow_time: needs norm_flow"),
        (
            {"dynamics": {"kind": "predicted_gradient"}, "run": {"stop_gradient_norm": 1.0}},
            "run.stop_gradient_norm: needs gradient_descent, adamw or gradient_flow",
        ),
        ({"sweep": {"network.seed": [1, 2]}}, "sweep: a single run cannot have this section; use zeroloss sweep"),
        ({"data": 3}, "data: expected a section [data], got 3"),
        ({"data": {"task": "arrays"}}, "data.file: missing; expected a string"),
        (
            {"network": {"init": "file", "file": "/nowhere.npz"}},
            "network: /nowhere.npz: expected a checkpoint, found no such file",
        ),
        (
            {"network": {"init": "file", "file": "names: a.npz"}},  # The name looks like a key.
            "network: names: a.npz: expected a checkpoint, found no such file",
        ),
        (
            {"dynamics": {"kind": "adamw", "betas": [0.9, 1.0]}},
            "dynamics.betas[1]: expected a number in [0, 1), got 1.0",
        ),
        (
            {"dynamics": {"lr": {"schedule": "cosine", "lr": 1.0, "steps": 0}}},
            "dynamics.lr: steps: expected an integer of at least 1, got 0",
        ),
        (
            {"network": {"num_heads": 2}},
            "network.num_heads: unknown key; expected one of hidden, seed, activation, dtype, bias",
        ),
        ({"network": {"use_bias": True}}, 'network.use_bias: unknown key; say bias, as "none", "hidden" or "both"'),
        (
            {"dynamics": {"lr": "fast"}},
            "dynamics.lr: expected a number above 0 or a table with schedule = one of constant",
        ),
        (
            {"data": {"train_count": 3, "test_count": 3}},
            "data.train_fraction, train_count, test_count: expected exactly one of them, got train_count and",
        ),
    ],
)
def test_problems_name_their_key(sections, line):
    assert any(line in problem for problem in problems_of(**sections)), problems_of(**sections)


def test_every_pair_of_mistakes_is_reported():
    """No mistake hides another."""
    mistakes = [
        ("data", {"p": 0}, "data.p:"),
        ("data", {"test_count": 10_000}, "data.test_count"),
        ("network", {"dtype": "float16"}, "network.dtype:"),
        ("network", {"seed": -1}, "network.seed:"),
        ("dynamics", {"loss": "hinge"}, "dynamics.loss:"),
        ("dynamics", {"lr": "fast"}, "dynamics.lr:"),
        ("run", {"threads": 0}, "run.threads:"),
        ("run", {"keep_checkpoints": 0}, "run.keep_checkpoints:"),
    ]
    for one, other in itertools.combinations(mistakes, 2):
        sections = {}
        for section, keys, _ in (one, other):
            sections.setdefault(section, {}).update(keys)
        if one[0] == other[0] == "data":
            continue  # A count can be too large only for a valid modulus.
        found = problems_of(**sections)
        assert any(line.startswith(one[2]) for line in found), found
        assert any(line.startswith(other[2]) for line in found), found


def test_files_that_are_no_configuration_are_rejected(tmp_path):
    for name, content, line in (
        ("missing.toml", None, "expected a configuration file"),
        ("binary.toml", b"\xff\xfe\x00", "expected a configuration file"),
        ("broken.toml", b"[data\np = 3", "expected TOML"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigurationError, match=line):
            config.from_file(tmp_path / name)


def test_keyword_arguments_override_the_file(tmp_path):
    (tmp_path / "a.toml").write_text("[dynamics]\nlr = 0.5\n[run]\nsteps = 3\n")
    configuration = config.from_file(tmp_path / "a.toml", dynamics={"lr": 0.25}, network={"hidden": 4})
    assert configuration.dynamics.lr == 0.25
    assert configuration.network.hidden == 4
    assert configuration.run.steps == 3


def test_steps_checkpoints_and_threads_do_not_change_the_fingerprint(tmp_path):
    """A run may be continued with other values of these settings."""
    one = config.from_settings({"run": {"steps": 10}})
    other = config.from_settings({"run": {"steps": 20, "threads": 1, "checkpoint_every": 5, "stop_minutes": 3}})
    third = config.from_settings({"run": {"steps": 10, "record_every": 7}})
    assert one.fingerprint() == other.fingerprint() != third.fingerprint()


def test_incompatible_settings_are_rejected_before_a_directory_is_made(tmp_path):
    flow = config.from_settings(
        {"network": {"dtype": "float32"}, "dynamics": {"kind": "predicted_gradient", "rtol": 0.1}}
    )
    with pytest.raises(ConfigurationError, match="rtol needs a float64 network"):
        runs.run(flow, tmp_path / "a", progress=False)
    measured = config.from_settings({"network": {"dtype": "float32"}, "run": {"measures": ["alignment"]}})
    with pytest.raises(ConfigurationError, match=r"run\.measures: alignment needs network\.dtype"):
        runs.run(measured, tmp_path / "a", progress=False)
    assert not (tmp_path / "a").exists()


TASKS = {
    "modular_addition": {"p": 5, "summands": 3, "train_fraction": 0.5, "inputs": "concatenated"},
    "modular_subtraction": {"p": 5, "train_fraction": 0.5},
    "modular_multiplication": {"p": 5, "train_count": 9, "pairs": "ordered"},
    "modular_division": {"p": 5, "test_count": 4, "label_noise": 0.2},
    "modular_polynomial": {"p": 5, "terms": [[1, 2, 0], [3, 1, 1], [1, 0, 2]], "train_fraction": 0.5},
    "permutation_composition": {"symbols": 3, "train_fraction": 0.5},
    "sparse_parity": {"bits": 10, "relevant": 3, "train_count": 20, "test_count": 5},
    "linear_teacher": {"d_in": 4, "train_count": 6},
    "relu_teacher": {"d_in": 4, "hidden": 3, "train_count": 6, "noise": 0.1},
    "digits": {"train_count": 30, "targets": "value"},
}


@pytest.mark.parametrize("task", zl.datasets.TASKS)
def test_every_task_is_the_same_from_a_file(task, tmp_path):
    keys = {**TASKS[task], "seed": 3}
    configuration = config.from_settings({"data": {"task": task, **keys}, "run": {"steps": 1}})
    expected = zl.datasets.TASKS[task](**keys)
    (tmp_path / "again.toml").write_text(configuration.text())
    again = config.from_file(tmp_path / "again.toml")
    assert again.fingerprint() == configuration.fingerprint()
    for data in (configuration.data, again.data):
        for name in ("X_train", "Y_train", "X_test", "Y_test"):
            np.testing.assert_array_equal(getattr(data, name), getattr(expected, name))


def test_a_network_comes_from_a_pytorch_checkpoint(tmp_path):
    torch = pytest.importorskip("torch")
    weights = {"a.weight": torch.randn(8, 5), "b.weight": torch.randn(5, 8), "optimizer": {"m": torch.ones(3)}}
    torch.save(weights, tmp_path / "theirs.pth")
    (tmp_path / "a.toml").write_text(
        """[data]
p = 5
train_count = 9
[network]
init = "file"
file = "theirs.pth"
names = { E = "a.weight", W = ["b.weight", "transposed"] }
ignore = ["optimizer.*"]
activation = "tanh"
"""
    )
    configuration = config.from_file(tmp_path / "a.toml")
    assert configuration.network.activation == "tanh"
    np.testing.assert_array_equal(configuration.network.E, weights["a.weight"].numpy().T)
    (tmp_path / "again.toml").write_text(configuration.text())
    np.testing.assert_array_equal(config.from_file(tmp_path / "again.toml").network.W, configuration.network.W)


def test_the_old_name_of_stop_sustained_records_works_with_a_warning(tmp_path):
    rule = {"steps": 5, "stop_test_accuracy": 0.5, "stop_sustained_records": 3}
    configuration = config.from_settings({"run": rule})
    old = {"steps": 5, "stop_test_accuracy": 0.5, "stop_records": 3}
    with pytest.warns(DeprecationWarning, match=r"run\.stop_records is deprecated; use stop_sustained_records"):
        assert config.from_settings({"run": old}).run == configuration.run
    with pytest.warns(DeprecationWarning, match="use stop_sustained_records"):
        assert config.RunSettings(**old) == configuration.run.model_copy()
    with pytest.warns(DeprecationWarning, match="use stop_sustained_records"):
        assert configuration.run.stop_records == 3
    runs.run(configuration, tmp_path / "a", progress=False)
    (tmp_path / "a" / "config.toml").write_text(configuration.text().replace("stop_sustained_records", "stop_records"))
    assert config.from_file(tmp_path / "a" / "config.toml").run == configuration.run
    assert runs.resume(tmp_path / "a", extend=5, progress=False).step == 10
    assert "stop_records" not in config.defaults_text() + configuration.text()


def test_fingerprints_of_earlier_versions_stay_valid():
    """A renamed key enters a fingerprint under its old name, and a synonym of a value under the name that it had."""
    settings = config.from_settings({"run": {"stop_sustained_records": 3}}).settings
    old = {**settings, "run": {**settings["run"], "stop_records": 3}}
    del old["run"]["stop_sustained_records"]
    assert fingerprint_of(old, with_length=True) == fingerprint_of(settings, with_length=True)
    assert '"stop_records": 3' in section_text("run", settings["run"], with_length=True)


def test_pytorch_linear_is_another_name_of_uniform_fan_in():
    one = config.from_settings({"network": {"init": "pytorch_linear", "hidden": 8}})
    other = config.from_settings({"network": {"init": "uniform_fan_in", "hidden": 8}})
    assert one.settings == other.settings
    np.testing.assert_array_equal(one.network.E, other.network.E)
    assert 'init = "uniform_fan_in"  # one of uniform_fan_in, pytorch_linear, normal, file' in config.defaults_text()
