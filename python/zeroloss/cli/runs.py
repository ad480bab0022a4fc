"""``zeroloss run``, ``resume`` and ``report``: runs in directories."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from .. import config, runs, sweeps
from ..results import DamagedError, Ending, Run
from ..runs.report import report_of
from .command import (
    BAD_INPUT,
    DONE,
    INTERRUPTED,
    NUMERICAL_FAILURE,
    CommandError,
    ConfiguredCommand,
    add_import_option,
    exit_status,
    parse_assignment,
    print_line,
)

DIRECTORY = click.Path(path_type=Path, file_okay=False)

#: The option of commands that take a configuration.
SET_OPTION = click.option(
    "--set", "changes", metavar="SECTION.KEY=VALUE", multiple=True, help="Override a value of the configuration file."
)
#: The option of commands that continue earlier work.
DIFFERENT_BITS_OPTION = click.option(
    "--allow-different-bits", is_flag=True, help="Continue with another version or instruction-set level."
)
_JSON_OPTION = click.option(
    "--json", "as_json", is_flag=True, help="Print every record as a line of JSON on standard output."
)


@click.command(cls=ConfiguredCommand)
@click.argument("file", metavar="CONFIG.toml", type=click.Path(path_type=Path), required=False)
@click.option("--out", type=DIRECTORY, help="The directory of the run, new or empty.")
@SET_OPTION
@click.option("--print-defaults", is_flag=True, help="Print a complete configuration with comments, and exit.")
@add_import_option
@_JSON_OPTION
def run(file: Path | None, out: Path | None, changes: tuple[str, ...], print_defaults: bool, as_json: bool) -> None:
    """Run a configuration in a directory with checkpoints.

    CONFIG.toml has the sections [data], [network], [dynamics] and [run]; --print-defaults prints a complete one. If the
    run is interrupted or killed, zeroloss resume DIR continues it.
    """
    if print_defaults:
        click.echo(config.defaults_text(), nl=False)
        return
    if file is None or out is None:
        raise click.UsageError("expected CONFIG.toml and --out DIR, or --print-defaults")
    overrides = parse_overrides(changes)
    with reporting_config_errors(file):
        configuration = config.from_file(file, **overrides)
    with reporting_run_errors():
        _finish(runs.run(configuration, out, on_record=_print_record if as_json else None), out, as_json)


@click.command()
@click.argument("directory", metavar="DIR", type=DIRECTORY)
@click.option("--out", type=DIRECTORY, help="Copy the run to a new directory, and continue it there.")
@click.option("--extend", type=click.IntRange(min=1), help="Number of further steps of a run that has ended.")
@click.option("--duration", type=float, help="Further time of a run that has ended, in the time of its dynamics.")
@DIFFERENT_BITS_OPTION
@add_import_option
@_JSON_OPTION
def resume(
    directory: Path,
    out: Path | None,
    extend: int | None,
    duration: float | None,
    allow_different_bits: bool,
    as_json: bool,
) -> None:
    """Continue a run from its newest valid checkpoint.

    The result is bit-identical to an uninterrupted run. A run that has reached its end continues with --extend or
    --duration.
    """
    if extend is not None and duration is not None:
        raise click.UsageError("--extend and --duration cannot be combined; give one of them")
    with reporting_run_errors():
        resumed = runs.resume(
            directory,
            out=out,
            extend=extend,
            duration=duration,
            allow_different_bits=allow_different_bits,
            on_record=_print_record if as_json else None,
            on_warning=print_line,
        )
        _finish(resumed, out or directory, as_json)


@click.command()
@click.argument("directory", metavar="DIR", type=DIRECTORY)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="The picture file.  [default: DIR/report.png]"
)
@click.option("--by", metavar="KEY", help="For a sweep: group its curves by this key, such as weight_decay.")
def report(directory: Path, out: Path | None, by: str | None) -> int:
    """Summarise and draw a run or a sweep.

    The run or sweep may have ended or be in progress. The exit status is 130 for a run that was interrupted.
    """
    with reporting_run_errors():
        is_sweep = sweeps.Store.is_at(directory)
        if by is not None and not is_sweep:
            raise click.UsageError("--by: expected the directory of a sweep, got the directory of a run")
        loaded = None if is_sweep else runs.load(directory)
        lines = sweeps.report(directory, out, by=by) if loaded is None else report_of(loaded, directory, out)
    for line in lines:
        click.echo(line)
    return INTERRUPTED if loaded is not None and loaded.outcome.ending is Ending.INTERRUPTED else DONE


@contextlib.contextmanager
def reporting_config_errors(file: Path) -> Iterator[None]:
    """Print all errors of a configuration, a line for each, and end the command."""
    try:
        yield
    except config.ConfigurationError as error:
        for line in error.problems:
            print_line(line)
        count = len(error.problems)
        line = f"{file}: {count} error{'s' * (count > 1)} in the configuration; nothing was started"
        raise CommandError(BAD_INPUT, line) from None


@contextlib.contextmanager
def reporting_run_errors() -> Iterator[None]:
    """Turn the exceptions of a run into an exit status and a line."""
    try:
        yield
    except runs.RunInterruptedError as error:
        if isinstance(error.__cause__, BrokenPipeError):  # The reader of the lines of JSON has closed its end.
            raise BrokenPipeError from error
        raise CommandError(NUMERICAL_FAILURE, str(error)) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        line = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise CommandError(BAD_INPUT, line) from error
    except DamagedError as error:
        raise CommandError(BAD_INPUT, str(error)) from error


def parse_overrides(changes: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return the values of the options ``--set`` by section and key. A value that is not TOML is a string."""
    overrides: dict[str, dict[str, Any]] = {}
    for change in changes:
        name, value = parse_assignment(change, "SECTION.KEY=VALUE")
        section, dot, key = name.partition(".")
        if not dot or not key:
            raise click.UsageError(f"--set: expected SECTION.KEY=VALUE, got {change!r}")
        overrides.setdefault(section, {})[key] = value
    return overrides


def _print_record(step: int, values: Mapping[str, Any]) -> None:
    """Print a record as JSON. NaN and infinity become null."""
    plain = {name: np.asarray(value).tolist() for name, value in values.items()}
    finite = {name: None if isinstance(v, float) and not np.isfinite(v) else v for name, v in plain.items()}
    click.echo(json.dumps({"step": step, **finite}))


def _finish(run: Run, directory: Path, as_json: bool) -> None:
    """Print the outcome of a run, or raise an error with its exit status.

    With ``as_json`` standard output has only the lines of JSON.
    """
    line = f"{directory}: {run.outcome}"
    if run.outcome.ending is Ending.STOPPED_BY_THE_USER:
        raise CommandError(exit_status(run.signal), line)
    if not run.outcome.ending.can_continue:
        raise CommandError(NUMERICAL_FAILURE, f"{line}; the partial results are saved")
    click.echo(line, err=as_json)
