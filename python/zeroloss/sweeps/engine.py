"""The grid engine: the cells of grids on all processors or on a cluster, held in memory and in sealed files.

A cell is a call of a function with arguments that determine its result. Cells that are determined by the same arguments
are computed once. `zeroloss sweep` carries out cells of another kind, runs in directories, on the same workers.
"""

from __future__ import annotations

import inspect
import itertools
import json
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from .._checks import ArgumentValueError
from .._progress import progress_bar
from .._resources import available_processors, checked_workers
from ..results import Run
from ..simulation.context import CellContext
from ..simulation.interruption import Interruption
from .sealed import Arrays, Cells
from .workers import Workers, on_cluster

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client

__all__ = ["Cube", "Grid", "NumericalFailureError", "carry_out", "checked_run"]

_LABELS = "labels of the dataset"  # the entry of a cell that was a dataset


class NumericalFailureError(Exception):
    """A run that diverged or met a singular matrix, in a cell that needs it to reach its end.

    Attributes
    ----------
    run : Run
        The partial results.
    """

    def __init__(self, run: Run, cell: str = "the run") -> None:
        super().__init__(f"{cell} {run.outcome}")
        self.run = run

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.run, str(self).removesuffix(f" {self.run.outcome}"))


def checked_run(run: Run) -> Run:
    """Return a run that reached its end, or that was asked to end early with its cell.

    Raises
    ------
    NumericalFailureError
        If it diverged, met a singular matrix, or was broken off.
    """
    if not run.outcome.ending.can_continue:
        raise NumericalFailureError(run)
    return run


@dataclass(frozen=True)
class Grid:
    """A grid of cells: every combination of some values, the last name varying fastest.

    Attributes
    ----------
    cell : function
        Called with the arguments of a cell, as keywords. Returns arrays by name, or a Dataset. In it, ``simulate``
        shares the progress bar and the interruption of the grid. It has to be a function of a module if the cells
        are carried out on processes or on a cluster.
    over : mapping of name to sequence
        The values of each name.
    arguments : function, optional
        Called with the labels of a cell (name=value), returns the arguments that determine it, as JSON takes them. By
        default these are the labels.
    steps : function, optional
        Called with the arguments of a cell, returns how many steps it takes, for the bar and for the order.
    also : function, optional
        Called with the labels of a cell, returns further arguments that follow from the others, such as arrays.
    flops : float
        Floating-point operations of a step, for the budget of time; 0 if they are not known.
    """

    cell: Callable[..., Any]
    over: Mapping[str, Sequence[Any]]
    arguments: Callable[..., Mapping[str, Any]] = dict
    steps: Callable[..., float] | None = None
    also: Callable[..., Mapping[str, Any]] = lambda **labels: {}
    flops: float = 0.0

    def labels(self) -> list[dict[str, Any]]:
        """Return the labels of every cell."""
        return [dict(zip(self.over, values, strict=True)) for values in itertools.product(*self.over.values())]

    def total_steps(self) -> float:
        """Return how many steps all cells take, as far as that is known; infinite beyond the floats."""
        if self.steps is None:
            return 0.0
        return sum(float(self.steps(**self.arguments(**labels))) for labels in self.labels())


class Cube(Sequence[Arrays]):
    """The results of a grid: the arrays of its cells in their order, and any of them over the grid's names."""

    def __init__(self, over: Mapping[str, Sequence[Any]], cells: Sequence[Arrays]) -> None:
        self.over, self._cells = over, cells
        self.shape = tuple(len(values) for values in over.values())

    def __len__(self) -> int:
        return len(self._cells)

    def __getitem__(self, place: Any) -> Any:
        """Return the arrays of a cell by its place or indices, or one array of all cells (grid, …) by its name."""
        if isinstance(place, tuple):
            return self._cells[int(np.ravel_multi_index(place, self.shape))]
        if not isinstance(place, str):
            return self._cells[place]
        values = np.array([cell[place] for cell in self._cells])
        return values.reshape(*self.shape, *values.shape[1:])

    def __iter__(self) -> Iterator[Arrays]:
        return iter(self._cells)

    def dataset(self) -> xr.Dataset:
        """Return the datasets that the cells returned as one, over the grid's names and their own dimensions.

        Coordinates that are the same in all cells stay as they are.
        """
        import xarray as xr  # noqa: PLC0415 — slow to import

        found = xr.Dataset(coords={name: (name, list(values)) for name, values in self.over.items()})
        for name, (dims, attributes, is_coordinate) in json.loads(self._cells[0][_LABELS].tobytes()).items():
            values = [cell[name] for cell in self._cells]
            if is_coordinate and all(np.array_equal(one, values[0], equal_nan=one.dtype.kind == "f") for one in values):
                found = found.assign_coords({name: (dims, values[0], attributes)})
            else:
                found[name] = ((*self.over, *dims), self[name], attributes)
                found = found.set_coords(name) if is_coordinate else found
        return found


@dataclass(frozen=True)
class _Job:
    """A cell as a worker carries it out: see `zeroloss.sweeps.workers.Job`."""

    cell: Callable[..., Any]
    arguments: Mapping[str, Any]
    also: Mapping[str, Any]
    words: str
    threads: int
    steps: float
    about: Mapping[str, Any] = field(hash=False)

    def carry_out(
        self, stop_signal: Callable[[], signal.Signals | None], on_steps: Callable[[int], None]
    ) -> tuple[Mapping[str, Any], Arrays | None]:
        """Return what determines the cell with its arrays; None for them if it was asked to end before its end."""
        left = int(min(self.steps, 2**62))

        def tell_own(taken: int) -> None:
            nonlocal left
            left -= taken
            on_steps(taken)

        context = CellContext(stop_signal, tell_own if self.steps else lambda taken: None, self.threads)
        with context.activate(), threadpool_limits(1, "blas"):  # on any worker: the bits of products depend on it
            try:
                found = self.cell(**self.arguments, **self.also)
            except KeyboardInterrupt:
                if stop_signal() is None:
                    raise
                return self.about, None
            except NumericalFailureError as failure:
                raise NumericalFailureError(failure.run, self.words) from failure
        if context.was_stopped:
            return self.about, None
        on_steps(left)  # the rest of a run that diverged
        return self.about, _to_arrays(found)


def carry_out(
    grids: Sequence[Grid],
    cells: Cells | None = None,
    *,
    workers: int | None = None,
    processes: bool = False,
    client: Client | None = None,
    progress: bool | None = None,
) -> list[Cube]:
    """Carry out all cells of grids, side by side, those that take most steps first.

    Parameters
    ----------
    grids : sequence of Grid
        The grids. Their cells are independent of each other.
    cells : Cells, optional
        The finished cells: those that are there are not computed again.
    workers : int, optional
        How many cells to carry out at a time, by default one for every processor this process, or the cluster, may use.
    processes : bool
        Whether several workers are processes instead of threads: for cells that spend their time in Python.
    client : distributed.Client, optional
        Of a Dask cluster, whose workers replace those of this machine; ``cells`` needs a directory that all of them
        see.
    progress : bool, optional
        One bar for all, as for ``simulate``.

    Returns
    -------
    list of Cube
        One for each grid.

    Raises
    ------
    KeyboardInterrupt
        If the user stops it. Cells that had ended are in ``cells``.
    NumericalFailureError
        If a run that has to reach its end does not.
    concurrent.futures.BrokenExecutor
        If a worker process ended unexpectedly. Cells that had ended are in ``cells``.
    """
    cells = Cells() if cells is None else cells
    places = [[_identify(grid, labels) for labels in grid.labels()] for grid in grids]
    names = [[json.dumps(about, sort_keys=True) for about in own] for own in places]
    found: dict[str, Arrays] = {}
    waiting: dict[str, tuple[Grid, dict[str, Any], Mapping[str, Any]]] = {}
    for grid, own, own_names in zip(grids, places, names, strict=True):
        for labels, about, name in zip(grid.labels(), own, own_names, strict=True):
            if name in found or name in waiting:
                continue
            arrays = cells.find(about)
            if arrays is None:
                waiting[name] = (grid, labels, about)
            else:
                found[name] = arrays
    if waiting:
        at_once = min(len(waiting), available_processors() if workers is None else checked_workers("workers", workers))
        threads = max(1, available_processors() // at_once)
        jobs = sorted((_job(*one, threads) for one in waiting.values()), key=lambda job: -job.steps)
        pool = (
            Workers(at_once, processes and at_once > 1)
            if client is None
            else on_cluster(client, _shared_directory(cells), workers)
        )
        _collect(pool, jobs, cells, found, at_once if client is None else None, progress)
    if missing := sum(name not in found for name in waiting):
        raise KeyboardInterrupt(f"{missing} cells")
    return [Cube(grid.over, [found[name] for name in own]) for grid, own in zip(grids, names, strict=True)]


def _collect(
    pool: Any, jobs: Sequence[_Job], cells: Cells, found: dict[str, Arrays], at_once: int | None, progress: bool | None
) -> None:
    """Store the results of jobs as they come."""
    in_steps = all(job.steps for job in jobs)
    total = sum(job.steps for job in jobs) if in_steps else len(jobs)
    title = f"{len(jobs)} cells" + (f", {at_once} at once" if at_once is not None else "")
    bar = progress_bar(progress, desc=title, total=total, unit="step" if in_steps else "cell", leave=False)
    with Interruption() as interruption, bar, threadpool_limits(1, "blas"):  # for as long as any thread works on a cell

        def poll(steps: int) -> signal.Signals | None:
            bar.update(steps - bar.n if in_steps else 0)
            return interruption.stop_signal

        for about, arrays in pool.run_jobs(jobs, poll):
            if arrays is not None:
                found[json.dumps(about, sort_keys=True)] = arrays
                cells.store(about, arrays)
            bar.update(0 if in_steps else 1)


def _identify(grid: Grid, labels: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that determines a cell."""
    module = inspect.getmodule(grid.cell)
    name = f"{module.__name__ if module else ''}.{grid.cell.__qualname__}"
    return {"cell": name, "arguments": dict(grid.arguments(**labels))}


def _job(grid: Grid, labels: Mapping[str, Any], about: Mapping[str, Any], threads: int) -> _Job:
    arguments = about["arguments"]
    steps = float(grid.steps(**arguments)) if grid.steps else 0.0
    words = ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in labels.items()
    )
    return _Job(grid.cell, arguments, grid.also(**labels), words, threads, steps, about)


def _shared_directory(cells: Cells) -> Path:
    """Return the directory of cells that a cluster shares."""
    if cells.directory is None:
        raise ArgumentValueError("cells", "expected a directory that all workers of the cluster see, got none")
    cells.directory.mkdir(parents=True, exist_ok=True)
    return cells.directory


def _to_arrays(found: Any) -> Arrays:
    """Return the result of a cell as plain arrays; a dataset with an entry that holds its labels."""
    if not hasattr(found, "data_vars"):
        return {name: np.asarray(values) for name, values in found.items()}
    labels = {
        str(name): [list(values.dims), dict(values.attrs), name in found.coords]
        for name, values in found.variables.items()
    }
    text: NDArray[np.uint8] = np.frombuffer(json.dumps(labels).encode(), np.uint8)
    return {**{str(name): values.values for name, values in found.variables.items()}, _LABELS: text}
