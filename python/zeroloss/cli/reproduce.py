"""``zeroloss reproduce``: the paper's figures."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from ..experiments import FIGURES, Experiment
from .command import BAD_INPUT, NUMERICAL_FAILURE, Failed, ended


@click.command()
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
    type=click.Choice(["chord", "gauss_newton", "momentum"]),
    help="Figures 5, 7: how to get onto the zero-loss set; the paper's is momentum.  [default: chord]",
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

    The numbers are 1, 2, 3, 4, 5, 6, 7 and the word all.

    Writes figureN.png, figureN.nc (the plotted numbers) and figureN.json (settings, seeds, versions, summary), and
    prints one line of summary numbers.
    """
    chosen = _chosen(figures)
    given = {"spread": spread, "projection": projection}
    options = {name: value for name, value in given.items() if value is not None}
    for name in options:
        if not any(name in experiment.options for experiment in chosen.values()):
            raise click.UsageError(f"--{name}: no such option for figure {', '.join(chosen)}")
    changes = {
        number: {name: value for name, value in options.items() if name in experiment.options}
        for number, experiment in chosen.items()
    }
    for number, experiment in chosen.items():
        check(f"figure {number}", experiment, changes[number])
    for number, experiment in chosen.items():
        carry_out(f"figure {number}", experiment, out, seeds, quick, changes[number])


def _chosen(names: Sequence[str]) -> dict[str, Experiment]:
    """Return the figures named, each once."""
    if unknown := [name for name in names if name not in FIGURES and name != "all"]:
        raise click.UsageError(f"figure {unknown[0]!r}: unknown; there are {', '.join(FIGURES)}, and all")
    wanted = list(FIGURES) if "all" in names else list(dict.fromkeys(names))
    return {name: FIGURES[name] for name in wanted}


def check(title: str, experiment: Experiment, changes: Mapping[str, object]) -> None:
    """Fail if an experiment has not what it needs, or not the settings that are to be changed."""
    try:
        experiment.check_requirements()
        experiment.settings(changes=changes)
    except (ImportError, ValueError) as error:
        raise Failed(BAD_INPUT, f"{title}: {error}") from None


def carry_out(
    title: str, experiment: Experiment, out: Path, seeds: int | None, quick: bool, changes: Mapping[str, object]
) -> None:
    """Run an experiment, write its files, and print its line."""
    from ..experiments import cells, ensemble, output  # noqa: PLC0415 — not needed for ``info``

    try:
        settings = experiment.settings(seeds=seeds, quick=quick, changes=changes)
        output.prepare(out)
        name = output.name_for(out, experiment.module, asdict(settings))
        kept_cells = cells.Cells(out / f"{experiment.module}-cells")
    except ImportError as error:  # of an extra
        raise Failed(BAD_INPUT, f"{title}: {error}") from None
    except OSError as error:
        raise _unwritable(out, error) from None
    started = time.perf_counter()
    try:
        result = experiment.reproduce(seeds=seeds, quick=quick, cells=kept_cells, changes=changes)
    except KeyboardInterrupt as end:
        if not experiment.resumable:
            raise
        click.echo(err=True)  # below ^C, as click does
        status, word = ended(end)
        raise Failed(status, f"{title}: {word}; what was finished is kept, the same command goes on") from None
    except ImportError as error:  # of an extra
        raise Failed(BAD_INPUT, f"{title}: {error}") from None
    except ArithmeticError as error:  # of a fit
        raise Failed(NUMERICAL_FAILURE, f"{title}: {error}") from None
    except ensemble.NumericalFailure as failure:
        kept = output.save_failed(failure.run, out, name)
        raise Failed(NUMERICAL_FAILURE, f"{title}: {failure}; what there is of that run was kept in {kept}") from None
    try:
        picture = output.write(result, out, name)
    except OSError as error:
        raise _unwritable(out, error) from None
    seconds = time.perf_counter() - started
    if result.table:
        click.echo(result.table)
    earlier = f", {kept_cells.found} finished cells from before" if kept_cells.found else ""
    click.echo(f"{title}{' (quick)' if quick else ''}: {result.line}; {seconds:.1f} s{earlier}; {picture}")


def _unwritable(out: Path, error: OSError) -> Failed:
    return Failed(BAD_INPUT, f"--out: cannot write in {out}: {error.strerror or error}")
