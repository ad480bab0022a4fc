"""Sweeps: many runs from one configuration, in one store."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import _checks, _display
from .._checks import ArgumentTypeError
from .._deprecated import rename_arguments
from .._plain import resolve_file_names, to_plain
from .._progress import progress_bar
from .._resources import available_processors, check_memory, checked_workers
from ..config import read_sections, with_new_names
from ..dynamics.registry import user_dynamics
from ..results import Outcome
from ..runs import RunInterruptedError
from ..simulation.interruption import Interruption
from .cell import CellReport, Task, has_failed, was_stopped
from .cost import CostModel
from .grid import Cell, axes, cells
from .store import Store
from .workers import Workers, on_cluster

if TYPE_CHECKING:
    import xarray as xr
    from distributed import Client


#: Seconds to wait for the lock of a cell after its worker on a cluster was lost.
_LOST_WORKER_SECONDS = 60.0


class SweepInterruptedError(RuntimeError):
    """A worker ended unexpectedly, or a file cannot be written. Finished cells are saved, and a sweep can continue."""


@dataclass
class Sweep:
    """A sweep: its plan, and the outcomes of its cells.

    Attributes
    ----------
    store : Store
        The directory.
    cells : list of Cell
        All cells.
    workers : int
        The number of cells at a time.
    outcomes : dict of str to Outcome
        The outcomes of the cells that have ended, in this sweep or earlier, by the name of the cell.
    todo : list of Cell
        The cells to run.
    seconds : float
        The expected time.
    rough : bool
        Whether the expected time is uncertain, because steps are adaptive.
    elsewhere : set of str
        The names of the cells that another process is running.
    signal : Signals or None
        The signal that stopped the sweep.
    """

    store: Store
    cells: list[Cell]
    workers: int
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    todo: list[Cell] = field(default_factory=list)
    seconds: float = 0.0
    rough: bool = False
    elsewhere: set[str] = field(default_factory=set)
    signal: signal.Signals | None = None

    @property
    def failures(self) -> list[Cell]:
        """The cells that ended in a numerical failure, or were broken off by an error."""
        return [cell for cell in self.cells if cell.name in self.outcomes and has_failed(self.outcomes[cell.name])]

    def cube(self) -> xr.Dataset:
        """Return the histories of all cells that have ended.

        Returns
        -------
        xarray.Dataset
            The cube that `zeroloss.sweeps.open_sweep` describes.
        """
        return self.store.cube()

    def __repr__(self) -> str:
        return _display.format_lines(*self._describe())

    def _repr_html_(self) -> str:
        return _display.format_html(*self._describe())

    def _describe(self) -> tuple[str, _display.Rows]:
        endings = Counter(str(outcome.ending) for outcome in self.outcomes.values())
        rows: dict[str, object] = {
            "directory": str(self.store.path),
            "swept": ", ".join(self.store.keys()),
            "endings": ", ".join(f"{count} {ending}" for ending, count in endings.items()) or "none yet",
        }
        return f"Sweep, {self}", rows

    def __str__(self) -> str:
        done, count = len(self.outcomes), len(self.cells)
        count_failed = sum(has_failed(outcome) for outcome in self.outcomes.values())
        failures = f", {count_failed} of them failed" if count_failed else ""
        elsewhere = f", {len(self.elsewhere)} are running in another process" if self.elsewhere else ""
        return f"{done} of {count} cells ended{failures}{elsewhere}"


@rename_arguments(planned="on_plan")
def sweep(
    configuration: str | os.PathLike[str] | Mapping[str, Any],
    out: str | os.PathLike[str],
    *,
    workers: int | None = None,
    processes: bool = False,
    client: Client | None = None,
    retry: bool = False,
    allow_different_bits: bool = False,
    progress: bool | None = None,
    on_plan: Callable[[Sweep], None] | None = None,
) -> Sweep:
    """Run every combination of the values in a configuration, each in its own directory.

    Every cell gives the same bits as a single run.

    Parameters
    ----------
    configuration : path or mapping
        A TOML file, or sections of settings, with a section ``[sweep]``: ``"section.key" = [value, …]``, or
        ``"section.key, section.key" = [[value, value], …]`` for keys that vary together.
    out : path
        The store. Cells that have ended in it are not run again, and unfinished cells continue from their checkpoints.
    workers : int, optional
        The number of cells at a time; by default one for every processor that this process, or the cluster, may use.
    processes : bool
        Whether the workers are processes instead of threads. A script then has to call this function under
        ``if __name__ == "__main__":``.
    client : distributed.Client, optional
        The client of a Dask cluster, whose workers run the cells: see `zeroloss.sweeps.connect`. They have to see
        ``out``, and to have this version and instruction-set level.
    retry : bool
        Whether to repeat cells that failed. Their old files are renamed to NAME-failed-1.
    allow_different_bits : bool
        Whether another version, compiler or instruction-set level may continue a cell.
    progress : bool, optional
        Whether to show one progress bar for all steps, as for ``simulate``.
    on_plan : function of a Sweep, optional
        A function that gets the plan with its expected time before the sweep starts.

    Returns
    -------
    Sweep
        The outcome of every cell, and ``cube()`` with all histories, which is also written into the store. SIGINT and
        SIGTERM stop the sweep, with a checkpoint of every running cell.

    Raises
    ------
    ConfigurationError
        If the configuration is invalid. All problems are reported together, before the sweep starts.
    SweepInterruptedError
        If a worker ended unexpectedly, or a file cannot be written. Finished cells are saved.
    ClusterError
        If a cluster has no workers that can run the sweep.

    Examples
    --------
    >>> import tempfile
    >>> import zeroloss as zl
    >>> settings = {"data": {"p": 5, "test_count": 2}, "network": {"hidden": 8}, "run": {"steps": 100}}
    >>> settings["sweep"] = {"network.seed": [1, 2], "dynamics.weight_decay": [1e-4, 1e-3]}
    >>> cube = zl.sweeps.sweep(settings, tempfile.mkdtemp(), progress=False).cube()
    >>> cube.train_loss.dims
    ('network_seed', 'weight_decay', 'step')
    """
    settings = _settings_of(configuration)
    lines = axes(settings)
    all_cells = cells(settings, progress)
    store = Store.of(Path(out), lines, all_cells)
    store.check_free()
    processors = available_processors() if client is None else max(1, sum(client.nthreads().values()))
    count = processors if workers is None else checked_workers("workers", workers)
    plan = Sweep(store, all_cells, count, store.outcomes())
    plan.todo = [c for c in all_cells if c.name not in plan.outcomes or (retry and has_failed(plan.outcomes[c.name]))]
    plan.outcomes = {name: how for name, how in plan.outcomes.items() if not (retry and has_failed(how))}
    plan.workers = max(1, min(count, len(plan.todo)))
    model = CostModel()
    each = model.seconds(plan.todo, progress)
    plan.seconds = max(sum(each) / min(plan.workers, processors), max(each, default=0.0))
    plan.rough = model.rough
    if client is None:
        check_memory(f"{plan.workers} cells at a time", sum(sorted(model.memory(plan.todo))[-plan.workers :]))
    if on_plan is not None:
        on_plan(plan)
    with Interruption((signal.SIGINT, signal.SIGTERM)) as interruption:
        store.prepare(settings)
        if plan.todo:
            longest_first = [cell for _, cell in sorted(zip(each, plan.todo, strict=True), key=lambda one: -one[0])]
            patience = 0.0 if client is None else _LOST_WORKER_SECONDS
            tasks = [_task(cell, store, retry, allow_different_bits, patience) for cell in longest_first]
            if client is None:
                _carry_out(plan, tasks, Workers(plan.workers, processes), interruption, progress)
            else:
                cluster = on_cluster(client, store.path, workers, allow_different_bits)
                _carry_out(plan, tasks, cluster, interruption, progress)
        if plan.outcomes:
            store.write_cube()
        plan.signal = interruption.stop_signal
    return plan


def _settings_of(configuration: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(configuration, str | os.PathLike):
        return read_sections(configuration)
    if not isinstance(configuration, Mapping):
        raise ArgumentTypeError("configuration", f"expected a file or a mapping, got {type(configuration).__name__}")
    return with_new_names(resolve_file_names(Path.cwd(), to_plain(configuration)))


def _task(cell: Cell, store: Store, retry: bool, allow_different_bits: bool, patience: float) -> Task:
    threads = cell.settings["run"]["threads"] or 1  # Cells use the processors side by side, not for one step.
    settings = {**cell.settings, "run": {**cell.settings["run"], "threads": threads}}
    directory, lock = store.cell(cell.name).resolve(), store.lock(cell.name).resolve()
    users = user_dynamics(settings["dynamics"]["kind"])
    return Task(cell.name, settings, str(directory), str(lock), retry, allow_different_bits, users, patience)


def connect(address: str) -> Client:
    """Return a client of the Dask scheduler at an address.

    Parameters
    ----------
    address : str
        The address, such as ``tcp://HOST:8786``.

    Returns
    -------
    distributed.Client
        The client.

    Raises
    ------
    ImportError
        If Dask is not installed. The extra ``cluster`` installs it.
    ClusterError
        If the scheduler does not answer within ten seconds.
    """
    try:
        from . import cluster  # noqa: PLC0415 — an extra
    except ImportError:
        raise _checks.missing_library("scheduler", "Dask", "cluster", "distributed") from None
    return cluster.connect(address)


def _carry_out(plan: Sweep, tasks: list[Task], workers: Any, interruption: Interruption, progress: bool | None) -> None:
    """Run tasks on workers, and store their outcomes in the plan."""
    total = sum(task.settings["run"]["steps"] or 0 for task in tasks)
    bar = progress_bar(progress, desc="sweep", total=total or None)

    def poll(steps: int) -> signal.Signals | None:
        bar.update(steps - bar.n)
        bar.set_postfix_str(str(plan), refresh=False)
        return interruption.stop_signal

    with bar:
        try:
            for report in workers.run_jobs(tasks, poll):
                _store_report(plan, report)
        except RunInterruptedError as error:
            raise SweepInterruptedError(f"{error}; the same sweep command continues") from error
        except BrokenExecutor as error:
            line = f"{plan.store.path}: a worker ended unexpectedly; {plan}; the same sweep command continues"
            raise SweepInterruptedError(line) from error


def _store_report(plan: Sweep, report: CellReport) -> None:
    if report.outcome is None:
        plan.elsewhere.add(report.name)
    elif not was_stopped(report.outcome):
        plan.outcomes[report.name] = report.outcome
