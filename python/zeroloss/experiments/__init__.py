"""The paper's figures, one file each: settings → simulate → analyse → picture."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .output import Result

__all__ = ["FIGURES", "Experiment"]


@dataclass(frozen=True)
class Experiment:
    """An experiment by the module that holds its ``reproduce``, which is imported when it runs.

    Attributes
    ----------
    module : str
        The module's name in this package, and the name of the files written.
    options : tuple of str
        Keywords of its ``reproduce`` beside ``seeds`` and ``quick``.
    """

    module: str
    options: tuple[str, ...] = ()

    def reproduce(self, *, seeds: int | None = None, quick: bool = False, **options: str) -> Result:
        """Run the experiment for a number of seeds (default: as the paper), or in its quick form."""
        result: Result = importlib.import_module(f".{self.module}", __name__).reproduce(
            seeds=seeds, quick=quick, **options
        )
        return result


#: The figures by number.
FIGURES: Mapping[str, Experiment] = {"6": Experiment("figure6", options=("spread",))}
