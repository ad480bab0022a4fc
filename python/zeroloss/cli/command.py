"""The frame of the command: exit statuses, errors as one line, and options that several commands share."""

from __future__ import annotations

import codecs
import contextlib
import importlib
import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import click

from .. import _toml
from .._checks import ZerolossWarning, to_one_line
from .._deprecated import ZerolossDeprecationWarning
from ..provenance import build_info

DONE, NUMERICAL_FAILURE, BAD_INPUT, INTERRUPTED, TERMINATED = 0, 1, 2, 128 + signal.SIGINT, 128 + signal.SIGTERM
OUTPUT_CLOSED = 128 + 13  # the status that a shell reports for SIGPIPE

#: ASCII under another name, because Click writes UTF-8 on terminals whose encoding is "ascii".
_ASCII = codecs.CodecInfo(
    *codecs.lookup("ascii")[:2], incrementalencoder=codecs.lookup("ascii").incrementalencoder, name="plain_ascii"
)


class CommandError(Exception):
    """The failure of a command: an exit status and a line for standard error."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


def describe_interruption(error: BaseException) -> tuple[int, str]:
    """Return the exit status of an interrupted command, and a word for the interruption."""
    return (TERMINATED, "terminated") if isinstance(error, Terminated) else (INTERRUPTED, "interrupted")


def exit_status(number: signal.Signals | None) -> int:
    """Return the exit status of a run that a signal ended. Without a signal it is the status of an interruption."""
    return TERMINATED if number == signal.SIGTERM else INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words after ``zeroloss``; by default the arguments of the process.

    Notes
    -----
    The exit status is 0 if the work is done, 1 after a numerical failure, 2 for invalid input, 130 or 143 after an
    interruption by SIGINT or SIGTERM, and 141 if standard output was closed.
    """
    signal.signal(signal.SIGTERM, _terminate)
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    warnings.simplefilter("default", ZerolossDeprecationWarning)
    logging.disable(logging.WARNING)  # Matplotlib, for example, logs that it cannot write into the home directory.
    _accept_any_encoding()
    try:
        status = zeroloss.main(arguments, prog_name="zeroloss", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # Click raises SystemExit if standard output is closed.
        _drop_output()
        sys.exit(OUTPUT_CLOSED)
    except click.ClickException as error:
        _exit(BAD_INPUT, error.format_message() + _hint(error))
    except OSError as error:
        prefix = f"{error.filename}: " if error.filename else ""
        _exit(BAD_INPUT, f"{prefix}{error.strerror or error}")
    except (ValueError, ImportError) as error:
        _exit(BAD_INPUT, str(error))
    except CommandError as error:
        _exit(error.status, str(error))
    except MemoryError as error:
        _exit(NUMERICAL_FAILURE, f"there is too little memory{f' ({error})' * bool(str(error))}")
    except (click.Abort, KeyboardInterrupt) as error:
        status, word = describe_interruption(error.__cause__ or error)
        _exit(status, f"{word}; unfinished files were not written")
    sys.exit(status if isinstance(status, int) else DONE)


def parse_assignment(text: str, form: str) -> tuple[str, Any]:
    """Return the name and the value of an option ``--set``. A value that is not TOML is a string."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if not name or not equals:
        raise click.UsageError(f"--set: expected {form}, got {text!r}")
    try:
        return name, _toml.loads(f"value = {value}".encode())["value"]
    except ValueError:
        return name, value


def take_renamed(old: str, old_value: Any, new: str, new_value: Any) -> Any:
    """Return the value of an option that was renamed, with a warning if it was given under the old name."""
    if old_value in (None, False):
        return new_value
    if new_value not in (None, False):
        raise click.UsageError(f"{old} is the old name of {new}; give one of them")
    print_line(f"{old} is deprecated; use {new}")
    return old_value


class ConfiguredCommand(click.Command):
    """A command that takes a configuration: its help lists the allowed values of keys."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the allowed values."""
        from .._sections import allowed_values  # noqa: PLC0415 — slow to import, and needed only for this help

        with formatter.section("Allowed values (zeroloss run --print-defaults lists all keys)"):
            formatter.write_dl([(key, ", ".join(values)) for key, values in allowed_values().items()])


def add_import_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option ``--import MODULE``, which imports a module that registers dynamics.

    A module is imported only if it is named on the command line, never because a file or a run names it.
    """
    return click.option(
        "--import",
        "modules",
        metavar="MODULE",
        multiple=True,
        is_eager=True,
        expose_value=False,
        callback=_import_modules,
        help="Import a Python module first, such as one that registers a dynamics; also from the current directory.",
    )(command)


def _import_modules(context: click.Context, option: click.Parameter, modules: Sequence[str]) -> None:
    if modules and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # At the end, a file in this directory hides no installed module.
    for module in modules:
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:  # A script may call sys.exit.
            raise CommandError(BAD_INPUT, f"--import: {module}: {type(error).__name__}: {error}") from error


def print_line(line: str) -> None:
    """Write a line to standard error. Characters that the terminal cannot show are escaped."""
    with contextlib.suppress(OSError):  # Standard error may be closed.
        click.echo(f"zeroloss: {to_one_line(line)}", err=True)


def _show_warning(message: Warning | str, category: type[Warning], *place: Any) -> None:
    """Print a warning of this package. Warnings of libraries are not printed."""
    if issubclass(category, ZerolossWarning):
        print_line(str(message))


def _hint(error: click.ClickException) -> str:
    """Return a hint to the help, for arguments that Click rejects before a command starts."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f" ({context.command_path} --help lists the choices)" if context else ""


def _exit(status: int, line: str) -> NoReturn:
    print_line(line)
    sys.exit(status)


def _accept_any_encoding() -> None:
    """Escape the characters that the encoding of the terminal lacks, instead of raising an error."""
    codecs.register(lambda name: _ASCII if name == _ASCII.name else None)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            ascii_only = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=_ASCII.name if ascii_only else None, errors="backslashreplace")


def _drop_output() -> None:
    """Discard the buffered output for a closed standard output. The interpreter then exits without an error."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(build_info()["zeroloss"], message="%(prog)s %(version)s")
@click.pass_context
def zeroloss(context: click.Context) -> None:
    """Learning dynamics of two-layer networks after memorisation (arXiv 2511.01938)."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
