"""Read the directory of a run, also while another process writes into it."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .._checks import ArgumentValueError, ZerolossWarning
from .checkpoint import Checkpoint
from .directory import RunDirectory
from .files import DamagedError
from .outcome import Ending, Outcome
from .run import Run
from .samples import read_samples

if TYPE_CHECKING:
    import xarray as xr

#: Seconds to wait for the first checkpoint of a running process.
_PATIENCE = 10.0
#: Seconds to wait if no process holds the lock, because one may be about to take it.
_SHORT_PATIENCE = 0.5
#: Seconds between two attempts.
_PAUSE = 0.01

Damaged = list[tuple[Path, str]]


def read(path: str | os.PathLike[str], extender: Callable[..., None]) -> Run:
    """Read a run from its directory, whether it has ended or is in progress.

    Parameters
    ----------
    path : path
        The directory.
    extender : function
        The function that ``Run.extend`` calls.

    Returns
    -------
    Run
        The run at its newest valid checkpoint.

    Raises
    ------
    FileNotFoundError
        If there is no run.
    UnreadableError
        If a file cannot be read at the moment.
    DamagedError
        If no checkpoint is valid.
    ValueError
        If there is no checkpoint yet.
    """
    directory = RunDirectory(path)
    if not directory.path.is_dir():
        raise FileNotFoundError(f"directory: expected a run, found no directory {directory.path}")
    if not directory.is_ours():
        raise FileNotFoundError(f"directory: expected a run, found no checkpoints in {directory.path}")
    start = time.monotonic()
    while True:
        before = directory.identity()
        try:
            result = _read(directory, extender)
        except (FileNotFoundError, DamagedError):  # Another run may have replaced this one in the meantime.
            if directory.identity() == before:
                raise
            continue
        if directory.identity() != before:
            continue
        if result is not None:
            break
        in_use, waited = directory.holder() is not None, time.monotonic() - start
        if waited > (_PATIENCE if in_use else _SHORT_PATIENCE):
            hint = "it has just started; try again later" if in_use else "zeroloss resume starts it again"
            raise ArgumentValueError("directory", f"the run in {directory.path} has no checkpoint yet; {hint}")
        time.sleep(_PAUSE)
    run, damaged = result
    for file, reason in damaged:
        warnings.warn(f"{file.parent.parent}: {reason}; the previous checkpoint is used", ZerolossWarning, stacklevel=3)
    return run


def _read(directory: RunDirectory, extender: Callable[..., None]) -> tuple[Run, Damaged] | None:
    """Return the run and its damaged checkpoints; None if there is no checkpoint."""
    current = directory.current()
    checkpoint, damaged = current.newest()
    if checkpoint is not None:
        run = run_at(current, checkpoint, extender)
        run.outcome = _outcome(directory, checkpoint)
        return run, damaged
    if damaged:
        raise DamagedError(f"{directory.path}: no valid checkpoint among {len(damaged)}: {damaged[0][1]}")
    return None


def _outcome(directory: RunDirectory, checkpoint: Checkpoint) -> Outcome:
    """Return the outcome of a run, which may also be in progress or interrupted."""
    recorded, process = directory.current().recorded_outcome(), directory.holder()
    if process is not None and recorded is None:
        return Outcome(Ending.RUNNING, f"{checkpoint.step} steps at the last checkpoint so far, in process {process}")
    if checkpoint.outcome is not None:
        return checkpoint.outcome
    if recorded is not None and recorded.ending is Ending.STOPPED_BY_THE_USER:
        return recorded
    return Outcome(
        Ending.INTERRUPTED, f"after {checkpoint.step} steps at the last checkpoint; zeroloss resume continues it"
    )


def run_at(
    directory: RunDirectory,
    checkpoint: Checkpoint,
    extender: Callable[..., None],
    datasets: tuple[xr.Dataset, xr.Dataset | None] | None = None,
) -> Run:
    """Return a run at one of its checkpoints.

    Parameters
    ----------
    directory : RunDirectory
        The directory of the run.
    checkpoint : Checkpoint
        The checkpoint. Without an outcome the run is "interrupted".
    extender : function
        The function that ``Run.extend`` calls.
    datasets : (Dataset, Dataset or None), optional
        The history and the snapshots up to the checkpoint. They are read from the directory by default.

    Returns
    -------
    Run
        The run.
    """
    history, snapshots = directory.datasets(checkpoint) if datasets is None else datasets
    interrupted = Outcome(Ending.INTERRUPTED, f"after {checkpoint.step} steps")
    events = checkpoint.events
    return Run(
        history=history,
        network=checkpoint.network,
        snapshots=snapshots,
        outcome=checkpoint.outcome or interrupted,
        settings=checkpoint.settings,
        data=read_samples(directory.data),
        state=checkpoint.state,
        extender=extender,
        own_steps=checkpoint.step,
        observers=checkpoint.observers,
        events={text: events.get(text) for text in [*checkpoint.settings.get("events", ()), *events]},
    )
