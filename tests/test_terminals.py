"""The command's output in every encoding, with closed streams, and with names that need escaping."""

import itertools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import zeroloss as zl
from command import run_command, run_in_turn
from test_runs import settings
from zeroloss import config, runs, sweeps
from zeroloss._checks import format_value, to_one_line

COMMAND = [sys.executable, "-m", "zeroloss"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(config.from_settings(settings()).text(), encoding="utf-8")
    return path


def commands_in(folder, file):
    """Return commands with words or outputs that are not in ASCII."""
    return (
        ("run", "--print-defaults"),
        ("run", file, "--out", folder / "größe"),
        ("report", folder / "größe"),
        ("--help",),
        ("info",),
        ("study", "--help"),
        ("run", file, "--out", folder / "b", "--set", "dynamics.größe=‖E‖"),
    )


def check_outputs(encoding, defaults, run, report, *others):
    *helps, wrong = others
    assert (defaults.returncode, defaults.stderr) == (0, b"")
    assert tomllib.loads(defaults.stdout.decode(encoding)) == tomllib.loads(config.defaults_text())
    assert run.returncode == 0
    assert (report.returncode, report.stderr) == (0, b"")
    assert [done.returncode for done in helps] == [0, 0, 0]
    assert wrong.returncode == 2
    assert b"Traceback" not in wrong.stderr


def test_output_works_in_every_encoding(tmp_path, file):
    """One process uses one encoding after the other, because its start takes most of the time."""
    encodings = ("ascii", "latin-1", "cp1252")
    turns = [(encoding, words) for encoding in encodings for words in commands_in(tmp_path / encoding, file)]
    of_each, words = zip(*turns, strict=True)
    done = iter(run_in_turn(words, tmp_path / "streams", of_each))
    for encoding in encodings:
        check_outputs(encoding, *itertools.islice(done, len(turns) // len(encodings)))


def test_output_works_in_the_encoding_of_the_environment(tmp_path, file, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii:strict")
    check_outputs("ascii", *run_in_turn(commands_in(tmp_path, file), tmp_path / "streams"))


def run_with_closed_output(*words):
    """Run the command with a pipe whose reader is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run([*COMMAND, *map(str, words)], stdout=writer, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writer)


def test_a_closed_pipe_ends_the_command_quietly(tmp_path, file):
    for words in (("run", "--print-defaults"), ("--help",), ("--version",), ("info",)):
        done = run_with_closed_output(*words)
        assert (done.returncode, done.stderr) == (141, b"")
    done = run_with_closed_output("run", file, "--out", tmp_path / "a", "--json")
    assert (done.returncode, done.stderr) == (141, b"")
    assert run_command("resume", tmp_path / "a").returncode == 0
    assert zl.load(tmp_path / "a").step == 300


@pytest.mark.parametrize("streams", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_may_be_closed_from_the_start(streams, tmp_path, file):
    words = " ".join([*COMMAND, "run", str(file), "--out", str(tmp_path / "a")])
    done = subprocess.run(f"{words} {streams}", shell=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert zl.load(tmp_path / "a").step == 300


def test_pictures_are_drawn_without_a_home_directory(tmp_path, file):
    environment = {key: value for key, value in os.environ.items() if key != "HOME"} | {"MPLCONFIGDIR": "/proc/none"}
    assert run_command("run", file, "--out", tmp_path / "a").returncode == 0
    done = subprocess.run([*COMMAND, "report", tmp_path / "a"], capture_output=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_behind_standard_output_is_one_line():
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*COMMAND, "info"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (2, b"zeroloss: No space left on device\n")


ODD = ["\x1b[31mred\x07", "a\u202egnp.exe", "a\nzeroloss: b", "\x9bx", "\u2028", "é" * 10**6]


@pytest.mark.parametrize("name", ODD, ids=["escape", "bidi", "newline", "csi", "separator", "long"])
def test_names_are_written_escaped_and_short(name, tmp_path, file):
    words = (("run", f"{name[:200]}.toml", "--out", tmp_path), ("study", name[:10_000]), ("report", name[:200]))
    for line in (*words, ("run", file, "--out", tmp_path / "a", "--set", f"dynamics.lr={name[:10_000]}")):
        done = run_command(*line)
        text = done.stderr
        assert done.returncode == 2
        assert text.startswith("zeroloss: ")
        assert all(part.isprintable() for part in text.splitlines())
        assert len(text) < 5000
    assert len(format_value(name)) <= 80
    assert format_value(name).isprintable()
    assert to_one_line(name).isprintable()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such names")
def test_directories_with_unprintable_names_are_reported(tmp_path):
    """A name in Latin-1, with a dollar sign and a line break, is the title of the picture."""
    base = tmp_path / os.fsdecode(b"gr\xf6\xdfe $\\frac{\n")
    run = {"data": {"p": 3, "test_count": 2}, "network": {"hidden": 4}, "run": {"steps": 3, "record_every": 1}}
    runs.run(config.from_settings(run), base / base.name, progress=False)
    sweeps.sweep({**run, "sweep": {"network.seed": [1, 2]}}, base / f"sweep {base.name}", workers=1, progress=False)
    for directory in base.iterdir():
        done = run_command("report", directory)
        assert (done.returncode, done.stderr) == (0, "")
        assert (directory / "report.png").exists()


def test_values_in_messages_are_short():
    assert format_value("fast") == "'fast'"
    assert format_value(10**5000) == "an integer of about 5000 digits"
    deep = []
    for _ in range(10**5):
        deep = [deep]
    for value in (deep, list(range(10**6)), {i: str(i) * 100 for i in range(100)}, b"x" * 10**6):
        assert len(format_value(value)) <= 80


def test_the_command_shows_only_warnings_of_this_package():
    code = (
        "import sys, warnings, zeroloss.cli; from zeroloss._checks import ZerolossWarning as Z;"
        "c = sys.modules['zeroloss.cli.command'];"
        "c.zeroloss.main = lambda *a, **k: [warnings.warn('theirs'), warnings.warn('ours', Z)] and None; c.main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "zeroloss: ours\n")


def test_every_warning_has_the_category_that_the_command_shows():
    for path in Path(config.__file__).parent.rglob("*.py"):
        calls = re.findall(r"warnings\.warn\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)", path.read_text(encoding="utf-8"))
        assert all(re.search(r"\bZeroloss(Deprecation)?Warning\b", call) for call in calls), path
    assert issubclass(zl._checks.ZerolossWarning, RuntimeWarning)
