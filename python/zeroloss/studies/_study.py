"""The base of all studies: settings, a grid of cells, an analysis of their results, and the panels of a picture.

A study's file holds what is particular to it. Here is what all share: changes of settings, the budget of time, cells on
all processors, labelled numbers, and the files.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_type_hints

from numpy.typing import ArrayLike
from pydantic import TypeAdapter, ValidationError

from .. import plots
from .._checks import ArgumentValueError, shown
from .._hints import describe_hint
from ..provenance import build_info
from ..results import Run, RunDirectory, labels
from ..results.files import write_atomically
from ..results.netcdf import write_netcdf
from ..results.recognition import json_object
from ..sweeps.engine import Cube, Grid, carry_out
from ..sweeps.sealed import Cells
from ._layout import Layout, Places

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client
    from matplotlib.figure import Figure

__all__ = ["Result", "Study", "chosen", "derived_seeds", "labelled", "save_failed"]

S = TypeVar("S")

MOST_HOURS = 24.0  # of one core that a study may take
_FLOPS = 2e10  # a second, on one slow core

Meanings = Mapping[str, tuple[Sequence[str], ArrayLike, str]]


def derived_seeds(index: int) -> dict[str, int]:
    """Return the seeds of the data's split and of the initialisation for a seed index."""
    return {"seed": index, "data": index, "network": 1000 + index}


def labelled(variables: Meanings, coordinates: Mapping[str, tuple[ArrayLike, str]]) -> xr.Dataset:
    """Return the numbers of a picture with what they mean.

    Parameters
    ----------
    variables : mapping of name to (dimensions, values, meaning)
        Numbers without a unit.
    coordinates : mapping of name to (values, meaning)
        Of the dimensions. A list or tuple of texts becomes an array of objects.
    """
    import numpy as np  # noqa: PLC0415
    import xarray as xr  # noqa: PLC0415 — slow to import

    def plain(values: Any) -> Any:
        texts = isinstance(values, list | tuple) and len(values) > 0 and isinstance(values[0], str)
        return np.array(values, dtype=object if texts else None)

    return xr.Dataset(
        {name: (dims, values, labels(name, "1", text)) for name, (dims, values, text) in variables.items()},
        {name: (name, plain(values), labels(name, "1", text)) for name, (values, text) in coordinates.items()},
    )


def chosen(settings: Any, names: str) -> dict[str, Any]:
    """Return some of the settings by name: those that determine a cell."""
    return {name: getattr(settings, name) for name in names.split()}


def _seeds_of(settings: Any) -> list[dict[str, int]]:
    return [derived_seeds(index) for index in range(getattr(settings, "seeds", 0))]


@dataclass(frozen=True, eq=False)
class Study(Generic[S]):
    """A study: what it computes, what it reports, and what it draws.

    Attributes
    ----------
    name : str
        The name of its files.
    title : str
        The title of its numbers.
    full, quick : dataclass
        The settings: of the study itself, and of a small form that takes seconds (with ``quick`` set). ``seeds`` is
        the number of seeds if anything is random.
    grids : function of settings
        Returns the grids of cells; none by default.
    analyse : function of (settings, cube, …)
        Returns the numbers, see `labelled`; or numbers and summary, if both come from the same fits.
    summarise : function of (settings, numbers), optional
        Returns the summary: numbers to compare with others'.
    line : function of (settings, summary)
        Returns the summary in one line.
    layout : Layout
        The parts of the picture.
    panels : function of (places, numbers, settings)
        Draws the parts. It may use only the numbers and the settings.
    about, takes : str
        For lists: one line, and the expected time on two cores, as ``"3 s"``.
    mark : function of settings
        Returns the words of the quick mark.
    table : function of (settings, numbers, summary), optional
        Returns rows to print before the line.
    check : function of settings
        Raises ValueError for settings that are none, and ImportError for an extra that is missing.
    seeds : function of settings
        Returns for each seed index the seeds that are derived from it.
    budget : str
        The setting that an error names if the work would take more than a day.
    stores : bool
        Whether finished cells are stored in files: for studies that take minutes.
    processes : bool
        Whether cells are carried out on processes instead of threads: for cells that spend their time in Python.
    simulate : function of (settings, carry out), optional
        Carries out grids that follow from each other, instead of ``grids``, and returns the cubes.
    """

    name: str
    title: str
    full: S
    quick: S
    analyse: Callable[..., xr.Dataset | tuple[xr.Dataset, dict[str, Any]]]
    line: Callable[[S, dict[str, Any]], str]
    layout: Layout
    panels: Callable[[Places, xr.Dataset, S], None]
    about: str = ""
    takes: str = ""
    mark: Callable[[S], str] = lambda settings: ""
    summarise: Callable[[S, xr.Dataset], dict[str, Any]] = lambda settings, numbers: {}
    grids: Callable[[S], Sequence[Grid]] = lambda settings: ()
    table: Callable[[S, xr.Dataset, dict[str, Any]], str] = lambda settings, numbers, summary: ""
    check: Callable[[S], None] = lambda settings: None
    seeds: Callable[[S], list[dict[str, int]]] = _seeds_of
    budget: str = "settings"
    stores: bool = False
    processes: bool = False
    simulate: Callable[[S, Callable[[Sequence[Grid]], list[Cube]]], list[Cube]] | None = None

    def settings(
        self, *, seeds: int | None = None, quick: bool = False, changes: Mapping[str, object] = MappingProxyType({})
    ) -> S:
        """Return the settings with a number of seeds and other changes; ValueError for a name or value that is none."""
        settings: Any = _changed(self.quick if quick else self.full, changes)
        if seeds is not None and hasattr(settings, "seeds"):
            settings = replace(settings, seeds=seeds)
        return settings  # type: ignore[no-any-return]

    def run(
        self,
        settings: S | None = None,
        *,
        cells: Cells | None = None,
        client: Client | None = None,
        workers: int | None = None,
        progress: bool | None = None,
    ) -> Result:
        """Carry out the study.

        Parameters
        ----------
        settings : dataclass, optional
            The settings, ``full`` by default.
        cells : Cells, optional
            The finished cells: those that are there are not computed again.
        client, workers, progress
            As for `zeroloss.sweeps.sweep`.

        Raises
        ------
        ValueError
            For settings that are none, and for work that would take more than a day: before any work.
        KeyboardInterrupt
            If the user stops it.
        NumericalFailureError
            If a run that has to reach its end does not.
        """
        settings = self.full if settings is None else settings
        self.check(settings)

        def carried_out(grids: Sequence[Grid]) -> list[Cube]:
            self._check_budget(grids)
            options: Any = {"workers": workers, "processes": self.processes, "client": client, "progress": progress}
            return carry_out(grids, cells, **options)

        cubes = carried_out(self.grids(settings)) if self.simulate is None else self.simulate(settings, carried_out)
        found = self.analyse(settings, *cubes)
        numbers, summary = found if isinstance(found, tuple) else (found, self.summarise(settings, found))
        about = {"title": self.title, "settings": json.dumps(asdict(settings))}  # type: ignore[call-overload]
        return Result(self, settings, numbers.assign_attrs(about), summary)

    def _check_budget(self, grids: Sequence[Grid]) -> None:
        steps = sum(grid.total_steps() for grid in grids if grid.flops)
        hours = sum(grid.total_steps() * grid.flops for grid in grids if grid.flops) / _FLOPS / 3600
        if hours > MOST_HOURS:
            runs = sum(math.prod(len(values) for values in grid.over.values()) for grid in grids if grid.flops)
            raise ArgumentValueError(
                self.budget,
                f"expected work of at most {MOST_HOURS:g} hours, got {runs} runs of {steps:.1e} steps in all, about "
                f"{hours:.3g} hours",
            )

    def draw(self, found: xr.Dataset) -> Figure:
        """Draw the picture of numbers, which hold their settings."""
        settings: Any = type(self.full)(**json.loads(found.attrs["settings"]))
        places = self.layout.places()
        self.panels(places, found, settings)
        if settings.quick:
            plots.mark_quick(places.figure, self.mark(settings))
        return places.figure


@dataclass(frozen=True, eq=False)
class Result:
    """The result of a study.

    Attributes
    ----------
    study : Study
        The study.
    settings : dataclass
        All that determines the numbers.
    numbers : xarray.Dataset
        All that the picture shows.
    summary : mapping
        The numbers to compare with the paper's and others'.
    """

    study: Study[Any]
    settings: Any
    numbers: xr.Dataset
    summary: dict[str, Any]

    @property
    def seeds(self) -> list[dict[str, int]]:
        """For each seed index the seeds that are derived from it; empty if nothing is random."""
        return self.study.seeds(self.settings)

    @property
    def line(self) -> str:
        """The summary in one line."""
        return self.study.line(self.settings, self.summary)

    @property
    def table(self) -> str:
        """Rows to print before the line; empty if there is no table."""
        return self.study.table(self.settings, self.numbers, self.summary)

    def __repr__(self) -> str:
        return f"Result({self.line})"

    def draw(self) -> Figure:
        """Draw the picture."""
        return self.study.draw(self.numbers)

    def save(self, directory: str | os.PathLike[str], name: str | None = None, form: str = "png") -> Path:
        """Write NAME.json, NAME.nc and the picture into a directory, and return the picture's path.

        Parameters
        ----------
        directory : path
            Made if it is missing.
        name : str, optional
            The name of the files; by default one that overwrites no other file, see `name_for`.
        form : str
            The form of the picture: "png", "svg" or "pdf".
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        name = name_for(directory, self.study.name, self.settings, form) if name is None else name
        picture = directory / f"{name}.{form}"
        text = json.dumps(_plain(self.content()), indent=2, ensure_ascii=False, allow_nan=False)
        write_atomically(directory / f"{name}.json", (text + "\n").encode())  # it says whose the others are
        write_atomically(directory / f"{name}.nc", lambda file: write_netcdf(file, self.numbers))
        with plots.style():
            figure = self.draw()
            write_atomically(picture, lambda file: plots.save(figure, file, form))
        return picture

    def content(self) -> dict[str, Any]:
        """Return what NAME.json holds: settings, seeds, summary and build."""
        return {"settings": asdict(self.settings), "seeds": self.seeds, "summary": self.summary, "build": build_info()}


def _changed(settings: Any, changes: Mapping[str, object]) -> Any:
    """Return settings with other values, each of the type that it has there."""
    hints = get_type_hints(type(settings))
    values = {}
    for name, value in changes.items():
        if name not in hints or name in {"seeds", "quick"}:
            known = ", ".join(key for key in hints if key not in {"seeds", "quick"})
            raise ArgumentValueError(name, f"expected one of {known}, got this name")
        try:
            values[name] = TypeAdapter(hints[name]).validate_python(value)
        except ValidationError:
            raise ArgumentValueError(name, f"expected {describe_hint(hints[name])}, got {shown(value)}") from None
    return replace(settings, **values)


def prepare(directory: Path) -> None:
    """Make the directory and try to write there, before long work; OSError if that fails."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory):
        pass


def name_for(directory: Path, study: str, settings: Any, form: str = "png") -> str:
    """Return the name for the files of a result in a directory, so that no other file is overwritten.

    It is the name of the study. If that is taken by a result of other settings, or by files of others, a quick result
    is named ``STUDY-quick``, and all further ones are numbered. A result of the same settings keeps its name, and is
    replaced.
    """
    wanted = json.loads(json.dumps(_plain(asdict(settings))))
    first = f"{study}-quick" if settings.quick else study
    for name in itertools.chain(dict.fromkeys((study, first)), (f"{first}-{number}" for number in itertools.count(2))):
        files = [directory / f"{name}{suffix}" for suffix in (".nc", ".json", f".{form}")]
        about = json_object(directory / f"{name}.json")
        ours = isinstance(about.get("build"), Mapping) and "zeroloss" in about["build"]
        if not any(os.path.lexists(file) for file in files) or (ours and about.get("settings") == wanted):
            return name
    raise AssertionError


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
