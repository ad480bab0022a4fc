"""Whether this package wrote a file or a directory. Content decides, never a name."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._reading import is_special
from .files import UNFINISHED, is_checksummed

#: What marks the ``run.json`` of a run, and the ``cells.json`` of a sweep.
RUN_MARK = {"zeroloss": "run"}
SWEEP_MARK = {"zeroloss": "sweep"}


def json_object(path: Path) -> Mapping[str, Any]:
    """Return the object in a JSON file; an empty one if there is none, or if the file is a link, which is not ours."""
    try:
        found = None if is_special(path) or path.is_symlink() else json.loads(path.read_bytes())
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def is_run(path: Path) -> bool:
    """Whether a file is the ``run.json`` of a run. Version 0.1.0 wrote it without the mark, but with its build."""
    about = json_object(path)
    if RUN_MARK.items() <= about.items():
        return True
    settings = about.get("settings")
    build = settings.get("build") if isinstance(settings, Mapping) else None
    return isinstance(build, Mapping) and "zeroloss" in build and {"format", "outcome", "data"} <= about.keys()


def is_sweep(path: Path) -> bool:
    """Whether a file is the ``cells.json`` of a sweep. Version 0.1.0 wrote it without the mark."""
    about = json_object(path)
    if SWEEP_MARK.items() <= about.items():
        return True
    settings = about.get("settings")
    sections = {"data", "network", "dynamics", "run"}
    return about.keys() == {"names", "settings"} and isinstance(settings, Mapping) and settings.keys() == sections


def is_empty(directory: Path, mark: str) -> bool:
    """Whether a directory is missing or empty; a half written file that was to become its mark does not count."""
    if not directory.is_dir():
        return not os.path.lexists(directory)  # A link that leads nowhere is there, too.
    names = [path.name for path in directory.iterdir()]
    return all(name.startswith(f".{mark}.") and name.endswith(UNFINISHED) for name in names)


def is_written_by_us(path: Path) -> bool:
    """Whether this package wrote one of the files of a run, which a program of others may have replaced."""
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
