"""Settings as plain data: numbers, strings, lists and mappings, with absolute names of files."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ._checks import ArgumentValueError

#: Levels of nested lists and mappings.
_DEEPEST = 20
_MOST_VALUES = 10_000
_LONGEST_TEXT = 100_000
#: The types of most values. Looking for a type here takes less time than asking for each other type.
_SIMPLE = frozenset({bool, float, int, str})


def to_plain(value: Any, deepest: int = _DEEPEST) -> Any:
    """Return settings as plain Python values: arrays become lists, dataclasses mappings, and None is left out.

    Raises
    ------
    ValueError
        If lists and mappings are nested more than 20 levels deep.
    """
    if deepest < 0:
        raise ArgumentValueError("settings", f"expected at most {_DEEPEST} levels of nested lists and tables, got more")
    if type(value) in _SIMPLE:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {key: to_plain(entry, deepest - 1) for key, entry in value.items() if entry is not None}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [to_plain(entry, deepest - 1) for entry in value] if isinstance(value, list | tuple) else value


def largest_allowed(value: Any) -> str | None:
    """Return the limit that a value exceeds, in words; None if it is within the limits of settings."""
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
    """Return settings in which the names of files are absolute, also in the lists of a sweep.

    A relative name is relative to ``directory``.
    """

    def make_absolute(key: str, value: Any) -> Any:
        keys = [part.strip() for part in key.split(",")]
        if isinstance(value, list | tuple) and len(keys) > 1:  # keys of a sweep that vary together
            rows = (row if isinstance(row, list | tuple) else [row] for row in value)
            return [[make_absolute(*pair) for pair in zip(keys, row, strict=False)] for row in rows]
        if key.rpartition(".")[2] != "file":
            return value
        if isinstance(value, list | tuple):
            return [make_absolute(key, entry) for entry in value]
        return os.path.abspath(directory / value) if isinstance(value, str) else value  # noqa: PTH100 — unlike Path.resolve, it never fails

    return {
        name: {key: make_absolute(str(key), value) for key, value in section.items()}
        if isinstance(section, Mapping)
        else section
        for name, section in settings.items()
    }
