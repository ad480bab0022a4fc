"""The command: its options, its files, and its exit status and line for every error."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import zeroloss as zl
from command import run_command
from zeroloss import cli
from zeroloss.studies import CHECKS, FIGURES, STUDIES
from zeroloss.studies._layout import Layout
from zeroloss.studies.paper import figure6


def command(*words):
    """Run the command in this process; return its status and both outputs."""
    done = run_command(*words)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def tiny(monkeypatch):
    """Replace the quick form of figure 6 by one that takes milliseconds, with an empty picture."""
    settings = replace(figure6.STUDY.quick, p=5, hidden=16, steps=50)
    small = {
        "quick": settings,
        "layout": Layout("a", 2.0, 2.0),
        "panels": lambda place, numbers, s: place("a", "empty"),
    }
    monkeypatch.setattr(figure6, "STUDY", replace(figure6.STUDY, **small))
    return settings


def test_reproduce_writes_three_files_and_prints_one_line(tiny, tmp_path):
    status, out, err = command("reproduce", "6", "--quick", "--out", tmp_path / "new" / "directory")
    assert (status, err) == (0, "")
    assert re.fullmatch(r"figure 6 \(quick\): 3 seeds; .*; \d+\.\d s; .*figure6\.png\n", out)
    assert sorted(path.name for path in (tmp_path / "new" / "directory").iterdir()) == [
        f"figure6.{e}" for e in ("json", "nc", "png")
    ]


def test_options_reach_the_settings(tiny, tmp_path):
    words = ["--quick", "--seeds", 2, "--init-scale-is", "variance", "--out", tmp_path]
    assert command("reproduce", "6", "1", "6", *words)[0] == 0  # An option applies to the figures that have it.
    settings = json.loads((tmp_path / "figure6.json").read_text(encoding="utf-8"))["settings"]
    assert (settings["seeds"], settings["spread"], settings["quick"]) == (2, "variance", True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["reproduce", "9"], "'9': unknown; there are 1, 2, 3, 4, 5, 6, 7, all, theorem4.8, theorem4.10, "),
        (["reproduce", "6", "six"], "'six': unknown"),
        (["reproduce", "6", "--seeds", "0"], "--seeds"),
        (["reproduce", "6", "--seeds", "many"], "--seeds"),
        (["reproduce", "6", "--init-scale-is", "wide"], "--init-scale-is"),
        (["reproduce", "1", "2", "--init-scale-is", "std"], "--init-scale-is: no such option for figure 1, figure 2"),
        (
            ["reproduce", "6", "--spread", "std", "--init-scale-is", "std"],
            "--spread is the old name of --init-scale-is",
        ),
        (["reproduce", "6", "--projection", "momentum"], "--projection: no such option for figure 6"),
        (["reproduce", "5", "--projection", "newton"], "--projection"),
        (["reproduce", "6", "--fast"], "--fast"),
        (["reproduce", "6", "--out"], "--out"),
        (["info", "6"], "6"),
        (["draw"], "draw"),
    ],
)
def test_bad_input_is_one_line_and_status_2(words, message):
    status, out, err = command(*words)
    assert (status, out) == (2, "")
    assert err.startswith("zeroloss: ")
    assert err.count("\n") == 1
    assert message in err


def test_an_unwritable_directory_is_reported_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "beneath"):
        status, out, err = command("reproduce", "6", "--out", place)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert f"--out: cannot write in {place}" in err


def test_a_file_that_cannot_be_written_is_reported(tiny, monkeypatch, tmp_path):
    def raise_disk_full(self, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", raise_disk_full)
    status, out, err = command("reproduce", "6", "--quick", "--out", tmp_path)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"--out: cannot write in {tmp_path}: No space left on device" in err
    assert list(tmp_path.iterdir()) == []


def contents(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_result_replaces_only_one_of_the_same_settings(tiny, monkeypatch, tmp_path):
    """The full form, the quick form and another number of seeds get files of their own."""
    monkeypatch.setattr(figure6, "STUDY", replace(figure6.STUDY, full=replace(tiny, hidden=40, quick=False)))
    command("reproduce", "6", "--out", tmp_path)
    raise_disk_full = contents(tmp_path)
    assert set(raise_disk_full) == {"figure6.json", "figure6.nc", "figure6.png"}
    status, out, _ = command("reproduce", "6", "--quick", "--out", tmp_path)
    assert status == 0
    assert out.strip().endswith(str(tmp_path / "figure6-quick.png"))
    both = contents(tmp_path)
    assert {name: both[name] for name in raise_disk_full} == raise_disk_full
    command("reproduce", "6", "--seeds", "1", "--out", tmp_path)
    command("reproduce", "6", "--quick", "--out", tmp_path)
    all_of_them = contents(tmp_path)
    assert {name: all_of_them[name] for name in both} == both
    assert set(all_of_them) - set(both) == {"figure6-2.json", "figure6-2.nc", "figure6-2.png"}


@pytest.mark.parametrize("form", ["png", "svg", "pdf"])
def test_an_edited_file_next_to_a_result_stays(tiny, tmp_path, form):
    """Another program has drawn a picture, or written numbers, under the name of a result with the same settings."""
    words = ["reproduce", "6", "--quick", "--out", tmp_path, "--format", form]
    for _ in range(2):
        status, out, _ = command(*words)
        assert out.strip().endswith(str(tmp_path / f"figure6.{form}"))
    for name in (f"figure6.{form}", "figure6.nc"):
        result = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(b"edited")
        status, out, _ = command(*words)
        assert status == 0
        assert out.strip().endswith(str(tmp_path / f"figure6-quick.{form}"))
        assert (tmp_path / name).read_bytes() == b"edited"
        (tmp_path / name).write_bytes(result)


@pytest.mark.parametrize("name", ["figure6.png", "figure6.nc", "figure6.json"])
def test_a_file_that_is_not_a_result_stays(tiny, tmp_path, name):
    (tmp_path / name).write_text("{}")
    status, out, _ = command("reproduce", "6", "--quick", "--out", tmp_path)
    assert status == 0
    assert out.strip().endswith(str(tmp_path / "figure6-quick.png"))
    assert (tmp_path / name).read_text() == "{}"


def test_failed_runs_of_other_settings_stay(tiny, monkeypatch, tmp_path):
    for step_size, name in ((1e6, "figure6-failed"), (2e6, "figure6-failed-2"), (1e6, "figure6-failed")):
        quick = replace(tiny, step_size=step_size, steps=500, seeds=1)
        monkeypatch.setattr(figure6, "STUDY", replace(figure6.STUDY, quick=quick))
        _, _, err = command("reproduce", "6", "--quick", "--out", tmp_path)
        assert err.strip().endswith(str(tmp_path / name))
    (tmp_path / "figure6-failed" / "thesis.tex").write_text("years of work")
    command("reproduce", "6", "--quick", "--out", tmp_path)
    assert (tmp_path / "figure6-failed" / "thesis.tex").read_text() == "years of work"


def test_a_numerical_failure_saves_the_run(tiny, monkeypatch, tmp_path):
    monkeypatch.setattr(
        figure6, "STUDY", replace(figure6.STUDY, quick=replace(tiny, step_size=1e6, steps=500, seeds=1))
    )
    status, out, err = command("reproduce", "6", "--quick", "--out", tmp_path)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "seed 0" in err
    failed = tmp_path / "figure6-failed"
    assert str(failed) in err
    assert zl.load(failed).history.sizes["step"] > 0
    assert not (tmp_path / "figure6.png").exists()


@pytest.mark.parametrize("figure", ["5", "6"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_command_ends_at_once(figure, number, status, tmp_path):
    """The signal comes during the full figure. The child restores SIGINT, which a background shell ignores."""
    start = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from zeroloss.cli import main; main()"
    )
    words = [sys.executable, "-c", start, "reproduce", figure, "--out", str(tmp_path / "out")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "out").exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(0.5)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (status, "")
    assert re.fullmatch(r"zeroloss: (interrupted|terminated); .* not written", err.strip())
    assert list((tmp_path / "out").iterdir()) == []


def test_reproduce_without_a_name_lists_every_study():
    status, out, err = command("reproduce")
    assert (status, err) == (0, "")
    names = [*FIGURES, *(f"theorem{number}" for number in CHECKS), *STUDIES]
    listed = re.findall(r"^  (\S+) +(\d+ (?:s|min|h))  \S.*[^.]$", out, re.MULTILINE)
    assert [name for name, _ in listed] == names


def test_reproduce_accepts_settings_and_formats_of_every_study(tmp_path):
    words = ["--quick", "--set", "points=21", "--format", "svg", "--out", tmp_path]
    status, out, err = command("reproduce", "figure4", *words)
    assert (status, err) == (0, "")
    assert out.strip().endswith("figure4.svg")
    assert json.loads((tmp_path / "figure4.json").read_text(encoding="utf-8"))["settings"]["points"] == 21
    assert (tmp_path / "figure4.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert command("reproduce", "theorem5.1", "figure4", *words)[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".svg") == ["figure4.svg", "theorem51.svg"]
    assert "points: expected an integer" in command("reproduce", "4", "--set", "points=many")[2]
    assert "p: expected one of foot" in command("reproduce", "4", "5.1", "--set", "p=7")[2]
    assert "--format" in command("reproduce", "4", "--format", "gif")[2]


@pytest.mark.parametrize("form", ["svg", "pdf"])
def test_the_same_numbers_give_the_same_picture_in_every_format(tmp_path, form):
    for folder in ("a", "b"):
        assert command("reproduce", "4", "--quick", "--format", form, "--out", tmp_path / folder)[0] == 0
    one, other = ((tmp_path / folder / f"figure4.{form}").read_bytes() for folder in ("a", "b"))
    assert one == other
    assert b"zeroloss" in one


def test_seeds_without_effect_are_reported(tmp_path):
    _, out, _ = command("reproduce", "2", "4", "--quick", "--seeds", "3", "--out", tmp_path)
    assert all("; deterministic, so --seeds has no effect; " in line for line in out.splitlines())


def test_info_prints_the_build():
    status, out, _ = command("info")
    assert status == 0
    assert re.search(rf"^level +{zl.build_info()['level']}$", out, re.MULTILINE)
    assert len(out.splitlines()) == len(zl.build_info())


def test_version_and_help_are_printed():
    assert command("--version") == (0, f"zeroloss {zl.__version__}\n", "")
    assert command() == command("--help")
    assert "reproduce" in command("-h")[1]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["study"], "Missing argument 'NAME…'. (zeroloss study --help lists the choices)"),
        (["retrain"], "No such command 'retrain'. (zeroloss --help lists the choices)"),
        (["sweep", "a.toml"], "Missing option '--out'. (zeroloss sweep --help lists the choices)"),
    ],
)
def test_missing_or_unknown_words_refer_to_the_help(words, line):
    assert command(*words) == (2, "", f"zeroloss: {line}\n")
    assert f"({', '.join(FIGURES)}; all for all figures)" in command("reproduce", "--help")[1]


def test_reproduce_accepts_names_of_figures_theorems_and_studies(monkeypatch):
    titles = []
    monkeypatch.setattr("zeroloss.cli.studies._run_studies", lambda names, changes, **options: titles.extend(names))
    assert command("reproduce", "figure6", "theorem4.8", "delay-law", "2") == (0, "", "")
    assert titles == ["figure 6", "check 4.8", "study delay-law", "figure 2"]


def test_old_options_work_with_a_warning_and_are_not_in_the_help(tiny, tmp_path):
    status, _, err = command("reproduce", "6", "--quick", "--seeds", 2, "--spread", "variance", "--out", tmp_path)
    assert (status, err) == (0, "zeroloss: --spread is deprecated; use --init-scale-is\n")
    assert json.loads((tmp_path / "figure6.json").read_text(encoding="utf-8"))["settings"]["spread"] == "variance"
    _, _, err = command("sweep", tmp_path / "none.toml", "--threads", "--out", tmp_path / "a")
    assert err.startswith("zeroloss: --threads is deprecated; use --use-threads\n")
    (tmp_path / "a.toml").write_text("[data]\np = 1\n")  # an error, so that no run starts
    _, _, err = command("run", tmp_path / "a.toml", "--set", "run.stop_records=3", "--out", tmp_path / "a")
    line = "zeroloss: run.stop_records is deprecated; use stop_sustained_records\n"
    assert err.startswith(line)
    for name in ("reproduce", "sweep", "run"):
        assert not re.search(r"--spread|--threads|stop_records", command(name, "--help")[1])


def test_no_help_is_cut_off():
    """On a terminal of 80 columns each command has a whole sentence; names of studies are not broken at hyphens."""
    _, out, _ = command("--help")
    described = dict(re.findall(r"^  (\w+) +(.*)$", out.partition("Commands:\n")[2], re.MULTILINE))
    assert described.keys() == {one.name for one in cli.COMMANDS}
    assert [line for line in described.values() if not line.endswith(".") or line.endswith("..")] == []
    assert all(f"\n    {name}\n" in command("study", "--help")[1] for name in STUDIES)


def test_the_module_is_the_same_command():
    done = subprocess.run([sys.executable, "-m", "zeroloss", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"zeroloss {zl.__version__}\n"
