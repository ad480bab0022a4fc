"""Start a run in a directory, continue it, and load it."""

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
from .._deprecated import rename_arguments
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
from ..simulation.activity import mention_inactivity, warn_if_inactive
from ..simulation.api import extend_run
from ..simulation.checkpoints import Checkpoints
from ..simulation.engine import End
from ..simulation.interruption import Interruption
from ..simulation.log import Log
from ..simulation.progress import OnRecord, ShowProgress
from ..simulation.simulation import EarlierPart, Plan, Simulation, check_steps_or_duration, checked_end, start_stepper
from ..simulation.sizes import STORED_RECORD, count_rows
from .continuation import check_build, copy_run, find_end, open_run, read_last_record

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class RunInterruptedError(RuntimeError):
    """A file of a run cannot be written.

    The files written before are valid, and `resume` continues from them.
    """


@rename_arguments(announce="on_record")
def run(
    configuration: Configuration,
    directory: str | os.PathLike[str],
    *,
    progress: ShowProgress = None,
    on_record: OnRecord | None = None,
    interruption: Interruption | None = None,
) -> Run:
    """Run a configuration in a new directory, with checkpoints.

    SIGINT and SIGTERM, on the main thread, end the run with a checkpoint after the current chunk of steps. A second
    signal ends it at once. A signal handler installed by C code is not replaced.

    Parameters
    ----------
    configuration : Configuration
        From `zeroloss.config.from_file` or `zeroloss.config.from_settings`.
    directory : path
        A new or empty directory.
    progress : bool or function, optional
        Whether to show a progress bar, as for `zeroloss.simulate`; or a function that is called with the number of
        steps each time steps were taken.
    on_record : function of (step, values), optional
        Called with every record when it is made; ``values`` maps names to numbers.
    interruption : Interruption, optional
        Requests the end of the run instead of signals, when many runs are simulated at once.

    Returns
    -------
    Run
        The run, with the outcome "stopped by the user" after a signal.

    Raises
    ------
    ValueError
        If the directory is not empty, or another process runs in it.
    RunInterruptedError
        If a file cannot be written. The files written before are valid.

    Examples
    --------
    >>> import zeroloss as zl
    >>> configuration = zl.config.from_file("adamw.toml")  # doctest: +SKIP
    >>> run = zl.runs.run(configuration, "out")  # doctest: +SKIP
    """
    target = RunDirectory(directory)
    target.check_free()
    settings_of_run, data, network, dynamics = (
        configuration.run,
        configuration.data,
        configuration.network,
        configuration.dynamics,
    )
    end = checked_end(dynamics, settings_of_run.steps, settings_of_run.duration)
    plan = _plan(settings_of_run, data)
    settings = plan.settings(dynamics, data, network)
    settings |= {"events": list(settings_of_run.events), "fingerprint": configuration.fingerprint()}
    _check_disk(target, plan, settings, network, 0, end)
    if settings_of_run.measures and network.dtype != "float64":
        raise ConfigurationError([f'run.measures: alignment needs network.dtype = "float64", got {network.dtype}'])
    try:
        simulation = Simulation(start_stepper(dynamics, data, network, settings_of_run.threads), settings, end, plan)
        warn_if_inactive(network, data)
    except TypeError as error:
        names_a_section = isinstance(error, ArgumentError) and error.names[0] in SECTIONS
        raise ConfigurationError([f"{error}" if names_a_section else f"dynamics: {error}"]) from error
    # NotADirectoryError: a parent of the directory is a file, so the run has not started.
    with _raise_interrupted(target, NotADirectoryError):
        target.mark()
        with target.lock():
            target.check_free()  # Another process may have written into it since the first check.
            target.prepare()
            write_atomically(target.configuration, configuration.text().encode())
            write_samples(data, target.data)
            target.log(f"{dynamics} on {data} from {network}")
            samples = fingerprint_of_samples(data)
            target.write_about({"settings": settings, "step": 0, "outcome": None, "sentence": None, "data": samples})
            first = Checkpoint(0, settings, samples, {}, network, end=asdict(end))
            return _run_to_end(target, simulation, settings_of_run, first, data, progress, on_record, interruption)


@rename_arguments(announce="on_record", tell="on_warning")
def resume(
    directory: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    extend: int | None = None,
    duration: float | None = None,
    allow_different_bits: bool = False,
    progress: ShowProgress = None,
    on_record: OnRecord | None = None,
    interruption: Interruption | None = None,
    on_warning: Callable[[str], None] | None = None,
) -> Run:
    """Continue a run from its newest valid checkpoint, with the same bits as an uninterrupted run.

    A run that has ended is returned as it is, unless ``extend`` or ``duration`` is given. A run that ``stop_minutes``
    ended continues to its original end, for as many minutes again.

    Parameters
    ----------
    directory : path
        The directory of the run.
    out : path, optional
        A new directory. The run is copied to it and continues there, for example because the old one is read-only.
    extend : int, optional
        The number of further steps of a run that has ended.
    duration : float, optional
        The further time of a run that has ended, in the time of its dynamics.
    allow_different_bits : bool, default False
        Whether to continue also if the version, the compiler or the instruction-set level is not the one that started
        the run.
    progress : bool or function, optional
        As for `run`.
    on_record : function of (step, values), optional
        As for `run`.
    interruption : Interruption, optional
        As for `run`.
    on_warning : function of a line, optional
        Called for each damaged checkpoint that is skipped. By default a `ZerolossWarning` is issued.

    Returns
    -------
    Run
        The run.

    Raises
    ------
    ValueError
        If there is no run, its data or configuration are not those that it was started with, a newer version wrote it,
        or another process runs in it.
    DamagedError
        If no checkpoint is valid.
    DifferentBuildError
        If the bits may differ and that is not allowed.
    RunInterruptedError
        If a file cannot be written. The files written before are valid.
    """
    source = RunDirectory(directory)
    if not source.is_ours():
        raise ArgumentValueError("directory", f"expected a run, found no checkpoints in {source.path}")
    if not source.has_begun():  # It ended before its first checkpoint, so nothing is lost by a new start.
        if not source.configuration.is_file():
            raise ArgumentValueError(
                "directory", f"the run in {source.path} was not set up; start it again with zeroloss run"
            )
        configuration, place = from_file(source.configuration), out or directory
        return run(configuration, place, progress=progress, on_record=on_record, interruption=interruption)
    target = source if out is None else copy_run(source, Path(out))
    on_warning = on_warning or (lambda line: warnings.warn(line, ZerolossWarning, stacklevel=5))
    with _raise_interrupted(target, UnreadableError), target.lock():
        if os.access(target.path, os.W_OK):
            target.prepare()
        checkpoint, settings_of_run, data = open_run(target, on_warning)
        dynamics = dynamics_from_settings(checkpoint.settings["dynamics"])
        has_ended = checkpoint.outcome is not None and not checkpoint.out_of_time
        if has_ended and extend is None and duration is None:
            if target.outcome() is None:  # The process was killed before it had written all files.
                target.finish(checkpoint)
            return run_at(target, checkpoint, make_extender(target))
        check_build(checkpoint, dynamics, allow_different_bits)
        end = find_end(target, checkpoint, dynamics, extend, duration)
        plan = _plan(settings_of_run, data)
        _check_disk(target, plan, checkpoint.settings, checkpoint.network, checkpoint.step, end)
        first = replace(checkpoint, settings={**checkpoint.settings, "build": describe_build()}, end=asdict(end))
        record = read_last_record(target, checkpoint) if settings_of_run.measures else {}
        earlier = EarlierPart(checkpoint.step, checkpoint.state, checkpoint.observers, record)
        stepper = start_stepper(dynamics, data, checkpoint.network, settings_of_run.threads)
        simulation = Simulation(stepper, first.settings, end, plan, earlier)
        if unknown := simulation.find_unrecorded(checkpoint.descriptions):
            raise ArgumentValueError(
                "directory",
                f"the history has {', '.join(unknown)}, measured by functions that are not saved; "
                "extend it in Python: zeroloss.load(DIR).extend(steps=…, measures={…})",
            )
        target.describe(replace(checkpoint, outcome=None))  # without an outcome: a process runs here
        target.reopen(checkpoint)
        target.log(f"resumed at step {checkpoint.step}")
        return _run_to_end(target, simulation, settings_of_run, first, data, progress, on_record, interruption)


def load(directory: str | os.PathLike[str]) -> Run:
    """Read a run from its directory, whether it has ended or is in progress.

    ``Run.extend`` continues the run: in memory if ``Run.save`` wrote it, and in its directory if ``zeroloss run`` wrote
    it, as `zeroloss.runs.resume` does.

    Parameters
    ----------
    directory : path
        A directory that ``Run.save`` or ``zeroloss run`` wrote.

    Returns
    -------
    Run
        The run at its newest valid checkpoint.

    Raises
    ------
    FileNotFoundError
        If there is no run.
    DamagedError
        If no checkpoint is valid.
    ValueError
        If the run has no checkpoint yet, or a newer version of the package wrote it.

    Examples
    --------
    >>> import zeroloss as zl
    >>> run = zl.load("out")  # doctest: +SKIP
    >>> run.history.test_accuracy  # doctest: +SKIP
    """
    return read(directory, make_extender(RunDirectory(directory)))


def make_extender(directory: RunDirectory) -> Callable[..., None]:
    """Return a function for ``Run.extend`` that continues a run in its directory, or without a configuration in memory.

    Only ``zeroloss run`` writes a configuration into the directory.
    """
    return partial(_extend_in_directory, directory.path.absolute()) if directory.configuration.exists() else extend_run


def _extend_in_directory(
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
            "measures", f"cannot be given for the run in {directory}, because its configuration names them"
        )
    check_steps_or_duration(steps, duration)
    vars(run).update(vars(resume(directory, extend=steps, duration=duration, progress=progress)))


def _run_to_end(
    directory: RunDirectory,
    simulation: Simulation,
    run: RunSettings,
    first: Checkpoint,
    data: Dataset,
    progress: ShowProgress,
    on_record: OnRecord | None,
    interruption: Interruption | None,
) -> Run:
    """Take the steps to the end, with checkpoints, and write the files of an ended or interrupted run."""
    interruption = interruption or Interruption(_SIGNALS)
    checkpoints = Checkpoints(directory, run, first, simulation)
    log = Log(directory.log, simulation.events, lambda: interruption.stop_signal)
    completion = simulation.run(interruption, progress, log, checkpoints, on_record=on_record)
    outcome = completion.outcome
    if outcome.ending not in {Ending.STOPPED_BY_THE_USER, Ending.BROKEN_OFF}:
        outcome = mention_inactivity(outcome, completion.end.network, data)
        out_of_time = simulation.stopping.out_of_time and outcome.ending.can_continue
        checkpoint = checkpoints.write(completion.last_step, outcome, completion.end, out_of_time)
        datasets = directory.finish(checkpoint)
        directory.log(str(outcome))
        return run_at(directory, checkpoint, make_extender(directory), datasets)
    if outcome.ending is Ending.BROKEN_OFF:
        checkpoints.write(completion.last_step)
    newest, _ = directory.newest()  # the checkpoint from which resume continues
    assert newest is not None
    if outcome.ending is Ending.STOPPED_BY_THE_USER:
        message = f"after {newest.step} steps, with a checkpoint; zeroloss resume continues it"
        outcome = Outcome(outcome.ending, message)
    stopped = run_at(directory, newest, make_extender(directory))
    stopped.outcome, stopped.signal = outcome, interruption.stop_signal
    directory.describe(newest, outcome)
    return stopped


def _plan(run: RunSettings, data: Dataset) -> Plan:
    """Return the plan of a section [run], without the number of steps and the duration."""
    rules = []
    if run.stop_test_accuracy is not None:
        rules.append(f"test_accuracy >= {run.stop_test_accuracy!r} for {run.stop_sustained_records} records")
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
    """Raise ValueError if the records and snapshots of the steps from ``begin`` to the end do not fit on the disk.

    At the end they exist twice, in pieces and as NetCDF. A run that may end early is not checked.
    """
    if end.time is not None or plan.stop_minutes is not None or plan.rules:
        return
    records, snapshots = count_rows(settings, begin, end.step)
    size = network.nbytes
    check_disk(f"run.snapshot_every: {snapshots} snapshots", directory.path, 2 * snapshots * size)
    check_disk(f"run.record_every: {records} records", directory.path, 2 * (records * STORED_RECORD + snapshots * size))


@contextlib.contextmanager
def _raise_interrupted(directory: RunDirectory, *others: type[OSError]) -> Iterator[None]:
    """Turn an error of the operating system into a `RunInterruptedError`, except the types ``others``."""
    try:
        yield
    except others:
        raise
    except OSError as error:
        line = f"{error.filename or directory.path}: {error.strerror or error}"
        paths = directory.checkpoint_paths() if directory.checkpoints.is_dir() else []
        if paths:
            line += f"; the checkpoint of step {int(paths[0].name[5:])} is valid, and zeroloss resume continues from it"
            line += " (in another directory with --out)"
        raise RunInterruptedError(line) from error
