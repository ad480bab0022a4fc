"""ARCHITECTURE.md agrees with the code: layers, paths, and the functions and tests of each claim."""

import ast
import re

import pytest

from pages import ROOT, read_page
from test_codebase import LAYERS

TEXT = read_page("ARCHITECTURE.md")


def find_section(heading):
    """Return the text of a section."""
    return re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)[1]


def parse_table(text):
    """Return the cells of the rows of a table, without its head."""
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


ROWS = parse_table(find_section("Ten claims, and where they are coded and tested"))
CLAIMS = {claim: f"{code}, {test}" for claim, code, test in ROWS}


def find_names(path):
    """Return all names that a Python file defines, or the words before a parenthesis in a C++ file."""
    text = read_page(path)
    if not path.endswith(".py"):
        return set(re.findall(r"(\w+)\(", text))
    nodes = list(ast.walk(ast.parse(text)))
    names = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return names | {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def test_the_layers_are_those_of_the_test():
    rows = parse_table(find_section("Layers"))
    assert [int(number) for number, _, _ in rows] == list(range(1, len(LAYERS) + 1))
    assert [set(re.findall(r"`(\w+)`", modules)) for _, modules, _ in rows] == list(LAYERS)


def test_a_step_passes_through_twelve_files():
    first, _ = find_section("The path of one step").split("In C++")
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
    assert [f"{name} in {path}" for name, path in places if name not in find_names(path)] == []


def test_the_glossary_is_in_order():
    words = [row[0] for row in parse_table(find_section("Glossary"))]
    assert {"strip", "panel", "tile", "lane", "level", "chunk", "record", "snapshot", "event", "cell"} <= {*words}
    assert {"slow time", "zero-loss set", "kink", "pin"} <= {*words}
    assert words == sorted(words)
