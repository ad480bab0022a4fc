"""Short forms of results: some lines of text for ``repr``, and a table for notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from itertools import islice

from ._checks import format_value, to_one_line

#: Names and values. A string is shown as it is, another value by its ``repr``.
Rows = Mapping[str, object]

#: Characters of a value.
_LONGEST_IN_TEXT = 100
_LONGEST_IN_TABLE = 400
_MOST_SETTINGS = 20


def format_lines(title: str, rows: Rows) -> str:
    """Return a title and a line for each row, without control characters. Long values are shortened."""
    width = max(map(len, rows), default=0)
    texts = [f"  {name:<{width}}  {_text(value, _LONGEST_IN_TEXT)}" for name, value in rows.items()]
    return "\n".join([_text(title, _LONGEST_IN_TEXT), *texts])


def format_html(title: str, rows: Rows) -> str:
    """Return a title and rows as an HTML table. All names and values are escaped."""
    cell = 'style="text-align: left; vertical-align: top"'
    html_rows = [
        f"<tr><th {cell}>{escape(_text(name, _LONGEST_IN_TABLE))}</th>"
        f"<td {cell}>{escape(_text(value, _LONGEST_IN_TABLE))}</td></tr>"
        for name, value in rows.items()
    ]
    caption = f'<caption style="text-align: left">{escape(_text(title, _LONGEST_IN_TABLE))}</caption>'
    return f"<table>{caption}{''.join(html_rows)}</table>"


def format_keywords(settings: Rows) -> str:
    """Return settings as arguments of a call: ``p=11, seed=0``. None is left out; at most 20 are shown."""
    pairs = ((name, value) for name, value in settings.items() if value is not None)
    texts = [
        f"{shorten(name, _LONGEST_IN_TEXT)}={format_value(value)}" for name, value in islice(pairs, _MOST_SETTINGS)
    ]
    return ", ".join(texts + ["…"] * any(True for _ in pairs))


def shorten(text: str, most: int) -> str:
    """Return a text on one line of at most ``most`` characters."""
    line = to_one_line(text)
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _text(value: object, most: int) -> str:
    match value:
        case str():
            return shorten(value, most)
        case float():
            return f"{value:.5g}"
        case _:
            return format_value(value, most)
