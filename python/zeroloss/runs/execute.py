"""Begin a run in a directory, continue it, and load it."""

from __future__ import annotations

import contextlib
import os
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from .._checks import ArgumentError, ArgumentValueError, ZerolossWarning
from .._resources import check_disk
from ..config import SECTIONS, Configuration, ConfigurationError, RunSettings, from_file
from ..datasets import Dataset
from ..dynamics.registry import dynamics_from_settings
from ..geometry import AlignmentMeasure
from ..networks import Network
from ..provenance import describe_build
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
from ..simulation.engine import End
from ..simulation.interruption import Interruption
from ..simulation.log import Log
from ..simulation.progress import Announce, ShowProgress
from ..simulation.simulation import Earlier, Plan, Simulation, check_one_is_given, checked_end, start
from ..simulation.sizes import STORED_RECORD, counts
from .continuation import check_build, copied_to, end_of_continuation, last_record, opened

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Broken(RuntimeError):  # noqa: N818 — the run is broken, not the program
    """A file of a run cannot be written. The files written before are valid, and ``resume`` continues from them."""


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
        Asks for an end instead of signals, when many runs are carried out at once.

    Returns
    -------
    Run
        As it ended. SIGINT and SIGTERM, on the main thread, end it with a checkpoint after the current chunk, a
        second one at once. A handler that C code has installed is left alone.

    Raises
    ------
    ValueError
        If the directory is not empty, or another process runs in it.
    Broken
        If a file cannot be written; the files written before are valid.
    """
    target = RunDirectory(directory)
    target.check_free()
    chosen, data, network, dynamics = (
        configuration.run,
        configuration.data,
        configuration.network,
        configuration.dynamics,
    )
    end, plan = checked_end(dynamics, chosen.steps, chosen.duration), _plan(chosen, data)
    settings = plan.settings(dynamics, data, network)
    settings |= {"events": list(chosen.events), "fingerprint": configuration.fingerprint()}
    _check_disk(target, plan, settings, network, 0, end)
    if chosen.measures and network.dtype != "float64":
        raise ConfigurationError([f'run.measures: alignment needs network.dtype = "float64", got {network.dtype}'])
    try:
        simulation = Simulation(start(dynamics, data, network, chosen.threads), settings, end, plan)
        warn_if_inactive(network, data)
    except TypeError as error:
        names_a_section = isinstance(error, ArgumentError) and error.names[0] in SECTIONS
        raise ConfigurationError([f"{error}" if names_a_section else f"dynamics: {error}"]) from error
    # If a parent of the directory is a file, nothing has begun.
    with _writing(target, NotADirectoryError):
        target.mark()
        with target.locked():
            target.check_free()  # Another process may have been here in the meantime.
            target.prepare()
            write_atomically(target.configuration, configuration.text().encode())
            write_samples(data, target.data)
            target.log(f"{dynamics} on {data} from {network}")
            samples = fingerprint_of_samples(data)
            target.write_about({"settings": settings, "step": 0, "outcome": None, "sentence": None, "data": samples})
            begin = Checkpoint(0, settings, samples, {}, network, end=asdict(end))
            return _carry_on(target, simulation, chosen, begin, data, progress, announce, interruption)


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
    """Continue a run from its newest valid checkpoint.

    Parameters
    ----------
    directory : path
        Of the run.
    out : path, optional
        A new directory to copy it to and continue in, if the old one cannot be written.
    extend, duration : int, float, optional
        For a run that has ended: further steps, or further time.
    allow_different_bits : bool
        Whether another version, compiler or instruction-set level than the run's may continue it.
    progress, announce, interruption
        As for `run`.
    tell : function of a line, optional
        Called for damaged checkpoints; by default they cause warnings.

    Returns
    -------
    Run
        As it ended; an ended run that is not extended as it is. One that ``stop_minutes`` ended continues to its own
        end, for as many minutes again.

    Raises
    ------
    ValueError
        If there is no run, its data or configuration are not those that it began with, a newer version wrote it, or
        another process runs in it.
    DamagedError
        If no checkpoint is valid.
    DifferentBuildError
        If the bits may differ and that is not allowed.
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
        configuration, again = from_file(source.configuration), out or directory
        return run(configuration, again, progress=progress, announce=announce, interruption=interruption)
    target = source if out is None else copied_to(source, Path(out))
    tell = tell or (lambda line: warnings.warn(line, ZerolossWarning, stacklevel=4))
    with _writing(target, UnreadableError), target.locked():
        if os.access(target.path, os.W_OK):
            target.prepare()
        checkpoint, chosen, data = opened(target, tell)
        dynamics = dynamics_from_settings(checkpoint.settings["dynamics"])
        ended = checkpoint.outcome is not None and not checkpoint.out_of_time
        if ended and extend is None and duration is None:
            if target.outcome() is None:  # A process was killed before it had written everything.
                target.finish(checkpoint)
            return run_at(target, checkpoint, extender(target))
        check_build(checkpoint, dynamics, allow_different_bits)
        end, plan = end_of_continuation(target, checkpoint, dynamics, extend, duration), _plan(chosen, data)
        _check_disk(target, plan, checkpoint.settings, checkpoint.network, checkpoint.step, end)
        begin = replace(checkpoint, settings={**checkpoint.settings, "build": describe_build()}, end=asdict(end))
        before = last_record(target, checkpoint) if chosen.measures else {}
        earlier = Earlier(checkpoint.step, checkpoint.state, checkpoint.observers, before)
        stepper = start(dynamics, data, checkpoint.network, chosen.threads)
        simulation = Simulation(stepper, begin.settings, end, plan, earlier)
        if unknown := simulation.unknown(checkpoint.descriptions):
            raise ArgumentValueError(
                "directory",
                f"the history has {', '.join(unknown)}, measured by functions that are not saved; "
                "extend it in Python: zeroloss.load(DIR).extend(steps=…, measures={…})",
            )
        target.describe(replace(checkpoint, outcome=None))  # A process runs.
        target.reopen(checkpoint)
        target.log(f"resumed at step {checkpoint.step}")
        return _carry_on(target, simulation, chosen, begin, data, progress, announce, interruption)


def load(directory: str | os.PathLike[str]) -> Run:
    """Read a run that ``Run.save`` or ``zeroloss run`` wrote, ended or under way.

    ``Run.extend`` continues it: in memory if ``Run.save`` wrote it, and in its directory, as ``resume`` with
    ``extend`` does, if ``zeroloss run`` wrote it.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no saved run, or one of another format.
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
    progress: ShowProgress,
    announce: Announce | None,
    interruption: Interruption | None,
) -> Run:
    """Take the steps to the end, with checkpoints, and write the files of an ended or interrupted run."""
    interruption = interruption or Interruption(_SIGNALS)
    checkpoints = Checkpoints(directory, run, begin, simulation)
    log = Log(directory.log, simulation.events, lambda: interruption.requested)
    ended = simulation.run(interruption, progress, log, checkpoints, announce=announce)
    outcome = ended.outcome
    if outcome.ending not in {Ending.STOPPED_BY_THE_USER, Ending.BROKEN_OFF}:
        outcome = with_activity(outcome, ended.last.network, data)
        out_of_time = simulation.stopping.out_of_time and outcome.ending.can_go_on
        checkpoint = checkpoints.write(ended.own, outcome, ended.last, out_of_time)
        directory.finish(checkpoint)
        directory.log(str(outcome))
        return run_at(directory, checkpoint, extender(directory))
    if outcome.ending is Ending.BROKEN_OFF:
        checkpoints.write(ended.own)
    written, _ = directory.newest()  # from which resume continues
    assert written is not None
    if outcome.ending is Ending.STOPPED_BY_THE_USER:
        line = f"after {written.step} steps, with a checkpoint; zeroloss resume goes on"
        outcome = Outcome(outcome.ending, line)
    stopped = run_at(directory, written, extender(directory))
    stopped.outcome, stopped.signal = outcome, interruption.requested
    directory.describe(written, outcome)
    return stopped


def _plan(run: RunSettings, data: Dataset) -> Plan:
    """Return the plan of a section [run], without the number of steps and the duration."""
    rules = []
    if run.stop_test_accuracy is not None:
        rules.append(f"test_accuracy >= {run.stop_test_accuracy!r} for {run.stop_records} records")
    if run.stop_gradient_norm is not None:
        rules.append(f"gradient_norm <= {run.stop_gradient_norm!r}")
    if run.stop_slow_time is not None:
        rules.append(f"slow_time >= {run.stop_slow_time!r}")
    return Plan(
        record_every=run.record_every,
        snapshot_every=run.snapshot_every,
        measures={name: AlignmentMeasure(data) for name in run.measures},
        loss_extremes=run.loss_extremes,
        events=run.events,
        event_every=run.event_every,
        stop=[*rules, *(run.stop or ())],
        stop_minutes=run.stop_minutes,
    )


def _check_disk(
    directory: RunDirectory, plan: Plan, settings: Mapping[str, Any], network: Network, begin: int, end: End
) -> None:
    """Raise ValueError if the records and snapshots of a run that only ends at a step cannot fit on the disk.

    They are there twice at the end, in pieces and as NetCDF.
    """
    if end.time is not None or plan.stop_minutes is not None or plan.rules:
        return
    records, snapshots = counts(settings, begin, end.step)
    size = network.E.nbytes + network.W.nbytes
    check_disk(f"run.snapshot_every: {snapshots} snapshots", directory.path, 2 * snapshots * size)
    check_disk(f"run.record_every: {records} records", directory.path, 2 * (records * STORED_RECORD + snapshots * size))


@contextlib.contextmanager
def _writing(directory: RunDirectory, *others: type[OSError]) -> Iterator[None]:
    """Raise `Broken` if a file of the run cannot be written in this context; ``others`` are errors of other causes."""
    try:
        yield
    except others:
        raise
    except OSError as error:
        what = f"{error.filename or directory.path}: {error.strerror or error}"
        paths = directory.checkpoint_paths() if directory.checkpoints.is_dir() else []
        kept = f"; the checkpoint of step {int(paths[0].name[5:])} is whole" if paths else ""
        hint = ", and zeroloss resume goes on from it, elsewhere with --out" if paths else ""
        raise Broken(f"{what}{kept}{hint}") from error
