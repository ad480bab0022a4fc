"""The page of a sweep: its cells over the swept keys, and their curves at some hundred steps.

The page has the steps of events and the last values of every cell. Its scripts compute medians, so the reader can
choose the axes and the values of other keys.
"""

from __future__ import annotations

import collections
import json
import shlex
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import plots
from .._checks import ArgumentValueError
from .._display import shorten
from ..sweeps.cube import NOT_ENDED
from . import sweep_figures
from .about import make_section
from .curves import MAIN
from .encode import encode
from .page import assemble, has_mark, read_library

if TYPE_CHECKING:
    import xarray as xr

_SCRIPTS = ("decode", "ticks", "theme", "elements", "settings", "median", "squares", "lines", "sweep")
#: The ending of a cell without a directory.
NOT_BEGUN = "not begun"
#: The greatest number of cells in a page.
_MOST_CELLS = 10_000
#: The greatest number of steps of the curves, and of numbers of all curves.
_MOST_STEPS = 200
_MOST_NUMBERS = 500_000
#: Characters of a label.
_LONGEST = 60


def sweep_page(cube: xr.Dataset, directory: Path, base: str) -> str:
    """Return the page of a sweep as HTML.

    Parameters
    ----------
    cube : Dataset
        The cube that `zeroloss.sweeps.open_sweep` returns; without records if no cell has ended.
    directory : Path
        The directory of the sweep.
    base : str
        The address of the directory with a slash at the end, or "" if the page is in it. Links to runs begin with it.

    Returns
    -------
    str
        The page.

    Raises
    ------
    ValueError
        If there are more than 10 000 cells.
    ImportError
        If Bokeh is not installed. The extra ``view`` installs it.
    """
    library = read_library()
    if cube.ending.size > _MOST_CELLS:
        raise ArgumentValueError("directories", f"expected at most {_MOST_CELLS} cells, got {cube.ending.size}")
    data = sweep_data(cube, directory, base)
    return assemble(data["title"], library, data, sweep_figures.make_all(), _SCRIPTS, "sweep.html", None)


def sweep_data(cube: xr.Dataset, directory: Path, base: str) -> dict[str, Any]:
    """Return the data of the page of a sweep.

    Parameters
    ----------
    cube : Dataset
        The cube that `zeroloss.sweeps.open_sweep` returns.
    directory : Path
        The directory of the sweep.
    base : str
        The address of the directory, as for `sweep_page`.

    Returns
    -------
    dict
        "dims", the axes of the sweep, in the order in which the cells are numbered; "cells", "events" and "last", with
        a number or text for each cell; "curves" at "steps"; and "palette", "axes", "title" and "about".
    """
    dims = [str(dim) for dim in cube.ending.dims]
    cells = [directory / "cells" / str(name) for name in cube.cell.values.ravel()]
    endings = [
        NOT_BEGUN if ending == NOT_ENDED and not cell.is_dir() else str(ending)
        for ending, cell in zip(cube.ending.values.ravel(), cells, strict=True)
    ]
    events = [str(event) for event in cube.event.values]
    over_step = [name for name, values in cube.items() if values.dims[-1:] == ("step",)]
    names = [name for chart in MAIN.values() for name in chart if name in over_step]
    places = choose_steps(cube.step.values, cube.ending.size * len(names))
    from bokeh.palettes import Cividis256  # noqa: PLC0415 — an extra, slow to import

    return {
        "title": directory.resolve().name,
        "about": _about(cube, directory, endings),
        "dims": [_dimension(cube, dim) for dim in dims],
        "axes": [dims.index(key) for key in plots.choose_keys(cube)],
        "palette": list(Cividis256),
        "cells": {
            "endings": endings,
            "outcomes": [shorten(str(text), 200) for text in cube.outcome.values.ravel()],
            "last_step": encode(cube.last_step.values.ravel(), "float64"),
            "pages": [_page_of(cell, base) for cell in cells],
        },
        "events": [
            {"text": event, "steps": encode(cube.event_step.values[..., place].ravel(), "float64")}
            for place, event in enumerate(events)
        ],
        "last": [
            {"text": _label(cube[name]), "values": encode(_last(cube, cube[name]).ravel(), "float64")}
            for name in over_step
        ],
        "steps": encode(cube.step.values[places], "float64"),
        "records": int(cube.sizes["step"]),
        "curves": [
            {
                "text": _label(cube[name]),
                "log": name not in MAIN["accuracy"],
                "values": encode(_curves(cube, name, places)),
            }
            for name in names
        ],
    }


def choose_steps(steps: NDArray[Any], curves: int) -> NDArray[np.intp]:
    """Return the places of the steps at which curves are drawn.

    Half of them are spaced evenly, and half of them logarithmically.

    Parameters
    ----------
    steps : ndarray, (steps,)
        The steps at which any cell has a record, ascending.
    curves : int
        The number of curves.

    Returns
    -------
    ndarray
        The places, with the first and the last one; all if they are few.
    """
    most = min(max(_MOST_NUMBERS // max(curves, 1), 4), _MOST_STEPS)
    if len(steps) <= most:
        return np.arange(len(steps))
    logs = np.log1p(steps.astype(np.float64))
    even = np.searchsorted(steps, np.linspace(steps[0], steps[-1], most // 2))
    spaced = np.searchsorted(logs, np.linspace(logs[0], logs[-1], most // 2))
    return np.unique(np.concatenate([even, spaced, [0, len(steps) - 1]]).clip(0, len(steps) - 1))


def _curves(cube: xr.Dataset, name: str, places: NDArray[np.intp]) -> NDArray[Any]:
    """Return the last record up to each of some steps, of shape (cells, steps). NaN after the end of a run."""
    values = cube[name].values.reshape(cube.ending.size, -1)
    recorded = np.where(np.isnan(values), -1, np.arange(values.shape[1]))
    before = np.maximum.accumulate(recorded, axis=1)[:, places]
    found = np.take_along_axis(values, before.clip(0), axis=1)
    ended = cube.step.values[places] > cube.last_step.values.reshape(-1, 1)
    return np.where((before < 0) | ended, np.nan, found)


def _last(cube: xr.Dataset, curve: xr.DataArray) -> NDArray[Any]:
    """Return the value at the last step of each run."""
    values: NDArray[Any] = curve.where(curve.step == cube.last_step).max("step").values
    return values


def _label(values: xr.DataArray) -> str:
    return shorten(str(values.attrs.get("long_name", values.name)), _LONGEST)


def _dimension(cube: xr.Dataset, dim: str) -> dict[str, Any]:
    """Return the name, the labels and, if they are numbers, the values of a dimension.

    Keys that vary together share a dimension, and their values share a label.
    """
    keys = [dim, *(str(name) for name, values in cube.coords.items() if values.dims == (dim,) and name != dim)]
    columns = [[_text(value) for value in cube[key].values.tolist()] for key in keys]
    is_number = cube[dim].dtype.kind in "if"
    return {
        "name": shorten(", ".join(keys), _LONGEST),
        "labels": [shorten(", ".join(row), _LONGEST) for row in zip(*columns, strict=True)],
        "values": [float(value) for value in cube[dim].values] if is_number else None,
    }


def _text(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _page_of(cell: Path, base: str) -> dict[str, Any]:
    """Return the command that writes the page of a cell, and its link if the page exists. Both may be empty."""
    page = cell / "view.html"
    return {
        "command": f"zeroloss view {shlex.quote(str(cell.absolute()))}" if cell.is_dir() else "",
        "link": f"{base}cells/{urllib.parse.quote(cell.name, safe='')}/view.html" if has_mark(page) else "",
    }


def _about(cube: xr.Dataset, directory: Path, endings: Sequence[str]) -> dict[str, Any]:
    """Return the endings of the cells, the settings that they share, and the command that repeats the sweep."""
    counts = collections.Counter(endings)
    settings = json.loads(cube.attrs["settings"])
    return {
        "outcome": f"{len(endings)} cells: {', '.join(f'{n} {name}' for name, n in counts.most_common())}",
        "sections": [make_section(str(title), rows) for title, rows in settings.items()],
        "repeat": {
            "sentence": "This command repeats the sweep:",
            "command": f"zeroloss sweep {shlex.quote(str((directory / 'sweep.toml').absolute()))} --out NEW",
            "text": "",
        },
    }
