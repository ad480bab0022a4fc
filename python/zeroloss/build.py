"""What computed a result: versions, compiler, instruction-set level, threads."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import version
from typing import Any

from ._kernels import kernels, level, possible_levels
from ._machine import available_processors

__all__ = ["BITS", "BITS_IN_PYTHON", "build_info", "build_of_results"]

#: What of a build can change a result's bits; and also where steps are taken in Python.
BITS = ("zeroloss", "level", "compiler", "eigen")
BITS_IN_PYTHON = (*BITS, "numpy", "scipy")


@functools.cache
def build_of_results() -> dict[str, Any]:
    """Return what of the build and the machine can change a result's bits."""
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
    }


def build_info() -> dict[str, Any]:
    """Return versions, compiler, the instruction-set level in use, those possible here, and the threads available.

    Every result carries it, but for the threads, on which no bit depends. ``ZEROLOSS_ISA`` = base, v3 or v4 forces a
    level.
    """
    return {**build_of_results(), "threads": available_processors()}
