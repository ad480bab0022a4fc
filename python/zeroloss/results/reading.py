"""Read the directory of a run, ended or under way, while another process may write in it."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from .._checks import ArgumentValueError, ZerolossWarning
from .checkpoint import Checkpoint
from .directory import RunDirectory
from .files import DamagedError
from .outcome import Ending, Outcome
from .run import Run
from .samples import read_samples

_PATIENCE = 10.0  # seconds in which a process that has just begun may write its first checkpoint
_AT_LEAST = 0.5  # seconds for a process that is between two files
_AGAIN = 0.01

Damaged = list[tuple[Path, str]]


def read(path: str | os.PathLike[str], extender: Callable[..., None]) -> Run:
    """Read the directory of a run, ended or under way; ``extender`` is how it can go on.

    Raises
    ------
    FileNotFoundError
        If there is no run.
    UnreadableError
        If a file cannot be read at the moment.
    DamagedError
        If no checkpoint is whole.
    ValueError
        If there is no checkpoint yet.
    """
    directory = RunDirectory(path)
    if not directory.path.is_dir():
        raise FileNotFoundError(f"directory: expected a run, found no directory {directory.path}")
    if not directory.is_ours():
        raise FileNotFoundError(f"directory: expected a run, found no checkpoints in {directory.path}")
    began = time.monotonic()
    while True:
        before = directory.identity()
        try:
            found = _read(directory, extender)
        except (FileNotFoundError, DamagedError):  # unless another run took the place of this one in the meantime
            if directory.identity() == before:
                raise
            continue
        if directory.identity() != before:
            continue
        if found is not None:
            break
        in_use, waited = directory.holder() is not None, time.monotonic() - began
        if waited > (_PATIENCE if in_use else _AT_LEAST):
            hint = "it has just begun; try again later" if in_use else "zeroloss resume begins it again"
            raise ArgumentValueError("directory", f"the run in {directory.path} has no checkpoint yet; {hint}")
        time.sleep(_AGAIN)
    run, damaged = found
    for file, why in damaged:
        warnings.warn(f"{file.parent.parent}: {why}; the previous checkpoint is used", ZerolossWarning, stacklevel=3)
    return run


def _read(directory: RunDirectory, extender: Callable[..., None]) -> tuple[Run, Damaged] | None:
    """Return the run and its damaged checkpoints; None if there is no checkpoint."""
    here = directory.current()
    checkpoint, damaged = here.newest()
    if checkpoint is not None:
        run = run_at(here, checkpoint, extender)
        run.outcome = _outcome(directory, checkpoint)
        return run, damaged
    if damaged:
        raise DamagedError(f"{directory.path}: no valid checkpoint; {len(damaged)} damaged: {damaged[0][1]}")
    return None


def _outcome(directory: RunDirectory, checkpoint: Checkpoint) -> Outcome:
    """Return how a run ended, or that it is under way or was interrupted."""
    said, process = directory.current().recorded_outcome(), directory.holder()
    if process is not None and said is None:
        return Outcome(Ending.RUNNING, f"{checkpoint.step} steps at the last checkpoint so far, in process {process}")
    if checkpoint.outcome is not None:
        return checkpoint.outcome
    if said is not None and said.ending is Ending.STOPPED_BY_THE_USER:
        return said
    return Outcome(
        Ending.INTERRUPTED, f"after {checkpoint.step} steps at the last checkpoint; zeroloss resume continues it"
    )


def run_at(directory: RunDirectory, checkpoint: Checkpoint, extender: Callable[..., None]) -> Run:
    """Return the run as it was at a checkpoint; without an outcome there, it counts as interrupted."""
    history, snapshots = directory.datasets(checkpoint)
    interrupted = Outcome(Ending.INTERRUPTED, f"after {checkpoint.step} steps")
    found = checkpoint.events
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
        events={text: found.get(text) for text in [*checkpoint.settings.get("events", ()), *found]},
    )
