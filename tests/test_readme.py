"""What the README says: its Python example and commands run as printed, and the files that it names exist."""

import contextlib
import io
import re
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from zeroloss import cli, datasets

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


def test_the_task_example():
    shown, counts, same = printed_by(blocks("python")[2])
    assert shown.startswith("Dataset(77 training and 33 test samples, 22 inputs in sparse rows, 11 outputs, 11 classes")
    assert counts == "77 and 33 samples, 11 classes, chance level 0.09090909090909091"
    assert same == "True"


def test_the_table_of_tasks_is_complete():
    table = README.partition("## Tasks")[2].partition("## Checkpoints")[0]
    tasks = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)\(", " ".join(tasks))) == {*datasets.TASKS, "from_arrays"}


def test_the_checkpoint_example(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (shown,) = printed_by(blocks("python")[3])
    assert shown.startswith("Network(11 → 64 → 11, activation='gelu', dtype='float64'")
    assert {file.name for file in tmp_path.iterdir()} == {"mlp.npz", "net.safetensors"}


@pytest.mark.parametrize("words", PACKAGE_COMMANDS, ids=" ".join)
def test_package_commands(words, monkeypatch, tmp_path, capsys):
    """As printed; in the quick form of one seed where the printed one takes minutes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    quick = ["--quick", "--seeds", "1"] if words[0] == "reproduce" and "--quick" not in words else []
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
