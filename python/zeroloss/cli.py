"""The command ``zeroloss``: its words, its exit statuses, and one line where something is wrong."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from .build import build_info
from .cli_studies import add_commands
from .experiments import FIGURES, Experiment

__all__ = ["main"]

DONE, NUMERICAL_FAILURE, BAD_INPUT, INTERRUPTED, TERMINATED = 0, 1, 2, 128 + signal.SIGINT, 128 + signal.SIGTERM


class Failed(Exception):  # noqa: N818 — a status with its line
    """The end of a command that could not do its work: an exit status and a line for standard error."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and exit: 0 done, 2 bad input, 1 numerical failure, 130 or 143 interrupted."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        status = zeroloss.main(arguments, prog_name="zeroloss", standalone_mode=False)
    except click.ClickException as error:
        _exit(BAD_INPUT, error.format_message())
    except ValueError as error:
        _exit(BAD_INPUT, str(error))
    except Failed as failure:
        _exit(failure.status, str(failure))
    except (click.Abort, KeyboardInterrupt):
        _exit(INTERRUPTED, "interrupted; the files of what was under way were not written")
    sys.exit(status if isinstance(status, int) else DONE)


def _exit(status: int, line: str) -> NoReturn:
    click.echo(f"zeroloss: {' '.join(line.split())}", err=True)
    sys.exit(status)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    _exit(TERMINATED, "terminated; the files of what was under way were not written")


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(build_info()["zeroloss"], message="%(prog)s %(version)s")
@click.pass_context
def zeroloss(context: click.Context) -> None:
    """Learning dynamics of two-layer networks after memorisation (arXiv 2511.01938)."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@zeroloss.command()
@click.argument("figures", metavar="FIGURE…", nargs=-1, required=True)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("out"), show_default=True, help="Directory for the files."
)
@click.option("--seeds", type=click.IntRange(min=1), help="Number of seeds; the paper's by default.")
@click.option("--quick", is_flag=True, help="The same in small, in seconds; marked on the picture.")
@click.option(
    "--spread",
    type=click.Choice(["std", "variance"]),
    help="Figure 6: what p^(-1/2) is in E ~ N(0, p^(-1/2)).  [default: std]",
)
@click.option(
    "--projection",
    type=click.Choice(["gauss_newton", "momentum"]),
    help="Figures 5, 7: how to get onto the zero-loss set; the paper's is momentum.  [default: gauss_newton]",
)
def reproduce(
    figures: tuple[str, ...],
    out: Path,
    seeds: int | None,
    quick: bool,
    spread: str | None,
    projection: str | None,
) -> None:
    """Reproduce figures of the paper, by number, or all.

    Writes figureN.png, figureN.nc (the plotted numbers) and figureN.json (settings, seeds, versions, summary), and
    prints one line of summary numbers.
    """
    chosen = _chosen(figures)
    given = {"spread": spread, "projection": projection}
    options = {name: value for name, value in given.items() if value is not None}
    for name in options:
        if not any(name in experiment.options for experiment in chosen.values()):
            raise click.UsageError(f"--{name}: no such option for figure {', '.join(chosen)}")
    for number, experiment in chosen.items():
        own = {name: value for name, value in options.items() if name in experiment.options}
        _carry_out(f"figure {number}", experiment, out, seeds, quick, own)


@zeroloss.command()
def info() -> None:
    """Show versions, compiler, instruction-set level and threads."""
    for name, value in build_info().items():
        click.echo(f"{name.replace('_', ' '):<16} {', '.join(value) if isinstance(value, list) else value}")


def _chosen(names: Sequence[str]) -> dict[str, Experiment]:
    """Return the figures named, each once."""
    if unknown := [name for name in names if name not in FIGURES and name != "all"]:
        raise click.UsageError(f"figure {unknown[0]!r}: unknown; there are {', '.join(FIGURES)}, and all")
    wanted = list(FIGURES) if "all" in names else list(dict.fromkeys(names))
    return {name: FIGURES[name] for name in wanted}


def _carry_out(
    title: str, experiment: Experiment, out: Path, seeds: int | None, quick: bool, options: dict[str, str]
) -> None:
    """Run an experiment, write its files, and print its line."""
    from .experiments import ensemble, output  # noqa: PLC0415 — not needed for ``info``

    try:
        output.prepare(out)
    except OSError as error:
        raise _unwritable(out, error) from None
    started = time.perf_counter()
    try:
        result = experiment.reproduce(seeds=seeds, quick=quick, **options)
    except ensemble.NumericalFailure as failure:
        kept = out / f"{experiment.module}-failed"
        failure.run.save(kept)
        raise Failed(NUMERICAL_FAILURE, f"{title}: {failure}; what there is of that run was kept in {kept}") from None
    try:
        picture = output.write(result, out, experiment.module)
    except OSError as error:
        raise _unwritable(out, error) from None
    seconds = time.perf_counter() - started
    if result.table:
        click.echo(result.table)
    click.echo(f"{title}{' (quick)' if quick else ''}: {result.line}; {seconds:.1f} s; {picture}")


def _unwritable(out: Path, error: OSError) -> Failed:
    return Failed(BAD_INPUT, f"--out: cannot write in {out}: {error.strerror or error}")


add_commands(zeroloss, _carry_out)
