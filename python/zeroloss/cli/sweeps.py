"""``zeroloss sweep``: many runs from one configuration."""

from __future__ import annotations

from pathlib import Path

import click

from .. import config, sweeps
from .command import (
    BAD_INPUT,
    NUMERICAL_FAILURE,
    CommandError,
    ConfiguredCommand,
    add_import_option,
    exit_status,
    print_line,
    take_renamed,
)
from .runs import DIFFERENT_BITS_OPTION, SET_OPTION, parse_overrides, reporting_config_errors, reporting_run_errors

_MOST_FAILURES = 10  # failed cells that are printed


@click.command(cls=ConfiguredCommand)
@click.argument("file", metavar="CONFIG.toml", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="The directory of the sweep."
)
@click.option("--workers", type=click.IntRange(min=1), help="Number of cells run at a time.  [default: processors]")
@click.option("--use-threads", is_flag=True, help="Run the workers as threads of this process instead of processes.")
@click.option("--threads", "old_threads", is_flag=True, hidden=True)
@click.option("--scheduler", metavar="ADDRESS", help="Run the cells on the Dask cluster of this scheduler.")
@click.option("--retry", is_flag=True, help="Rerun failed cells; their old files get the name NAME-failed-1.")
@SET_OPTION
@DIFFERENT_BITS_OPTION
@add_import_option
def sweep(
    file: Path,
    out: Path,
    workers: int | None,
    use_threads: bool,
    old_threads: bool,
    scheduler: str | None,
    retry: bool,
    changes: tuple[str, ...],
    allow_different_bits: bool,
) -> None:
    """Run every combination of the values in a section [sweep].

    The command first prints how long the sweep will take. If it is interrupted, the same command continues: cells that
    ended are not run again, and unfinished ones resume from their checkpoints. At the end DIR/cube.nc holds all cells,
    labelled.
    """
    use_threads = take_renamed("--threads", old_threads, "--use-threads", use_threads)
    with reporting_config_errors(file), reporting_run_errors():
        settings = config.read_sections(file, **parse_overrides(changes))
        try:
            client = None if scheduler is None else sweeps.connect(scheduler)
            result = sweeps.sweep(
                settings,
                out,
                workers=workers,
                processes=not use_threads,
                client=client,
                retry=retry,
                allow_different_bits=allow_different_bits,
                on_plan=_print_plan,
            )
        except (sweeps.ClusterError, ImportError) as error:
            raise CommandError(BAD_INPUT, str(error)) from error
        except sweeps.SweepInterruptedError as error:
            raise CommandError(NUMERICAL_FAILURE, str(error)) from error
    line = f"{out}: {result}"
    if result.signal is not None:
        raise CommandError(exit_status(result.signal), f"{line}; the same command continues it")
    for cell in result.failures[:_MOST_FAILURES]:
        print_line(f"{cell}: {result.outcomes[cell.name]}; in {result.store.cell(cell.name)}")
    if result.failures:
        raise CommandError(NUMERICAL_FAILURE, f"{line}; --retry runs them again")
    click.echo(f"{line}; {out / 'cube.nc'}")


def _print_plan(plan: sweeps.Sweep) -> None:
    """Print how many cells will run, and how long they will take."""
    ended = len(plan.cells) - len(plan.todo)
    line = f"{plan.store.path}: {len(plan.cells)} cells"
    if ended:
        line += f", {ended} of which have ended"
    if plan.todo:
        time = f"{'roughly' if plan.rough else 'about'} {_format_seconds(plan.seconds)}"
        line += f"; {len(plan.todo)} to run, {plan.workers} at a time, {time}"
    click.echo(line)


def _format_seconds(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{max(seconds, 1):.0f} s"
