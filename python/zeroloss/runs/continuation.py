"""Read and check what a continued run needs: the newest valid checkpoint, the settings and the data."""

from __future__ import annotations

import contextlib
import shutil
import tomllib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .._checks import ArgumentValueError, ZerolossWarning
from .._deprecated import rename_sections
from .._fingerprint import fingerprint_of
from .._run_settings import RunSettings
from ..datasets import Dataset
from ..dynamics.stepper import Dynamics
from ..dynamics.user import fixed_step
from ..provenance import BIT_KEYS, BIT_KEYS_IN_PYTHON, describe_build
from ..results import TIME, Checkpoint, DamagedError, RunDirectory, read_samples
from ..results import fingerprint as fingerprint_of_samples
from ..results.files import reading, sync_file
from ..simulation.engine import End
from ..simulation.simulation import checked_end

#: Files that a copy of a run leaves out.
_NOT_COPIED = shutil.ignore_patterns("lock", ".*")
#: Flows whose steps NumPy computes.
_FLOWS_IN_PYTHON = ("norm_flow", "noise_flow")


class DifferentBuildError(ValueError):
    """The run was started by another version or instruction-set level. Its bits may differ."""


def open_run(directory: RunDirectory, on_warning: Callable[[str], None]) -> tuple[Checkpoint, RunSettings, Dataset]:
    """Return the newest valid checkpoint of a run, its section [run] and its data.

    ``on_warning`` is called with a line for each damaged checkpoint that is skipped.

    Raises
    ------
    DamagedError
        If no checkpoint is valid.
    ValueError
        If the data or the configuration do not belong to the checkpoint.
    """
    checkpoint, damaged = directory.newest()
    for _, reason in damaged:
        line = f"{directory.path}: {reason}" + ("; the previous checkpoint is used" if checkpoint else "")
        directory.log(line)
        if checkpoint is not None:  # Otherwise the error below names the first one.
            on_warning(line)
    if checkpoint is None:
        raise DamagedError(f"{directory.path}: no valid checkpoint among {len(damaged)}: {damaged[0][1]}")
    data = read_samples(directory.data)
    if (fingerprint := fingerprint_of_samples(data)) != checkpoint.data:
        raise ArgumentValueError(
            "data",
            f"expected the samples that the run was started with (SHA-256 {checkpoint.data[:16]}…), got others "
            f"({fingerprint[:16]}…) in {directory.data}",
        )
    return checkpoint, _read_run_settings(directory.configuration, checkpoint.settings), data


def _read_run_settings(file: Path, settings: Mapping[str, Any]) -> RunSettings:
    """Return the section [run] that a run was started with.

    A run that ``Run.save`` wrote has no configuration file; its events and rules come from the checkpoint.
    """
    if "fingerprint" not in settings:
        return RunSettings(
            events=settings.get("events", []), event_every=settings.get("event_every"), stop=settings.get("stop")
        )
    try:
        with reading(file):
            sections = tomllib.loads(file.read_text(encoding="utf-8"))
        sections = rename_sections(sections, warn=False)
        run, mark = RunSettings(**sections["run"]), fingerprint_of(sections)
    except FileNotFoundError:
        raise ValueError(f"{file}: the configuration of the run is missing") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # such as a TOMLDecodeError
        raise ValueError(f"{file}: not a valid configuration of a run: {str(error).splitlines()[0]}") from None
    if mark != settings["fingerprint"]:
        raise ValueError(
            f"{file}: expected the configuration that the run was started with ({settings['fingerprint']}), got "
            f"another ({mark}); use zeroloss run to start a new run with a changed configuration"
        )
    return run


def find_end(
    directory: RunDirectory, checkpoint: Checkpoint, dynamics: Dynamics, steps: int | None, duration: float | None
) -> End:
    """Return the end of a continued run: the end in its checkpoint, or the end of an extension."""
    if steps is None and duration is None:
        return End(checkpoint.end["step"], checkpoint.end["time"])
    if checkpoint.outcome is None:
        raise ArgumentValueError("extend", "the run has not ended yet; resume it first without an extension")
    if not checkpoint.outcome.ending.can_continue:
        raise ArgumentValueError("run", f"cannot continue a run that failed ({checkpoint.outcome})")
    history, _ = directory.datasets(checkpoint)
    return checked_end(dynamics, steps, duration, checkpoint.step, float(history.time[-1]))


def check_build(checkpoint: Checkpoint, dynamics: Dynamics, allowed: bool) -> None:
    """Raise DifferentBuildError, or warn if that is ``allowed``, if the run was started by a build with other bits."""
    before, now = checkpoint.settings["build"], describe_build()
    in_python = checkpoint.settings["dynamics"]["kind"] in _FLOWS_IN_PYTHON or fixed_step(dynamics) is None
    names = BIT_KEYS_IN_PYTHON if in_python else BIT_KEYS
    if different := [f"{name} {before[name]} → {now[name]}" for name in names if before[name] != now[name]]:
        line = f"the run was started by another build ({', '.join(different)}), so its bits may differ"
        if not allowed:
            raise DifferentBuildError(f"{line}; --allow-different-bits continues it anyway")
        warnings.warn(line, ZerolossWarning, stacklevel=4)


def copy_run(source: RunDirectory, out: Path) -> RunDirectory:
    """Copy a run to a new directory. After a failure nothing is left there."""
    target = RunDirectory(out)
    target.check_free()
    is_new = not target.path.exists()
    try:
        target.mark()
        source_lock = source.lock(if_possible=True) if source.lock_file.exists() else contextlib.nullcontext()
        with source_lock, target.lock(), target.replacement() as folder:
            shutil.copytree(source.current().path, folder.path, ignore=_NOT_COPIED, dirs_exist_ok=True)
            for path in folder.path.rglob("*"):
                path.chmod(path.stat().st_mode | 0o200)  # The copy of a read-only file is writable.
                sync_file(path)
    except BaseException:
        target.unmark(is_new)
        raise
    return target


def read_last_record(directory: RunDirectory, checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Return the last scheduled record before a checkpoint; an empty mapping if there is none."""
    if not checkpoint.records:
        return {}
    rows = next(directory.history_rows(checkpoint).blocks(checkpoint.records - 1, checkpoint.records))
    return {name: values[-1] for name, values in rows.items() if name != "step" and not name.startswith(TIME)}
