"""Finished cells of studies, in memory and in files with checksums, so that an interrupted study can continue.

The name of a file is a fingerprint of its cell and of the build. A cell with other arguments or another build therefore
has another file. The files remain after a study: the same study with more seeds computes only the further cells.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from .._checks import ZerolossWarning
from ..provenance import describe_build
from ..results.files import DamagedError, NewerFormatError, read_checksummed, remove_unfinished, write_checksummed

__all__ = ["Arrays", "Cells"]

Arrays = dict[str, NDArray[Any]]


class Cells:
    """A store of finished cells, each of which is arrays by name.

    Parameters
    ----------
    directory : Path, optional
        The directory of the files, which is made for the first file. Without a directory, cells are stored in memory
        only.
    memory : dict, optional
        A dictionary of cells in memory, to share them with other ``Cells``.

    Attributes
    ----------
    directory : Path or None
        The directory.
    found : int
        The number of cells that were read from files.
    """

    def __init__(self, directory: Path | None = None, memory: dict[str, Arrays] | None = None) -> None:
        self.directory = directory
        self._memory = {} if memory is None else memory
        if directory is not None and directory.is_dir():
            remove_unfinished(directory, age=3600.0)
        self.found = 0

    def find(self, settings: Mapping[str, Any]) -> Arrays | None:
        """Return the arrays of a cell.

        Parameters
        ----------
        settings : mapping
            The function and arguments of the cell, as JSON can represent them.

        Returns
        -------
        dict of str to ndarray, or None
            The arrays; None if the cell is not stored.

        Warns
        -----
        ZerolossWarning
            If the file of the cell is damaged. The cell has to be computed again.
        """
        about, name = _identify(settings)
        if name in self._memory:
            return self._memory[name]
        if self.directory is None:
            return None
        try:
            stored_about, arrays = read_checksummed(self.directory / name)
            if stored_about != about:
                raise DamagedError(f"{name}: it contains another cell")
        except FileNotFoundError:
            return None
        except (DamagedError, NewerFormatError) as error:
            warnings.warn(f"{self.directory}: {error}; the cell is computed again", ZerolossWarning, stacklevel=2)
            return None
        self.found += 1
        self._memory[name] = arrays
        return arrays

    def store(self, settings: Mapping[str, Any], arrays: Arrays) -> None:
        """Store the arrays of a cell. Another process may store the same cell, with the same bits, at the same time.

        Parameters
        ----------
        settings : mapping
            The function and arguments of the cell, as JSON can represent them.
        arrays : dict of str to ndarray
            The arrays.
        """
        about, name = _identify(settings)
        self._memory[name] = arrays
        if self.directory is not None:
            self.directory.mkdir(parents=True, exist_ok=True)
            write_checksummed(self.directory / name, about, arrays)


def _identify(settings: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the settings of a cell with the build, and the name of its file."""
    about: dict[str, Any] = json.loads(json.dumps({"settings": settings, "build": describe_build()}, allow_nan=False))
    return about, hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]
