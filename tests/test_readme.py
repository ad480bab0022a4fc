"""The README: its scope, and its example and commands, which run as printed."""

import re
import subprocess
import tomllib

import pytest

import zeroloss as zl
from pages import PAGES, ROOT, code_blocks, commands, read_page, run_and_read

README = read_page("README.md")
COMMANDS = commands("README.md") + commands("docs/quick-start.md")
MAKE_TARGETS = sorted({words[1] for words in COMMANDS if words[0] == "make"})


def test_the_readme_is_short():
    assert README.count("\n") <= 120


def test_commands_are_make_source_and_zeroloss():
    assert MAKE_TARGETS == ["demo"]
    assert {words[0] for words in COMMANDS} == {"make", "source", "zeroloss"}


def test_the_first_paragraph_states_the_scope():
    first = " ".join(README.split("\n\n")[1].split())
    for words in ("two layers", "with or without biases", "full batch or minibatches", "CPUs only", "Linux"):
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
def test_docstrings_of_networks_say_biases(about):
    assert "bias" in " ".join(about.__doc__.split())


@pytest.mark.parametrize("page", ["README.md", "docs/quick-start.md"])
def test_the_environment_is_activated_before_the_first_command(page):
    first = code_blocks(page, "sh")[0].splitlines()
    assert first[:2] == ["make demo", "source .venv/bin/activate"]
    assert first[2].startswith("zeroloss ")
    assert "`.venv/bin/zeroloss`" in README
    makefile = read_page("Makefile")
    assert re.search(r"^VENV \S?= \.venv$", makefile, re.MULTILINE)
    assert "-m venv $(VENV)\n" in makefile


def test_extras_are_installed_from_the_repository():
    """The package index does not have the package, so that ``pip install "zeroloss[data]"`` fails."""
    extras = tomllib.loads(read_page("pyproject.toml"))["project"]["optional-dependencies"]
    files = [*(ROOT / "examples").iterdir(), *(ROOT / "python").rglob("*.py")]
    texts = [read_page(page) for page in [*PAGES, *files]]
    assert [text for text in texts if re.search(r"pip install \S*zeroloss", text)] == []
    named = {extra for text in texts for extra in re.findall(r'pip install "\.\[(\w+)\]"', text)}
    assert named == {"cluster", "data", "survival", "view"}
    assert named <= extras.keys()


def test_the_example_prints_the_output_in_the_readme():
    (example,) = code_blocks("README.md", "python")
    (printed,) = code_blocks("README.md", "text")
    assert run_and_read(example) == printed.splitlines()


@pytest.mark.parametrize("target", [*MAKE_TARGETS, "docs", "test"])
def test_make_targets_exist(target):
    subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, check=True)
