"""The command's frame: its exit statuses, and one line where something is wrong."""

from __future__ import annotations

import signal
import sys
import tomllib
import warnings
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import click

from ..build import build_info

DONE, NUMERICAL_FAILURE, BAD_INPUT, INTERRUPTED, TERMINATED = 0, 1, 2, 128 + signal.SIGINT, 128 + signal.SIGTERM


class Failed(Exception):  # noqa: N818 — a status with its line
    """The end of a command that could not do its work: an exit status and a line for standard error."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


def ended(by: BaseException) -> tuple[int, str]:
    """Return the exit status of what a KeyboardInterrupt ended, and the word for it."""
    return (TERMINATED, "terminated") if isinstance(by, Terminated) else (INTERRUPTED, "interrupted")


def status_of(number: signal.Signals | None) -> int:
    """Return the exit status of what a signal ended; a stop by other means counts as an interruption."""
    return TERMINATED if number == signal.SIGTERM else INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 done, 2 bad input, 1 numerical failure, 130 or 143 interrupted."""
    signal.signal(signal.SIGTERM, _terminate)
    warnings.showwarning = _warn  # type: ignore[assignment]
    try:
        status = zeroloss.main(arguments, prog_name="zeroloss", standalone_mode=False)
    except click.ClickException as error:
        _exit(BAD_INPUT, error.format_message())
    except ValueError as error:
        _exit(BAD_INPUT, str(error))
    except Failed as failure:
        _exit(failure.status, str(failure))
    except (click.Abort, KeyboardInterrupt) as end:
        status, word = ended(end.__cause__ or end)
        _exit(status, f"{word}; the files of what was under way were not written")
    sys.exit(status if isinstance(status, int) else DONE)


def assignment(text: str, form: str) -> tuple[str, Any]:
    """Return name and value of a ``--set``; a value that is no TOML is a string."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not name or not equals:
        raise click.UsageError(f"--set: expected {form}, got {text!r}")
    try:
        return name, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name, value


def _warn(message: Warning | str, *where: Any) -> None:
    click.echo(f"zeroloss: {' '.join(str(message).split())}", err=True)


def _exit(status: int, line: str) -> NoReturn:
    click.echo(f"zeroloss: {' '.join(line.split())}", err=True)
    sys.exit(status)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(build_info()["zeroloss"], message="%(prog)s %(version)s")
@click.pass_context
def zeroloss(context: click.Context) -> None:
    """Learning dynamics of two-layer networks after memorisation (arXiv 2511.01938)."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
