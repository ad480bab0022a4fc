"""Prose and names avoid the constructions that the section "Style" of CONTRIBUTING.md lists."""

import ast
import io
import re
import tokenize

import pytest

from pages import PAGES, ROOT, read_page

AVOIDED = r"\b(?:in place of|but for|beside|(?:go|goes|going) on|told|tells?|what there is|likewise)\b"
GUIDES = ["ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md", "examples/README.md"]  # CONTRIBUTING.md quotes them
FOLDERS = ("python", "tests", "tools", "docs", "examples", "csrc")
SOURCES = sorted(
    str(path.relative_to(ROOT))
    for folder in FOLDERS
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".pyi", ".hpp", ".cpp"}
    and path.name not in {"test_language.py", "test_cluster.py"}
    and path.parent.name != "sweeps"
)
#: Names that are no participles, or old names of public functions.
ALLOWED = {"crossed", "seed"}


def find_avoided(text):
    return re.findall(AVOIDED, " ".join(text.split()), re.IGNORECASE)


def read_prose(path):
    """Return the comments and texts of a source file."""
    text = read_page(path)
    if not path.endswith((".py", ".pyi")):
        return "\n".join(re.findall(r"//+ ?(.*)", text))
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return "\n".join(token.string.lstrip("# ") for token in tokens if token.type in kinds)


def find_participles(text):
    """Return the names of functions that are bare participles, except properties and fixtures."""
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    plain = [
        node.name
        for node in functions
        if not re.search("property|fixture", str(list(map(ast.unparse, node.decorator_list))))
    ]
    pattern = r"_*[a-z]+(?:ed|wn|told|kept|held|found|taken|given|made|begun|chosen)"
    return [name for name in plain if re.fullmatch(pattern, name) and name.lstrip("_") not in ALLOWED]


@pytest.mark.parametrize("page", [*PAGES, *GUIDES])
def test_pages_are_in_plain_words(page):
    assert find_avoided(re.sub(r"`[^`]*`", "", read_page(page))) == []


@pytest.mark.parametrize("path", SOURCES)
def test_comments_and_texts_are_in_plain_words(path):
    assert find_avoided(re.sub(r"`[^`]*`", "", read_prose(path))) == []


@pytest.mark.parametrize("path", [path for path in SOURCES if path.endswith(".py")])
def test_functions_are_not_named_by_participles(path):
    assert find_participles(read_page(path)) == []


@pytest.mark.parametrize(
    "sentence", ["What there is of the run is kept.", "It goes on.", "x in place of y", "It tells."]
)
def test_avoided_constructions_are_found(sentence):
    assert find_avoided(sentence) != []


def test_participles_are_found():
    assert find_participles("def planned(): pass\n@property\ndef measured(self): pass\ndef plan(): pass") == ["planned"]
