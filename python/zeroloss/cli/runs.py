"""``zeroloss run``, ``resume`` and ``report``: runs in directories of their own."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
    ConfiguredCommand,
    Failed,
    assignment,
    complain,
    imports_modules,
    status_of,
)

_DIRECTORY = click.Path(path_type=Path, file_okay=False)


def _json_option(command: Any) -> Any:
    return click.option("--json", "as_json", is_flag=True, help="A line of JSON for every record, on standard output.")(
        command
    )


@click.command(cls=ConfiguredCommand)
@click.argument("file", metavar="CONFIG.toml", type=click.Path(path_type=Path), required=False)
@click.option("--out", type=_DIRECTORY, help="Directory of the run, new or empty.")
@click.option("--set", "changes", metavar="SECTION.KEY=VALUE", multiple=True, help="In place of what the file says.")
@click.option("--print-defaults", is_flag=True, help="Write a complete, commented configuration, and do nothing else.")
@imports_modules
@_json_option
def run(file: Path | None, out: Path | None, changes: tuple[str, ...], print_defaults: bool, as_json: bool) -> None:
    """Run a configuration in a directory with checkpoints.

    CONFIG.toml has the sections [data], [network], [dynamics] and [run]; --print-defaults writes a complete one. If the
    run is interrupted or killed, zeroloss resume DIR continues it.
    """
    if print_defaults:
        click.echo(config.defaults_text(), nl=False)
        return
    if file is None or out is None:
        raise click.UsageError("expected CONFIG.toml and --out DIR, or --print-defaults")
    changed = overrides(changes)
    with mended(file):
        configuration = config.from_file(file, **changed)
    with told():
        _end(runs.run(configuration, out, announce=_line if as_json else None), out, as_json)


@click.command()
@click.argument("directory", metavar="DIR", type=_DIRECTORY)
@click.option("--out", type=_DIRECTORY, help="Copy the run to a new directory, and go on there.")
@click.option("--extend", type=click.IntRange(min=1), help="Further steps of a run that has ended.")
@click.option("--duration", type=float, help="Further time of a run that has ended.")
@click.option("--allow-different-bits", is_flag=True, help="Go on with another version or instruction-set level.")
@imports_modules
@_json_option
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
        raise click.UsageError("--extend, --duration: expected one of them")
    with told():
        ended = runs.resume(
            directory,
            out=out,
            extend=extend,
            duration=duration,
            allow_different_bits=allow_different_bits,
            announce=_line if as_json else None,
            tell=complain,
        )
        _end(ended, out or directory, as_json)


@click.command()
@click.argument("directory", metavar="DIR", type=_DIRECTORY)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The picture.  [default: DIR/report.png]")
@click.option("--by", metavar="KEY", help="Of a sweep: the key by which its curves are grouped, as weight_decay.")
def report(directory: Path, out: Path | None, by: str | None) -> int:
    """Summarise and draw a run or a sweep.

    The run or sweep may have ended or be in progress. The exit status is 130 for a run that was interrupted.
    """
    with told():
        is_sweep = sweeps.Store.is_at(directory)
        if by is not None and not is_sweep:
            raise click.UsageError("--by: expected the directory of a sweep, got that of a run")
        shown = None if is_sweep else runs.load(directory)
        lines = sweeps.report(directory, out, by=by) if shown is None else report_of(shown, directory, out)
    for line in lines:
        click.echo(line)
    return INTERRUPTED if shown is not None and shown.outcome.ending is Ending.INTERRUPTED else DONE


class mended:  # noqa: N801 — reads as a statement
    """A context that tells all that is wrong with a configuration, a line each."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, config.ConfigurationError):
            for line in error.problems:
                complain(line)
            raise Failed(BAD_INPUT, f"{self._file}: {len(error.problems)} to mend; nothing was started") from None


class told:  # noqa: N801 — reads as a statement
    """A context that turns what a run may raise into an exit status and a line."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, runs.Broken) and isinstance(error.__cause__, BrokenPipeError):
            raise BrokenPipeError from error  # whoever read the lines of JSON has gone
        if isinstance(error, runs.Broken):
            raise Failed(NUMERICAL_FAILURE, str(error)) from error
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            raise Failed(BAD_INPUT, f"{error.filename}: {error.strerror}" if error.filename else str(error)) from error
        if isinstance(error, DamagedError):
            raise Failed(BAD_INPUT, str(error)) from error


def overrides(changes: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return sections of what ``--set`` says; a value that is no TOML is a string."""
    found: dict[str, dict[str, Any]] = {}
    for change in changes:
        name, value = assignment(change, "SECTION.KEY=VALUE")
        section, dot, key = name.partition(".")
        if not dot or not key:
            raise click.UsageError(f"--set: expected SECTION.KEY=VALUE, got {change!r}")
        found.setdefault(section, {})[key] = value
    return found


def _line(step: int, values: Mapping[str, Any]) -> None:
    """Write a record as JSON; what is not finite as null."""
    plain = {name: np.asarray(value).tolist() for name, value in values.items()}
    finite = {name: None if isinstance(v, float) and not np.isfinite(v) else v for name, v in plain.items()}
    click.echo(json.dumps({"step": step, **finite}))


def _end(run: Run, directory: Path, as_json: bool) -> None:
    """Say how a run ended, not among lines of JSON; the exit status is that of its end."""
    line = f"{directory}: {run.outcome}"
    if run.outcome.ending is Ending.STOPPED_BY_THE_USER:
        raise Failed(status_of(run.signal), line)
    if not run.outcome.ending.can_go_on:
        raise Failed(NUMERICAL_FAILURE, f"{line}; what there is up to then is kept")
    click.echo(line, err=as_json)
