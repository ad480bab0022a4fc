"""The finished cells of a study, kept in files, so that a study that was interrupted goes on where it stopped.

A cell is a piece of the study that its settings determine, such as all runs of one seed. Its file is named by a
fingerprint of those settings and of the build, so that a cell of another setting or another build is never taken for
it. Cells stay when the study has ended: one with more seeds computes the further ones only.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._checks import ZerolossWarning
from ..build import build_of_results
from ..results.files import DamagedError, NewerFormatError, read_sealed, remove_unfinished, write_sealed

__all__ = ["Cells"]

Arrays = dict[str, NDArray[Any]]


class Cells:
    """The cells of a study in a directory, which is made with the first of them.

    Parameters
    ----------
    directory : Path, optional
        Where the cells are; without one they are computed and not kept.

    Attributes
    ----------
    found : int
        How many cells were there already.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        if directory is not None and directory.is_dir():
            remove_unfinished(directory, age=3600.0)
        self.found = 0

    def cell(self, settings: Mapping[str, Any], compute: Callable[[], Mapping[str, ArrayLike]]) -> Arrays:
        """Return the arrays of a cell by name: those kept, or those computed now and kept from now on.

        Parameters
        ----------
        settings : mapping
            All that determines the cell beside the build, as JSON takes it: what it is part of, parameters, seeds.
        compute : function
            Returns the arrays by name; what it raises, KeyboardInterrupt too, leaves no trace in the directory.

        Warns
        -----
        ZerolossWarning
            Where the file of the cell is damaged: it is computed again.
        """
        if self._directory is None:
            return _arrays(compute())
        about = json.loads(json.dumps({"settings": settings, "build": build_of_results()}, allow_nan=False))
        path = self._directory / hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]
        try:
            kept_about, kept = read_sealed(path)
            if kept_about != about:
                raise DamagedError(f"{path.name}: it holds another cell")
        except FileNotFoundError:
            pass
        except (DamagedError, NewerFormatError) as error:
            warnings.warn(f"{self._directory}: {error}; the cell is computed again", ZerolossWarning, stacklevel=2)
        else:
            self.found += 1
            return kept
        arrays = _arrays(compute())
        self._directory.mkdir(parents=True, exist_ok=True)
        write_sealed(path, about, arrays)  # Another process may write the same at this moment, to the same bits.
        return arrays


def _arrays(values: Mapping[str, ArrayLike]) -> Arrays:
    return {name: np.asarray(value) for name, value in values.items()}
