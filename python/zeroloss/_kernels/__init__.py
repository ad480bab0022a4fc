"""The compiled kernels: chooses, once at import, the instruction-set level that this machine can run.

The same sources are compiled into one module for each level. ``ZEROLOSS_ISA`` forces one.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from . import _cpu_level

if TYPE_CHECKING:
    from . import _base as kernels

__all__ = ["kernels", "level", "possible_levels"]


def _choose(possible: list[str], wanted: str | None) -> str:
    """Return the level wanted, or the widest that is possible here."""
    if not wanted:
        return possible[-1]
    if wanted not in possible:
        raise ImportError(f"ZEROLOSS_ISA: expected one of {', '.join(possible)} on this machine, got {wanted!r}")
    return wanted


possible_levels = _cpu_level.possible_levels()
level = _choose(possible_levels, os.environ.get("ZEROLOSS_ISA"))
if not TYPE_CHECKING:
    kernels = importlib.import_module(f"._{level}", __name__)
