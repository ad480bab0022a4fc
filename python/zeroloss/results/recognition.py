"""Recognise the files and directories that this package wrote, by their content and never by their name."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._reading import is_special
from .files import UNFINISHED, is_checksummed

#: The entries of ``run.json`` and of ``cells.json`` that mark the directory of a run and of a sweep.
RUN_MARK = {"zeroloss": "run"}
SWEEP_MARK = {"zeroloss": "sweep"}


def json_object(path: Path) -> Mapping[str, Any]:
    """Return the object in a JSON file; an empty object if there is none or if the file is a link."""
    try:
        value = None if is_special(path) or path.is_symlink() else json.loads(path.read_bytes())
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def is_run(path: Path) -> bool:
    """Return whether a file is the ``run.json`` of a run. Version 0.1.0 wrote it without the mark, with the build."""
    about = json_object(path)
    if RUN_MARK.items() <= about.items():
        return True
    settings = about.get("settings")
    build = settings.get("build") if isinstance(settings, Mapping) else None
    return isinstance(build, Mapping) and "zeroloss" in build and {"format", "outcome", "data"} <= about.keys()


def is_sweep(path: Path) -> bool:
    """Return whether a file is the ``cells.json`` of a sweep. Version 0.1.0 wrote it without the mark."""
    about = json_object(path)
    if SWEEP_MARK.items() <= about.items():
        return True
    settings = about.get("settings")
    sections = {"data", "network", "dynamics", "run"}
    return about.keys() == {"names", "settings"} and isinstance(settings, Mapping) and settings.keys() == sections


def is_empty(directory: Path, mark: str) -> bool:
    """Return whether a directory is missing or empty. A temporary file of the mark is ignored."""
    if not directory.is_dir():
        return not os.path.lexists(directory)  # A broken link exists, too.
    names = [path.name for path in directory.iterdir()]
    return all(name.startswith(f".{mark}.") and name.endswith(UNFINISHED) for name in names)


def is_written_by_us(path: Path) -> bool:
    """Return whether this package wrote a file of a run, which another program may have replaced."""
    if is_special(path):
        return False
    if path.suffix == ".json":
        return is_run(path)
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                return {"about.npy", "Y_train.npy"} <= set(archive.namelist())
        if path.suffix == ".nc":
            import h5py  # noqa: PLC0415 — slow, and needed only here

            with path.open("rb") as file, h5py.File(file) as stored:
                return "settings" in stored.attrs or {"step", "E", "W"} <= stored.keys()
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        return False
    return is_checksummed(path)
