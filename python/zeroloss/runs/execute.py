"""Begin a run in a directory, or go on with it."""

from __future__ import annotations

import dataclasses
import os
import signal
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from .._checks import ArgumentError, ArgumentValueError, ZerolossWarning
from .._machine import check_disk
from ..build import build_of_results
from ..config import SECTIONS, Configuration, ConfigurationError, RunSettings, from_file
from ..datasets import Dataset
from ..dynamics.registry import dynamics_from_settings
from ..geometry import AlignmentMeasure
from ..networks import Network
from ..results import (
    Checkpoint,
    Ending,
    Measures,
    Outcome,
    Run,
    RunDirectory,
    UnreadableError,
    read,
    run_at,
    write_samples,
)
from ..results import fingerprint as fingerprint_of_samples
from ..results.files import write_atomically
from ..simulation.activity import warn_if_inactive, with_activity
from ..simulation.api import extend_run
from ..simulation.checkpoints import Checkpoints
from ..simulation.conditions import Condition, parsed_events, parsed_stop
from ..simulation.interruption import Interruption
from ..simulation.log import Announce, Announcements, Log
from ..simulation.measures import checked_measures
from ..simulation.observer import Observer
from ..simulation.progress import ShowProgress
from ..simulation.simulation import Simulation, Watch, check_one_is_given, checked_end, run_settings, start
from ..simulation.sizes import STORED_RECORD, counts
from .continuation import (
    check_build,
    copied_to,
    end_of_continuation,
    last_record,
    opened,
)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Broken(RuntimeError):  # noqa: N818 — what happened to the run, not to the program
    """A run cannot go on where it is: what it had kept is whole, and ``resume`` goes on from it, here or elsewhere."""


def run(
    configuration: Configuration,
    directory: str | os.PathLike[str],
    *,
    progress: ShowProgress = None,
    announce: Announce | None = None,
    interruption: Interruption | None = None,
) -> Run:
    """Carry out a configuration in a new directory.

    Parameters
    ----------
    configuration : Configuration
        From `zeroloss.config.from_file` or `zeroloss.config.from_settings`.
    directory : path
        New or empty.
    progress : bool or function, optional
        As for ``simulate``; a function is called with the number of steps as they are taken.
    announce : function of (step, values), optional
        Called with every record as it is made.
    interruption : Interruption, optional
        What asks for an end in place of signals, where many runs are carried out at once.

    Returns
    -------
    Run
        As it ended. SIGINT and SIGTERM, on the main thread, end it with a checkpoint after the chunk under way, a
        second one at once. A handler that C code has installed is left alone.

    Raises
    ------
    ValueError
        Where the directory holds something, or another process runs in it.
    Broken
        Where nothing more can be written; what was is whole.
    """
    target = RunDirectory(directory)
    target.check_free()
    chosen, data, dynamics = configuration.run, configuration.data, configuration.dynamics
    end = checked_end(dynamics, chosen.steps, chosen.duration)
    about = {
        **run_settings(
            dynamics, data, configuration.network, chosen.record_every, chosen.snapshot_every, chosen.loss_extremes
        ),
        "events": list(chosen.events),
        "fingerprint": configuration.fingerprint(),
    }
    if end.time is None:
        _check_disk(target, chosen, about, configuration.network, 0, end.step)
    if chosen.measures and (dtype := configuration.network.dtype) != "float64":
        raise ConfigurationError([f'run.measures: alignment needs network.dtype = "float64", got {dtype}'])
    try:
        stepper = start(dynamics, data, configuration.network, chosen.threads)
        simulation = Simulation(stepper, about, end, _measures(chosen, data), _watch(chosen))
        simulation.check_names()
        warn_if_inactive(configuration.network, data)
    except TypeError as error:
        names_a_section = isinstance(error, ArgumentError) and error.names[0] in SECTIONS
        raise ConfigurationError([f"{error}" if names_a_section else f"dynamics: {error}"]) from error
    try:
        target.mark()
        with target.locked():
            target.check_free()  # Another process may have been here in the meantime.
            target.prepare()
            write_atomically(target.configuration, configuration.text().encode())
            write_samples(data, target.data)
            target.log(f"{dynamics} on {data} from {configuration.network}")
            samples = fingerprint_of_samples(data)
            target.write_about({"settings": about, "step": 0, "outcome": None, "sentence": None, "data": samples})
            begin = Checkpoint(0, about, samples, {}, configuration.network, end=dataclasses.asdict(end))
            return _carry_on(target, simulation, chosen, begin, data, True, progress, announce, interruption)
    except NotADirectoryError:  # One of its parents is a file, so nothing has begun.
        raise
    except OSError as error:
        raise _broken(target, error) from error


def resume(
    directory: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    extend: int | None = None,
    duration: float | None = None,
    allow_different_bits: bool = False,
    progress: ShowProgress = None,
    announce: Announce | None = None,
    interruption: Interruption | None = None,
    tell: Callable[[str], None] | None = None,
) -> Run:
    """Go on with a run from its newest whole checkpoint.

    Parameters
    ----------
    directory : path
        Of the run.
    out : path, optional
        A new directory to copy it to and go on in, where the old one cannot be written.
    extend, duration : int, float, optional
        For a run that has ended: further steps, or further time.
    allow_different_bits : bool
        Whether another version, compiler or instruction-set level than the run's may go on with it.
    progress, announce, interruption
        As for `run`.
    tell : function of a line, optional
        Told of damaged checkpoints; warnings by default.

    Returns
    -------
    Run
        As it ended; an ended run that is not extended as it is. One that ``stop_minutes`` ended goes on to its own end,
        for as many minutes again.

    Raises
    ------
    ValueError
        Where there is no run, its data or configuration are not those that it began with, a newer version wrote it, or
        another process runs in it.
    DamagedError
        Where no checkpoint is whole.
    DifferentBuildError
        Where the bits may differ and that is not allowed.
    Broken
        As for `run`.
    """
    source = RunDirectory(directory)
    if not source.is_ours():
        raise ArgumentValueError("directory", f"expected a run, found no checkpoints in {source.path}")
    if not source.has_begun():  # It ended before its first checkpoint, so nothing is lost.
        if not source.configuration.is_file():
            raise ArgumentValueError(
                "directory", f"the run in {source.path} was not set up; start it again with zeroloss run"
            )
        return run(
            from_file(source.configuration),
            out or directory,
            progress=progress,
            announce=announce,
            interruption=interruption,
        )
    target = source if out is None else copied_to(source, Path(out))
    tell = tell or (lambda line: warnings.warn(line, ZerolossWarning, stacklevel=4))
    try:
        with target.locked():
            if os.access(target.path, os.W_OK):
                target.prepare()
            checkpoint, chosen, data = opened(target, tell)
            dynamics = dynamics_from_settings(checkpoint.settings["dynamics"])
            ended = checkpoint.outcome is not None and not checkpoint.out_of_time
            if ended and extend is None and duration is None:
                if target.outcome() is None:  # it was killed before it had left all that an ended run leaves
                    target.finish(checkpoint)
                return run_at(target, checkpoint, extender(target))
            check_build(checkpoint, dynamics, allow_different_bits)
            end = end_of_continuation(target, checkpoint, dynamics, extend, duration)
            if end.time is None:
                _check_disk(target, chosen, checkpoint.settings, checkpoint.network, checkpoint.step, end.step)
            about = {**checkpoint.settings, "build": build_of_results()}
            stepper = start(dynamics, data, checkpoint.network, chosen.threads)
            before = last_record(target, checkpoint) if chosen.measures else {}
            measures = _measures(chosen, data)
            simulation = Simulation(stepper, about, end, measures, _watch(chosen), checkpoint.step, before)
            simulation.load(checkpoint.state, checkpoint.observers)
            if unknown := simulation.unknown(checkpoint.descriptions):
                raise ArgumentValueError(
                    "directory",
                    f"the history has {', '.join(unknown)}, measured by functions that are not saved; "
                    "extend it in Python: zeroloss.load(DIR).extend(steps=…, measures={…})",
                )
            target.describe(replace(checkpoint, outcome=None))  # A process runs.
            target.reopen(checkpoint)
            target.log(f"resumed at step {checkpoint.step}")
            begin = replace(checkpoint, settings=about, end=dataclasses.asdict(end))
            return _carry_on(target, simulation, chosen, begin, data, False, progress, announce, interruption)
    except UnreadableError:
        raise
    except OSError as error:
        raise _broken(target, error) from error


def load(directory: str | os.PathLike[str]) -> Run:
    """Read a run that ``Run.save`` or ``zeroloss run`` wrote, ended or under way.

    ``Run.extend`` goes on with it: in memory with what ``Run.save`` wrote, and in its directory, as ``resume`` with
    ``extend`` does, with a run of ``zeroloss run``.

    Raises
    ------
    FileNotFoundError, ValueError
        Where there is no saved run, or one of another format.
    """
    return read(directory, extender(RunDirectory(directory)))


def extender(directory: RunDirectory) -> Callable[..., None]:
    """Return how the run in a directory is extended: there, if it has a configuration, else in memory."""
    return partial(_extend_there, directory.path.absolute()) if directory.configuration.exists() else extend_run


def _extend_there(
    directory: Path,
    run: Run,
    steps: int | None,
    duration: float | None,
    *,
    measures: Measures | None,
    progress: bool | None,
) -> None:
    if measures is not None:
        raise ArgumentValueError(
            "measures", f"expected none for the run in {directory}, whose configuration names them, got some"
        )
    check_one_is_given(steps, duration)
    vars(run).update(vars(resume(directory, extend=steps, duration=duration, progress=progress)))


def _carry_on(
    directory: RunDirectory,
    simulation: Simulation,
    run: RunSettings,
    begin: Checkpoint,
    data: Dataset,
    is_new: bool,
    progress: ShowProgress,
    announce: Announce | None,
    interruption: Interruption | None,
) -> Run:
    """Take the steps to the end, with checkpoints, and leave what is left then."""
    interruption = interruption or Interruption(_SIGNALS)
    checkpoints = Checkpoints(
        directory, run, begin, is_new, simulation.history, simulation.snapshots, simulation.observers
    )
    log = Log(directory.log, simulation.events, lambda: interruption.requested)
    others: list[Observer] = [log, checkpoints]
    if announce is not None:
        others.append(Announcements(announce, -1 if is_new else begin.step))
    ended = simulation.run(interruption, progress, *others)
    outcome = ended.outcome
    if outcome.ending in {Ending.STOPPED_BY_THE_USER, Ending.BROKEN_OFF}:  # resume goes on, at the last checkpoint
        if outcome.ending is Ending.BROKEN_OFF:
            checkpoints.write(ended.own)
        checkpoint, _ = directory.newest()
        assert checkpoint is not None
        if outcome.ending is Ending.STOPPED_BY_THE_USER:
            line = f"after {checkpoint.step} steps, with a checkpoint; zeroloss resume goes on"
            outcome = Outcome(outcome.ending, line)
        stopped = run_at(directory, checkpoint, extender(directory))
        stopped.outcome, stopped.signal = outcome, interruption.requested
        directory.describe(checkpoint, outcome)
        return stopped
    outcome = with_activity(outcome, ended.last.network, data)
    out_of_time = simulation.stopping.out_of_time and outcome.ending.can_go_on
    checkpoint = checkpoints.write(ended.own, outcome, ended.last, out_of_time)
    directory.finish(checkpoint)
    directory.log(str(outcome))
    return run_at(directory, checkpoint, extender(directory))


def _check_disk(
    directory: RunDirectory, run: RunSettings, settings: Mapping[str, Any], network: Network, begin: int, end: int
) -> None:
    """Raise ValueError if the records and snapshots of a run that no rule ends cannot fit on the disk.

    They are there twice at the end, in pieces and as NetCDF.
    """
    if run.stop_minutes is not None or _rules(run):
        return
    records, snapshots = counts(settings, begin, end)
    size = network.E.nbytes + network.W.nbytes
    check_disk(f"run.snapshot_every: {snapshots} snapshots", directory.path, 2 * snapshots * size)
    check_disk(f"run.record_every: {records} records", directory.path, 2 * (records * STORED_RECORD + snapshots * size))


def _measures(run: RunSettings, data: Dataset) -> Measures:
    return checked_measures({name: AlignmentMeasure(data) for name in run.measures})


def _watch(run: RunSettings) -> Watch:
    """Return the events and rules of a configuration."""
    return Watch(parsed_events(run.events), run.event_every, _rules(run), run.stop_minutes)


def _rules(run: RunSettings) -> list[Condition]:
    texts = []
    if run.stop_test_accuracy is not None:
        texts.append(f"test_accuracy >= {run.stop_test_accuracy!r} for {run.stop_records} records")
    if run.stop_gradient_norm is not None:
        texts.append(f"gradient_norm <= {run.stop_gradient_norm!r}")
    if run.stop_slow_time is not None:
        texts.append(f"slow_time >= {run.stop_slow_time!r}")
    return parsed_stop([*texts, *(run.stop or ())])


def _broken(directory: RunDirectory, error: OSError) -> Broken:
    what = f"{error.filename or directory.path}: {error.strerror or error}"
    paths = directory.checkpoint_paths() if directory.checkpoints.is_dir() else []
    kept = f"; the checkpoint of step {int(paths[0].name[5:])} is whole" if paths else ""
    hint = ", and zeroloss resume goes on from it, elsewhere with --out" if paths else ""
    return Broken(f"{what}{kept}{hint}")
