"""The files of a study's result: free names, the directory, and values that JSON has."""

from __future__ import annotations

import itertools
import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..results import Run, RunDirectory
from ..results.recognition import json_object

__all__ = ["find_free_name", "prepare_directory", "replace_non_finite", "save_failed"]


def prepare_directory(directory: Path) -> None:
    """Make a directory and try to write there, before long work starts. Raises OSError if that fails."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory):
        pass


def find_free_name(directory: Path, study: str, settings: Any, form: str = "png") -> str:
    """Return a name for the files of a result that overwrites no other file.

    It is the name of the study. If files of other settings or other programs have it, a quick result is named
    ``STUDY-quick``, and further ones are numbered. A result of the same settings has the same name and is replaced.
    """
    own_settings = json.loads(json.dumps(replace_non_finite(asdict(settings))))
    first = f"{study}-quick" if settings.quick else study
    for name in itertools.chain(dict.fromkeys((study, first)), (f"{first}-{number}" for number in itertools.count(2))):
        files = [directory / f"{name}{suffix}" for suffix in (".nc", ".json", f".{form}")]
        content = json_object(directory / f"{name}.json")
        is_ours = isinstance(content.get("build"), Mapping) and "zeroloss" in content["build"]
        if not any(os.path.lexists(file) for file in files) or (is_ours and content.get("settings") == own_settings):
            return name
    raise AssertionError


def save_failed(run: Run, directory: Path, name: str) -> Path:
    """Save a failed run as ``NAME-failed`` in a directory, numbered if a run of other settings is there."""
    settings = json.loads(json.dumps(run.settings))
    for path in (directory / f"{name}-failed{end}" for end in ("", *(f"-{number}" for number in range(2, 10_000)))):
        if RunDirectory(path).is_new() or json_object(path / "run.json").get("settings") == settings:
            run.save(path)
            return path
    raise FileExistsError(f"directory: expected less than 10000 failed runs, got {directory}")


def replace_non_finite(value: Any) -> Any:
    """Replace every number that is not finite by None, because JSON has no such numbers."""
    if isinstance(value, Mapping):
        return {str(key): replace_non_finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [replace_non_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
