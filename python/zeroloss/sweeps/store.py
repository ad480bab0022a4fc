"""The store of a sweep: a directory for each cell, and all histories as one labelled cube.

::

    sweep.toml        the configuration with its section [sweep]
    cells.json        the names of the cells, in order, and the settings that they share
    cells/NAME/       the directory of a run, as of zeroloss run; NAME is the fingerprint of its settings
    cells/NAME.error  the error that ended a cell, if it is not an outcome of its run
    locks/            files that are locked by the process that runs a cell
    cube.nc           all ended cells in one NetCDF file, written again at the end of every sweep

A worker writes only in the directory of its cell, so workers do not wait for each other. Unfinished files are not read:
a cell has ended when its ``run.json`` has the outcome.
"""

from __future__ import annotations

import collections
import contextlib
import json
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _display, _toml
from .._checks import ArgumentValueError
from .._plain import to_plain
from .._reading import is_special
from ..config import ConfigurationError, read_sections
from ..results import DESCRIPTIONS, RESERVED_NAMES, TIMES, Outcome, file_lock
from ..results.files import reading, remove_unfinished, write_atomically
from ..results.netcdf import netcdf_content
from ..results.recognition import SWEEP_MARK, is_empty, is_sweep, json_object
from .cell import read_outcome
from .cube import make_cube
from .grid import Axis, Cell, axes

if TYPE_CHECKING:
    import xarray as xr

#: Names in a cube that a swept key cannot have.
_RESERVED_NAMES = {*RESERVED_NAMES, *TIMES, *DESCRIPTIONS}


def _name(key: str) -> str:
    return key.split(".")[1]


@dataclass(frozen=True)
class Store:
    """The directory of a sweep.

    Parameters
    ----------
    path : Path
        The directory.
    axes : sequence of Axis
        The lines of the section ``[sweep]``.
    names : sequence of str
        The names of the cells, in order.
    common : mapping
        The settings that all cells share.
    """

    path: Path
    axes: Sequence[Axis]
    names: Sequence[str]
    common: Mapping[str, Any]

    @classmethod
    def of(cls, path: Path, lines: Sequence[Axis], cells: Sequence[Cell]) -> Store:
        """Return the store for the cells of a sweep.

        Parameters
        ----------
        path : Path
            The directory.
        lines : sequence of Axis
            The lines of the section ``[sweep]``.
        cells : sequence of Cell
            The cells.

        Returns
        -------
        Store
            The store.
        """
        swept = set(cells[0].labels)
        common = {
            section: {key: value for key, value in keys.items() if f"{section}.{key}" not in swept}
            for section, keys in cells[0].settings.items()
        }
        return cls(path, lines, [cell.name for cell in cells], common)

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> Store:
        """Return the store in a directory.

        Parameters
        ----------
        directory : path
            The directory of a sweep.

        Returns
        -------
        Store
            The store.

        Raises
        ------
        ValueError
            If the directory has no sweep, or its files are damaged.
        """
        path = Path(directory)
        try:
            with reading(path / "cells.json"):
                about = json.loads((path / "cells.json").read_bytes())
            if not (path / "sweep.toml").exists():
                raise FileNotFoundError(path / "sweep.toml")
            names, common = about["names"], about["settings"]
        except FileNotFoundError:
            raise ArgumentValueError(
                "directory", f"expected the directory of a sweep, but {path} lacks sweep.toml or cells.json"
            ) from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ArgumentValueError(
                "directory", f"expected the directory of a sweep, but cells.json in {path} is damaged: {error}"
            ) from None
        settings = read_sections(path / "sweep.toml")
        try:
            lines = axes(settings)
        except ConfigurationError as error:
            raise ConfigurationError([f"{path / 'sweep.toml'}: {problem}" for problem in error.problems]) from None
        count = math.prod(len(axis.values) for axis in lines)
        if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str) for name in names):
            raise ArgumentValueError("directory", f"expected the names of {count} cells in {path / 'cells.json'}")
        return cls(path, lines, names, common)

    @staticmethod
    def is_at(directory: Path) -> bool:
        """Return whether a directory is the directory of a sweep, judged by its content.

        Parameters
        ----------
        directory : Path
            The directory.

        Returns
        -------
        bool
            Whether it is.
        """
        return is_sweep(directory / "cells.json")

    def __repr__(self) -> str:
        return f"Store({str(self.path)!r}, {len(self.names)} cells of {_display.shorten(', '.join(self.keys()), 200)})"

    def keys(self) -> list[str]:
        """Return the swept keys.

        Returns
        -------
        list of str
            The keys in the form section.key.
        """
        return [key for axis in self.axes for key in axis.keys]

    def names_of_keys(self, recorded: Collection[str] = ()) -> dict[str, str]:
        """Return the names of the swept keys in the cube.

        They are Python names: ``weight_decay`` for ``dynamics.weight_decay``. A name that several sections have, such
        as ``seed``, or that a recorded value has, includes the section: ``data_seed``.

        Parameters
        ----------
        recorded : collection of str
            The names of the values that the cells recorded.

        Returns
        -------
        dict of str to str
            The names by key.
        """
        common = [f"{section}.{name}" for section, keys in self.common.items() for name in keys]
        counts = collections.Counter(_name(key) for key in {*common, *self.keys()})
        reserved = {*_RESERVED_NAMES, *recorded}
        return {
            key: _name(key) if counts[_name(key)] == 1 and _name(key) not in reserved else key.replace(".", "_")
            for key in self.keys()
        }

    def cell(self, name: str) -> Path:
        """Return the directory of a cell.

        Parameters
        ----------
        name : str
            The name of the cell.

        Returns
        -------
        Path
            The directory.
        """
        return self.path / "cells" / name

    def lock(self, name: str) -> Path:
        """Return the lock file of a cell.

        Parameters
        ----------
        name : str
            The name of the cell.

        Returns
        -------
        Path
            The file.
        """
        return self.path / "locks" / name

    def outcomes(self) -> dict[str, Outcome]:
        """Return the outcomes of the cells that have ended.

        Returns
        -------
        dict of str to Outcome
            The outcomes by the name of the cell.
        """
        try:
            existing = {path.name.removesuffix(".error") for path in (self.path / "cells").iterdir()}
        except OSError:
            return {}
        names = (name for name in self.names if name in existing)
        return {name: outcome for name in names if (outcome := read_outcome(self.cell(name))) is not None}

    def check_free(self) -> None:
        """Check that the directory is free for this sweep.

        It may be new, empty, or have this sweep with more or fewer cells. The content of its files decides, not their
        names.

        Raises
        ------
        ValueError
            If the directory has other files, or another sweep.
        """
        about = self.path / "cells.json"
        if is_empty(self.path, about.name):
            return
        if not is_sweep(about):
            wrong = f" (its {about.name} is damaged or of another program)" if os.path.lexists(about) else ""
            raise ArgumentValueError(
                "out",
                f"expected a new or empty directory, or the directory of a sweep, got {self.path}, which holds other "
                f"files{wrong}; they stay as they are",
            )
        names = json_object(about).get("names")
        before = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
        if not set(before) & set(self.names) and any(self.cell(name).exists() for name in before):
            raise ArgumentValueError(
                "out",
                f"expected a new directory or the directory of this sweep, but {self.path} has another sweep: none "
                f"of its {len(before)} cells belongs to this sweep",
            )

    def prepare(self, settings: Mapping[str, Any]) -> None:
        """Make the directories, and write the configuration.

        Parameters
        ----------
        settings : mapping
            The sections of the configuration.
        """
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
            if _toml_of(self.path / "sweep.toml") != to_plain(settings):  # Otherwise it may have comments of the user.
                write_atomically(self.path / "sweep.toml", _toml.dumps(settings).encode())
            write_atomically(self.path / "cells.json", about)

    def write_cube(self) -> None:
        """Write the cube of the cells that have ended."""
        with file_lock(self.lock("store"), wait=True):
            cube = self.cube()
            write_atomically(self.path / "cube.nc", netcdf_content(cube))

    def cube(self, *, may_be_empty: bool = False) -> xr.Dataset:
        """Return the histories of the cells that have ended.

        Parameters
        ----------
        may_be_empty : bool
            Whether to return a cube without records if no cell has ended, by default False.

        Returns
        -------
        xarray.Dataset
            The cube that `open_sweep` describes.

        Raises
        ------
        ValueError
            If no cell has ended and ``may_be_empty`` is False.
        """
        outcomes = self.outcomes()
        if not outcomes and not may_be_empty:
            raise ArgumentValueError(
                "directory",
                f"none of the {len(self.names)} cells in {self.path} has ended",
            )
        return make_cube(self, outcomes)


def open_sweep(directory: str | os.PathLike[str]) -> xr.Dataset:
    """Read the cells of a sweep that have ended as one labelled cube. Other cells may still be running.

    Parameters
    ----------
    directory : path
        The directory that ``zeroloss sweep`` wrote.

    Returns
    -------
    xarray.Dataset
        The histories over the swept keys, in the order of their values, and over "step". Missing records are NaN. See
        the notes.

    Raises
    ------
    ValueError
        If there is no sweep, or if no cell has ended.

    Notes
    -----
    The dimensions have the names of the keys without their sections: ``cube.sel(weight_decay=1e-3)``. A name that
    several sections, or a recorded value, have includes the section: ``data_seed``. Keys that vary together share a
    dimension, which has the name of the first of them.

    ``ending`` and ``outcome`` describe how each cell ended ("not ended" if it has not). ``event_step`` over "event" has
    the step of each event, NaN if it did not happen. ``last_step`` is the last step of each run. ``cell`` is the name
    of the directory of the run in ``cells/``, for `zeroloss.load`. `zeroloss.survival.median` takes ``event_step`` and
    ``last_step``. Cells that have not ended have no numbers. They are often the slow ones, so medians of the others are
    too small.
    """
    return Store.open(directory).cube()


def _toml_of(path: Path) -> Mapping[str, Any] | None:
    """Return the content of a TOML file; None if it cannot be read."""
    try:
        return None if is_special(path) else _toml.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
