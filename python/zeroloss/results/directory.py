"""The directory of a run: which files there are, which checkpoint serves, and whose it is for now.

::

    run.json          what the run is and how it ended
    config.toml       the configuration, complete (of ``zeroloss run``)
    data.npz          the samples and their split
    checkpoints/      the newest few, sealed
    rows/             history and snapshots of a run under way, sealed, in pieces
    history.nc        the same when the run has ended, and after ``zeroloss report``: NetCDF
    snapshots.nc
    log.txt           what happened when
    lock              held by the process that runs, until the operating system frees it
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .checkpoint import FORMAT, Checkpoint, read_checkpoint, rows, stacked
from .files import DamagedError, netcdf, replace
from .history import columns_of, history_dataset, snapshot_dataset
from .outcome import Ending, Outcome
from .schedule import Schedule
from .table import Table

if TYPE_CHECKING:
    import xarray as xr


class InUseError(ValueError):
    """Another process runs in the directory."""


#: What the operating system answers where a file system has no locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


@contextlib.contextmanager
def held(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold a lock, a file, for this process. The operating system frees it when the process ends, however it ends.

    The file stays when the lock is free: another process may be about to lock it. Its first byte, which Windows locks,
    is a space; then comes the number of the process that holds it.

    Raises
    ------
    InUseError
        If another process holds it and ``wait`` is false.
    ValueError
        If the file system has no locks.
    """
    from filelock import lock_descriptor  # noqa: PLC0415 — needed only when something is written

    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        descriptor = os.open(path, os.O_RDONLY)
    try:
        try:
            free = lock_descriptor(descriptor, blocking=wait)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            raise ValueError(
                f"{path.parent}: its file system has no locks ({error.strerror}), so two processes could write there "
                "at once; choose a directory on another file system, such as a local disk"
            ) from None
        if not free:
            raise InUseError(f"{path.parent}: in use by process {_holder(descriptor)}, which runs in it")
        with contextlib.suppress(OSError):  # The number helps people; the lock works without it.
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f" {os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    """Return the number of the process that holds a lock, or "unknown"."""
    try:
        os.lseek(descriptor, 1, os.SEEK_SET)
        return os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
    except OSError:
        return "unknown"


class RunDirectory:
    """The files of a run in a directory."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.about, self.configuration = self.path / "run.json", self.path / "config.toml"
        self.data, self.log_file = self.path / "data.npz", self.path / "log.txt"
        self.checkpoints = self.path / "checkpoints"
        self.history_file, self.snapshots_file = self.path / "history.nc", self.path / "snapshots.nc"
        self.history, self.snapshots = Table(self.path / "rows", "history"), Table(self.path / "rows", "snapshots")

    def is_new(self) -> bool:
        """Whether nothing is there, or only what a run leaves that was killed before it kept step 0."""
        if not self.path.exists():
            return True
        own = {"config.toml", "data.npz", "log.txt", "lock", "checkpoints", "rows", ".config.toml.new", ".data.npz.new"}
        empty = self.path.is_dir() and own.issuperset(path.name for path in self.path.iterdir())
        return empty and not self.checkpoint_paths()

    def prepare(self) -> None:
        """Make the directories, and remove what a killed process left half written."""
        for directory in (self.path, self.checkpoints, self.path / "rows"):
            directory.mkdir(parents=True, exist_ok=True)
            for half_written in directory.glob(".*.new"):
                half_written.unlink()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process; its end, however it comes, gives it back.

        Raises
        ------
        InUseError
            Where another process holds it.
        """
        with held(self.path / "lock"):
            yield

    def log(self, line: str) -> None:
        """Add a line with the time to the log; a full disk is told elsewhere."""
        with contextlib.suppress(OSError), self.log_file.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")

    def checkpoint_paths(self) -> list[Path]:
        """Return the checkpoints, the newest first."""
        found = [path for path in self.checkpoints.glob("step-*") if re.fullmatch(r"step-\d+", path.name)]
        return sorted(found, key=lambda path: int(path.name[5:]), reverse=True)

    def write_checkpoint(self, checkpoint: Checkpoint, keep: int) -> None:
        """Put a checkpoint into place; only the last ``keep`` stay."""
        checkpoint.write(self.checkpoints / f"step-{checkpoint.step:012d}")
        for path in self.checkpoint_paths()[keep:]:
            path.unlink()

    def newest(self) -> tuple[Checkpoint | None, list[tuple[Path, str]]]:
        """Return the newest checkpoint that is whole and has its rows, and those before it that are not, with why.

        Raises
        ------
        NewerFormatError
            Where a newer version wrote it.
        """
        damaged = []
        for path in self.checkpoint_paths():
            try:
                checkpoint = read_checkpoint(path)
                self.history_rows(checkpoint)
                self.snapshot_rows(checkpoint)
            except (DamagedError, OSError) as error:
                damaged.append((path, str(error)))
            else:
                return checkpoint, damaged
        return None, damaged

    def history_rows(self, checkpoint: Checkpoint) -> dict[str, NDArray[Any]]:
        """Return the records on the schedule up to a checkpoint; DamagedError where they are not all there."""
        return _rows(self.history, self.history_file, checkpoint.records, checkpoint.settings["record_every"])

    def snapshot_rows(self, checkpoint: Checkpoint) -> dict[str, NDArray[Any]]:
        """Return the snapshots on the schedule up to a checkpoint, likewise."""
        every = checkpoint.settings["snapshot_every"]
        return _rows(self.snapshots, self.snapshots_file, checkpoint.snapshots, every)

    def datasets(self, checkpoint: Checkpoint) -> tuple[xr.Dataset, xr.Dataset | None]:
        """Return history and snapshots up to a checkpoint."""
        columns = stacked([self.history_rows(checkpoint), checkpoint.last_record])
        history = history_dataset(columns, checkpoint.settings, checkpoint.descriptions)
        if "events" in checkpoint.settings:
            history.attrs["events"] = json.dumps(dict(checkpoint.events))
        pictures = stacked([self.snapshot_rows(checkpoint), checkpoint.last_snapshot])
        return history, snapshot_dataset(pictures) if rows(pictures) else None

    def finish(self, checkpoint: Checkpoint) -> None:
        """Leave what an ended run leaves: history and snapshots as NetCDF, in place of the pieces they came in."""
        self.export(checkpoint, *self.datasets(checkpoint))
        self.history.clear()
        self.snapshots.clear()

    def reopen(self, checkpoint: Checkpoint) -> None:
        """Put the rows of an ended run back into pieces, for a run that goes on."""
        for table, columns in (
            (self.history, self.history_rows(checkpoint)),
            (self.snapshots, self.snapshot_rows(checkpoint)),
        ):
            if rows(columns) and not table.names():
                table.append(0, columns)

    def export(self, checkpoint: Checkpoint, history: xr.Dataset, snapshots: xr.Dataset | None) -> None:
        """Write history and snapshots as NetCDF, and what the run is as JSON."""
        replace(self.history_file, netcdf(history))
        if snapshots is not None:
            replace(self.snapshots_file, netcdf(snapshots))
        self.describe(checkpoint)

    def outcome(self) -> Outcome | None:
        """Return how the run ended, once all that an ended run leaves is in place; None before."""
        try:
            about = json.loads(self.about.read_text(encoding="utf-8"))
            return Outcome(Ending(about["outcome"]), about["sentence"]) if self.history_file.exists() else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def describe(self, checkpoint: Checkpoint) -> None:
        """Write what the run is and how far it is as JSON."""
        about = {
            "format": FORMAT,
            "settings": checkpoint.settings,
            "step": checkpoint.step,
            "outcome": None if checkpoint.outcome is None else checkpoint.outcome.ending,
            "sentence": None if checkpoint.outcome is None else checkpoint.outcome.sentence,
            "events": dict(checkpoint.events),
            "seconds": checkpoint.seconds,
            "data": checkpoint.data,
        }
        replace(self.about, (json.dumps(about, indent=1, ensure_ascii=False) + "\n").encode())


def _rows(table: Table, exported: Path, count: int, every: int | str | None) -> dict[str, NDArray[Any]]:
    try:
        return table.read(count)
    except DamagedError:
        if not exported.exists():
            raise
    columns = _exported(exported)
    schedule = Schedule("every", "log" if every is None else every)
    due = np.array([schedule.due(step) for step in columns["step"].tolist()])
    if np.count_nonzero(due) < count:
        raise DamagedError(f"{exported.name}: expected {count} rows on the schedule, got {np.count_nonzero(due)}")
    return {name: values[due][:count] for name, values in columns.items()}


def _exported(path: Path) -> dict[str, NDArray[Any]]:
    import xarray as xr  # noqa: PLC0415

    try:
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            return columns_of(dataset.load())
    except Exception as error:  # of HDF5, whose errors are many
        raise DamagedError(f"{path.name}: it cannot be read: {error}") from None
