"""Short forms of results: a few lines of text for ``repr``, and a small table for notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from itertools import islice

from ._checks import one_line, shown

#: Names and values. Strings stand as they are, other values as their ``repr``.
Rows = Mapping[str, object]

_LONGEST_IN_TEXT = 100  # characters of a value
_LONGEST_IN_TABLE = 400
_MOST_SETTINGS = 20


def lines(title: str, rows: Rows) -> str:
    """Return a title and a line for each row, without control characters; long values are cut off."""
    width = max(map(len, rows), default=0)
    found = [f"  {name:<{width}}  {_text(value, _LONGEST_IN_TEXT)}" for name, value in rows.items()]
    return "\n".join([_text(title, _LONGEST_IN_TEXT), *found])


def table(title: str, rows: Rows) -> str:
    """Return a title and rows as HTML. It is complete in itself, and every name and value is escaped."""
    cell = 'style="text-align: left; vertical-align: top"'
    found = [
        f"<tr><th {cell}>{escape(_text(name, _LONGEST_IN_TABLE))}</th>"
        f"<td {cell}>{escape(_text(value, _LONGEST_IN_TABLE))}</td></tr>"
        for name, value in rows.items()
    ]
    caption = f'<caption style="text-align: left">{escape(_text(title, _LONGEST_IN_TABLE))}</caption>'
    return f"<table>{caption}{''.join(found)}</table>"


def keywords(settings: Rows) -> str:
    """Return settings as they stand in a call: ``p=11, seed=0``. None is left out, and what comes after 20 is, too."""
    given = ((name, value) for name, value in settings.items() if value is not None)
    found = [f"{cut(name, _LONGEST_IN_TEXT)}={shown(value)}" for name, value in islice(given, _MOST_SETTINGS)]
    return ", ".join(found + ["…"] * any(True for _ in given))


def cut(text: str, most: int) -> str:
    """Return a text on one line of at most ``most`` characters."""
    line = one_line(text)
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _text(value: object, most: int) -> str:
    match value:
        case str():
            return cut(value, most)
        case float():
            return f"{value:.5g}"
        case _:
            return shown(value, most)
