"""The command's frame: its exit statuses, and one line where something is wrong."""

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
from .._checks import ZerolossWarning, one_line
from .._deprecated import ZerolossDeprecationWarning
from ..provenance import build_info

DONE, NUMERICAL_FAILURE, BAD_INPUT, INTERRUPTED, TERMINATED = 0, 1, 2, 128 + signal.SIGINT, 128 + signal.SIGTERM
OUTPUT_CLOSED = 128 + 13  # as a shell reports SIGPIPE

#: ASCII under another name: Click writes UTF-8 on terminals that ask for "ascii".
_ASCII = codecs.CodecInfo(
    *codecs.lookup("ascii")[:2], incrementalencoder=codecs.lookup("ascii").incrementalencoder, name="plain_ascii"
)


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
    """Run the command and exit: 0 done, 2 bad input, 1 numerical failure, 130 or 143 interrupted, 141 output closed."""
    signal.signal(signal.SIGTERM, _terminate)
    warnings.showwarning = _warn  # type: ignore[assignment]
    warnings.simplefilter("default", ZerolossDeprecationWarning)
    logging.disable(logging.WARNING)  # libraries' remarks, as Matplotlib's on a home directory it cannot write
    _accept_any_encoding()
    try:
        status = zeroloss.main(arguments, prog_name="zeroloss", standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # the latter is how Click ends when standard output is closed
        _drop_output()
        sys.exit(OUTPUT_CLOSED)
    except click.ClickException as error:
        _exit(BAD_INPUT, error.format_message() + _hint(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _exit(BAD_INPUT, f"{where}{error.strerror or error}")
    except (ValueError, ImportError) as error:
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
        return name, _toml.parsed(f"value = {value}".encode())["value"]
    except ValueError:
        return name, value


class ConfiguredCommand(click.Command):
    """A command that takes a configuration: its help lists the values that keys may have."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the allowed values."""
        from .._sections import allowed_values  # noqa: PLC0415 — slow to import, and needed only for this help

        with formatter.section("Allowed values (zeroloss run --print-defaults lists all keys)"):
            formatter.write_dl([(key, ", ".join(values)) for key, values in allowed_values().items()])


def imports_modules(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the option ``--import MODULE``, by which a command learns the dynamics that a module registers.

    A module is imported only if it is named on the command line, never because a file or a run names it.
    """
    return click.option(
        "--import",
        "modules",
        metavar="MODULE",
        multiple=True,
        is_eager=True,
        expose_value=False,
        callback=_import,
        help="Import a Python module first, such as one that registers a dynamics; also from the current directory.",
    )(command)


def _import(context: click.Context, option: click.Parameter, modules: Sequence[str]) -> None:
    if modules and str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # at the end, so that a file here hides no installed module
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            raise Failed(BAD_INPUT, f"--import: {module}: {type(error).__name__}: {error}") from error


def complain(line: str) -> None:
    """Write a line on standard error, whatever characters it holds."""
    with contextlib.suppress(OSError):  # a closed standard error
        click.echo(f"zeroloss: {one_line(line)}", err=True)


def _warn(message: Warning | str, category: type[Warning], *where: Any) -> None:
    """Write a warning of this package; those of libraries are not for the command's user."""
    if issubclass(category, ZerolossWarning):
        complain(str(message))


def _hint(error: click.ClickException) -> str:
    """Return where the choices stand, for words that Click refuses before a command begins."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f" ({context.command_path} --help lists the choices)" if context else ""


def _exit(status: int, line: str) -> NoReturn:
    complain(line)
    sys.exit(status)


def _accept_any_encoding() -> None:
    """Escape the characters that the terminal's encoding lacks, instead of failing."""
    codecs.register(lambda name: _ASCII if name == _ASCII.name else None)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            ascii_only = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding=_ASCII.name if ascii_only else None, errors="backslashreplace")


def _drop_output() -> None:
    """Send what is still buffered for a closed standard output nowhere, so that the interpreter's end is quiet."""
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
