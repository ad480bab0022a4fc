"""The page of a run: one HTML file with the plotting library, the scripts, the figures and the data.

No text of a run is part of the markup or of a script. It is in a block of JSON in which every character with a meaning
in HTML is escaped, and the scripts write it as text. The policy of the page allows only its own two scripts, by their
hashes, and no access to the network.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _checks
from .._reading import is_special
from ..results import Run
from . import figures
from .about import about_run
from .curves import MAIN, curves_of
from .measured import measured_charts
from .predictions import pairs_of, table_of
from .units import units_of

if TYPE_CHECKING:
    from bokeh.plotting import figure

#: The mark of the pages that this package writes, near the start of the file. The SHA-256 digest of the rest follows.
_MARK = b'<meta name="generator" content="zeroloss view '
#: Bytes in which the mark is.
_START = 500

_SCRIPTS = ("decode", "ticks", "theme", "elements", "curves", "fourier", "units", "table", "settings", "main")


def run_page(runs: Sequence[tuple[str, Run, Path | None]], address: str | None = None) -> str:
    """Return the page of a run as HTML.

    Parameters
    ----------
    runs : sequence of (str, Run, Path or None)
        The name of each run, the run, and its directory. The first run has all panels; the others are curves.
    address : str, optional
        The address from which the page reads newer data. By default the page is complete.

    Returns
    -------
    str
        The page.

    Raises
    ------
    ImportError
        If Bokeh is not installed. The extra ``view`` installs it.
    """
    library = read_library()
    data = data_of(runs)
    charts = _figures(data, len(runs))
    return assemble(f"{runs[0][0]}: {runs[0][1].outcome}", library, data, charts, _SCRIPTS, "run.html", address)


def data_of(runs: Sequence[tuple[str, Run, Path | None]]) -> dict[str, Any]:
    """Return the data of a page. ``run_page`` describes the argument."""
    _, run, directory = runs[0]
    pairs = pairs_of(run.data)
    units, places = units_of(run, 0 if pairs is None else len(pairs))
    measured, table = measured_charts(run), table_of(run, places)
    shape = None if units is None else (units["E"]["shape"][1:], units["W"]["shape"][1:])
    return {
        "title": runs[0][0],
        # A page with another layout needs other figures.
        "layout": json.dumps([measured, shape, table is not None]),
        "about": about_run(run, directory),
        "runs": [curves_of(one, name) for name, one, _ in runs],
        "charts": MAIN,
        "measured": measured,
        "units": units,
        "table": table,
    }


def _figures(data: Mapping[str, Any], count: int) -> list[figure]:
    """Make the figures for the data that exist."""
    from bokeh.models import Range1d  # noqa: PLC0415 — an extra, slow to import

    steps = Range1d(start=0, end=1)
    charts = [figures.make_chart(name, steps, count * len(lines)) for name, lines in data["charts"].items()]
    for one in data["measured"]:
        curves = len(one["curves"]) + (one["level"] is not None)
        charts.append(figures.make_chart(one["name"], steps, curves))
    if data["units"] is not None:
        if data["units"]["group"] is not None:
            charts += [figures.make_heat_map(), figures.make_circle(), figures.make_phases()]
        charts += [figures.make_columns("E"), figures.make_columns("W")]
        charts.append(figures.make_chart("unit norms", steps, 2))
    if data["table"] is not None:
        charts.append(figures.make_table())
    return charts


def assemble(
    title: str,
    library: str,
    data: Mapping[str, Any],
    charts: Sequence[figure],
    scripts: Sequence[str],
    template: str,
    address: str | None,
) -> str:
    """Return a page.

    Parameters
    ----------
    title : str
        The title.
    library : str
        The script of the plotting library.
    data : mapping
        The data of the scripts.
    charts : sequence of figure
        The figures. Each has a place in the template, an element whose id is "figure NAME".
    scripts : sequence of str
        The names of the scripts.
    template : str
        The name of the file with the elements of the page.
    address : str or None
        The address of newer data.

    Returns
    -------
    str
        The page.
    """
    from bokeh.core.json_encoder import serialize_json  # noqa: PLC0415
    from bokeh.document import Document  # noqa: PLC0415

    title = title.encode("utf-8", "replace").decode()  # A name of a file may have bytes that are not text.
    document = Document()
    with document.models.freeze():  # Otherwise each figure visits the models of all figures.
        for chart in charts:
            document.add_root(chart)
    blocks = {
        "figures": {"document": json.loads(serialize_json(document.to_json()))},
        "data": {**data, "address": address},
    }
    own = "(() => {\n" + "\n".join(_resource(f"{name}.js") for name in scripts) + "\n})();\n"
    policy = (
        f"default-src 'none'; script-src {_hash(library)} {_hash(own)}; style-src 'unsafe-inline'; "
        f"img-src data: blob:; connect-src '{'none' if address is None else 'self'}'; "
        "base-uri 'none'; form-action 'none'"
    )
    start = '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    rest = "\n".join(
        [
            '">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{escape(title)}</title>\n<style>\n{_resource('page.css')}</style>\n</head>\n<body>",
            _resource(template),
            *(
                f'<script type="application/json" id="{name}">{to_json(block)}</script>'
                for name, block in blocks.items()
            ),
            f"<script>{library}</script>\n<script>{own}</script>\n</body>\n</html>\n",
        ]
    )
    return f"{start}{_MARK.decode()}{hashlib.sha256(rest.encode()).hexdigest()}{rest}"


def to_json(value: Any) -> str:
    """Return JSON for an HTML page: the characters <, > and & are escaped, and there are no numbers that JSON lacks."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def has_mark(path: Path) -> bool:
    """Return whether a file is a page of this package, which someone may have edited, judged by its first bytes."""
    if is_special(path) or not path.is_file():
        return False
    with path.open("rb") as file:
        return _MARK in file.read(_START)


def is_page(path: Path) -> bool:
    """Return whether a file is a page that this package wrote and that nobody has edited."""
    if not has_mark(path):
        return False
    _, _, content = path.read_bytes().partition(_MARK)
    digest, rest = content[:64], content[64:]
    return digest == hashlib.sha256(rest).hexdigest().encode()


def read_library() -> str:
    """Return the script of the plotting library.

    Returns
    -------
    str
        The script.

    Raises
    ------
    ImportError
        If Bokeh is not installed.
    """
    try:
        import bokeh  # noqa: PLC0415
    except ImportError:
        raise _checks.missing_library("view", "Bokeh", "view", "bokeh") from None
    path = Path(bokeh.__file__).parent / "server" / "static" / "js" / "bokeh.min.js"
    return _as_inline_script(path.read_text(encoding="utf-8"))


def _resource(name: str) -> str:
    text = (files(__package__) / "js" / name).read_text(encoding="utf-8")
    return _as_inline_script(text) if name.endswith(".js") else text


def _as_inline_script(code: str) -> str:
    """Return code without an end tag and with the ends of lines that browsers use for the hash."""
    return code.replace("\r\n", "\n").replace("</script", "<\\/script")


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
