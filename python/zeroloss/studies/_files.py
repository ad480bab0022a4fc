"""The files of a study's result: free names, the directory, and values that JSON has."""

from __future__ import annotations

import itertools
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import plots
from ..results import Run, RunDirectory
from ..results.recognition import is_written_by_us, json_object

__all__ = ["find_free_name", "prepare_directory", "replace_non_finite", "save_failed"]


def prepare_directory(directory: Path) -> None:
    """Make a directory and try to write there, before long work starts. Raises OSError if that fails."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory):
        pass


def find_free_name(directory: Path, study: str, settings: Any, form: str = "png") -> str:
    """Return a name for the files of a result that overwrites no other file.

    It is the name of the study. If files of other settings or other programs have it, a quick result is named
    ``STUDY-quick``, and further ones are numbered. A result of the same settings has the same name and is replaced,
    unless one of its files is of another program.
    """
    own_settings = json.loads(json.dumps(replace_non_finite(asdict(settings))))
    first = f"{study}-quick" if settings.quick else study
    for name in itertools.chain(dict.fromkeys((study, first)), (f"{first}-{number}" for number in itertools.count(2))):
        numbers, about, picture = (directory / f"{name}{suffix}" for suffix in (".nc", ".json", f".{form}"))
        content = json_object(about)
        is_ours = isinstance(content.get("build"), Mapping) and "zeroloss" in content["build"]
        same = is_ours and content.get("settings") == own_settings
        files: dict[Path, Callable[[Path], bool]] = {
            about: lambda _: True,
            numbers: is_written_by_us,
            picture: plots.is_ours,
        }
        if all(not os.path.lexists(file) or (same and file.is_file() and own(file)) for file, own in files.items()):
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
