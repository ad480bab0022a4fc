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
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._reading import is_special
from .checkpoint import FORMAT, Checkpoint, read_checkpoint, rows, stack_rows
from .files import DamagedError, is_checksummed, remove_unfinished, write_atomically
from .history import history_dataset, snapshot_dataset
from .lock import NoLocksError, file_lock, holder
from .netcdf import write_netcdf, write_netcdf_in_pieces
from .outcome import Ending, Outcome
from .recognition import RUN_MARK, is_empty, is_run, is_written_by_us, json_object
from .replacement import CURRENT, current, replacing, settle
from .stored_rows import StoredRows, lazily, sliced
from .table import Table

if TYPE_CHECKING:
    import xarray as xr


_LAZY_ABOVE = 64 * 2**20  # bytes of snapshots


class RunDirectory:
    """The files of a run in a directory."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.about, self.configuration = self.path / "run.json", self.path / "config.toml"
        self.data, self.log_file = self.path / "data.npz", self.path / "log.txt"
        self.lock = self.path / "lock"
        self.checkpoints = self.path / "checkpoints"
        self.history_file, self.snapshots_file = self.path / "history.nc", self.path / "snapshots.nc"
        self.history, self.snapshots = Table(self.path / "rows", "history"), Table(self.path / "rows", "snapshots")
        self._damaged: set[Path] = set()

    def is_new(self) -> bool:
        """Whether there is no directory, or nothing in it."""
        return is_empty(self.path, self.about.name)

    def is_ours(self) -> bool:
        """Whether this package wrote the directory, which its content shows."""
        return is_run(self.about) or any(
            is_checksummed(path) and path.stat().st_size for path in self.checkpoint_paths()
        )

    def has_begun(self) -> bool:
        """Whether there is a checkpoint."""
        return bool(self.current().checkpoint_paths())

    def current(self) -> RunDirectory:
        """Return where the run is complete: here, except while another one takes its place."""
        return RunDirectory(current(self.path))

    def mark(self) -> None:
        """Make the directory, and mark it as that of a run before anything else is written into it."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not is_run(self.about):
            self.write_about({"outcome": None, "sentence": None})

    def unmark(self, made: bool) -> None:
        """Take the mark off a directory in which nothing came to be, and remove it if it was ``made`` for that."""
        with contextlib.suppress(OSError):
            if self.has_begun():
                return
            if is_run(self.about):
                self.about.unlink()
                self.lock.unlink(missing_ok=True)
            if made:
                self.path.rmdir()

    def check_free(self) -> None:
        """Raise ValueError unless a run can begin here: in a new directory, or where one ended before its first step.

        A directory counts as that of a run by its content, never by the names of its files.
        """
        wish = f"out: expected a new or empty directory, got {self.path}"
        if self.has_begun() and self.is_ours():
            raise ValueError(f"{wish}; zeroloss resume goes on with the run in it")
        if not (self.is_new() or is_run(self.about)):
            raise ValueError(f"{wish}, which holds other files; they stay as they are")

    def check_replaceable(self) -> None:
        """Raise FileExistsError unless the directory is new, empty, or holds a run, also next to files of others."""
        wish = f"directory: expected a new directory or a saved run, got {self.path}"
        if self.is_new():
            return
        if not self.path.is_dir() or not self.is_ours():
            raise FileExistsError(f"{wish}, which holds other files; they stay as they are")
        if foreign := [path.name for path in self.files() if not is_written_by_us(path)]:
            raise FileExistsError(f"{wish}, in which {foreign[0]} is damaged or of another program; move it away first")

    def files(self) -> list[Path]:
        """Return the files of the run, except its configuration, log and lock."""
        known = [path for path in (self.about, self.data, self.history_file, self.snapshots_file) if path.exists()]
        checkpoints = [path for path in self.checkpoint_paths() if is_checksummed(path)]
        return [*known, *checkpoints, *self.history.paths(), *self.snapshots.paths()]

    def settle(self) -> None:
        """Complete or remove what a killed process left of `replacing`, and remove what it left half written."""
        settle(self.path, self.files)
        for directory in (self.path, self.checkpoints, self.path / "rows"):
            remove_unfinished(directory)

    @contextlib.contextmanager
    def replaced(self) -> Iterator[RunDirectory]:
        """Write a new run into the directory returned; at the end of the context it takes the place of the old one."""
        self.settle()
        with replacing(self.path, self.files) as folder:
            yield RunDirectory(folder)

    def prepare(self) -> None:
        """Make the directories, and remove what a killed process left; only with the lock."""
        self.settle()
        for directory in (self.path, self.checkpoints, self.path / "rows"):
            directory.mkdir(exist_ok=True)

    @contextlib.contextmanager
    def locked(self, if_possible: bool = False) -> Iterator[None]:
        """Hold the directory for this process. The operating system frees it when the process ends, however it ends.

        ``if_possible`` is for what may happen where there are no locks: no process runs there.

        Raises
        ------
        InUseError
            If another process holds it.
        NoLocksError
            If the file system has no locks, unless ``if_possible``.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(file_lock(self.lock))
            except NoLocksError:
                if not if_possible:
                    raise
            yield

    def log(self, line: str) -> None:
        """Add a line with the time to the log; a full disk is told elsewhere."""
        if is_special(self.log_file):
            return
        with contextlib.suppress(OSError), self.log_file.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {line}\n")

    def checkpoint_paths(self) -> list[Path]:
        """Return the checkpoints, the newest first."""
        found = [path for path in self.checkpoints.glob("step-*") if re.fullmatch(r"step-\d{12,}", path.name)]
        return sorted(found, key=lambda path: int(path.name[5:]), reverse=True)

    def write_checkpoint(self, checkpoint: Checkpoint, keep: int) -> None:
        """Put a checkpoint into place; only the last ``keep`` of those that are whole stay."""
        self._damaged.discard(self.checkpoints / f"step-{checkpoint.step:012d}")
        checkpoint.write(self.checkpoints / f"step-{checkpoint.step:012d}")
        sound = [path for path in self.checkpoint_paths() if path not in self._damaged and is_checksummed(path)]
        for path in [*sound[keep:], *self._damaged]:
            path.unlink(missing_ok=True)
        self._damaged.clear()

    def newest(self) -> tuple[Checkpoint | None, list[tuple[Path, str]]]:
        """Return the newest checkpoint that is whole and has its rows, and those before it that are not, with why.

        Raises
        ------
        NewerFormatError
            Where a newer version wrote it.
        """
        while True:
            paths = self.checkpoint_paths()
            try:
                return self._newest_of(paths)
            except FileNotFoundError:  # The process that runs here has removed it.
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
        """Return the records on the schedule up to a checkpoint."""
        return StoredRows(self.history, self.history_file, checkpoint.records, checkpoint.settings["record_every"])

    def snapshot_rows(self, checkpoint: Checkpoint) -> StoredRows:
        """Return the snapshots on the schedule up to a checkpoint."""
        every = checkpoint.settings["snapshot_every"]
        return StoredRows(self.snapshots, self.snapshots_file, checkpoint.snapshots, every)

    def datasets(self, checkpoint: Checkpoint) -> tuple[xr.Dataset, xr.Dataset | None]:
        """Return history and snapshots up to a checkpoint; many snapshots are read when they are asked for."""
        columns = stack_rows([*self.history_rows(checkpoint).blocks(), checkpoint.last_record])
        history = history_dataset(columns, checkpoint.settings, checkpoint.descriptions)
        if "events" in checkpoint.settings:
            history.attrs["events"] = json.dumps(dict(checkpoint.events))
        stored, last = self.snapshot_rows(checkpoint), checkpoint.last_snapshot
        network = checkpoint.network
        if checkpoint.snapshots * (network.E.nbytes + network.W.nbytes) > _LAZY_ABOVE:
            sample = snapshot_dataset(next(stored.blocks(0, 1)))
            here = self.path.absolute()  # The working directory may change before the snapshots are read.
            home = RunDirectory(here.parent if here.name == CURRENT else here)
            return history, lazily(home.same_run(checkpoint), checkpoint.snapshots, last, sample)
        pictures = stack_rows([*stored.blocks(), last])
        return history, snapshot_dataset(pictures) if rows(pictures) else None

    def same_run(self, checkpoint: Checkpoint) -> Callable[[], StoredRows]:
        """Return a function that returns the snapshots of a checkpoint, unless another run has taken its place."""
        before = self._determinants()

        def snapshots() -> StoredRows:
            if self._determinants() != before:
                raise OSError(f"{self.path}: the run whose snapshots are asked for is no longer there")
            return self.current().snapshot_rows(checkpoint)

        return snapshots

    def _determinants(self) -> tuple[object, object]:
        """Return what determines the run, as far as ``run.json`` says."""
        about = json_object(self.current().about)
        settings = about.get("settings")
        known = {key: value for key, value in settings.items() if key != "build"} if isinstance(settings, dict) else {}
        return about.get("data"), known

    def finish(self, checkpoint: Checkpoint) -> None:
        """Leave what an ended run leaves: history and snapshots as NetCDF, in place of the pieces they came in."""
        self.export(checkpoint, *self.datasets(checkpoint))
        self.history.clear()
        self.snapshots.clear()

    def reopen(self, checkpoint: Checkpoint) -> None:
        """Put the rows of an ended run back into pieces, for a run that goes on."""
        self.history_rows(checkpoint).reopen()
        self.snapshot_rows(checkpoint).reopen()

    def export(self, checkpoint: Checkpoint, history: xr.Dataset, snapshots: xr.Dataset | None) -> None:
        """Write history and snapshots as NetCDF, and what the run is as JSON."""
        write_atomically(self.history_file, lambda file: write_netcdf(file, history))
        if snapshots is not None:
            steps = snapshots.sizes["step"]
            write_atomically(self.snapshots_file, lambda file: write_netcdf_in_pieces(file, steps, sliced(snapshots)))
        self.describe(checkpoint)

    def outcome(self) -> Outcome | None:
        """Return how the run ended, once all that an ended run leaves is in place; None before."""
        said = self.said()
        return said if said is not None and said.ending.is_final and self.history_file.exists() else None

    def said(self) -> Outcome | None:
        """Return how the last process here left the run; None while one runs, and after one that was killed."""
        about = json_object(self.about)
        try:
            return Outcome(Ending(about["outcome"]), str(about["sentence"]))
        except (KeyError, ValueError):
            return None

    def describe(self, checkpoint: Checkpoint, outcome: Outcome | None = None) -> None:
        """Write what the run is, how far it is, and how it ended, as JSON."""
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
        """Write ``run.json``, the mark of a run's directory. Its "outcome" is None while a process runs."""
        text = json.dumps({**RUN_MARK, "format": FORMAT, **about}, indent=1, ensure_ascii=False)
        write_atomically(self.about, f"{text}\n".encode())

    def holder(self) -> str | None:
        """Return the number of the process that runs here; None if none does."""
        return holder(self.lock)

    def identity(self) -> tuple[int, ...]:
        """Return numbers that change when another run takes the place of this one: samples are written once a run."""
        try:
            about = self.current().data.stat()
        except FileNotFoundError:
            return ()
        return about.st_ino, about.st_mtime_ns, about.st_size
