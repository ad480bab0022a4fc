"""The store of a sweep: a directory for each cell, and all of them as one labelled cube.

::

    sweep.toml        the configuration with its section [sweep]
    cells.json        the names of the cells, in order, and the settings that they share
    cells/NAME/       one run each, as zeroloss run leaves it, named by the fingerprint of its settings
    cells/NAME.error  what broke a cell off that is no outcome of its run
    locks/            held, by the kernel, by the process that carries out a cell
    cube.nc           all ended cells in one NetCDF file, made anew at the end of every sweep

Every worker writes in the directory of its own cell alone, so that none waits for another, and what is half written is
never read: a cell counts from the moment that its ``run.json`` says how it ended.
"""

from __future__ import annotations

import collections
import contextlib
import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _display, _toml
from .._checks import ArgumentValueError, ZerolossWarning
from .._plain import to_plain
from .._reading import is_special
from ..config import ConfigurationError, read_sections
from ..results import DESCRIPTIONS, TIMES, Outcome, RunDirectory, file_lock, labels, read_records
from ..results.files import reading, remove_unfinished, write_atomically
from ..results.netcdf import write_netcdf
from ..results.recognition import SWEEP_MARK, is_empty, is_sweep, json_object
from .cell import read_outcome
from .grid import Axis, Cell, axes

if TYPE_CHECKING:
    import xarray as xr

NOT_ENDED = "not ended"

#: What a cube has besides the swept keys and the recorded values.
_RESERVED_NAMES = {"step", "event", "event_step", "ending", "outcome", "cell", "last_step", *TIMES, *DESCRIPTIONS}


def _name(key: str) -> str:
    return key.split(".")[1]


@dataclass(frozen=True)
class Store:
    """A sweep's directory, with the axes and the names of the cells of the sweep in it."""

    path: Path
    axes: Sequence[Axis]
    names: Sequence[str]
    common: Mapping[str, Any]

    @classmethod
    def of(cls, path: Path, lines: Sequence[Axis], given: Sequence[Cell]) -> Store:
        """Return the store of cells."""
        swept = set(given[0].labels)
        common = {
            section: {key: value for key, value in keys.items() if f"{section}.{key}" not in swept}
            for section, keys in given[0].settings.items()
        }
        return cls(path, lines, [cell.name for cell in given], common)

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> Store:
        """Return the store in a directory; ValueError where there is none."""
        path = Path(directory)
        try:
            with reading(path / "cells.json"):
                about = json.loads((path / "cells.json").read_bytes())
            if not (path / "sweep.toml").exists():
                raise FileNotFoundError(path / "sweep.toml")
            names, common = about["names"], about["settings"]
        except FileNotFoundError:
            raise ArgumentValueError(
                "directory", f"expected a sweep, found no sweep.toml and cells.json in {path}"
            ) from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ArgumentValueError(
                "directory", f"expected a sweep, got a cells.json that is none in {path}: {error}"
            ) from None
        settings = read_sections(path / "sweep.toml")
        try:
            lines = axes(settings)
        except ConfigurationError as error:
            raise ConfigurationError([f"{path / 'sweep.toml'}: {problem}" for problem in error.problems]) from None
        count = math.prod(len(axis.values) for axis in lines)
        if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str) for name in names):
            raise ArgumentValueError(
                "directory", f"expected the names of {count} cells in {path / 'cells.json'}, got others"
            )
        return cls(path, lines, names, common)

    @staticmethod
    def is_at(directory: Path) -> bool:
        """Whether a directory is that of a sweep, which its content shows."""
        return is_sweep(directory / "cells.json")

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}, {len(self.names)} cells of {_display.shorten(', '.join(self.keys()), 200)})"

    def keys(self) -> list[str]:
        """Return the keys that vary, as section.key."""
        return [key for axis in self.axes for key in axis.keys]

    def names_of_keys(self) -> dict[str, str]:
        """Return the names of the swept keys in the cube, by key.

        These are Python names: ``weight_decay`` for ``dynamics.weight_decay``. A name that several sections have, such
        as ``seed``, keeps its section: ``data_seed``.
        """
        own = [f"{section}.{name}" for section, keys in self.common.items() for name in keys]
        counts = collections.Counter(_name(key) for key in {*own, *self.keys()})
        return {
            key: _name(key) if counts[_name(key)] == 1 and _name(key) not in _RESERVED_NAMES else key.replace(".", "_")
            for key in self.keys()
        }

    def cell(self, name: str) -> Path:
        """Return the directory of a cell."""
        return self.path / "cells" / name

    def lock(self, name: str) -> Path:
        """Return the lock of a cell."""
        return self.path / "locks" / name

    def outcomes(self) -> dict[str, Outcome]:
        """Return how the cells ended that have."""
        try:
            there = {path.name.removesuffix(".error") for path in (self.path / "cells").iterdir()}
        except OSError:
            return {}
        begun = (name for name in self.names if name in there)
        return {name: outcome for name in begun if (outcome := read_outcome(self.cell(name))) is not None}

    def check_free(self) -> None:
        """Raise ValueError unless the directory is new, empty, or holds this sweep, wider or narrower.

        It counts as that of a sweep by its content, never by the names of its files.
        """
        about = self.path / "cells.json"
        if is_empty(self.path, about.name):
            return
        if not is_sweep(about):
            wrong = f" (its {about.name} is damaged or of another program)" if os.path.lexists(about) else ""
            raise ArgumentValueError(
                "out",
                f"expected a new or empty directory, or one of a sweep, got {self.path}, which holds other files"
                f"{wrong}; they stay as they are",
            )
        names = json_object(about).get("names")
        before = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
        if not set(before) & set(self.names) and any(self.cell(name).exists() for name in before):
            raise ArgumentValueError(
                "out",
                f"expected a new directory or one of this sweep, got {self.path}, which holds another sweep: none "
                f"of its {len(before)} cells is one of this sweep's",
            )

    def prepare(self, settings: Mapping[str, Any]) -> None:
        """Make the directories, and keep the configuration in them."""
        self.check_free()
        self.path.mkdir(parents=True, exist_ok=True)
        about = json.dumps({**SWEEP_MARK, "names": self.names, "settings": self.common}, ensure_ascii=False).encode()
        if not is_sweep(self.path / "cells.json"):
            # If another process prepares the same sweep, it may remove the unfinished file after writing its own.
            with contextlib.suppress(FileNotFoundError):
                write_atomically(self.path / "cells.json", about)
        for name in ("cells", "locks"):
            (self.path / name).mkdir(exist_ok=True)
        with file_lock(self.lock("store"), wait=True):
            remove_unfinished(self.path)
            if _toml_of(self.path / "sweep.toml") != to_plain(settings):  # else it may have the user's comments
                write_atomically(self.path / "sweep.toml", _toml.dumps(settings).encode())
            write_atomically(self.path / "cells.json", about)

    def write_cube(self) -> None:
        """Write the cube of the cells that have ended."""
        with file_lock(self.lock("store"), wait=True):
            cube = self.cube()
            write_atomically(self.path / "cube.nc", lambda file: write_netcdf(file, cube))

    def cube(self) -> xr.Dataset:
        """Return the cube of the cells that have ended; see `open_sweep`."""
        outcomes = self.outcomes()
        if not outcomes:
            raise ArgumentValueError(
                "directory",
                f"expected a sweep with cells that have ended, got none of {len(self.names)} in {self.path}",
            )
        histories = {place: self._history(name) for place, name in enumerate(self.names) if name in outcomes}
        endings = [str(outcomes[name].ending) if name in outcomes else NOT_ENDED for name in self.names]
        words = {
            "ending": (endings, "how the run ended"),
            "outcome": ([str(outcomes.get(name, "")) for name in self.names], "how and where the run ended"),
            "cell": (list(self.names), "directory of the run in cells/"),
        }
        names = self.names_of_keys()
        dims, shape = [names[axis.keys[0]] for axis in self.axes], tuple(len(axis.values) for axis in self.axes)
        import xarray as xr  # noqa: PLC0415 — slow to import

        found = xr.Dataset(
            {
                name: (dims, np.array(texts, object).reshape(shape), labels(name, "", meaning))
                for name, (texts, meaning) in words.items()
            },
            attrs={"settings": json.dumps(self.common)},
        )
        for axis, dim in zip(self.axes, dims, strict=True):
            for place, key in enumerate(axis.keys):
                about = labels(names[key], "", f"value of {key}")
                found = found.assign_coords({names[key]: (dim, _values([row[place] for row in axis.values]), about)})
        for over, meaning in (("step", "number of steps taken"), ("event", "condition whose first step is found")):
            columns = _join_histories(histories, over)
            found = found.assign_coords({over: (over, columns.pop(over)[0], labels(over, "", meaning))})
            for name, (values, attributes) in columns.items():
                spread = np.full((len(self.names), *values.shape[1:]), np.nan)
                spread[list(histories)] = values
                found[name] = ((*dims, over), spread.reshape(*shape, -1), attributes)
        last = np.full(len(self.names), np.nan)
        for place, history in histories.items():
            last[place] = history["step"][0][-1] if history else np.nan
        found["last_step"] = (dims, last.reshape(shape), labels("last_step", "1", "last step of the run"))
        return found.set_coords([name for name in TIMES if name in found])

    def _history(self, name: str) -> _History:
        """Return the records of an ended run, and the steps of its events; none where they cannot be read."""
        directory = RunDirectory(self.cell(name))
        try:
            columns, about = read_records(directory.history_file)
            events = json.loads(about.get("events", "{}"))
            names = json.loads(about["settings"]).get("events", [])
            steps = np.array([events.get(one, np.nan) for one in names], np.float64)
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # such as a DamagedError
            warnings.warn(
                f"{directory.path}: {error}; without it the cell can be made anew", ZerolossWarning, stacklevel=4
            )
            return {}
        meaning = labels("event_step", "1", "first step at which the condition holds")
        return {**columns, "event": (np.array(names, object), {}), "event_step": (steps, meaning)}


Column = tuple[NDArray[Any], Mapping[str, Any]]
_History = dict[str, Column]


def _join_histories(histories: Mapping[int, _History], over: str) -> _History:
    """Return variables over "step" or "event" of all cells, (cells, points), NaN where a cell has none."""
    points = {point: None for history in histories.values() if history for point in history[over][0].tolist()}
    kept = sorted(points) if over == "step" else list(points)
    places = {point: place for place, point in enumerate(kept)}
    own = {"event_step"} if over == "event" else {name for history in histories.values() for name in history}
    names = sorted(own - ({"step", "event"} if over == "event" else {"step", "event", "event_step"}))
    found: _History = {over: (np.array(kept, np.int64 if over == "step" else object), {})}
    for name in names:
        values, attributes = np.full((len(histories), len(kept)), np.nan), {}
        for row, history in zip(values, histories.values(), strict=True):
            if name in history:
                row[[places[point] for point in history[over][0].tolist()]] = history[name][0]
                attributes = dict(history[name][1])
        found[name] = values, attributes
    return found


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
        The dimensions are named by the keys without their sections, as ``cube.sel(weight_decay=1e-3)``; keys that
        several sections have keep them, as ``data_seed``. Keys that vary together share a dimension, named after the
        first of them. ``ending`` and ``outcome`` say how
        each cell ended ("not ended" where it has not), ``event_step`` over "event" when each event happened (NaN: it
        did not), ``last_step`` is the last step of each run, and ``cell`` in which directory the run is, for
        `zeroloss.load`. `zeroloss.survival.median` takes ``event_step`` and ``last_step``.

    Raises
    ------
    ValueError
        Where there is no sweep, or no cell has ended.
    """
    return Store.open(directory).cube()


def _toml_of(path: Path) -> Mapping[str, Any] | None:
    """Return the content of a TOML file; None if there is none to read."""
    try:
        return None if is_special(path) else _toml.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _values(values: Sequence[Any]) -> NDArray[Any]:
    """Return the coordinate of values: numbers or truth values as they are, anything else, or a mixture, as TOML."""
    kinds = {type(value) for value in values}
    held = all(abs(value) < 2**63 for value in values if isinstance(value, int))
    if kinds == {bool} or (kinds <= {int, float} and held):
        return np.array(values)
    return np.array([value if kinds == {str} else _toml.dump_value(value) for value in values], object)
