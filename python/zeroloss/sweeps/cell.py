"""One cell of a sweep: a run in a directory of its own, begun, gone on with, or tried again."""

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

_POLL_SECONDS = 0.5  # seconds between two looks at a lock


class ClusterError(RuntimeError):
    """A cluster cannot carry out a sweep, or gave it up."""


@dataclass(frozen=True)
class CellReport:
    """What became of a cell: how its run ended, or None where another process carries it out."""

    name: str
    outcome: Outcome | None


@dataclass(frozen=True)
class Task:
    """The job of a cell: plain data, and the class of a user's dynamics by its name.

    ``patience`` is the number of seconds to wait for a cell that another process holds: on a cluster a worker that was
    lost may hold it for a while.
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
        """The steps of the run; 0 if it has an end in time."""
        return float(self.settings["run"]["steps"] or 0)

    def carry_out(
        self, stop_signal: Callable[[], signal.Signals | None], on_steps: Callable[[int], None]
    ) -> CellReport:
        """Bring the cell to its end, from where it is; see `zeroloss.sweeps.workers.Job`."""
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
    """Whether a cell ended in a numerical failure, or was broken off by an error."""
    return not outcome.ending.can_continue


def was_stopped(outcome: Outcome) -> bool:
    """Whether a cell is to go on the next time."""
    return not outcome.ending.is_final


def read_outcome(directory: Path) -> Outcome | None:
    """Return how a cell ended: as its run says, or by the error that broke it off; None while it has not."""
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
        raise  # nothing of the cell's own
    except UnreadableError as error:
        raise runs.RunInterruptedError(f"{error.filename}: {error.strerror}") from error
    except Exception as error:  # of settings that no plan tries, of files that are not what they should be
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
    """Keep what a failed run left, under another name."""
    others = (path.with_name(f"{path.name}-failed-{number}") for number in range(1, 10**6))
    aside = next(other for other in others if not (other.exists() or _error_file(other).exists()))
    for one, other in ((path, aside), (_error_file(path), _error_file(aside))):
        if one.exists():
            one.rename(other)
