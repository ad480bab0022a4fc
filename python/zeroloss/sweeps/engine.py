"""The grid engine: it computes the cells of grids on all processors or on a cluster, and stores their results.

A cell is a call of a function with arguments that determine its result. Cells with the same function and arguments are
computed once. `zeroloss sweep` runs cells of another kind, runs in directories, on the same workers.
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

#: The name of the array with the dimensions and attributes of a cell that returned a dataset.
_LABELS = "labels of the dataset"


class NumericalFailureError(Exception):
    """A run failed in a cell that needs it to reach its end: it diverged, or a matrix was singular.

    Parameters
    ----------
    run : Run
        The run, with its partial results.
    cell : str
        The words for the cell in the message.
    """

    def __init__(self, run: Run, cell: str = "the run") -> None:
        super().__init__(f"{cell} {run.outcome}")
        self.run = run

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.run, str(self).removesuffix(f" {self.run.outcome}"))


def checked_run(run: Run) -> Run:
    """Return a run unless it failed.

    Parameters
    ----------
    run : Run
        A run that a cell needs. It may have been stopped together with its cell.

    Returns
    -------
    Run
        The same run.

    Raises
    ------
    NumericalFailureError
        If the run diverged, a matrix was singular, or an error ended it.
    """
    if not run.outcome.ending.can_continue:
        raise NumericalFailureError(run)
    return run


@dataclass(frozen=True)
class Grid:
    """A grid of cells: every combination of some values. The last name varies fastest.

    Parameters
    ----------
    cell : function
        The function of a cell. It gets the arguments of the cell as keywords, and returns arrays by name or a Dataset.
        Within it, ``simulate`` shares the progress bar and the interruption of the grid. It has to be a function of a
        module if processes or a cluster run the cells.
    over : mapping of str to sequence
        The values of each name.
    arguments : function, optional
        A function that gets the labels of a cell (name=value), and returns the arguments that determine it, as JSON can
        represent them. By default these are the labels.
    steps : function, optional
        A function that gets the arguments of a cell, and returns its number of steps, for the bar and the order.
    also : function, optional
        A function that gets the labels of a cell, and returns further arguments that follow from them, such as arrays.
    flops : float
        The floating-point operations of a step, for the budget of time; 0 if they are unknown.
    """

    cell: Callable[..., Any]
    over: Mapping[str, Sequence[Any]]
    arguments: Callable[..., Mapping[str, Any]] = dict
    steps: Callable[..., float] | None = None
    also: Callable[..., Mapping[str, Any]] = lambda **labels: {}
    flops: float = 0.0

    def labels(self) -> list[dict[str, Any]]:
        """Return the labels of every cell.

        Returns
        -------
        list of dict
            A value for each name, for every cell.
        """
        return [dict(zip(self.over, values, strict=True)) for values in itertools.product(*self.over.values())]

    def total_steps(self) -> float:
        """Return the number of steps of all cells.

        Returns
        -------
        float
            The number; 0 if it is unknown, and infinity beyond the range of floats.
        """
        if self.steps is None:
            return 0.0
        return sum(float(self.steps(**self.arguments(**labels))) for labels in self.labels())


class Cube(Sequence[Arrays]):
    """The results of a grid: a sequence of the arrays of its cells, which can also be indexed by the names of arrays.

    Parameters
    ----------
    over : mapping of str to sequence
        The values of each name of the grid.
    cells : sequence of mapping
        The arrays of each cell by name, in the order of the cells.
    """

    def __init__(self, over: Mapping[str, Sequence[Any]], cells: Sequence[Arrays]) -> None:
        self.over, self._cells = over, cells
        self.shape = tuple(len(values) for values in over.values())

    def __len__(self) -> int:
        return len(self._cells)

    def __getitem__(self, place: Any) -> Any:
        """Return the arrays of a cell, by its place or indices, or one array of all cells (grid, …), by its name."""
        if isinstance(place, tuple):
            return self._cells[int(np.ravel_multi_index(place, self.shape))]
        if not isinstance(place, str):
            return self._cells[place]
        values = np.array([cell[place] for cell in self._cells])
        return values.reshape(*self.shape, *values.shape[1:])

    def __iter__(self) -> Iterator[Arrays]:
        return iter(self._cells)

    def dataset(self) -> xr.Dataset:
        """Return the datasets of the cells as one dataset.

        Returns
        -------
        xarray.Dataset
            A dataset over the names of the grid and the dimensions of the cells. A coordinate that is the same in all
            cells does not get the dimensions of the grid.
        """
        import xarray as xr  # noqa: PLC0415 — slow to import

        joined = xr.Dataset(coords={name: (name, list(values)) for name, values in self.over.items()})
        for name, (dims, attributes, is_coordinate) in json.loads(self._cells[0][_LABELS].tobytes()).items():
            values = [cell[name] for cell in self._cells]
            if is_coordinate and all(np.array_equal(v, values[0], equal_nan=v.dtype.kind == "f") for v in values):
                joined = joined.assign_coords({name: (dims, values[0], attributes)})
            else:
                joined[name] = ((*self.over, *dims), self[name], attributes)
                joined = joined.set_coords(name) if is_coordinate else joined
        return joined


@dataclass(frozen=True)
class _Job:
    """The job of a cell; see `zeroloss.sweeps.workers.Job`."""

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
        """Return the function and arguments of the cell, and its arrays; None for the arrays if it was stopped."""
        remaining = int(min(self.steps, 2**62))

        def count_steps(taken: int) -> None:
            nonlocal remaining
            remaining -= taken
            on_steps(taken)

        context = CellContext(stop_signal, count_steps if self.steps else lambda taken: None, self.threads, self.steps)
        # The bits of products of BLAS depend on its number of threads.
        with context.activate(), threadpool_limits(1, "blas"):
            try:
                result = self.cell(**self.arguments, **self.also)
            except KeyboardInterrupt:
                if stop_signal() is None:
                    raise
                return self.about, None
            except NumericalFailureError as failure:
                raise NumericalFailureError(failure.run, self.words) from failure
        if context.was_stopped:
            return self.about, None
        on_steps(remaining)  # The steps that a run that diverged did not take.
        return self.about, _to_arrays(result)


def carry_out(
    grids: Sequence[Grid],
    cells: Cells | None = None,
    *,
    workers: int | None = None,
    processes: bool = False,
    client: Client | None = None,
    progress: bool | None = None,
) -> list[Cube]:
    """Compute all cells of grids side by side. Cells with the most steps start first.

    Parameters
    ----------
    grids : sequence of Grid
        The grids. Their cells are independent of each other.
    cells : Cells, optional
        The store of finished cells. Cells in it are not computed again.
    workers : int, optional
        The number of cells at a time; by default one for every processor that this process, or the cluster, may use.
    processes : bool
        Whether the workers are processes instead of threads, for cells that spend their time in Python.
    client : distributed.Client, optional
        The client of a Dask cluster, whose workers compute the cells. ``cells`` needs a directory that all of them see.
    progress : bool, optional
        Whether to show one progress bar for all cells, as for ``simulate``.

    Returns
    -------
    list of Cube
        The results of each grid.

    Raises
    ------
    KeyboardInterrupt
        If the user stops the computation. Finished cells are in ``cells``.
    NumericalFailureError
        If a run that has to reach its end fails.
    concurrent.futures.BrokenExecutor
        If a worker process ended unexpectedly. Finished cells are in ``cells``.
    """
    cells = Cells() if cells is None else cells
    places = [[_identify(grid, labels) for labels in grid.labels()] for grid in grids]
    names = [[json.dumps(about, sort_keys=True) for about in places_of_grid] for places_of_grid in places]
    results: dict[str, Arrays] = {}
    waiting: dict[str, tuple[Grid, dict[str, Any], Mapping[str, Any]]] = {}
    for grid, places_of_grid, names_of_grid in zip(grids, places, names, strict=True):
        for labels, about, name in zip(grid.labels(), places_of_grid, names_of_grid, strict=True):
            if name in results or name in waiting:
                continue
            arrays = cells.find(about)
            if arrays is None:
                waiting[name] = (grid, labels, about)
            else:
                results[name] = arrays
    if waiting:
        at_once = min(len(waiting), available_processors() if workers is None else checked_workers("workers", workers))
        threads = max(1, available_processors() // at_once)
        jobs = sorted((_job(*cell, threads) for cell in waiting.values()), key=lambda job: -job.steps)
        pool = (
            Workers(at_once, processes and at_once > 1)
            if client is None
            else on_cluster(client, _shared_directory(cells), workers)
        )
        _collect(pool, jobs, cells, results, at_once if client is None else None, progress)
    if missing := sum(name not in results for name in waiting):
        raise KeyboardInterrupt(f"{missing} cells")
    return [
        Cube(grid.over, [results[name] for name in cells_of_grid])
        for grid, cells_of_grid in zip(grids, names, strict=True)
    ]


def _collect(
    pool: Any,
    jobs: Sequence[_Job],
    cells: Cells,
    results: dict[str, Arrays],
    at_once: int | None,
    progress: bool | None,
) -> None:
    """Run jobs on a pool of workers, and store their results as they end."""
    in_steps = all(job.steps for job in jobs)
    total = sum(job.steps for job in jobs) if in_steps else len(jobs)
    title = "1 cell" if len(jobs) == 1 else f"{len(jobs)} cells"
    if at_once is not None and len(jobs) > 1:
        title += f", {at_once} at once"
    bar = progress_bar(progress, desc=title, total=total, unit="step" if in_steps else "cell", leave=False)
    # The limit of BLAS holds as long as any thread works on a cell.
    with Interruption() as interruption, bar, threadpool_limits(1, "blas"):

        def poll(steps: int) -> signal.Signals | None:
            bar.update(steps - bar.n if in_steps else 0)
            return interruption.stop_signal

        for about, arrays in pool.run_jobs(jobs, poll):
            if arrays is not None:
                results[json.dumps(about, sort_keys=True)] = arrays
                cells.store(about, arrays)
            bar.update(0 if in_steps else 1)


def _identify(grid: Grid, labels: Mapping[str, Any]) -> dict[str, Any]:
    """Return the function and the arguments that determine a cell."""
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
    """Return the directory of the cells, which the workers of a cluster share."""
    if cells.directory is None:
        raise ArgumentValueError("cells", "needs a directory that all workers of the cluster see")
    cells.directory.mkdir(parents=True, exist_ok=True)
    return cells.directory


def _to_arrays(result: Any) -> Arrays:
    """Return the result of a cell as plain arrays. For a dataset, one further array has its labels."""
    if not hasattr(result, "data_vars"):
        return {name: np.asarray(values) for name, values in result.items()}
    labels = {
        str(name): [list(values.dims), dict(values.attrs), name in result.coords]
        for name, values in result.variables.items()
    }
    text: NDArray[np.uint8] = np.frombuffer(json.dumps(labels).encode(), np.uint8)
    return {**{str(name): values.values for name, values in result.variables.items()}, _LABELS: text}
