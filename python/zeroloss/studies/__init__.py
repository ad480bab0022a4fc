"""Studies: the figures of the paper, checks of its theorems, and studies beyond it, one file each.

A study is a grid of cells, an analysis of their results, and the panels of a picture.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from ..sweeps.engine import Cube, Grid, NumericalFailureError, checked_run
from ..sweeps.sealed import Cells
from ._layout import Layout, Places
from ._study import Result, Study, derive_seeds, label_numbers, select_settings

__all__ = [
    "CHECKS",
    "FIGURES",
    "STUDIES",
    "Cells",
    "Cube",
    "Grid",
    "Layout",
    "NumericalFailureError",
    "Places",
    "Result",
    "Study",
    "checked_run",
    "derive_seeds",
    "label_numbers",
    "load",
    "select_settings",
]

#: The modules of the paper's figures by number.
FIGURES: Mapping[str, str] = {
    "1": "paper.figure1",
    "2": "paper.figure2",
    "3": "paper.figure3",
    "4": "paper.figure4",
    "5": "paper.memorisation:figure5",
    "6": "paper.figure6",
    "7": "paper.memorisation:figure7",
}

#: The modules of the checks by the number of their theorem.
CHECKS: Mapping[str, str] = {
    "4.8": "theorems.theorem48",
    "4.10": "theorems.theorem410",
    "4.14": "theorems.theorem414",
    "5.1": "theorems.theorem51",
}

#: The modules of the studies beyond the paper by name.
STUDIES: Mapping[str, str] = {
    "vanishing-decay": "beyond.vanishing_decay",
    "sliding": "beyond.sliding",
    "edge-of-stability": "beyond.edge_of_stability",
    "end-states": "beyond.end_states",
    "norm-clamp": "beyond.norm_clamp",
    "phase-diagram": "beyond.phase_diagram",
    "delay-law": "beyond.delay_law",
    "direction": "beyond.direction",
    "label-noise": "beyond.label_noise",
}


def load(place: str) -> Study[Any]:
    """Return the study of an entry of `FIGURES`, `CHECKS` or `STUDIES`.

    Parameters
    ----------
    place : str
        ``"MODULE:STUDY"``, or ``"MODULE"`` if the module has the name of its study.

    Returns
    -------
    Study
        The study.
    """
    module, _, name = place.partition(":")
    values = vars(importlib.import_module(f".{module}", __name__)).values()
    name = name or module.rpartition(".")[2]
    return next(value for value in values if isinstance(value, Study) and value.name == name)
