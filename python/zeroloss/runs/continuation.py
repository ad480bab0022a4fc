"""Reading a run that is to continue from its directory: the newest checkpoint, the settings and the data, checked."""

from __future__ import annotations

import contextlib
import shutil
import tomllib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .._checks import ArgumentValueError, ZerolossWarning
from .._run_settings import RunSettings
from ..config import fingerprint_of
from ..datasets import Dataset
from ..dynamics.stepper import Dynamics
from ..dynamics.user import fixed_step
from ..provenance import BIT_KEYS, BIT_KEYS_IN_PYTHON, describe_build
from ..results import TIME, Checkpoint, DamagedError, RunDirectory, read_samples
from ..results import fingerprint as fingerprint_of_samples
from ..results.files import reading, sync_file
from ..simulation.engine import End
from ..simulation.simulation import checked_end

_HIDDEN = shutil.ignore_patterns("lock", ".*")  # in a copy of a run


class DifferentBuildError(ValueError):
    """The run began with another version or instruction-set level, so its bits may not come out the same."""


def opened(directory: RunDirectory, tell: Callable[[str], None]) -> tuple[Checkpoint, RunSettings, Dataset]:
    """Return the newest valid checkpoint of a run, its settings and its data, which have to belong together."""
    checkpoint, damaged = directory.newest()
    for _, why in damaged:
        line = f"{directory.path}: {why}" + ("; the checkpoint before it is used" if checkpoint else "")
        directory.log(line)
        if checkpoint is not None:  # else the error below names the first one
            tell(line)
    if checkpoint is None:
        raise DamagedError(
            f"{directory.path}: expected a checkpoint that is whole, got {len(damaged)} damaged ones: {damaged[0][1]}"
        )
    data = read_samples(directory.data)
    if (found := fingerprint_of_samples(data)) != checkpoint.data:
        raise ArgumentValueError(
            "data",
            f"expected the samples that the run began with (SHA-256 {checkpoint.data[:16]}…), got others "
            f"({found[:16]}…) in {directory.data}",
        )
    return checkpoint, _run_settings(directory.configuration, checkpoint.settings), data


def _run_settings(file: Path, settings: Mapping[str, Any]) -> RunSettings:
    """Return the section [run] of the configuration that a run began with; its events and rules if there is no file."""
    if "fingerprint" not in settings:  # Run.save wrote it.
        return RunSettings(
            events=settings.get("events", []), event_every=settings.get("event_every"), stop=settings.get("stop")
        )
    try:
        with reading(file):
            sections = tomllib.loads(file.read_text(encoding="utf-8"))
        run, mark = RunSettings(**sections["run"]), fingerprint_of(sections)
    except FileNotFoundError:
        raise ValueError(f"{file}: expected the run's configuration, found no file") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # such as a TOMLDecodeError
        raise ValueError(f"{file}: expected the run's configuration, got {str(error).splitlines()[0]}") from None
    if mark != settings["fingerprint"]:
        raise ValueError(
            f"{file}: expected the configuration that the run began with ({settings['fingerprint']}), got another "
            f"({mark}); a changed configuration is a new run"
        )
    return run


def end_of_continuation(
    directory: RunDirectory, checkpoint: Checkpoint, dynamics: Dynamics, steps: int | None, duration: float | None
) -> End:
    """Return the end: that of the checkpoint, or of an extension."""
    if steps is None and duration is None:
        return End(checkpoint.end["step"], checkpoint.end["time"])
    if checkpoint.outcome is None:
        raise ArgumentValueError("extend", "expected a run that has ended, got one under way; resume it first")
    if not checkpoint.outcome.ending.can_go_on:
        raise ArgumentValueError("run", f"expected one that can go on, got one that {checkpoint.outcome}")
    history, _ = directory.datasets(checkpoint)
    return checked_end(dynamics, steps, duration, checkpoint.step, float(history.time[-1]))


def check_build(checkpoint: Checkpoint, dynamics: Dynamics, allowed: bool) -> None:
    """Raise DifferentBuildError, or warn if it is allowed, if another build began the run, so that bits may differ."""
    before, now = checkpoint.settings["build"], describe_build()
    in_python = checkpoint.settings["dynamics"]["kind"] == "norm_flow" or fixed_step(dynamics) is None
    names = BIT_KEYS_IN_PYTHON if in_python else BIT_KEYS
    if different := [f"{name} {before[name]} → {now[name]}" for name in names if before[name] != now[name]]:
        line = f"the run began with another build ({', '.join(different)}), so its bits may differ"
        if not allowed:
            raise DifferentBuildError(f"{line}; allow that with --allow-different-bits")
        warnings.warn(line, ZerolossWarning, stacklevel=3)


def copied_to(source: RunDirectory, out: Path) -> RunDirectory:
    """Copy a run to a new directory, which holds all of it or none."""
    target = RunDirectory(out)
    target.check_free()
    made = not target.path.exists()
    try:
        target.mark()
        at_rest = source.locked(if_possible=True) if source.lock.exists() else contextlib.nullcontext()
        with at_rest, target.locked(), target.replaced() as folder:
            shutil.copytree(source.current().path, folder.path, ignore=_HIDDEN, dirs_exist_ok=True)
            for path in folder.path.rglob("*"):
                path.chmod(path.stat().st_mode | 0o200)  # a copy of what is read-only is not
                sync_file(path)
    except BaseException:
        target.unmark(made)
        raise
    return target


def last_record(directory: RunDirectory, checkpoint: Checkpoint) -> Mapping[str, Any]:
    """Return the last record on the schedule up to a checkpoint."""
    if not checkpoint.records:
        return {}
    rows = next(directory.history_rows(checkpoint).blocks(checkpoint.records - 1, checkpoint.records))
    return {name: values[-1] for name, values in rows.items() if name != "step" and not name.startswith(TIME)}
