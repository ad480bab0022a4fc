"""What computed a result: versions, compiler, instruction-set level, threads."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import version
from typing import Any

from ._kernels import kernels, level, possible_levels

__all__ = ["build_info"]


@functools.cache
def _fixed() -> dict[str, Any]:
    return {
        "zeroloss": version("zeroloss"),
        "level": level,
        "possible_levels": possible_levels,
        "compiler": kernels.compiler,
        "eigen": kernels.eigen,
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "scipy": version("scipy"),
        "xarray": version("xarray"),
        "processor": platform.machine(),
        "threads": 1,
    }


def build_info() -> dict[str, Any]:
    """Return versions, compiler, the instruction-set level in use and those possible here, and the threads.

    Every result carries it. ``ZEROLOSS_ISA`` = base, v3 or v4 forces a level.
    """
    return dict(_fixed())
