"""ARCHITECTURE.md agrees with the code: layers, paths, and the functions and tests of each claim."""

import ast
import re

import pytest

from pages import ROOT, text_of
from test_codebase import LAYERS

TEXT = text_of("ARCHITECTURE.md")


def section(heading):
    """The text of a section."""
    return re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)[1]


def table(text):
    """The cells of a table's rows, without its head."""
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


CLAIMS = {
    claim: f"{code}, {test}" for claim, code, test in table(section("Ten claims, and where they are coded and tested"))
}


def defined_names(path):
    """The functions, classes and variables that a Python file defines, methods among them; all words of a C++ file."""
    text = text_of(path)
    if not path.endswith(".py"):
        return set(re.findall(r"(\w+)\(", text))
    nodes = list(ast.walk(ast.parse(text)))
    names = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return names | {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def test_the_layers_are_those_of_the_test():
    rows = table(section("Layers"))
    assert [int(number) for number, _, _ in rows] == list(range(1, len(LAYERS) + 1))
    assert [set(re.findall(r"`(\w+)`", modules)) for _, modules, _ in rows] == list(LAYERS)


def test_a_step_passes_through_twelve_files():
    first, _ = section("The path of one step").split("In C++")
    assert len(set(re.findall(r"`(python/[\w/]+\.py)`", first))) == 12


def test_the_files_exist():
    paths = {path.rstrip("/") for path in re.findall(r"`((?:python|csrc|tests|docs|bench)/[\w./-]*)`", TEXT)}
    assert len(paths) > 40
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


def test_there_are_ten_claims():
    assert len(CLAIMS) == 10


@pytest.mark.parametrize("claim", CLAIMS)
def test_the_code_and_the_test_of_a_claim_exist(claim):
    places = re.findall(r"`(\w+)` in `([\w./]+)`", CLAIMS[claim])
    files = {path for _, path in places}
    assert len(files) <= 4
    assert any(path.startswith("tests/") for path in files)
    assert any(not path.startswith("tests/") for path in files)
    assert [f"{name} in {path}" for name, path in places if name not in defined_names(path)] == []


def test_the_glossary_is_in_order():
    words = [row[0] for row in table(section("Glossary"))]
    assert {"strip", "panel", "tile", "lane", "level", "chunk", "record", "snapshot", "event", "cell"} <= {*words}
    assert {"slow time", "zero-loss set", "kink", "pin"} <= {*words}
    assert words == sorted(words)
