"""``zeroloss view``: the page of a run or a sweep in the browser."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import click

from ..view import serve
from ..view import view as write_view
from .command import Terminated
from .runs import DIRECTORY, reporting_run_errors

#: The lowest priority, so that the server gives way to a run on the same processors.
_NICENESS = 19


@click.command()
@click.argument("directories", metavar="DIR…", type=DIRECTORY, nargs=-1, required=True)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="The file of the page.  [default: DIR/view.html]"
)
@click.option("--follow", is_flag=True, help="Serve the page on 127.0.0.1, with newer data while the run proceeds.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port of --follow.  [default: a free one]")
@click.option("--no-open", is_flag=True, help="Do not open the page in the browser.")
def view(directories: tuple[Path, ...], out: Path | None, follow: bool, port: int, no_open: bool) -> None:
    """Show a run or a sweep in the browser, as one HTML file.

    It may have ended or be in progress. The file needs no other files and no access to the network. The curves of
    all runs are drawn over each other; the other panels show the first run. A sweep is shown alone. With --follow,
    which shows runs, no file is written, and Ctrl-C ends the command.
    """
    if follow and out is not None:
        raise click.UsageError("--out and --follow cannot be combined; --follow writes no file")
    with reporting_run_errors():
        if follow:
            _follow(directories, port, not no_open)
            return
        file = write_view(directories, out, open_page=not no_open)
    click.echo(f"page: {file}")


def _follow(directories: tuple[Path, ...], port: int, open_page: bool) -> None:
    """Serve until Ctrl-C, which is the usual end."""
    if sys.platform != "win32":
        os.nice(_NICENESS)
    try:
        serve(directories, lambda address: click.echo(f"page: {address}"), port=port, open_page=open_page)
    except Terminated:
        raise
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            click.echo("ended")
