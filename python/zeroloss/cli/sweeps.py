"""``zeroloss sweep``: many runs from one configuration."""

from __future__ import annotations

from pathlib import Path

import click

from .. import config, sweeps
from .command import BAD_INPUT, NUMERICAL_FAILURE, ConfiguredCommand, Failed, complain, imports_modules, status_of
from .runs import mended, overrides, told

_MOST_TOLD = 10  # cells that failed


@click.command(cls=ConfiguredCommand)
@click.argument("file", metavar="CONFIG.toml", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Directory of the sweep.")
@click.option("--workers", type=click.IntRange(min=1), help="Cells carried out at a time; by default one a processor.")
@click.option("--threads", is_flag=True, help="Workers are threads of this process, in place of processes.")
@click.option("--scheduler", metavar="ADDRESS", help="Carry it out on the Dask cluster of this scheduler.")
@click.option("--retry", is_flag=True, help="Try cells that failed again; what they left is kept beside.")
@click.option("--set", "changes", metavar="SECTION.KEY=VALUE", multiple=True, help="In place of what the file says.")
@click.option("--allow-different-bits", is_flag=True, help="Go on with another version or instruction-set level.")
@imports_modules
def sweep(
    file: Path,
    out: Path,
    workers: int | None,
    threads: bool,
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
    with mended(file), told():
        settings = config.settings_of_file(file, **overrides(changes))
        try:
            client = None if scheduler is None else sweeps.connect(scheduler)
            done = sweeps.sweep(
                settings,
                out,
                workers=workers,
                processes=not threads,
                client=client,
                retry=retry,
                allow_different_bits=allow_different_bits,
                planned=_say,
            )
        except (sweeps.ClusterError, ImportError) as error:
            raise Failed(BAD_INPUT, str(error)) from error
        except sweeps.BrokenError as error:
            raise Failed(NUMERICAL_FAILURE, str(error)) from error
    line = f"{out}: {done}"
    if done.signal is not None:
        raise Failed(status_of(done.signal), f"{line}; the same command goes on")
    for cell in done.failures[:_MOST_TOLD]:
        complain(f"{cell}: {done.outcomes[cell.name]}; in {done.store.cell(cell.name)}")
    if done.failures:
        raise Failed(NUMERICAL_FAILURE, f"{line}; --retry tries those again")
    click.echo(f"{line}; {out / 'cube.nc'}")


def _say(plan: sweeps.Sweep) -> None:
    """Say what there is to do, and how long it will take."""
    done = len(plan.cells) - len(plan.todo)
    before = f", {done} of which have ended" if done else ""
    if plan.todo:
        about = f"{'roughly' if plan.rough else 'about'} {_spelled(plan.seconds)}"
        todo = f"; {len(plan.todo)} to carry out, {plan.workers} at a time, {about}"
    click.echo(f"{plan.store.path}: {len(plan.cells)} cells{before}{todo if plan.todo else ''}")


def _spelled(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{max(seconds, 1):.0f} s"
