"""The directory of a run: its files, the newest valid checkpoint, and the lock.

::

    run.json          the settings and the outcome of the run
    config.toml       the complete configuration (written by ``zeroloss run``)
    data.npz          the samples and their split
    checkpoints/      the newest checkpoints, with checksums
    rows/             records and snapshots of a run in progress, in pieces, with checksums
    history.nc        the records of a run that has ended, as NetCDF
    snapshots.nc      its snapshots
    log.txt           events of the run with their times
    lock              locked by the running process; the operating system releases it when the process ends
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._reading import is_special
from .checkpoint import FORMAT, Checkpoint, count_rows, read_checkpoint, stack_rows
from .files import DamagedError, is_checksummed, remove_unfinished, write_atomically
from .history import history_dataset, snapshot_dataset
from .lock import NoLocksError, file_lock, holder
from .netcdf import netcdf_content, write_netcdf_in_pieces
from .outcome import Ending, Outcome
from .recognition import RUN_MARK, is_empty, is_run, is_written_by_us, json_object
from .replacement import CURRENT, current, replacing, settle
from .stored_rows import StoredRows, open_lazily, slice_steps
from .table import Table

if TYPE_CHECKING:
    import xarray as xr


#: Snapshots of more bytes are read when they are needed.
_LAZY_ABOVE = 64 * 2**20


class RunDirectory:
    """The files of a run in a directory.

    Parameters
    ----------
    path : path
        The directory. It does not have to exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.about, self.configuration = self.path / "run.json", self.path / "config.toml"
        self.data, self.log_file = self.path / "data.npz", self.path / "log.txt"
        self.lock_file = self.path / "lock"
        self.checkpoints = self.path / "checkpoints"
        self.history_file, self.snapshots_file = self.path / "history.nc", self.path / "snapshots.nc"
        self.history, self.snapshots = Table(self.path / "rows", "history"), Table(self.path / "rows", "snapshots")
        self._damaged: set[Path] = set()

    def is_new(self) -> bool:
        """Return whether the directory is missing or empty."""
        return is_empty(self.path, self.about.name)

    def is_ours(self) -> bool:
        """Return whether this package wrote the directory, judged by its content."""
        return is_run(self.about) or any(
            is_checksummed(path) and path.stat().st_size for path in self.checkpoint_paths()
        )

    def has_begun(self) -> bool:
        """Return whether there is a checkpoint."""
        return bool(self.current().checkpoint_paths())

    def current(self) -> RunDirectory:
        """Return the directory with the complete run: this one, or a folder in it while a run is replaced."""
        return RunDirectory(current(self.path))

    def mark(self) -> None:
        """Create the directory, and mark it as the directory of a run before other files are written."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not is_run(self.about):
            self.write_about({"outcome": None, "sentence": None})

    def unmark(self, remove: bool) -> None:
        """Remove the mark of a directory without a checkpoint, and with ``remove`` the directory."""
        with contextlib.suppress(OSError):
            if self.has_begun():
                return
            if is_run(self.about):
                self.about.unlink()
                self.lock_file.unlink(missing_ok=True)
            if remove:
                self.path.rmdir()

    def check_free(self) -> None:
        """Raise ValueError unless a run can start here.

        The directory has to be new or empty, or has a run without a checkpoint. A run is recognised by its content,
        never by the names of files.
        """
        expected = f"out: expected a new or empty directory, got {self.path}"
        if self.has_begun() and self.is_ours():
            raise ValueError(f"{expected}; zeroloss resume continues the run in it")
        if not (self.is_new() or is_run(self.about)):
            raise ValueError(f"{expected}, which holds other files; they stay as they are")

    def check_replaceable(self) -> None:
        """Raise FileExistsError unless the directory is new, empty, or has a run, also next to other files."""
        expected = f"directory: expected a new directory or a saved run, got {self.path}"
        if self.is_new():
            return
        if not self.path.is_dir() or not self.is_ours():
            raise FileExistsError(f"{expected}, which holds other files; they stay as they are")
        if foreign := [path.name for path in self.files() if not is_written_by_us(path)]:
            raise FileExistsError(
                f"{expected}, in which {foreign[0]} is damaged or not from zeroloss; move it away first"
            )

    def files(self) -> list[Path]:
        """Return the files of the run, except its configuration, log and lock."""
        known = [path for path in (self.about, self.data, self.history_file, self.snapshots_file) if path.exists()]
        checkpoints = [path for path in self.checkpoint_paths() if is_checksummed(path)]
        return [*known, *checkpoints, *self.history.paths(), *self.snapshots.paths()]

    def settle(self) -> None:
        """Complete or undo a replacement that was interrupted, and remove partly written files."""
        settle(self.path, self.files)
        for directory in (self.path, self.checkpoints, self.path / "rows"):
            remove_unfinished(directory)

    @contextlib.contextmanager
    def replacement(self) -> Iterator[RunDirectory]:
        """Yield a directory for a new run. At the end of the context it replaces the run in this directory."""
        self.settle()
        with replacing(self.path, self.files) as folder:
            yield RunDirectory(folder)

    def prepare(self) -> None:
        """Create the directories, and remove the remains of a killed process. The caller holds the lock."""
        self.settle()
        for directory in (self.path, self.checkpoints, self.path / "rows"):
            directory.mkdir(exist_ok=True)

    @contextlib.contextmanager
    def lock(self, if_possible: bool = False) -> Iterator[None]:
        """Lock the directory for this process, as `file_lock` does.

        Parameters
        ----------
        if_possible : bool, default False
            Whether to continue without a lock on a file system that has no locks. No run can be in progress there.

        Raises
        ------
        InUseError
            If another process holds the lock.
        NoLocksError
            If the file system has no locks, unless ``if_possible``.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(file_lock(self.lock_file))
            except NoLocksError:
                if not if_possible:
                    raise
            yield

    def log(self, line: str) -> None:
        """Add a line with the time to the log. Errors are ignored: other files report a full disk."""
        if is_special(self.log_file):
            return
        with contextlib.suppress(OSError), self.log_file.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")

    def checkpoint_paths(self) -> list[Path]:
        """Return the paths of the checkpoints, the newest first."""
        paths = [path for path in self.checkpoints.glob("step-*") if re.fullmatch(r"step-\d{12,}", path.name)]
        return sorted(paths, key=lambda path: int(path.name[5:]), reverse=True)

    def write_checkpoint(self, checkpoint: Checkpoint, keep: int) -> None:
        """Write a checkpoint, and remove all but the newest ``keep`` valid ones."""
        self._damaged.discard(self.checkpoints / f"step-{checkpoint.step:012d}")
        checkpoint.write(self.checkpoints / f"step-{checkpoint.step:012d}")
        valid = [path for path in self.checkpoint_paths() if path not in self._damaged and is_checksummed(path)]
        for path in [*valid[keep:], *self._damaged]:
            path.unlink(missing_ok=True)
        self._damaged.clear()

    def newest(self) -> tuple[Checkpoint | None, list[tuple[Path, str]]]:
        """Return the newest valid checkpoint, and the newer ones that are damaged, each with a reason.

        A checkpoint is valid if its file and all its rows are. The first value is None if there is none.

        Raises
        ------
        NewerFormatError
            If a newer version wrote it.
        """
        while True:
            paths = self.checkpoint_paths()
            try:
                return self._newest_of(paths)
            except FileNotFoundError:  # The running process has removed a checkpoint.
                if self.checkpoint_paths() == paths:
                    raise

    def _newest_of(self, paths: list[Path]) -> tuple[Checkpoint | None, list[tuple[Path, str]]]:
        damaged = []
        for path in paths:
            try:
                checkpoint = read_checkpoint(path)
                self.history_rows(checkpoint).check()
                self.snapshot_rows(checkpoint).check()
            except DamagedError as error:
                self._damaged.add(path)
                damaged.append((path, str(error)))
            else:
                return checkpoint, damaged
        return None, damaged

    def history_rows(self, checkpoint: Checkpoint) -> StoredRows:
        """Return the scheduled records up to a checkpoint."""
        return StoredRows(self.history, self.history_file, checkpoint.records, checkpoint.settings["record_every"])

    def snapshot_rows(self, checkpoint: Checkpoint) -> StoredRows:
        """Return the scheduled snapshots up to a checkpoint."""
        every = checkpoint.settings["snapshot_every"]
        return StoredRows(self.snapshots, self.snapshots_file, checkpoint.snapshots, every)

    def datasets(self, checkpoint: Checkpoint) -> tuple[xr.Dataset, xr.Dataset | None]:
        """Return the history and the snapshots up to a checkpoint. Large snapshots are read when they are needed."""
        columns = stack_rows([*self.history_rows(checkpoint).blocks(), checkpoint.last_record])
        history = history_dataset(columns, checkpoint.settings, checkpoint.descriptions)
        if "events" in checkpoint.settings:
            history.attrs["events"] = json.dumps(dict(checkpoint.events))
        stored, last = self.snapshot_rows(checkpoint), checkpoint.last_snapshot
        network = checkpoint.network
        if checkpoint.snapshots * network.nbytes > _LAZY_ABOVE:
            sample = snapshot_dataset(next(stored.blocks(0, 1)))
            path = self.path.absolute()  # The working directory may change before the snapshots are read.
            home = RunDirectory(path.parent if path.name == CURRENT else path)
            return history, open_lazily(home.snapshots_of(checkpoint), checkpoint.snapshots, last, sample)
        rows = stack_rows([*stored.blocks(), last])
        return history, snapshot_dataset(rows) if count_rows(rows) else None

    def snapshots_of(self, checkpoint: Checkpoint) -> Callable[[], StoredRows]:
        """Return a function that returns the snapshots up to a checkpoint.

        The function raises OSError if another run has replaced the run in the meantime.
        """
        before = self._identifying_settings()

        def snapshots() -> StoredRows:
            if self._identifying_settings() != before:
                raise OSError(f"{self.path}: another run has replaced the run whose snapshots are needed")
            return self.current().snapshot_rows(checkpoint)

        return snapshots

    def _identifying_settings(self) -> tuple[object, object]:
        """Return the settings in ``run.json`` that identify the run."""
        about = json_object(self.current().about)
        settings = about.get("settings")
        settings = (
            {key: value for key, value in settings.items() if key != "build"} if isinstance(settings, dict) else {}
        )
        return about.get("data"), settings

    def finish(self, checkpoint: Checkpoint) -> tuple[xr.Dataset, xr.Dataset | None]:
        """Write the files of an ended run: history and snapshots as NetCDF instead of pieces. Return both."""
        history, snapshots = self.datasets(checkpoint)
        self.export(checkpoint, history, snapshots)
        self.history.clear()
        self.snapshots.clear()
        return history, snapshots

    def reopen(self, checkpoint: Checkpoint) -> None:
        """Write the rows of an ended run as pieces again, because the run continues."""
        self.history_rows(checkpoint).reopen()
        self.snapshot_rows(checkpoint).reopen()

    def export(self, checkpoint: Checkpoint, history: xr.Dataset, snapshots: xr.Dataset | None) -> None:
        """Write the history and the snapshots as NetCDF, and the description of the run as JSON."""
        write_atomically(self.history_file, netcdf_content(history))
        if snapshots is not None:
            steps = snapshots.sizes["step"]
            write_atomically(
                self.snapshots_file, lambda file: write_netcdf_in_pieces(file, steps, slice_steps(snapshots))
            )
        self.describe(checkpoint)

    def outcome(self) -> Outcome | None:
        """Return the outcome of an ended run whose files are complete; None before."""
        outcome = self.recorded_outcome()
        return outcome if outcome is not None and outcome.ending.is_final and self.history_file.exists() else None

    def recorded_outcome(self) -> Outcome | None:
        """Return the outcome in ``run.json``; None while a process runs, and after one that was killed."""
        about = json_object(self.about)
        try:
            return Outcome(Ending(about["outcome"]), str(about["sentence"]))
        except (KeyError, ValueError):
            return None

    def describe(self, checkpoint: Checkpoint, outcome: Outcome | None = None) -> None:
        """Write the settings, the step and the outcome of the run as JSON."""
        outcome = outcome or checkpoint.outcome
        self.write_about(
            {
                "settings": checkpoint.settings,
                "step": checkpoint.step,
                "outcome": None if outcome is None else outcome.ending,
                "sentence": None if outcome is None else outcome.message,
                "events": dict(checkpoint.events),
                "seconds": checkpoint.seconds,
                "data": checkpoint.data,
            }
        )

    def write_about(self, about: Mapping[str, Any]) -> None:
        """Write ``run.json``, the mark of the directory of a run. Its "outcome" is None while a process runs."""
        text = json.dumps({**RUN_MARK, "format": FORMAT, **about}, indent=1, ensure_ascii=False)
        write_atomically(self.about, f"{text}\n".encode())

    def holder(self) -> str | None:
        """Return the number of the process that runs in the directory; None if no process does."""
        return holder(self.lock_file)

    def identity(self) -> tuple[int, ...]:
        """Return numbers that change when another run replaces this one, because each run writes its samples once."""
        try:
            about = self.current().data.stat()
        except FileNotFoundError:
            return ()
        return about.st_ino, about.st_mtime_ns, about.st_size
