"""What an experiment leaves: its picture, the plotted numbers, settings with summary numbers, and one line."""

from __future__ import annotations

import itertools
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import ArrayLike

from .. import plots
from ..build import build_info
from ..results import Run, RunDirectory, labels
from ..results.files import write_atomically
from ..results.netcdf import write_netcdf
from ..results.recognition import json_object

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

__all__ = [
    "Result",
    "labelled",
    "name_for",
    "prepare",
    "ranges",
    "save_failed",
    "settings_of",
    "spelled",
    "write",
]

AnySettings = TypeVar("AnySettings")


@dataclass(frozen=True, eq=False)
class Result:
    """The result of an experiment.

    Attributes
    ----------
    numbers : xarray.Dataset
        All that the picture shows.
    settings : mapping
        All that determines the numbers.
    seeds : sequence of mappings
        For each seed index the seeds that were derived from it; empty where nothing is random.
    summary : mapping
        The numbers to compare with the paper's and others'.
    line : str
        The summary in one line.
    draw : function
        Makes the picture from the numbers.
    table : str
        Rows to print before the line, where there is a table.
    """

    numbers: xr.Dataset
    settings: Mapping[str, Any]
    seeds: Sequence[Mapping[str, int]]
    summary: Mapping[str, Any]
    line: str
    draw: Callable[[xr.Dataset], Figure]
    table: str = ""

    def __repr__(self) -> str:
        return f"Result({self.line})"


def labelled(
    title: str,
    settings: Any,
    variables: Mapping[str, tuple[Sequence[str], ArrayLike, str]],
    coordinates: Mapping[str, tuple[ArrayLike, str]],
) -> xr.Dataset:
    """Return the numbers of a picture with what they mean, and the settings that they come from.

    Parameters
    ----------
    title : str
        What the numbers are.
    settings : dataclass
        What determines them; `settings_of` gives it back.
    variables : mapping of name to (dimensions, values, meaning)
        Numbers without a unit.
    coordinates : mapping of name to (values, meaning)
        Of the dimensions.
    """
    import xarray as xr  # noqa: PLC0415 — slow to import

    return xr.Dataset(
        {name: (dims, values, labels(name, "1", text)) for name, (dims, values, text) in variables.items()},
        {name: (name, values, labels(name, "1", text)) for name, (values, text) in coordinates.items()},
        {"title": title, "settings": json.dumps(asdict(settings))},
    )


def settings_of(numbers: xr.Dataset, kind: type[AnySettings]) -> AnySettings:
    """Return the settings that the numbers of a picture come from."""
    return kind(**json.loads(numbers.attrs["settings"]))


def ranges(per_seed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the least and the greatest value over the seeds of every number that each seed has."""

    def over_seeds(values: list[Any]) -> Any:
        if isinstance(values[0], Mapping):
            return {key: over_seeds([value[key] for value in values]) for key in values[0]}
        return None if None in values else [min(values), max(values)]

    return {key: over_seeds([numbers[key] for numbers in per_seed]) for key in per_seed[0] if key != "seed"}


def spelled(pair: Sequence[float], form: str) -> str:
    """Return a range in words: both ends in a number format, or one of them where they look alike."""
    low, high = (format(end, form).replace("-", "−") for end in pair)
    return low if low == high else f"{low} … {high}" if "−" in low + high else f"{low}–{high}"


def prepare(directory: Path) -> None:
    """Make the directory and try to write there, before long work; OSError where it cannot be done."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory):
        pass


def name_for(directory: Path, module: str, settings: Mapping[str, Any]) -> str:
    """Return the name for the files of a result in a directory, so that no other file is overwritten.

    It is the name of the experiment's module. If that is taken by a result of other settings, or by files of others, a
    quick result is named ``MODULE-quick``, and all further ones are numbered. A result of the same settings keeps its
    name, and is replaced.
    """
    wanted = json.loads(json.dumps(_plain(settings)))
    first = f"{module}-quick" if settings.get("quick") else module
    for name in itertools.chain(dict.fromkeys((module, first)), (f"{first}-{number}" for number in itertools.count(2))):
        files = [directory / f"{name}{suffix}" for suffix in (".nc", ".json", ".png")]
        about = json_object(directory / f"{name}.json")
        ours = isinstance(about.get("build"), Mapping) and "zeroloss" in about["build"]
        if not any(os.path.lexists(file) for file in files) or (ours and about.get("settings") == wanted):
            return name
    raise AssertionError


def write(result: Result, directory: Path, name: str) -> Path:
    """Write ``name.json``, ``name.nc`` and ``name.png`` into a directory; returns the picture's path."""
    about = {"settings": result.settings, "seeds": list(result.seeds), "summary": result.summary, "build": build_info()}
    text = json.dumps(_plain(about), indent=2, ensure_ascii=False, allow_nan=False)
    picture = directory / f"{name}.png"
    write_atomically(directory / f"{name}.json", (text + "\n").encode())  # It says whose the others are.
    write_atomically(directory / f"{name}.nc", lambda file: write_netcdf(file, result.numbers))
    with plots.style():
        figure = result.draw(result.numbers)
        write_atomically(picture, lambda file: plots.save(figure, file))
    return picture


def save_failed(run: Run, directory: Path, name: str) -> Path:
    """Save a run that failed as ``name-failed`` in a directory, next to such runs of other settings; return where."""
    wanted = json.loads(json.dumps(run.settings))
    for path in (directory / f"{name}-failed{end}" for end in ("", *(f"-{number}" for number in range(2, 10_000)))):
        if RunDirectory(path).is_new() or json_object(path / "run.json").get("settings") == wanted:
            run.save(path)
            return path
    raise FileExistsError(f"directory: expected less than 10000 failed runs, got {directory}")


def _plain(value: Any) -> Any:
    """Return the value with every number that is not finite as None, as JSON has none."""
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
