"""The commands ``reproduce``, ``check`` and ``study``: figures and theorems of the paper, and studies beyond it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

import click

from .. import plots
from .._kernels import kernels
from .._resources import available_processors
from ..studies import CHECKS, FIGURES, STUDIES
from .command import (
    BAD_INPUT,
    NUMERICAL_FAILURE,
    CommandError,
    describe_interruption,
    parse_assignment,
    take_renamed,
)

#: The module of every study, by the title that messages give it.
_MODULES = {
    **{f"figure {number}": module for number, module in FIGURES.items()},
    **{f"check {number}": module for number, module in CHECKS.items()},
    **{f"study {name}": module for name, module in STUDIES.items()},
}


def _options() -> list[Any]:
    """Return the options of all three commands."""
    return [
        click.Option(
            ["--out"],
            type=click.Path(path_type=Path),
            default=Path("out"),
            show_default=True,
            help="The directory of the files.",
        ),
        click.Option(["--seeds"], type=click.IntRange(min=1), help="Number of seeds.  [default: the study's own]"),
        click.Option(
            ["--set", "changes"],
            metavar="NAME=VALUE",
            multiple=True,
            help="Override a setting (names as in the study's .json file).",
        ),
        click.Option(
            ["--quick"], is_flag=True, help="Run a small version in seconds; the figure is labelled as a quick run."
        ),
        click.Option(
            ["--format", "form"],
            type=click.Choice(list(plots.FORMS)),
            default="png",
            show_default=True,
            help="The format of the figure.",
        ),
        click.Option(["--scheduler"], metavar="ADDRESS", help="Use the Dask cluster of this scheduler."),
    ]


def _run_studies(titles: Sequence[str], changes: Mapping[str, Mapping[str, Any]], **options: Any) -> None:
    """Run studies. The settings of all of them are checked before the first one starts."""
    studies = [_ConfiguredStudy(title, changes[title], **options) for title in dict.fromkeys(titles)]
    memory: dict[str, Any] = {}  # Cells that several studies need are computed once.
    with _connect(options["scheduler"]) as client:
        for study in studies:
            study.run(client, memory)


@contextlib.contextmanager
def _connect(scheduler: str | None) -> Iterator[Any]:
    """Connect to a Dask cluster; without an address the client is None."""
    if scheduler is None:
        yield None
        return
    from .. import sweeps  # noqa: PLC0415

    try:
        with sweeps.connect(scheduler) as client:
            yield client
    except (sweeps.ClusterError, ImportError) as error:
        raise CommandError(BAD_INPUT, str(error)) from error


class _ConfiguredStudy:
    """A study with checked settings."""

    def __init__(
        self,
        title: str,
        changes: Mapping[str, Any],
        *,
        out: Path,
        seeds: int | None,
        quick: bool,
        form: str,
        scheduler: str | None,
    ) -> None:
        from .. import studies  # noqa: PLC0415

        self._title, self._out, self._quick, self._form = title, out, quick, form
        self._on_cluster, self._changes = scheduler is not None, tuple(changes)
        self._study = studies.load(_MODULES[title])
        try:
            self._settings = self._study.settings(seeds=seeds, quick=quick, changes=changes)
            self._study.check(self._settings)
        except (ImportError, ValueError) as error:
            raise CommandError(BAD_INPUT, f"{title}: {error}") from None
        is_deterministic = seeds and not hasattr(self._settings, "seeds")
        self._remark = "; deterministic, so --seeds has no effect" if is_deterministic else ""

    def run(self, client: Any, memory: dict[str, Any]) -> None:
        """Run the study, write its files, and print its line."""
        from ..studies import Cells, NumericalFailureError, _files  # noqa: PLC0415 — not needed for ``info``

        title, out, study = self._title, self._out, self._study
        stores_cells = study.stores or self._on_cluster
        try:
            _files.prepare_directory(out)
            name = _files.find_free_name(out, study.name, self._settings, self._form)
            cells = Cells(out / f"{study.name}-cells" if stores_cells else None, memory)
        except OSError as error:
            raise _write_error(out, error) from None
        start = time.perf_counter()
        try:
            self._announce_time()
            result = study.run(self._settings, cells=cells, client=client)
        except KeyboardInterrupt as error:
            if not stores_cells:
                raise
            click.echo(err=True)  # a line break after ^C, as Click prints
            status, word = describe_interruption(error)
            line = f"{title}: {word}; finished cells are saved, and the same command continues"
            raise CommandError(status, line) from None
        except BrokenExecutor as error:
            saved = "; finished cells are saved, and the same command continues" if stores_cells else ""
            line = f"{title}: a worker process ended unexpectedly; was it killed, or is there too little memory?{saved}"
            raise CommandError(NUMERICAL_FAILURE, line) from error
        except (ImportError, ValueError) as error:
            raise CommandError(BAD_INPUT, f"{title}: {error}") from None
        except NumericalFailureError as error:
            path = _files.save_failed(error.run, out, name)
            line = f"{title}: {error}; the partial results of that run are in {path}"
            raise CommandError(NUMERICAL_FAILURE, line) from None
        except FloatingPointError as error:
            raise CommandError(NUMERICAL_FAILURE, f"{title}: {error}") from None
        except Exception as error:
            raise self._error_of_settings(error) from error
        try:
            figure = result.save(out, name, self._form)
            table, summary = result.table, result.line
        except OSError as error:
            raise _write_error(out, error) from None
        except Exception as error:
            raise self._error_of_settings(error) from error
        seconds = time.perf_counter() - start
        if table:
            click.echo(table)
        reused = f", {cells.found} finished cells from before" if cells.found else ""
        form = " (quick)" if self._quick else ""
        click.echo(f"{title}{form}: {summary}{self._remark}; {seconds:.1f} s{reused}; {figure}")

    def _announce_time(self) -> None:
        """Print about how long changed settings take, if it is long and known. The list of studies has the others.

        The grids take their operations at three quarters of the peak of multiply-adds, on all processors.
        """
        grids = self._study.grids(self._settings) if self._changes else ()
        if not all(grid.flops for grid in grids):
            return
        self._study.check_budget(grids)
        peak = kernels.fma_peak64(0.01) * available_processors()
        minutes = sum(grid.total_steps() * grid.flops for grid in grids) / (0.75 * peak) / 60
        if minutes >= 0.5:
            click.echo(f"{self._title}: about {minutes:.0f} min on free processors", err=True)

    def _error_of_settings(self, error: Exception) -> Exception:
        """Return the error of a study as one line if its settings may be the cause, or if a fit failed."""
        if self._changes:
            names = ", ".join(self._changes)
            line = f"{self._title}: cannot be computed or drawn with this {names} ({type(error).__name__}: {error})"
            return CommandError(BAD_INPUT, line)
        if isinstance(error, ArithmeticError):
            return CommandError(NUMERICAL_FAILURE, f"{self._title}: {error}")
        return error


def _write_error(out: Path, error: OSError) -> CommandError:
    return CommandError(BAD_INPUT, f"--out: cannot write in {out}: {error.strerror or error}")


def _parse_changes(changes: Sequence[str]) -> dict[str, Any]:
    return dict(parse_assignment(change, "NAME=VALUE") for change in changes)


def _reproduce(
    names: tuple[str, ...],
    changes: tuple[str, ...],
    init_scale_is: str | None,
    spread: str | None,
    projection: str | None,
    **options: Any,
) -> None:
    if not names:
        click.echo(_list_studies())
        return
    titles = [title for name in names for title in _find_titles(name)]
    settings = {title: _parse_changes(changes) for title in titles}
    init_scale_is = take_renamed("--spread", spread, "--init-scale-is", init_scale_is)
    for option, setting, value in (
        ("--init-scale-is", "spread", init_scale_is),
        ("--projection", "projection", projection),
    ):
        if value is None:
            continue
        from .. import studies  # noqa: PLC0415

        having = [title for title in settings if hasattr(studies.load(_MODULES[title]).full, setting)]
        if not having:
            raise click.UsageError(f"{option}: no such option for {', '.join(settings)}")
        for title in having:
            settings[title][setting] = value
    _run_studies(titles, settings, **options)


def _find_titles(name: str) -> list[str]:
    """Return the titles for a name: a figure (6 or figure6), a theorem (theorem4.8), a study, or all figures."""
    if name == "all":
        return [title for title in _MODULES if title.startswith("figure ")]
    for title in (f"figure {name.removeprefix('figure')}", f"check {name.removeprefix('theorem')}", f"study {name}"):
        if title in _MODULES:
            return [title]
    raise click.UsageError(
        f"{name!r}: unknown; there are {', '.join(FIGURES)}, all, theorem{', theorem'.join(CHECKS)}, "
        f"{', '.join(STUDIES)}"
    )


def _list_studies() -> str:
    """Return a table of all figures, checks and studies, with their content and the time that they take."""
    from .. import studies  # noqa: PLC0415

    lines = ["zeroloss reproduce NAME…: the names, and the expected time on two cores (with --quick: seconds)"]
    for heading, names in (
        ("figures of the paper", {number: FIGURES[number] for number in FIGURES}),
        ("theorems of the paper", {f"theorem{number}": CHECKS[number] for number in CHECKS}),
        ("beyond the paper", STUDIES),
    ):
        lines += ["", heading]
        for name, module in names.items():
            study = studies.load(module)
            lines.append(f"  {name:<16} {study.expected_time:>7}  {study.description}")
    return "\n".join(lines)


reproduce = click.Command(
    "reproduce",
    params=[
        click.Argument(["names"], metavar="[NAME]…", nargs=-1),
        *_options(),
        click.Option(
            ["--init-scale-is"],
            type=click.Choice(["std", "variance"]),
            help="Figure 6: the meaning of p^(-1/2) in E ~ N(0, p^(-1/2)).  [default: std]",
        ),
        click.Option(["--spread"], type=click.Choice(["std", "variance"]), hidden=True),
        click.Option(
            ["--projection"],
            type=click.Choice(["chord", "gauss_newton", "momentum"]),
            help="Figures 5, 7: the projection onto the zero-loss set; the paper's is momentum.  [default: chord]",
        ),
    ],
    callback=_reproduce,
    help="Reproduce figures, theorems and studies, by name.\n\n"
    "Without a name, the command lists all names with the expected time. A figure has its number "
    f"({', '.join(FIGURES)}; all for all figures), a theorem a name such as theorem4.8, and a study beyond the paper a "
    "name such as delay-law.\n\n"
    "Writes a picture, the plotted numbers (.nc) and a .json file with settings, seeds, versions and summary. "
    "Prints one line of summary numbers.",
)


def _make_command(name: str, metavar: str, modules: Mapping[str, str], text: str) -> click.Command:
    """Return the command for one kind of study."""

    def act(names: tuple[str, ...], changes: tuple[str, ...], **options: Any) -> None:
        if unknown := [key for key in names if key not in modules]:
            raise click.UsageError(f"{name} {unknown[0]!r}: unknown; there are {', '.join(modules)}")
        titles = [f"{name} {key}" for key in names]
        _run_studies(titles, dict.fromkeys(titles, _parse_changes(changes)), **options)

    argument = click.Argument(["names"], metavar=metavar, nargs=-1, required=True)
    return click.Command(name, params=[argument, *_options()], callback=act, help=text)


check = _make_command(
    "check",
    "THEOREM…",
    CHECKS,
    "Check theorems of the paper, by number: 4.8, 4.10, 4.14 or 5.1.\n\n"
    "The same as zeroloss reproduce theorem4.8. Prints a small table and one line of summary numbers, and writes "
    "theoremN.png, .nc and .json.",
)
study = _make_command(
    "study",
    "NAME…",
    STUDIES,
    "Run studies beyond the paper, by name.\n\n"
    "\b\n" + "\n".join(f"  {name}" for name in STUDIES) + "\n\n"  # \b: no line breaks within the names
    "The same as zeroloss reproduce NAME. Writes a picture, the plotted numbers (.nc) and settings with a summary "
    "(.json), and prints one line.",
)
