"""Style, titles, labels and files of the pictures.

Matplotlib is imported with the first picture. A figure is an object that is passed around; pyplot and a display are not
used.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike

from .._checks import to_one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.text import Text


#: The colours of Okabe and Ito, which can be distinguished with every kind of colour vision.
COLOURS = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "grey": "#6E6E6E",
}

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#333333",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "figure.facecolor": "white",
}


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw in the style of the package's pictures within a ``with`` block. The user's settings are restored after it.

    Yields
    ------
    None
        Nothing.
    """
    import matplotlib as mpl  # noqa: PLC0415 — slow, and needed only for pictures

    with mpl.rc_context(_STYLE):
        yield


def add_title(place: Figure | SubFigure, letter: str, title: str) -> None:
    """Add a letter and a title to a part of a figure.

    Parameters
    ----------
    place : Figure or SubFigure
        The part.
    letter : str
        The letter of the panel.
    title : str
        The title.
    """
    place.suptitle(rf"$\bf{{{letter}}}$   {title}", x=0.01, ha="left", fontsize=10)


def write_label(axes: Axes, place: ArrayLike, text: str, **options: Any) -> None:
    """Write a short text that is centred on a point.

    Parameters
    ----------
    axes : Axes
        The axes to draw in.
    place : array_like, (2,)
        The point.
    text : str
        The text.
    **options
        Further arguments of Matplotlib.
    """
    x, y = np.asarray(place)
    axes.text(x, y, text, **{"ha": "center", "va": "center", "zorder": 6, **options})


def add_legend(axes: Axes, **options: Any) -> None:
    """Add a legend that lists each label once.

    Parameters
    ----------
    axes : Axes
        The axes to draw in.
    **options
        Further arguments of Matplotlib.
    """
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axes.legend(once.values(), once.keys(), **options)


def write_literally(*texts: Text) -> None:
    """Show texts as they are, without reading dollar signs as mathematics. Unprintable characters are escaped.

    Parameters
    ----------
    *texts : Text
        The texts, such as names that come from a user.
    """
    for text in texts:
        text.set_parse_math(False)
        text.set_text(to_one_line(text.get_text()))


def write_condition(condition: str) -> str:
    """Write the condition of an event for a label.

    Parameters
    ----------
    condition : str
        The condition, such as ``"test_accuracy >= 0.95"``.

    Returns
    -------
    str
        The text, such as "test accuracy ≥ 0.95".
    """
    return condition.replace("_", " ").replace(">=", "≥").replace("<=", "≤")


def choose_colours(count: int) -> list[Any]:
    """Choose a colour for each of several curves.

    Parameters
    ----------
    count : int
        The number of curves.

    Returns
    -------
    list
        Colours of `COLOURS` for up to six curves, otherwise shades of the colour map viridis.
    """
    import matplotlib as mpl  # noqa: PLC0415

    single = [colour for name, colour in COLOURS.items() if name != "grey"]
    return single[:count] if count <= len(single) else list(mpl.colormaps["viridis"](np.linspace(0, 0.9, count)))


def format_numbers(numbers: Iterable[float]) -> str:
    """Format numbers for a label, with commas between them.

    Parameters
    ----------
    numbers : iterable of float
        The numbers.

    Returns
    -------
    str
        The text.
    """
    return ", ".join(f"{number:g}".replace("-", "−") for number in numbers)


def mark_quick(figure: Figure, text: str) -> None:
    """Mark a picture of a quick run, to distinguish it from the full picture.

    Parameters
    ----------
    figure : Figure
        The picture.
    text : str
        The settings of the quick run.
    """
    box = {"boxstyle": "round,pad=0.35", "facecolor": "#FFF3E6", "edgecolor": COLOURS["vermilion"], "linewidth": 0.8}
    figure.suptitle(f"QUICK RUN  {text}", x=0.99, ha="right", color=COLOURS["vermilion"], fontsize=8, bbox=box)


#: The metadata of a picture in each format: the mark of this package, without version and date.
FORMS: Mapping[str, Mapping[str, str | None]] = {
    "png": {"Software": "zeroloss"},
    "svg": {"Creator": "zeroloss", "Date": None},
    "pdf": {"Creator": "zeroloss", "Producer": None, "CreationDate": None},
}


def save(figure: Figure, file: Path | BinaryIO, form: str = "png") -> None:
    """Write a figure as PNG, SVG or PDF, with a mark of this package. The same numbers give the same file.

    Parameters
    ----------
    figure : Figure
        The figure.
    file : path or binary file
        The file.
    form : {"png", "svg", "pdf"}
        The format.
    """
    import matplotlib as mpl  # noqa: PLC0415

    with mpl.rc_context({"svg.hashsalt": "zeroloss"}):  # otherwise the names in an SVG file are random
        figure.savefig(file, dpi=160, format=form, metadata=dict(FORMS[form]))


#: The bytes at both ends of a file that have the mark of a picture.
_START = 4096
#: The mark of a picture in a file of each format.
_MARKS = (b"tEXtSoftware\0zeroloss", b"<dc:title>zeroloss</dc:title>", b"/Creator (zeroloss)")


def is_ours(path: Path) -> bool:
    """Return whether `save` wrote a file.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    bool
        Whether the file has the mark of this package.
    """
    with path.open("rb") as file:
        start = file.read(_START)
        file.seek(max(os.fstat(file.fileno()).st_size - _START, 0))
        content = start + file.read(_START)  # PDF has the mark near its end.
    return any(mark in content for mark in _MARKS)
