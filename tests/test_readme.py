"""What the README says: its Python example and commands run as printed, and the files that it names exist."""

import contextlib
import io
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from test_checks_and_studies import SMALL
from zeroloss import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    """The README's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


COMMANDS = [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]
PACKAGE_COMMANDS = [words[1:] for words in COMMANDS if words[0] == "zeroloss"]
MAKE_TARGETS = [words[1] for words in COMMANDS if words[0] == "make"]


def test_every_command_is_one_of_ours():
    assert MAKE_TARGETS == ["demo", "test"]
    assert {words[0] for words in COMMANDS} == {"make", "zeroloss"}


def printed_by(example):
    """The lines that an example prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example, "README.md", "exec"), {})
    return printed.getvalue().splitlines()


def test_the_first_python_example(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    outcome, memorised, generalises, _ = printed_by(blocks("python")[0])
    assert outcome == "reached the end: 3000 steps"
    assert memorised == "memorised at step 0"
    assert 500 < int(generalises.split()[-1]) < 3000
    assert (tmp_path / "grokking").is_dir()


def test_the_norm_flow_example():
    outcome, norms, accuracy = printed_by(blocks("python")[1])
    assert outcome.startswith("reached the end: time 2 in ")
    before, after = (float(word) for word in norms.split()[-3::2])
    assert after < before
    assert float(accuracy.split()[-1]) == 1.0


@pytest.mark.parametrize("words", PACKAGE_COMMANDS, ids=" ".join)
def test_package_commands(words, monkeypatch, tmp_path, capsys):
    """As printed; in the quick form of one seed, or a smaller one, where the printed one takes minutes."""
    for module, settings in SMALL.values():
        monkeypatch.setattr(module, "QUICK", settings)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    long = words[0] in ("reproduce", "check", "study") and "--quick" not in words
    quick = ["--quick", "--seeds", "1"] if long else []
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, *quick])
    printed = capsys.readouterr()
    assert (ended.value.code, printed.err) == (0, "")
    assert printed.out


@pytest.mark.parametrize("target", MAKE_TARGETS)
def test_make_targets(target):
    subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=True)


@pytest.mark.parametrize("page", ["README.md", "docs/paper.md"])
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    missing = [
        link for link in links if not link.startswith("https://") and not (ROOT / page).parent.joinpath(link).exists()
    ]
    assert links
    assert missing == []
