"""Load the compiled kernels for the widest instruction-set level that this machine can run.

The same sources are compiled to one module for each level. The environment variable ``ZEROLOSS_ISA`` chooses another
level, for example ``base``.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from . import _cpu_level

if TYPE_CHECKING:
    from . import _base as kernels

__all__ = ["kernels", "level", "possible_levels"]


def _choose_level(possible: list[str], requested: str | None) -> str:
    """Return the requested level, or the widest possible level if none is requested."""
    if not requested:
        return possible[-1]
    if requested not in possible:
        raise ImportError(f"ZEROLOSS_ISA: expected one of {', '.join(possible)} on this machine, got {requested!r}")
    return requested


possible_levels = _cpu_level.possible_levels()
level = _choose_level(possible_levels, os.environ.get("ZEROLOSS_ISA"))
if not TYPE_CHECKING:
    kernels = importlib.import_module(f"._{level}", __name__)
