"""Finished cells in sealed files and in memory, so that work that was interrupted continues where it stopped.

A file is named by a fingerprint of all that determines its cell and of the build. A cell of other arguments or of
another build is therefore never taken for it. Cells stay when the work has ended: a study with more seeds computes only
the further ones.
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
    """Finished cells: arrays by name.

    Parameters
    ----------
    directory : Path, optional
        The directory of the files, made with the first of them. Without one, cells are held in memory only.
    memory : dict, optional
        Cells held in memory, to be shared with other ``Cells``.

    Attributes
    ----------
    directory : Path or None
        The directory.
    found : int
        How many cells were read from files.
    """

    def __init__(self, directory: Path | None = None, memory: dict[str, Arrays] | None = None) -> None:
        self.directory = directory
        self._memory = {} if memory is None else memory
        if directory is not None and directory.is_dir():
            remove_unfinished(directory, age=3600.0)
        self.found = 0

    def find(self, settings: Mapping[str, Any]) -> Arrays | None:
        """Return the arrays of a cell; None if it is not there.

        Parameters
        ----------
        settings : mapping
            All that determines the cell, without the build, as JSON takes it.

        Warns
        -----
        ZerolossWarning
            If the file of the cell is damaged: it has to be computed again.
        """
        about, name = _identify(settings)
        if name in self._memory:
            return self._memory[name]
        if self.directory is None:
            return None
        try:
            stored_about, arrays = read_checksummed(self.directory / name)
            if stored_about != about:
                raise DamagedError(f"{name}: it holds another cell")
        except FileNotFoundError:
            return None
        except (DamagedError, NewerFormatError) as error:
            warnings.warn(f"{self.directory}: {error}; the cell is computed again", ZerolossWarning, stacklevel=2)
            return None
        self.found += 1
        self._memory[name] = arrays
        return arrays

    def store(self, settings: Mapping[str, Any], arrays: Arrays) -> None:
        """Store the arrays of a cell. Another process may store the same at this moment, with the same bits."""
        about, name = _identify(settings)
        self._memory[name] = arrays
        if self.directory is not None:
            self.directory.mkdir(parents=True, exist_ok=True)
            write_checksummed(self.directory / name, about, arrays)


def _identify(settings: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    about: dict[str, Any] = json.loads(json.dumps({"settings": settings, "build": describe_build()}, allow_nan=False))
    return about, hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]
