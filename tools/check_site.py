"""Check the built documentation site: ``check_site.py DIR``.

Every internal link has to lead to a file and, if it has a fragment, to an element of it. Every public name of the
package has to be in the inventory, that is, to have an entry in the API reference.
"""

import inspect
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import zeroloss


class Page(HTMLParser):
    """The targets of links, and the names of elements, of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the links and the names of a tag."""
        for name, value in attrs:
            if value and name in {"href", "src"}:
                self.links.add(value)
            elif value and name in {"id", "name"}:
                self.anchors.add(value)


def find_broken_links(site: Path) -> list[str]:
    """Return a line for every internal link without a target."""
    files = [path for path in site.rglob("*.html") if path.relative_to(site).parts[0] != "_static"]  # templates
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in files}
    lines = []
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            fragment = unquote(parts.fragment)
            if not target.exists() or (fragment and target in pages and fragment not in pages[target].anchors):
                lines.append(f"{path.relative_to(site.resolve())}: {link}")
    return lines


def list_public_names() -> set[str]:
    """Return every public name, as ``zeroloss.simulate`` and ``zeroloss.datasets.digits``."""
    names = set()
    for name in zeroloss.__all__:
        value = getattr(zeroloss, name)
        names.add(f"zeroloss.{name}")
        if inspect.ismodule(value):
            names |= {f"zeroloss.{name}.{inner}" for inner in value.__all__}
    return names


def read_documented_names(site: Path) -> set[str]:
    """Return the Python names in the inventory of the site."""
    from sphinx.util.inventory import InventoryFile  # noqa: PLC0415 — not installed with the tests

    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    return {name for kind in inventory.data if kind.startswith("py:") for name in inventory.data[kind]}


def main(site: Path) -> int:
    """Print the errors of a site, one a line, and return their number."""
    lines = [f"broken link in {line}" for line in find_broken_links(site)]
    lines += [f"not in the API reference: {name}" for name in sorted(list_public_names() - read_documented_names(site))]
    print("\n".join(lines), end="\n" if lines else "")
    return len(lines)


if __name__ == "__main__":
    sys.exit(min(main(Path(sys.argv[1])), 1))
