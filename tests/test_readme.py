"""What the README says: its Python example and commands run as printed, and the files that it names exist."""

import contextlib
import io
import re
import shlex
import signal
import subprocess
import tomllib
from pathlib import Path

import pytest

import zeroloss as zl
from zeroloss import cli, datasets
from zeroloss.studies import CHECKS, FIGURES, STUDIES

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md")))]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    """The README's code blocks in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


COMMANDS = [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]
PACKAGE_COMMANDS = [words[1:] for words in COMMANDS if words[0] == "zeroloss"]
ONE_AFTER_THE_OTHER = [words for words in PACKAGE_COMMANDS if words[0] in {"run", "resume", "report"}]
BY_THEMSELVES = [words for words in PACKAGE_COMMANDS if words not in ONE_AFTER_THE_OTHER]
MAKE_TARGETS = [words[1] for words in COMMANDS if words[0] == "make"]


def test_every_command_is_one_of_ours():
    assert MAKE_TARGETS == ["demo"]
    assert {words[0] for words in COMMANDS} == {"make", "source", "zeroloss"}


def test_the_first_paragraph_states_the_scope():
    first = " ".join(README.split("\n\n")[1].split())
    for words in ("two layers", "without biases yet", "full-batch", "CPUs only", "Linux"):
        assert words in first


@pytest.mark.parametrize(
    "about", [zl, zl.simulate, zl.simulate_many, zl.GradientDescent, zl.AdamW, zl.PredictedGradient, zl.NormFlow]
)
def test_docstrings_of_dynamics_say_full_batch(about):
    assert "full batch" in about.__doc__.lower()


@pytest.mark.parametrize(
    "about",
    [
        zl,
        *(
            getattr(zl.networks, name)
            for name in ("Network", "normal", "uniform_fan_in", "from_arrays", "from_checkpoint")
        ),
    ],
)
def test_docstrings_of_networks_say_two_layers_without_biases(about):
    assert "two layers without biases" in " ".join(about.__doc__.split())


def test_the_environment_is_activated_before_the_first_command():
    first = blocks("sh")[0].splitlines()
    assert first[:2] == ["make demo", "source .venv/bin/activate"]
    assert first[2].startswith("zeroloss ")
    assert "`.venv/bin/zeroloss`" in README
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^VENV \S?= \.venv$", makefile, re.MULTILINE)
    assert "-m venv $(VENV)\n" in makefile


def test_extras_are_installed_from_the_repository():
    """The index does not have the package, so that ``pip install "zeroloss[data]"`` fails."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").iterdir()]
    texts = [path.read_text(encoding="utf-8") for path in [*pages, *(ROOT / "python").rglob("*.py")]]
    assert [text for text in texts if re.search(r"pip install \S*zeroloss", text)] == []
    named = {extra for text in texts for extra in re.findall(r'pip install "\.\[(\w+)\]"', text)}
    assert named == {"cluster", "data", "survival"}
    assert named <= extras.keys()


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


def test_commands_on_a_run(monkeypatch, tmp_path, capsys):
    """Each goes on with what the one before left."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for words in ONE_AFTER_THE_OTHER:
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        printed = capsys.readouterr()
        assert (ended.value.code, printed.err) == (0, "")
        assert "reached the end: " in printed.out


@pytest.mark.parametrize("words", BY_THEMSELVES, ids=" ".join)
def test_package_commands(words, monkeypatch, tmp_path, capsys):
    """As printed; in the quick form of one seed where the printed one takes minutes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    takes_minutes = words[0] in {"reproduce", "check", "study"} and "--quick" not in words
    quick = ["--quick", "--seeds", "1"] if takes_minutes else []
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, *quick])
    printed = capsys.readouterr()
    assert (ended.value.code, printed.err) == (0, "")
    assert printed.out


@pytest.mark.parametrize("target", [*MAKE_TARGETS, "test"])
def test_make_targets(target):
    subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=True)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text(encoding="utf-8"))
    files = [(ROOT / page).parent / link for link in links if not link.startswith("https://")]
    if (ROOT / "PKG-INFO").exists():  # an unpacked source distribution, which has no pictures
        files = [file for file in files if file.suffix != ".png"]
    assert links
    assert [file for file in files if not file.exists()] == []


def test_the_example_of_a_long_run(monkeypatch, tmp_path):
    page = (ROOT / "docs" / "long-runs.md").read_text(encoding="utf-8")
    example = re.search(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (line,) = printed_by(example)
    assert line.startswith("reached the end: 1000 steps {'train_accuracy >= 1': ")


def test_the_command_of_a_long_run(monkeypatch, tmp_path, capsys):
    page = (ROOT / "docs" / "long-runs.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^```sh\nzeroloss (.*)\n```$", page, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    with pytest.raises(SystemExit) as ended:
        cli.main(shlex.split(command))
    assert ended.value.code == 0
    assert capsys.readouterr().out == "out/a: reached the end: 1000 steps\n"


def commands_within_sentences():
    """The commands that stand between backticks, as ``zeroloss resume DIR --out OTHER``."""
    for page in PAGES:
        text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
        yield from re.findall(r"`zeroloss (\w[^`…]*)`", text)


@pytest.mark.parametrize("command", sorted(set(commands_within_sentences())))
def test_commands_within_sentences_exist(command):
    """Their options are known, and so are the figures, theorems and studies; a bare name is a command."""
    name, *words = shlex.split(command)
    (found,) = [one for one in cli.COMMANDS if one.name == name]
    if words:
        context = found.make_context(name, words)
        known = {"reproduce": FIGURES, "check": CHECKS, "study": STUDIES}.get(name)
        chosen = context.params.get("names") or context.params.get("chosen", ())
        assert {*chosen} <= {*(known or ())}


def test_the_example_of_a_delay():
    page = (ROOT / "docs" / "delays.md").read_text(encoding="utf-8")
    (line,) = printed_by(re.search(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)[1])
    said = re.fullmatch(r"(\d+) runs, (\d+) censored, exponent Estimate\(value=(\S+), .*\)", line)
    runs, censored, value = said.groups()
    assert runs == "9"
    assert 0 < int(censored) < 6
    assert -2 < float(value) < 0


def test_the_page_on_many_runs(monkeypatch, tmp_path, capsys):
    """Its examples in their order, and the sweep that the last one opens."""
    page = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    scheduled, ensemble, opened = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (line,) = printed_by(scheduled)
    assert 0.5 < float(line.removeprefix("slow time ")) < 0.65  # 1e-4 · (250 + 0.55 · 9500)
    sizes, accuracy = printed_by(ensemble)
    assert "'run': 4" in sizes
    assert 0 <= float(accuracy) <= 1
    (command,) = re.findall(r"^```sh\nzeroloss (sweep .*)\n```$", page, re.MULTILINE)
    with pytest.raises(SystemExit) as ended:
        cli.main([*shlex.split(command), "--threads"])
    assert ended.value.code == 0
    assert re.match(r"out/sweep: 15 cells; 15 to carry out, \d+ at a time, about ", capsys.readouterr().out)
    assert printed_by(opened)[-1].startswith("Network(11 → 128 → 11")
