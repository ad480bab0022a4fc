"""One cell of a sweep: a run in its own directory, which is begun, continued or repeated."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .. import runs
from ..config import from_settings
from ..dynamics.registry import register_dynamics
from ..results import Ending, InUseError, Outcome, RunDirectory, UnreadableError, file_lock
from ..results.files import reading, write_atomically
from ..simulation.interruption import ExternalStop, Interruption

#: Seconds between two attempts to lock a cell.
_POLL_SECONDS = 0.5


class ClusterError(RuntimeError):
    """A cluster cannot run a sweep, or lost a job of it."""


@dataclass(frozen=True)
class CellReport:
    """The outcome of the run of a cell; None if another process runs the cell."""

    name: str
    outcome: Outcome | None


@dataclass(frozen=True)
class Task:
    """The job of a cell, which processes and clusters can pickle.

    Parameters
    ----------
    name : str
        The name of the cell.
    settings : mapping
        The complete settings of its run.
    directory, lock : str
        The directory of the run, and the file that locks the cell.
    retry : bool
        Whether to repeat a cell that failed.
    allow_different_bits : bool
        Whether another version or instruction-set level may continue the cell.
    users_dynamics : mapping of str to type
        The class of a user's dynamics by its name.
    patience : float
        Seconds to wait for a cell that another process has locked. On a cluster, a worker that was lost may hold the
        lock for a while.
    """

    name: str
    settings: Mapping[str, Mapping[str, Any]]
    directory: str
    lock: str
    retry: bool = False
    allow_different_bits: bool = False
    users_dynamics: Mapping[str, type[Any]] = field(default_factory=dict)
    patience: float = 0.0

    @property
    def steps(self) -> float:
        """The number of steps of the run; 0 if it ends at a time."""
        return float(self.settings["run"]["steps"] or 0)

    def carry_out(
        self, stop_signal: Callable[[], signal.Signals | None], on_steps: Callable[[int], None]
    ) -> CellReport:
        """Run the cell to its end, from its last checkpoint; see `zeroloss.sweeps.workers.Job`."""
        for name, kind in self.users_dynamics.items():
            register_dynamics(name, kind)
        deadline = time.monotonic() + self.patience
        while True:
            try:
                with file_lock(Path(self.lock)):
                    return CellReport(self.name, _carry_out_cell(self, on_steps, ExternalStop(stop_signal)))
            except InUseError:
                if stop_signal() or time.monotonic() >= deadline:
                    return CellReport(self.name, None)
            time.sleep(_POLL_SECONDS)


def has_failed(outcome: Outcome) -> bool:
    """Whether a cell ended with a numerical failure or an error."""
    return not outcome.ending.can_continue


def was_stopped(outcome: Outcome) -> bool:
    """Whether a cell was stopped before its end, so that the next sweep continues it."""
    return not outcome.ending.is_final


def read_outcome(directory: Path) -> Outcome | None:
    """Return the outcome of a cell: of its run, or the error that ended it; None if it has not ended."""
    try:
        with reading(_error_file(directory)):
            return Outcome(Ending.BROKEN_OFF, _error_file(directory).read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return RunDirectory(directory).outcome()


def _carry_out_cell(task: Task, on_steps: Callable[[int], None], interruption: Interruption) -> Outcome:
    path = Path(task.directory)
    before = read_outcome(path)
    if before is not None and not (task.retry and has_failed(before)):
        return before
    if before is not None:
        _put_aside(path)
    try:
        return _run(task, RunDirectory(path), on_steps, interruption)
    except (runs.RunInterruptedError, runs.DifferentBuildError, InUseError):
        raise  # These errors are not results of the cell.
    except UnreadableError as error:
        raise runs.RunInterruptedError(f"{error.filename}: {error.strerror}") from error
    except Exception as error:  # Such as settings that only fail in a step, or damaged files.
        line = " ".join(f"{type(error).__name__}: {error}".split())
        write_atomically(_error_file(path), line.encode())
        return Outcome(Ending.BROKEN_OFF, line)


def _run(task: Task, directory: RunDirectory, on_steps: Callable[[int], None], interruption: Interruption) -> Outcome:
    if not directory.has_begun():
        configuration = from_settings(task.settings)
        return runs.run(configuration, directory.path, progress=on_steps, interruption=interruption).outcome
    return runs.resume(
        directory.path,
        progress=on_steps,
        interruption=interruption,
        allow_different_bits=task.allow_different_bits,
        on_warning=directory.log,
    ).outcome


def _error_file(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}.error")


def _put_aside(path: Path) -> None:
    """Rename the files of a failed cell to NAME-failed-1, or the next free number."""
    names = (path.with_name(f"{path.name}-failed-{number}") for number in range(1, 10**6))
    target = next(name for name in names if not (name.exists() or _error_file(name).exists()))
    for old, new in ((path, target), (_error_file(path), _error_file(target))):
        if old.exists():
            old.rename(new)
