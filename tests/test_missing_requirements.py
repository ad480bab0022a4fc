"""A missing extra or another missing requirement is one line and status 2, before anything starts."""

import subprocess
import sys

import pytest

import zeroloss as zl
from command import run_command
from zeroloss import config


def run_without(library, *words):
    """Run the command without a library."""
    code = f"import sys; sys.modules[{library!r}] = None; from zeroloss.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False)


def assert_one_line(done, *parts):
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert all(line.startswith("zeroloss: ") for line in done.stderr.splitlines())
    for part in parts:
        assert part in done.stderr


@pytest.mark.parametrize("study", ["phase-diagram", "delay-law"])
def test_studies_with_a_missing_extra_are_rejected_before_the_first_starts(study, tmp_path):
    done = run_without("lifelines", "study", "vanishing-decay", study, "--quick", "--out", tmp_path / "a")
    assert_one_line(
        done, f"study {study}: laws of delays: needs lifelines", "pip install lifelines, or", '".[survival]"'
    )
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("study", "sliding", "slding"), "'slding'"),
        (("check", "4.8", "9.9"), "'9.9'"),
        (("reproduce", "2", "9"), "'9'"),
        (("study", "sliding", "vanishing-decay", "--set", "nothing=3"), "study sliding: nothing: expected one of"),
        (("check", "4.8", "--set", "p=[1]"), "check 4.8: p: expected an integer, got [1]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_names_and_settings_are_checked_before_the_first_starts(words, line, tmp_path):
    done = run_command(*words, "--quick", "--out", tmp_path / "a")
    assert_one_line(done, line)
    assert not (tmp_path / "a").exists()


@pytest.fixture
def digits(tmp_path):
    path = tmp_path / "digits.toml"
    path.write_text('[data]\ntask = "digits"\ntrain_count = 20\n[run]\nsteps = 1\n')
    return path


def test_runs_and_sweeps_of_digits_name_scikit_learn(digits, tmp_path):
    parts = ("digits: needs scikit-learn", "pip install scikit-learn, or", 'pip install ".[data]"')
    assert_one_line(run_without("sklearn.datasets", "run", digits, "--out", tmp_path / "a"), *parts)
    digits.write_text(digits.read_text() + '[sweep]\n"network.seed" = [1, 2]\n')
    assert_one_line(run_without("sklearn.datasets", "sweep", digits, "--out", tmp_path / "a"), *parts)
    assert not (tmp_path / "a").exists()


def test_a_sweep_on_a_cluster_names_dask(digits, tmp_path):
    digits.write_text('[sweep]\n"network.seed" = [1, 2]\n')
    done = run_without("distributed", "sweep", digits, "--out", tmp_path / "a", "--scheduler", "tcp://127.0.0.1:9")
    assert_one_line(done, "scheduler: needs Dask", "pip install distributed, or", 'pip install ".[cluster]"')
    assert not (tmp_path / "a").exists()


def test_a_page_names_bokeh(tmp_path):
    data = zl.datasets.modular_addition(5, test_count=3)
    net = zl.networks.uniform_fan_in(data, hidden=8, seed=1)
    zl.simulate(zl.GradientDescent(lr=0.1), data, net, steps=1, progress=False).save(tmp_path)
    parts = ("view: needs Bokeh", "pip install bokeh, or", 'pip install ".[view]"')
    assert_one_line(run_without("bokeh", "view", tmp_path, "--no-open"), *parts)
    assert not (tmp_path / "view.html").exists()


def test_the_library_names_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(config.ConfigurationError, match="needs scikit-learn"):
        config.from_settings({"data": {"task": "digits", "train_count": 3}})
