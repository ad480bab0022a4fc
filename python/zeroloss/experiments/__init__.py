"""The paper's figures, checks of its theorems, and studies, one file each: settings → simulate → analyse → picture."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from .. import survival
from .._checks import ArgumentValueError, shown
from .._hints import words

if TYPE_CHECKING:
    from .cells import Cells
    from .output import Result

__all__ = ["CHECKS", "FIGURES", "STUDIES", "Experiment"]


@dataclass(frozen=True)
class Experiment:
    """An experiment by the module that holds its ``run``, ``FULL`` and ``QUICK`` settings, imported when it runs.

    Attributes
    ----------
    module : str
        The module's name in this package, and the name of the files written.
    options : tuple of str
        Settings that `zeroloss reproduce` has an option for.
    seeded : bool
        Whether anything in it is random. Else its settings have no ``seeds``, and the line says so to those who gave
        a number of them.
    resumable : bool
        Whether its ``run`` takes ``cells``, in which it keeps what is finished.
    laws : bool
        Whether it fits laws of delays, for which an extra is needed.
    """

    module: str
    options: tuple[str, ...] = ()
    seeded: bool = True
    resumable: bool = False
    laws: bool = False

    def check_requirements(self) -> None:
        """Raise ImportError if an extra is missing that the experiment needs."""
        if self.laws:
            survival.check_installed()

    def settings(
        self,
        *,
        seeds: int | None = None,
        quick: bool = False,
        changes: Mapping[str, object] = MappingProxyType({}),
    ) -> Any:
        """Return the settings, a dataclass, that `reproduce` runs the experiment with; ValueError for wrong changes."""
        module = self._module()
        settings = changed(module.QUICK if quick else module.FULL, changes)
        return replace(settings, seeds=seeds) if self.seeded and seeds is not None else settings

    def _module(self) -> Any:
        return importlib.import_module(f".{self.module}", __name__)

    def reproduce(
        self,
        *,
        seeds: int | None = None,
        quick: bool = False,
        cells: Cells | None = None,
        changes: Mapping[str, object] = MappingProxyType({}),
    ) -> Result:
        """Run the experiment for a number of seeds (default: as the paper), or in its quick form.

        ``changes`` are other values of its ``Settings``; ValueError for a name or value that is none. Where it is
        resumable it takes what it finds in ``cells``, and keeps there what it finishes.
        """
        module = self._module()
        settings = self.settings(seeds=seeds, quick=quick, changes=changes)
        result: Result = module.run(settings, cells) if self.resumable else module.run(settings)
        if self.seeded or seeds is None:
            return result
        return replace(result, line=f"{result.line}; nothing random, so no seeds")


def changed(settings: Any, changes: Mapping[str, object]) -> Any:
    """Return settings, a dataclass, with other values, each of the type that it has there."""
    hints = get_type_hints(type(settings))
    values = {}
    for name, value in changes.items():
        if name not in hints or name in {"seeds", "quick"}:
            known = ", ".join(key for key in hints if key not in {"seeds", "quick"})
            raise ArgumentValueError(name, f"expected one of {known}, got this name")
        try:
            values[name] = TypeAdapter(hints[name]).validate_python(value)
        except ValidationError:
            raise ArgumentValueError(name, f"expected {words(hints[name])}, got {shown(value)}") from None
    return replace(settings, **values)


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
    "norm-clamp": Experiment("norm_clamp", resumable=True),
    "phase-diagram": Experiment("phase_diagram", resumable=True, laws=True),
    "delay-law": Experiment("delay_law", resumable=True, laws=True),
    "direction": Experiment("direction", resumable=True),
}
