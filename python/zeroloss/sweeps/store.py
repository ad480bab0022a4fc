"""The store of a sweep: a directory for each cell, and all of them as one labelled cube.

::

    sweep.toml        the configuration with its section [sweep]
    cells/NAME/       one run each, as zeroloss run leaves it, named by the fingerprint of its settings
    locks/            held, by the kernel, by the process that carries out a cell
    cube.nc           all ended cells in one NetCDF file, made anew at the end of every sweep

Every worker writes in the directory of its own cell alone, so that none waits for another, and what is half written is
never read: a cell counts from the moment that its ``run.json`` says how it ended.
"""

from __future__ import annotations

import collections
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _toml
from ..config import settings_of_file
from ..results import RunDirectory, held, side_by_side
from ..results.files import replace
from .grid import Axis, Cell, axes, cells

if TYPE_CHECKING:
    import xarray as xr

NOT_ENDED = "not ended"


def open_sweep(directory: str | os.PathLike[str]) -> xr.Dataset:
    """Return all cells of a sweep that have ended as one labelled cube, also while others are under way.

    Parameters
    ----------
    directory : path
        That ``zeroloss sweep`` wrote to.

    Returns
    -------
    xarray.Dataset
        The histories over the swept keys, in the order of their values, and "step": NaN where a cell has no record.
        Keys that vary together share a dimension, named after the first of them. ``ending`` and ``outcome`` say how
        each cell ended ("not ended" where it has not), ``event_step`` over "event" when each event happened (NaN: it
        did not), and ``cell`` in which directory the run is, for `zeroloss.load`.

    Raises
    ------
    ValueError
        Where there is no sweep, or no cell has ended.
    """
    store = Path(directory)
    if not (store / "sweep.toml").is_file():
        raise ValueError(f"directory: expected a sweep, found no sweep.toml in {store}")
    settings = settings_of_file(store / "sweep.toml")
    return cube(store, axes(settings), cells(settings))


def report(directory: str | os.PathLike[str]) -> list[str]:
    """Return lines that sum up a sweep, ended or under way: how the cells ended, and when events happened in them."""
    found = open_sweep(directory)
    endings = collections.Counter(found.ending.values.ravel().tolist())
    lines = [f"{directory}: {found.ending.size} cells: {', '.join(f'{n} {name}' for name, n in endings.most_common())}"]
    ended = found.ending.size - endings[NOT_ENDED]
    for name in found.event.values.tolist():
        steps = found.event_step.sel(event=name).values.ravel()
        steps = steps[np.isfinite(steps)]
        when = f", at steps {steps.min():.0f} to {steps.max():.0f}, median {np.median(steps):.0f}" if steps.size else ""
        lines.append(f"{name}: in {steps.size} of {ended} cells{when}")
    return lines


def prepare(store: Path, settings: Mapping[str, Any]) -> None:
    """Make the store, and keep the configuration in it."""
    for name in ("cells", "locks"):
        (store / name).mkdir(parents=True, exist_ok=True)
    with held(store / "locks" / "store", wait=True):
        replace(store / "sweep.toml", _toml.written(settings).encode())


def write_cube(store: Path, lines: Sequence[Axis], given: Sequence[Cell]) -> None:
    """Write the cube of the cells that have ended into the store."""
    with held(store / "locks" / "store", wait=True):
        replace(store / "cube.nc", lambda path: cube(store, lines, given).to_netcdf(path, engine="h5netcdf"))


def cube(store: Path, lines: Sequence[Axis], given: Sequence[Cell]) -> xr.Dataset:
    """Return the cube of the cells that have ended; see `open_sweep`."""
    ended = {
        place: (directory, outcome)
        for place, cell in enumerate(given)
        if (outcome := (directory := RunDirectory(cell.directory(store))).outcome()) is not None
    }
    if not ended:
        raise ValueError(f"directory: expected a sweep with cells that have ended, got none of {len(given)} in {store}")
    joined = side_by_side([_history(directory) for directory, _ in ended.values()], "cell")
    shape, dims = tuple(len(axis.values) for axis in lines), tuple(axis.keys[0] for axis in lines)
    places = np.array(list(ended))
    variables = {
        name: ((*dims, *values.dims[1:]), _spread(values.values, places, shape), values.attrs)
        for name, values in joined.variables.items()
        if values.dims[:1] == ("cell",)
    }
    words = {"ending": np.full(len(given), NOT_ENDED, object), "outcome": np.full(len(given), "", object)}
    for place, (_, outcome) in ended.items():
        words["ending"][place], words["outcome"][place] = str(outcome.ending), str(outcome)
    words["cell"] = np.array([cell.name for cell in given], object)
    import xarray as xr  # noqa: PLC0415 — half of the package's import time

    found = xr.Dataset(
        {**variables, **{name: (dims, texts.reshape(shape)) for name, texts in words.items()}},
        {name: values for name, values in joined.coords.items() if "cell" not in values.dims},
        {"settings": json.dumps(_common(given))},
    )
    found = found.set_coords([str(name) for name in joined.coords if "cell" in joined[name].dims])
    for axis, dim in zip(lines, dims, strict=True):
        for place, key in enumerate(axis.keys):
            found = found.assign_coords({key: (dim, _labels([row[place] for row in axis.values]))})
    return found


def _history(directory: RunDirectory) -> xr.Dataset:
    """Return the records of an ended run, and the steps of its events over "event"."""
    import xarray as xr  # noqa: PLC0415

    with xr.open_dataset(directory.history_file, engine="h5netcdf") as stored:
        history = stored.load()
    events = json.loads(history.attrs.pop("events", "{}"))
    names = json.loads(history.attrs["settings"]).get("events", [])
    steps = np.array([events.get(name, np.nan) for name in names], np.float64)
    about = {"units": "1", "long_name": "first step at which the condition holds"}
    return history.assign_coords(event=np.array(names, object)).assign(event_step=("event", steps, about))


def _spread(values: NDArray[Any], places: NDArray[np.intp], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return rows of cells (ended, …) in the cube, with NaN where a cell has not ended."""
    kind = values.dtype if values.dtype.kind == "f" or len(places) == np.prod(shape) else np.dtype(np.float64)
    spread = np.full((int(np.prod(shape)), *values.shape[1:]), np.nan if kind.kind == "f" else 0, kind)
    spread[places] = values
    return spread.reshape(*shape, *values.shape[1:])


def _labels(values: Sequence[Any]) -> NDArray[Any]:
    """Return the coordinate of values: numbers or truth values as they are, anything else, or a mixture, as TOML."""
    kinds = {type(value) for value in values}
    if kinds <= {int, float} or kinds == {bool}:
        return np.array(values)
    return np.array([value if kinds == {str} else _toml.value(value) for value in values], object)


def _common(given: Sequence[Cell]) -> dict[str, Any]:
    """Return the settings that all cells share."""
    swept = set(given[0].labels)
    return {
        section: {key: value for key, value in keys.items() if f"{section}.{key}" not in swept}
        for section, keys in given[0].settings.items()
    }
