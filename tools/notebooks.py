"""Write the pages of the documentation that have code cells as Jupyter notebooks: ``notebooks.py [DIR]``.

The pages are the only source. The notebooks have the same text and the same cells, without output. They go to DIR,
which is ``examples/notebooks`` by default. The documentation site offers the same files for download.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def name_notebook(page: str) -> str:
    """Return the file name of the notebook of a page: ``sweeps.ipynb`` for ``how-to/sweeps``."""
    return f"{page.rpartition('/')[2]}.ipynb"


def strip_links(text: str) -> str:
    """Replace links to other pages and to the reference by their text, and leave out pictures. Web addresses stay."""
    text = re.sub(r"\{py:\w+\}(`[^`]+`)", r"\1", text)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)\n*", "", text)
    return re.sub(r"\[([^\]]+)\]\((?!https?://)[^)]*\)", r"\1", text)


def make_notebook(text: str) -> dict[str, Any]:
    """Return the notebook of a page, in the JSON form of nbformat 4."""
    body = re.sub(r"\A---\n.*?^---\n", "", text, flags=re.MULTILINE | re.DOTALL)
    parts = re.split(r"^```\{code-cell\} ipython3\n(.*?)^```$", body, flags=re.MULTILINE | re.DOTALL)
    cells: list[dict[str, Any]] = []
    for place, part in enumerate(parts):
        source = part.strip("\n")
        if place % 2:
            cells.append({"cell_type": "code", "source": source, "execution_count": None, "outputs": []})
        elif source:
            cells.append({"cell_type": "markdown", "source": strip_links(source)})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    cells = [cell | {"metadata": {}} for cell in cells]
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 4}


def find_pages_with_cells() -> list[str]:
    """Return the pages with code cells by their path in the documentation, such as ``how-to/sweeps``."""
    texts = {page: page.read_text(encoding="utf-8") for page in sorted(DOCS.rglob("*.md"))}
    return [str(page.relative_to(DOCS).with_suffix("")) for page, text in texts.items() if "```{code-cell}" in text]


def write_notebooks(directory: Path) -> list[str]:
    """Write the notebook of each page with code cells into a directory, and return these pages."""
    directory.mkdir(parents=True, exist_ok=True)
    pages = find_pages_with_cells()
    for page in pages:
        content = make_notebook((DOCS / f"{page}.md").read_text(encoding="utf-8"))
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (directory / name_notebook(page)).write_text(f"{text}\n", encoding="utf-8")
    return pages


if __name__ == "__main__":
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "examples" / "notebooks"
    print(f"{directory}: {len(write_notebooks(directory))} notebooks")
