"""Read the pages of the documentation: their code blocks, and the lines that code prints."""

import contextlib
import io
import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Every page, by its path in the repository.
PAGES = ["README.md", *sorted(str(page.relative_to(ROOT)) for page in (ROOT / "docs").rglob("*.md"))]


def read_page(page):
    return (ROOT / page).read_text(encoding="utf-8")


def code_blocks(page, language):
    """Return the code blocks of a page in a language; blocks in ``{code-cell} ipython3`` run when the site is built."""
    return re.findall(rf"^```{re.escape(language)}\n(.*?)^```$", read_page(page), re.MULTILINE | re.DOTALL)


def cells(page):
    return code_blocks(page, "{code-cell} ipython3")


def commands(page):
    """Return the words of every shell command of a page."""
    return [shlex.split(line) for block in code_blocks(page, "sh") for line in block.splitlines()]


def run_and_read(code, names=None):
    """Run code and return the lines that it prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "page", "exec"), {} if names is None else names)
    return printed.getvalue().splitlines()
