"""Settings as plain data: numbers, texts, lists and mappings, with names of files that hold wherever one is."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ._checks import ArgumentValueError

_DEEPEST = 20
_MOST_VALUES = 10_000
_LONGEST_TEXT = 100_000


def to_plain(value: Any, deepest: int = _DEEPEST) -> Any:
    """Return settings with NumPy's numbers and arrays, and dataclasses, as plain Python values; Nones left out.

    Raises
    ------
    ValueError
        For lists or mappings within one another more than 20 levels deep.
    """
    if deepest < 0:
        raise ArgumentValueError(
            "settings", f"expected at most {_DEEPEST} lists or tables within one another, got more"
        )
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {key: to_plain(entry, deepest - 1) for key, entry in value.items() if entry is not None}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [to_plain(entry, deepest - 1) for entry in value] if isinstance(value, list | tuple) else value


def largest_allowed(value: Any) -> str | None:
    """Return what a value has to be at most, if it is larger than any setting needs to be."""
    if isinstance(value, int) and abs(value) >= 2**256:
        return "an integer of at most 256 bits"
    if isinstance(value, str) and len(value) > _LONGEST_TEXT:
        return f"a string of at most {_LONGEST_TEXT} characters"
    if isinstance(value, Mapping | list):
        if len(value) > _MOST_VALUES:
            return f"at most {_MOST_VALUES} values"
        return next(filter(None, map(largest_allowed, value.values() if isinstance(value, Mapping) else value)), None)
    return None


def resolve_file_names(directory: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with names of files, also those that a sweep lists, relative to a directory made absolute."""

    def absolute(key: str, value: Any) -> Any:
        keys = [one.strip() for one in key.split(",")]
        if isinstance(value, list | tuple) and len(keys) > 1:  # of a sweep, rows of keys that vary together
            rows = (row if isinstance(row, list | tuple) else [row] for row in value)
            return [[absolute(*pair) for pair in zip(keys, row, strict=False)] for row in rows]
        if key.rpartition(".")[2] != "file":
            return value
        if isinstance(value, list | tuple):
            return [absolute(key, one) for one in value]
        return os.path.abspath(directory / value) if isinstance(value, str) else value  # noqa: PTH100 — it never fails

    return {
        name: {key: absolute(str(key), value) for key, value in section.items()}
        if isinstance(section, Mapping)
        else section
        for name, section in settings.items()
    }
