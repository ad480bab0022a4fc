"""The paper's figures, checks of its theorems, and studies, one file each: settings → simulate → analyse → picture."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cells import Cells
    from .output import Result

__all__ = ["CHECKS", "FIGURES", "STUDIES", "Experiment"]


@dataclass(frozen=True)
class Experiment:
    """An experiment by the module that holds its ``reproduce``, which is imported when it runs.

    Attributes
    ----------
    module : str
        The module's name in this package, and the name of the files written.
    options : tuple of str
        Keywords of its ``reproduce`` beside ``seeds`` and ``quick``.
    seeded : bool
        Whether anything in it is random. Else its ``reproduce`` takes no ``seeds``, and the line says so to those
        who gave a number of them.
    resumable : bool
        Whether its ``reproduce`` takes ``cells``, in which it keeps what is finished.
    """

    module: str
    options: tuple[str, ...] = ()
    seeded: bool = True
    resumable: bool = False

    def reproduce(
        self, *, seeds: int | None = None, quick: bool = False, cells: Cells | None = None, **options: Any
    ) -> Result:
        """Run the experiment for a number of seeds (default: as the paper), or in its quick form.

        Where it is resumable it takes what it finds in ``cells``, and keeps there what it finishes.
        """
        reproduce = importlib.import_module(f".{self.module}", __name__).reproduce
        if self.resumable and cells is not None:
            options["cells"] = cells
        if self.seeded:
            result: Result = reproduce(seeds=seeds, quick=quick, **options)
            return result
        result = reproduce(quick=quick, **options)
        return result if seeds is None else replace(result, line=f"{result.line}; nothing random, so no seeds")


#: The figures by number.
FIGURES: Mapping[str, Experiment] = {
    "1": Experiment("figure1"),
    "2": Experiment("figure2", seeded=False),
    "3": Experiment("figure3", seeded=False),
    "4": Experiment("figure4", seeded=False),
    "5": Experiment("figure5", options=("projection",)),
    "6": Experiment("figure6", options=("spread",)),
    "7": Experiment("figure7", options=("projection",)),
}

#: The checks by the number of their theorem.
CHECKS: Mapping[str, Experiment] = {
    "4.8": Experiment("theorem48"),
    "4.10": Experiment("theorem410"),
    "4.14": Experiment("theorem414"),
    "5.1": Experiment("theorem51"),
}

#: The studies by name.
STUDIES: Mapping[str, Experiment] = {
    "vanishing-decay": Experiment("vanishing_decay"),
    "sliding": Experiment("sliding"),
    "phase-diagram": Experiment("phase_diagram", resumable=True),
    "delay-law": Experiment("delay_law", resumable=True),
}
