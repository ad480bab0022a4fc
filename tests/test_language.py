"""The language of pages, docstrings, comments, messages and names avoids the constructions in CONTRIBUTING.md."""

import ast
import io
import re
import tokenize

import pytest

from pages import PAGES, ROOT, read_page

#: Constructions to avoid, in the words of the section "Style" of CONTRIBUTING.md, and a pattern for each.
AVOIDED = {
    "what there is of": r"\bwhat there (?:is|was)\b|\bwhat (?:is told|comes to hold)\b",
    "in place of": r"\bin (?:the )?place of\b",
    "but for": r"\bbut for (?!example)",
    "beside": r"\bbeside\b",
    "go on": r"\b(?:go|goes|going|gone|went) on\b",
    "tell": r"\b(?:tell|tells|telling|told)\b",
    "likewise": r"\blikewise\b",
}
PATTERN = "|".join(AVOIDED.values())

#: Guides that are not pages. CONTRIBUTING.md quotes the constructions.
GUIDES = ["ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md", "examples/README.md"]
FOLDERS = ("python", "tests", "bench", "tools", "docs", "examples")
PYTHON = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py*") if path.suffix in {".py", ".pyi"})
CPP = sorted((ROOT / "csrc").rglob("*.?pp"))

#: Endings of participles, and participles with other endings.
PARTICIPLE = re.compile(
    r"[^\W_]+[^e_]ed|[^\W_]*(?:told|kept|held|found|taken|given|made|begun|chosen|drawn|shown|known|written|sent)"
)
#: Verbs that end as participles do.
VERBS = {"embed", "feed", "need", "proceed", "seed", "speed"}
#: Deprecated public names, which still work.
OLD_NAMES = {"crossed", "tell"}


def find_avoided(text):
    """Return the avoided constructions in a text, except old names in warnings about them."""
    text = re.sub(rf"\b(?:{'|'.join(OLD_NAMES)}) is deprecated", "", " ".join(text.split()))
    return re.findall(PATTERN, text, re.IGNORECASE)


def comments_of(code):
    """Yield the comments of Python code; lines one below the other make one text."""
    lines, last = [], None
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            if last is not None and token.start[0] != last + 1:
                yield " ".join(lines)
                lines = []
            lines.append(token.string.lstrip("#: "))
            last = token.start[0]
    yield " ".join(lines)


def texts_of(code):
    """Yield the comments and the string literals of Python code, with docstrings and the parts of f-strings."""
    yield from comments_of(code)
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def comments_of_cpp(code):
    """Yield the comments of C++ code; lines one below the other make one text."""
    joined = re.sub(r"(//[^\n]*)\n\s*//+", r"\1 ", code)
    while joined != code:
        code, joined = joined, re.sub(r"(//[^\n]*)\n\s*//+", r"\1 ", joined)
    yield from re.findall(r"//[^\n]*|/\*.*?\*/", code, re.DOTALL)


def docstrings_of(code):
    """Yield the docstrings of Python code."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield ast.get_docstring(node) or ""


def participles_of(code):
    """Yield the functions whose name is a bare participle, except properties."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.FunctionDef):
            name = node.name.strip("_")
            decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
            is_allowed = name in VERBS | OLD_NAMES or decorators & {"property", "cached_property"}
            if PARTICIPLE.fullmatch(name) and not is_allowed:
                yield node.name


@pytest.mark.parametrize("page", [*PAGES, *GUIDES])
def test_pages_are_in_plain_words(page):
    assert find_avoided(re.sub(r"`[^`]*`", "", read_page(page))) == []


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_is_in_plain_words(path):
    if path.name != "test_language.py":  # It quotes the constructions.
        code = path.read_text(encoding="utf-8")
        assert [text for text in texts_of(code) if find_avoided(text)] == []


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_do_not_begin_with_what(path):
    docstrings = docstrings_of(path.read_text(encoding="utf-8"))
    assert [text for text in docstrings if re.match(r"what\b", text, re.IGNORECASE)] == []


@pytest.mark.parametrize("path", CPP, ids=lambda path: str(path.relative_to(ROOT)))
def test_comments_of_the_kernels_are_in_plain_words(path):
    comments = comments_of_cpp(path.read_text(encoding="utf-8"))
    assert [comment for comment in comments if find_avoided(comment)] == []


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_are_not_named_by_participles(path):
    assert list(participles_of(path.read_text(encoding="utf-8"))) == []


def test_the_guide_lists_the_constructions():
    guide = " ".join(read_page("CONTRIBUTING.md").partition("**Language.**")[2].partition("**Numbers.**")[0].split())
    assert [words for words in AVOIDED if f'"{words}' not in guide] == []


@pytest.mark.parametrize(
    "sentence",
    [
        "What there is of the run is saved.",
        "It goes\n  on.",
        "x in place of y",
        "all but for one",
        "A file tells.",
        "the files beside it",
        "and likewise",
    ],
)
def test_avoided_constructions_are_found(sentence):
    assert len(find_avoided(sentence)) == 1
    assert list(filter(find_avoided, texts_of(f"x = 3  # {' '.join(sentence.split())}")))
    assert list(filter(find_avoided, texts_of(f"def f():\n    return f'{{x}} {' '.join(sentence.split())}'")))
    assert list(filter(find_avoided, comments_of_cpp(f"int x;  // {sentence.replace(' ', chr(10) + '// ')}\nint y;")))


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("def simulated(): ...", ["simulated"]),
        ("def _kept(): ...", ["_kept"]),
        ("class A:\n    def told(self): ...", ["told"]),
        ("class A:\n    @property\n    def closed(self): ...", []),
        ("def seed(): ...\ndef run(): ...\ndef is_closed(): ...\ndef checked_steps(): ...", []),
    ],
)
def test_participles_are_found(code, names):
    assert list(participles_of(code)) == names
