"""The base of all studies: a study is a grid of cells, an analysis of their results, and the panels of a picture.

The file of a study holds only what is particular to it. This file holds the shared parts: changes of settings, the
limit on the work, the cells on all processors, labelled numbers, and the files.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from numpy.typing import ArrayLike

from .. import plots
from .._checks import ArgumentValueError
from ..provenance import build_info
from ..results import labels
from ..results.files import write_atomically
from ..results.netcdf import netcdf_content
from ..sweeps.engine import Cube, Grid, carry_out
from ..sweeps.sealed import Cells
from ._changes import change_settings
from ._files import find_free_name, replace_non_finite
from ._layout import Layout, Places

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client
    from matplotlib.figure import Figure

__all__ = ["Result", "Study", "derive_seeds", "label_numbers", "select_settings"]

S = TypeVar("S")

_MOST_CELLS = 100_000  # of all grids, which are planned at once
MOST_HOURS = 24.0  # A study may take this long on one core.
_FLOPS = 2e10  # Floating-point operations per second on one slow core.

Variables = Mapping[str, tuple[Sequence[str], ArrayLike, str]]


def derive_seeds(index: int) -> dict[str, int]:
    """Derive the seeds of the data split and of the initialisation from a seed index.

    Parameters
    ----------
    index : int
        The seed index, at least 0.

    Returns
    -------
    dict of str to int
        ``seed`` (the index), ``data`` and ``network``.
    """
    return {"seed": index, "data": index, "network": 1000 + index}


def label_numbers(variables: Variables, coordinates: Mapping[str, tuple[ArrayLike, str]]) -> xr.Dataset:
    """Return a Dataset in which every variable has a description.

    Parameters
    ----------
    variables : mapping of name to (dimensions, values, meaning)
        The numbers. They have no unit.
    coordinates : mapping of name to (values, meaning)
        The values along dimensions. A list or tuple of texts becomes an array of objects.

    Returns
    -------
    xarray.Dataset
        The numbers. The attributes of each variable hold its meaning.
    """
    import numpy as np  # noqa: PLC0415
    import xarray as xr  # noqa: PLC0415 — xarray takes long to import.

    def as_array(values: Any) -> Any:
        texts = isinstance(values, list | tuple) and len(values) > 0 and isinstance(values[0], str)
        return np.array(values, dtype=object if texts else None)

    return xr.Dataset(
        {name: (dims, values, labels(name, "1", text)) for name, (dims, values, text) in variables.items()},
        {name: (name, as_array(values), labels(name, "1", text)) for name, (values, text) in coordinates.items()},
    )


def select_settings(settings: Any, names: str) -> dict[str, Any]:
    """Return some settings by name, for the arguments of a cell.

    Parameters
    ----------
    settings : dataclass
        The settings of a study.
    names : str
        Names of settings, separated by spaces.

    Returns
    -------
    dict of str to object
        The values by name.
    """
    return {name: getattr(settings, name) for name in names.split()}


def _derive_seeds_of(settings: Any) -> list[dict[str, int]]:
    return [derive_seeds(index) for index in range(getattr(settings, "seeds", 0))]


@dataclass(frozen=True, eq=False)
class Study(Generic[S]):
    """A study: what it computes, reports and draws.

    Attributes
    ----------
    name : str
        The name of its files.
    title : str
        The title of its numbers.
    full, quick : dataclass
        The settings of the study, and of a small form that takes seconds (with ``quick`` true). If anything is random,
        they have ``seeds``, the number of seeds.
    analyse : function of (settings, cube, …)
        Returns the numbers (see `label_numbers`), or a pair of numbers and summary if both come from the same fits.
    line : function of (settings, summary)
        Returns the summary in one line.
    layout : Layout
        The parts of the picture.
    panels : function of (places, numbers, settings)
        Draws the parts. It may use only the numbers and the settings.
    description, expected_time : str
        One line for lists, and the expected time of the full form on two cores, such as ``"3 s"``.
    mark : function of settings
        Returns the text of the mark on the picture of a quick run.
    summarise : function of (settings, numbers), optional
        Returns the summary: the numbers to compare with those of others.
    grids : function of settings
        Returns the grids of cells. Default: no grids.
    table : function of (settings, numbers, summary), optional
        Returns rows to print before the line.
    check : function of settings
        Raises ValueError for invalid settings, and ImportError if an optional package is missing.
    seeds : function of settings
        Returns the derived seeds of each seed index.
    budget : str
        The setting that an error names if the work would take more than a day.
    stores : bool
        Whether finished cells are stored in files. Set it for studies that take minutes.
    processes : bool
        Whether cells run in processes instead of threads. Set it for cells that spend their time in Python.
    simulate : function of (settings, run_grids), optional
        Used instead of ``grids`` if later grids depend on the results of earlier ones. ``run_grids`` takes a list of
        grids and returns their cubes. Returns all cubes.
    """

    name: str
    title: str
    full: S
    quick: S
    analyse: Callable[..., xr.Dataset | tuple[xr.Dataset, dict[str, Any]]]
    line: Callable[[S, dict[str, Any]], str]
    layout: Layout
    panels: Callable[[Places, xr.Dataset, S], None]
    description: str = ""
    expected_time: str = ""
    mark: Callable[[S], str] = lambda settings: ""
    summarise: Callable[[S, xr.Dataset], dict[str, Any]] = lambda settings, numbers: {}
    grids: Callable[[S], Sequence[Grid]] = lambda settings: ()
    table: Callable[[S, xr.Dataset, dict[str, Any]], str] = lambda settings, numbers, summary: ""
    check: Callable[[S], None] = lambda settings: None
    seeds: Callable[[S], list[dict[str, int]]] = _derive_seeds_of
    budget: str = "settings"
    stores: bool = False
    processes: bool = False
    simulate: Callable[[S, Callable[[Sequence[Grid]], list[Cube]]], list[Cube]] | None = None

    def settings(
        self, *, seeds: int | None = None, quick: bool = False, changes: Mapping[str, object] = MappingProxyType({})
    ) -> S:
        """Return the settings with changes.

        Parameters
        ----------
        seeds : int, optional
            The number of seeds. It has no effect if nothing is random.
        quick : bool
            Whether to start from the quick form instead of the full one.
        changes : mapping of str to object
            Other values by the names of settings.

        Returns
        -------
        dataclass
            The settings.

        Raises
        ------
        ValueError
            For an unknown name, or a value of another type.
        """
        settings: Any = change_settings(self.quick if quick else self.full, changes)
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
            The settings. Default: ``full``.
        cells : Cells, optional
            Finished cells. They are not computed again.
        client : distributed.Client, optional
            A Dask cluster, whose workers are used instead of this machine. ``cells`` needs a directory that they see.
        workers : int, optional
            The number of cells at a time. Default: one for each processor.
        progress : bool, optional
            Whether to show a progress bar. Default: on a terminal.

        Returns
        -------
        Result
            Numbers and summary.

        Raises
        ------
        ValueError
            For invalid settings, and for work that would take more than a day. It is raised before any work.
        KeyboardInterrupt
            If the user stops it.
        NumericalFailureError
            If a run fails that has to reach its end.
        """
        settings = self.full if settings is None else settings
        self.check(settings)

        def run_grids(grids: Sequence[Grid]) -> list[Cube]:
            self.check_budget(grids)
            options: Any = {"workers": workers, "processes": self.processes, "client": client, "progress": progress}
            return carry_out(grids, cells, **options)

        cubes = run_grids(self.grids(settings)) if self.simulate is None else self.simulate(settings, run_grids)
        analysis = self.analyse(settings, *cubes)
        numbers, summary = analysis if isinstance(analysis, tuple) else (analysis, self.summarise(settings, analysis))
        attributes = {"title": self.title, "settings": json.dumps(asdict(settings))}  # type: ignore[call-overload]
        return Result(self, settings, numbers.assign_attrs(attributes), summary)

    def check_budget(self, grids: Sequence[Grid]) -> None:
        """Check that grids have a reasonable number of cells, and take at most a day.

        Parameters
        ----------
        grids : sequence of Grid
            The grids.

        Raises
        ------
        ValueError
            If they do not.
        """
        count = sum(math.prod(len(values) for values in grid.over.values()) for grid in grids)
        if count > _MOST_CELLS:
            raise ArgumentValueError("settings", f"expected at most {_MOST_CELLS} cells, got {count}; use fewer seeds")
        timed = [grid for grid in grids if grid.flops]
        steps = sum(grid.total_steps() for grid in timed)
        hours = sum(grid.total_steps() * grid.flops for grid in timed) / _FLOPS / 3600
        if hours > MOST_HOURS:
            runs = sum(math.prod(len(values) for values in grid.over.values()) for grid in timed)
            raise ArgumentValueError(
                self.budget,
                f"expected work of at most {MOST_HOURS:g} hours, got {runs} runs of {steps:.1e} steps in all, about "
                f"{hours:.3g} hours",
            )

    def draw(self, numbers: xr.Dataset) -> Figure:
        """Draw the picture from numbers alone.

        Parameters
        ----------
        numbers : xarray.Dataset
            The numbers of a result, such as an opened .nc file. Their attributes hold the settings.

        Returns
        -------
        matplotlib.figure.Figure
            The picture.
        """
        settings: Any = type(self.full)(**json.loads(numbers.attrs["settings"]))
        places = self.layout.places()
        self.panels(places, numbers, settings)
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
        The settings, which determine the numbers.
    numbers : xarray.Dataset
        All numbers that the picture shows.
    summary : mapping
        The numbers to compare with those of the paper and of others.
    """

    study: Study[Any]
    settings: Any
    numbers: xr.Dataset
    summary: dict[str, Any]

    @property
    def seeds(self) -> list[dict[str, int]]:
        """The derived seeds of each seed index. Empty if nothing is random."""
        return self.study.seeds(self.settings)

    @property
    def line(self) -> str:
        """The summary in one line."""
        return self.study.line(self.settings, self.summary)

    @property
    def table(self) -> str:
        """Rows to print before the line. Empty if the study has no table."""
        return self.study.table(self.settings, self.numbers, self.summary)

    def __repr__(self) -> str:
        return f"Result({self.line})"

    def draw(self) -> Figure:
        """Draw the picture.

        Returns
        -------
        matplotlib.figure.Figure
            The picture.
        """
        return self.study.draw(self.numbers)

    def save(self, directory: str | os.PathLike[str], name: str | None = None, form: str = "png") -> Path:
        """Write NAME.json, NAME.nc and the picture into a directory.

        Parameters
        ----------
        directory : path
            The directory. It is made if it does not exist.
        name : str, optional
            The name of the files. Default: the name of the study, with an ending if other files have this name.
        form : {"png", "svg", "pdf"}
            The format of the picture.

        Returns
        -------
        pathlib.Path
            The path of the picture.
        """
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        name = find_free_name(directory, self.study.name, self.settings, form) if name is None else name
        picture = directory / f"{name}.{form}"
        text = json.dumps(replace_non_finite(self.content()), indent=2, ensure_ascii=False, allow_nan=False)
        # The JSON file comes first, because it shows that the other files belong to this result.
        write_atomically(directory / f"{name}.json", (text + "\n").encode())
        write_atomically(directory / f"{name}.nc", netcdf_content(self.numbers))
        with plots.style():
            figure = self.draw()
            write_atomically(picture, lambda file: plots.save(figure, file, form))
        return picture

    def content(self) -> dict[str, Any]:
        """Return the content of NAME.json.

        Returns
        -------
        dict of str to object
            ``settings``, ``seeds``, ``summary`` and ``build``.
        """
        return {"settings": asdict(self.settings), "seeds": self.seeds, "summary": self.summary, "build": build_info()}
