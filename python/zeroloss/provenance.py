"""The provenance of a result: versions, compiler, instruction-set level, threads."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import version
from typing import Any

from ._kernels import kernels, level, possible_levels
from ._resources import available_processors

__all__ = ["BIT_KEYS", "BIT_KEYS_IN_PYTHON", "build_info", "describe_build"]

#: The entries of a build that can change the bits of a result computed by the kernels alone.
BIT_KEYS = ("zeroloss", "level", "compiler", "eigen")

#: The same for a result whose steps are partly computed in Python.
BIT_KEYS_IN_PYTHON = (*BIT_KEYS, "numpy", "scipy")


@functools.cache
def describe_build() -> dict[str, Any]:
    """Return the properties of the build and of the machine that can change the bits of a result.

    Returns
    -------
    dict
        The entries are "zeroloss", "level", "possible_levels", "compiler", "eigen", "python", "numpy", "scipy",
        "xarray" and "processor". Every result stores them.
    """
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
    """Return the versions, the compiler, the instruction-set level and the number of threads.

    Every result stores the same entries except the threads, on which no bit depends.

    Returns
    -------
    dict
        The version of this package ("zeroloss") and of "python", "numpy", "scipy", "xarray" and "eigen"; the "compiler"
        of the kernels; the instruction-set "level" in use and the "possible_levels" of this machine, of which the
        environment variable ``ZEROLOSS_ISA`` forces one; the "processor" architecture; and the number of "threads"
        available to this process, which ``ZEROLOSS_NUM_THREADS`` bounds.

    Examples
    --------
    >>> import zeroloss as zl
    >>> sorted(zl.build_info())  # doctest: +NORMALIZE_WHITESPACE
    ['compiler', 'eigen', 'level', 'numpy', 'possible_levels', 'processor', 'python', 'scipy', 'threads', 'xarray',
     'zeroloss']
    """
    return {**describe_build(), "threads": available_processors()}
