"""``zeroloss run``, ``resume`` and ``report`` as commands, and the examples."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import zeroloss as zl
from command import run_command
from test_runs import assert_same_run, run_in, settings
from zeroloss import config

EXAMPLES = Path(__file__).parent.parent / "examples"


def zeroloss(*words):
    """Run the command as a process."""
    return subprocess.run(
        [sys.executable, "-m", "zeroloss", *map(str, words)], capture_output=True, text=True, check=False
    )


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(config.from_settings(settings()).text())
    return path


def test_run_resume_and_report_work_on_one_directory(tmp_path, file):
    done = zeroloss("run", file, "--out", tmp_path / "a", "--json")
    assert done.returncode == 0
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["step"] for record in records] == [*range(0, 300, 40), 300]
    assert records[-1]["train_loss"] == float(zl.load(tmp_path / "a").history.train_loss[-1])
    assert done.stderr == f"{tmp_path / 'a'}: reached the end: 300 steps\n"
    assert run_command("resume", tmp_path / "a").returncode == 0
    extended = run_command("resume", tmp_path / "a", "--extend", "20")
    assert extended.stdout.endswith("reached the end: 320 steps\n")
    assert_same_run(zl.load(tmp_path / "a"), run_in(tmp_path / "b", steps=320))
    report = run_command("report", tmp_path / "a")
    assert report.returncode == 0
    assert "reached the end: 320 steps" in report.stdout
    assert (tmp_path / "a" / "report.png").exists()


def test_settings_on_the_command_line_override_the_file(tmp_path, file):
    words = ("--set", "run.steps=3", "--set", "network.activation=tanh", "--set", "run.events=[]")
    done = run_command("run", file, "--out", tmp_path / "a", *words)
    assert done.returncode == 0
    run = zl.load(tmp_path / "a")
    assert (run.step, run.network.activation, run.events) == (3, "tanh", {})


def test_print_defaults_prints_the_defaults():
    done = run_command("run", "--print-defaults")
    assert done.returncode == 0
    assert done.stdout == config.defaults_text()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("run",), "expected CONFIG.toml and --out DIR"),
        (("run", "nowhere.toml", "--out", "a"), "nowhere.toml: expected a configuration file"),
        (("run", "FILE", "--out", "a", "--set", "steps=3"), "--set: expected SECTION.KEY=VALUE, got 'steps=3'"),
        (("run", "FILE", "--out", "a", "--set", "dynamics.lr=0"), "dynamics.lr: expected a number above 0, got 0"),
        (("run", "FILE", "--out", "FULL"), "out: expected a new or empty directory"),
        (("resume", "EMPTY"), "directory: expected a run, found no checkpoints"),
        (("report", "EMPTY"), "directory: expected a run, found no checkpoints"),
        (("resume", "EMPTY", "--extend", "0"), "--extend"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_bad_input_is_one_line_and_status_2(tmp_path, file, words, line):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    (tmp_path / "empty").mkdir()
    places = {"FILE": file, "FULL": tmp_path / "full", "EMPTY": tmp_path / "empty"}
    done = run_command(*(places.get(word, word) for word in words))
    assert done.returncode == 2
    assert line in done.stderr
    assert "Traceback" not in done.stderr
    assert all(text.startswith("zeroloss: ") for text in done.stderr.splitlines())


def test_divergence_is_status_1(tmp_path, file):
    words = ("--set", "dynamics.lr=1e3", "--set", "network.activation=square")
    done = run_command("run", file, "--out", tmp_path / "a", *words)
    assert done.returncode == 1
    assert "diverged" in done.stderr
    assert zl.load(tmp_path / "a").history.sizes["step"] >= 1


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.toml")))
def test_examples_run(tmp_path, name):
    """Each runs for a few steps. If it reads a network from a file, the test writes one."""
    overrides = {"run": {"steps": 3, "record_every": 1}}
    if name in ("norm_flow", "noise_flow"):
        data = zl.datasets.modular_addition(11, test_count=7, seed=4)
        net = zl.networks.normal(data, hidden=128, std=0.5, seed=1, activation="softplus(5)")
        start = zl.geometry.project(net, data).network
        np.savez(tmp_path / "start.npz", E=start.E, W=start.W)
        overrides |= {"network": {"file": str(tmp_path / "start.npz")}, "run": {"duration": 1e-3, "record_every": 1}}
    settings = config.read_sections(EXAMPLES / f"{name}.toml", **overrides)
    if settings.pop("sweep", None):
        assert len(zl.sweeps.grid.cells(config.read_sections(EXAMPLES / f"{name}.toml"))) == 15
    configuration = config.from_settings(settings)
    assert zl.runs.run(configuration, tmp_path / "a", progress=False).step >= 1


def test_examples_have_the_results_in_their_first_lines(tmp_path):
    """At full length AdamW stops by its rule, and descent memorises by step 200 and generalises by 30 000."""
    adamw, grokking = (
        zl.runs.run(config.from_file(EXAMPLES / f"{name}.toml"), tmp_path / name, progress=False)
        for name in ("adamw", "grokking")
    )
    assert "until the test accuracy has stayed at 1 for 20 records" in (EXAMPLES / "adamw.toml").read_text()
    assert str(adamw.outcome).startswith("stopped by a rule: test accuracy 1 for 20 records")
    assert (adamw.history.test_accuracy[-20:] == 1).all()
    assert "memorises by step 200, generalises by 30 000" in (EXAMPLES / "grokking.toml").read_text()
    assert grokking.events["train_accuracy >= 1"] <= 200
    assert 10_000 < grokking.events["test_accuracy >= 1"] <= 30_000
    assert grokking.history.test_accuracy[-1] == 1


def test_the_norm_flow_starts_from_the_file_of_its_script(tmp_path):
    """Both files of the example run one after the other, as the first line of the configuration says."""
    shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("*.npz"))
    runpy.run_path(str(tmp_path / "examples" / "norm_flow.py"))
    configuration = config.from_file(tmp_path / "examples" / "norm_flow.toml")
    run = zl.runs.run(configuration, tmp_path / "out", progress=False)
    assert str(run.outcome).startswith("reached the end: time 2 in ")
    assert run.history.residual.max() < 1e-9
    assert run.history.norm_E[-1] < run.history.norm_E[0]


def test_features_of_the_predicted_gradient_become_circles(tmp_path):
    """Real and imaginary parts become equally long and orthogonal, and each unit specialises on one frequency."""
    run = zl.runs.run(config.from_file(EXAMPLES / "predicted_gradient.toml"), tmp_path / "out", progress=False)
    before, after = (zl.fourier.summary(E, run.data) for E in (run.snapshots.E[0], run.network.E))
    assert after.spread < before.spread / 2
    assert after.largest_cosine < before.largest_cosine / 2
    assert after.strongest_share > 2 * before.strongest_share
