"""The pages of the documentation for tests: their code blocks, and what code prints."""

import contextlib
import io
import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Every page, by its path in the repository.
PAGES = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))]


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page, language):
    """The code blocks of a page in a language; those in ``{code-cell} ipython3`` run when the site is built."""
    return re.findall(rf"^```{re.escape(language)}\n(.*?)^```$", text_of(page), re.MULTILINE | re.DOTALL)


def cells(page):
    return blocks(page, "{code-cell} ipython3")


def commands(page):
    """The words of every shell command of a page."""
    return [shlex.split(line) for block in blocks(page, "sh") for line in block.splitlines()]


def printed_by(code, names=None):
    """The lines that code prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "page", "exec"), {} if names is None else names)
    return printed.getvalue().splitlines()
