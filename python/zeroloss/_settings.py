"""Settings as plain data: numbers, texts, lists and mappings, with names of files that hold wherever one is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Return settings with NumPy's numbers and arrays, and dataclasses, as plain Python values; Nones left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [plain(entry) for entry in value] if isinstance(value, list | tuple) else value


def with_files_from(directory: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
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
        return str((directory / value).resolve()) if isinstance(value, str) else value

    return {
        name: {key: absolute(str(key), value) for key, value in section.items()}
        if isinstance(section, Mapping)
        else section
        for name, section in settings.items()
    }
