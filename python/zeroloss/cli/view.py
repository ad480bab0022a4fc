"""``zeroloss view``: the page of a run in the browser."""

from __future__ import annotations

from pathlib import Path

import click

from ..view import view as write_view
from .runs import DIRECTORY, reporting_run_errors


@click.command()
@click.argument("directories", metavar="DIR…", type=DIRECTORY, nargs=-1, required=True)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="The file of the page.  [default: DIR/view.html]"
)
@click.option("--no-open", is_flag=True, help="Do not open the page in the browser.")
def view(directories: tuple[Path, ...], out: Path | None, no_open: bool) -> None:
    """Show a run in the browser, as one HTML file.

    The run may have ended or be in progress. The file needs no other files and no access to the network. The curves of
    further runs are drawn over those of the first.
    """
    with reporting_run_errors():
        file = write_view(directories, out, open_page=not no_open)
    click.echo(f"page: {file}")
