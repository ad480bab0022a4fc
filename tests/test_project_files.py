"""Files about the project agree with it: versions, requirements, the changelog, the guides."""

import json
import re
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
GUIDES = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
#: Names on conda-forge that differ from those on the Python package index.
CONDA_NAMES = {"matplotlib": "matplotlib-base"}


def read_page(name):
    return (ROOT / name).read_text(encoding="utf-8")


def yaml_of(name):
    return yaml.safe_load(read_page(name))


def test_every_file_has_the_same_version():
    version = PROJECT["version"]
    assert yaml_of("CITATION.cff")["version"] == version
    assert yaml_of("conda/recipe.yaml")["context"]["version"] == version
    assert f"\n## [{version}] - " in read_page("CHANGELOG.md")


def test_the_changelog_is_ordered():
    headings = re.findall(r"^## (.*)$", read_page("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    released = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - (\S+)", heading).groups() for heading in headings[1:]]
    versions = [tuple(map(int, numbers)) for *numbers, _ in released]
    dates = [date.fromisoformat(day) for *_, day in released]
    assert versions == sorted(versions, reverse=True)
    assert dates == sorted(dates, reverse=True)
    kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    for version in read_page("CHANGELOG.md").split("\n## ")[1:]:
        found = re.findall(r"^### (.*)$", version, re.MULTILINE)
        assert found == [kind for kind in kinds if kind in found], version.split("\n")[0]


def test_the_citation_agrees_with_the_project():
    citation = yaml_of("CITATION.cff")
    assert {"authors", "cff-version", "message", "title"} <= citation.keys()
    assert citation["title"] == PROJECT["name"]
    assert citation["license"] == PROJECT["license"]
    assert citation["authors"] == PROJECT["authors"]
    assert citation["keywords"] == PROJECT["keywords"]
    paper = citation["preferred-citation"]
    assert paper["url"] == PROJECT["urls"]["Paper"]
    assert {"authors", "title", "type"} <= paper.keys()
    assert paper["title"] in read_page("README.md")


def test_the_conda_recipe_has_the_requirements_of_the_package():
    requirements = [f"python {PROJECT['requires-python']}"]
    for requirement in PROJECT["dependencies"]:
        name, bound = re.fullmatch(r"([\w-]+)(>=[\d.]+)", requirement).groups()
        requirements.append(f"{CONDA_NAMES.get(name, name)} {bound}")
    recipe = yaml_of("conda/recipe.yaml")
    assert sorted(recipe["requirements"]["run"]) == sorted(requirements)
    commands = [f"{name} = {target}" for name, target in PROJECT["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == commands
    assert recipe["about"]["summary"] == PROJECT["description"]
    assert recipe["about"]["license_file"] == PROJECT["license-files"]


def test_every_supported_python_is_declared_and_gets_wheels():
    supported = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    assert PROJECT["requires-python"] == f">={supported[0]}"
    wheels = PYPROJECT["tool"]["cibuildwheel"]
    assert wheels["build"] == [f"cp{version.replace('.', '')}-*" for version in supported]
    assert wheels["config-settings"] == {"cmake.define.ZEROLOSS_LEVELS": "all"}
    script = re.fullmatch(r"python \{project\}/(\S+)", wheels["test-command"])[1]
    assert (ROOT / script).is_file()


def test_the_smoke_test_of_wheels_runs():
    subprocess.run([sys.executable, ROOT / "tests" / "smoke.py", "--level"], check=True)


def test_workflows_use_the_pinned_tools():
    pins = dict(requirement.split("==") for requirement in PROJECT["optional-dependencies"]["wheel"])
    for path in (ROOT / ".github" / "workflows").iterdir():
        assert yaml_of(path)["jobs"]
        for name, version in re.findall(r"\b([\w-]+)==([\w.]+)", path.read_text(encoding="utf-8")):
            assert version == pins.get(name, version), f"{path.name}: {name}"


def test_the_source_distribution_has_no_pictures():
    excluded = PYPROJECT["tool"]["scikit-build"]["sdist"]["exclude"]
    pictures = {".gif", ".jpg", ".pdf", ".png", ".svg"}
    found = {path.suffix for folder in ("docs", "bench", "examples") for path in (ROOT / folder).rglob("*")}
    assert {f"*{suffix}" for suffix in found & pictures} <= set(excluded)


@pytest.mark.parametrize("name", GUIDES)
def test_links_of_the_guides_lead_to_files(name):
    links = re.findall(r"\]\(([^)#]+)\)", read_page(name))
    assert [link for link in links if not link.startswith("https://") and not (ROOT / link).exists()] == []


def test_the_files_named_in_the_guides_exist():
    """These are names in backquotes with a folder or one of our suffixes. NAME stands for a name to choose."""
    made = ("build/", "dist/", "examples/notebooks/")
    for name in GUIDES:
        quoted = re.findall(r"`([\w.-]+(?:/[\w.-]*)*)`", read_page(name))
        paths = [path for path in quoted if re.search(r"/|\.(cff|cpp|hpp|md|py|pyi|toml|txt|yaml|yml)$", path)]
        expected = [path for path in paths if "NAME" not in path and not path.startswith(made)]
        assert [path for path in expected if not (ROOT / path).exists()] == []


def test_the_make_targets_named_in_the_guides_exist():
    rules = re.findall(r"^([\w -]+):(?!=)", read_page("Makefile"), re.MULTILINE)
    targets = {target for rule in rules for target in rule.split()}
    for name in GUIDES:
        named = set(re.findall(r"(?:^|`)make ([a-z0-9-]+)", read_page(name), re.MULTILINE))
        assert named <= targets, name


def test_the_makefile_selects_tests_that_exist():
    """The targets sanitize and test-aarch64 leave out tests by parts of their names, and name files by their stems."""
    makefile = read_page("Makefile").replace("\\\n", "")
    words = re.findall(r"not (\w+)", re.search(r'-k "(not .*)"$', makefile, re.MULTILINE)[1])
    words += re.search(r"^AARCH64_SLOW := (.*)$", makefile, re.MULTILINE)[1].split(" or ")
    tests = [
        name for path in (ROOT / "tests").glob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
    ]
    assert [word for word in words if not any(word.strip() in name for name in tests)] == []
    stems = " ".join(
        re.findall(r"^\w+_TESTS := \$\(patsubst %,tests/test_%.py,(.*)\)$", makefile, re.MULTILINE)
    ).split()
    assert len(stems) > 12
    assert [stem for stem in stems if not (ROOT / "tests" / f"test_{stem}.py").exists()] == []


def test_the_symbols_named_in_the_guide_exist():
    """The phrases are like: `SYMBOL` in `FILE`."""
    phrases = re.findall(r"`(\w+)`(?: and `(\w+)`)?\s+(?:in|of)\s+`([\w./-]+\.\w+)`", read_page("CONTRIBUTING.md"))
    assert phrases
    for *symbols, file in phrases:
        assert [symbol for symbol in symbols if symbol not in read_page(file)] == [], file


def test_the_guide_names_the_presets():
    presets = json.loads(read_page("CMakePresets.json"))["configurePresets"]
    names = {preset["name"] for preset in presets if not preset.get("hidden")}
    guide = read_page("CONTRIBUTING.md")
    assert [name for name in names if f"`{name}`" not in guide] == []
    assert set(re.findall(r"PRESET=(\w+)", guide)) <= names
