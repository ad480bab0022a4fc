"""The commands ``reproduce``, ``check`` and ``study``: the paper's figures, its theorems, and what goes beyond it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from .. import plots
from ..studies import CHECKS, FIGURES, STUDIES
from .command import BAD_INPUT, NUMERICAL_FAILURE, Failed, assignment, ended

#: Every study: what the commands call it, and its module.
_ALL = {
    **{f"figure {number}": module for number, module in FIGURES.items()},
    **{f"check {number}": module for number, module in CHECKS.items()},
    **{f"study {name}": module for name, module in STUDIES.items()},
}


def _out_option() -> Any:
    return click.Option(
        ["--out"],
        type=click.Path(path_type=Path),
        default=Path("out"),
        show_default=True,
        help="Directory for the files.",
    )


def _options() -> list[Any]:
    """Return the options of all three commands."""
    return [
        _out_option(),
        click.Option(
            ["--seeds"], type=click.IntRange(min=1), help="Number of seeds; its own, or the paper's, by default."
        ),
        click.Option(
            ["--set", "changes"],
            metavar="NAME=VALUE",
            multiple=True,
            help="In place of a setting, as its .json holds them.",
        ),
        click.Option(["--quick"], is_flag=True, help="The same in small, in seconds; marked on the picture."),
        click.Option(
            ["--format", "form"],
            type=click.Choice(list(plots.FORMS)),
            default="png",
            show_default=True,
            help="Of the picture.",
        ),
        click.Option(["--scheduler"], metavar="ADDRESS", help="Use the Dask cluster of this scheduler."),
    ]


def _act(titles: Sequence[str], changes: Mapping[str, Mapping[str, Any]], **options: Any) -> None:
    """Carry out studies; all of them are checked before the first one starts."""
    chosen = [_Chosen(title, changes[title], **options) for title in dict.fromkeys(titles)]
    memory: dict[str, Any] = {}  # what several of them need is computed once
    with _client(options["scheduler"]) as client:
        for one in chosen:
            one.carry_out(client, memory)


@contextlib.contextmanager
def _client(scheduler: str | None) -> Iterator[Any]:
    if scheduler is None:
        yield None
        return
    from .. import sweeps  # noqa: PLC0415

    try:
        with sweeps.connect(scheduler) as client:
            yield client
    except (sweeps.ClusterError, ImportError) as error:
        raise Failed(BAD_INPUT, str(error)) from error


class _Chosen:
    """A study with its settings, ready to be carried out."""

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
        self._shares = scheduler is not None
        self._study = studies.load(_ALL[title])
        try:
            self._settings = self._study.settings(seeds=seeds, quick=quick, changes=changes)
            self._study.check(self._settings)
        except (ImportError, ValueError) as error:
            raise Failed(BAD_INPUT, f"{title}: {error}") from None
        self._remark = "; nothing random, so no seeds" if seeds and not hasattr(self._settings, "seeds") else ""

    def carry_out(self, client: Any, memory: dict[str, Any]) -> None:
        """Run the study, write its files, and print its line."""
        from ..studies import Cells, NumericalFailureError, _study  # noqa: PLC0415 — not needed for ``info``

        title, out, study = self._title, self._out, self._study
        stores = study.stores or self._shares
        try:
            _study.prepare(out)
            name = _study.name_for(out, study.name, self._settings, self._form)
            cells = Cells(out / f"{study.name}-cells" if stores else None, memory)
        except OSError as error:
            raise _unwritable(out, error) from None
        started = time.perf_counter()
        try:
            result = study.run(self._settings, cells=cells, client=client)
        except KeyboardInterrupt as end:
            if not stores:
                raise
            click.echo(err=True)  # below ^C, as click does
            status, word = ended(end)
            raise Failed(status, f"{title}: {word}; what was finished is kept, the same command goes on") from None
        except (ImportError, ValueError) as error:
            raise Failed(BAD_INPUT, f"{title}: {error}") from None
        except ArithmeticError as error:  # of a fit
            raise Failed(NUMERICAL_FAILURE, f"{title}: {error}") from None
        except NumericalFailureError as failure:
            kept = _study.save_failed(failure.run, out, name)
            line = f"{title}: {failure}; the partial results of that run are in {kept}"
            raise Failed(NUMERICAL_FAILURE, line) from None
        try:
            picture = result.save(out, name, self._form)
        except OSError as error:
            raise _unwritable(out, error) from None
        seconds = time.perf_counter() - started
        if result.table:
            click.echo(result.table)
        earlier = f", {cells.found} finished cells from before" if cells.found else ""
        form = " (quick)" if self._quick else ""
        click.echo(f"{title}{form}: {result.line}{self._remark}; {seconds:.1f} s{earlier}; {picture}")


def _unwritable(out: Path, error: OSError) -> Failed:
    return Failed(BAD_INPUT, f"--out: cannot write in {out}: {error.strerror or error}")


def _assignments(changes: Sequence[str]) -> dict[str, Any]:
    return dict(assignment(change, "NAME=VALUE") for change in changes)


def _reproduce(
    names: tuple[str, ...], changes: tuple[str, ...], spread: str | None, projection: str | None, **options: Any
) -> None:
    if not names:
        click.echo(_list())
        return
    titles = [title for name in names for title in _titles(name)]
    given = {title: _assignments(changes) for title in titles}
    for option, value in (("spread", spread), ("projection", projection)):
        if value is None:
            continue
        from .. import studies  # noqa: PLC0415

        having = [title for title in given if hasattr(studies.load(_ALL[title]).full, option)]
        if not having:
            raise click.UsageError(f"--{option}: no such option for {', '.join(given)}")
        for title in having:
            given[title][option] = value
    _act(titles, given, **options)


def _titles(name: str) -> list[str]:
    """Return the studies of a name: a figure's number or name, a theorem, a study, or all figures."""
    if name == "all":
        return [title for title in _ALL if title.startswith("figure ")]
    for title in (f"figure {name.removeprefix('figure')}", f"check {name.removeprefix('theorem')}", f"study {name}"):
        if title in _ALL:
            return [title]
    raise click.UsageError(
        f"{name!r}: unknown; there are {', '.join(FIGURES)}, all, theorem{', theorem'.join(CHECKS)}, "
        f"{', '.join(STUDIES)}"
    )


def _list() -> str:
    """Return what there is to reproduce, with what it shows and the time that it takes."""
    from .. import studies  # noqa: PLC0415

    lines = ["zeroloss reproduce NAME…: what there is, and the expected time on two cores (--quick: seconds)"]
    for heading, names in (
        ("the paper's figures", {number: FIGURES[number] for number in FIGURES}),
        ("its theorems", {f"theorem{number}": CHECKS[number] for number in CHECKS}),
        ("beyond the paper", STUDIES),
    ):
        lines += ["", heading]
        for name, module in names.items():
            study = studies.load(module)
            lines.append(f"  {name:<16} {study.takes:>7}  {study.about}")
    return "\n".join(lines)


reproduce = click.Command(
    "reproduce",
    params=[
        click.Argument(["names"], metavar="[NAME]…", nargs=-1),
        *_options(),
        click.Option(
            ["--spread"],
            type=click.Choice(["std", "variance"]),
            help="Figure 6: what p^(-1/2) is in E ~ N(0, p^(-1/2)).  [default: std]",
        ),
        click.Option(
            ["--projection"],
            type=click.Choice(["chord", "gauss_newton", "momentum"]),
            help="Figures 5, 7: how to get onto the zero-loss set; the paper's is momentum.  [default: chord]",
        ),
    ],
    callback=_reproduce,
    help="Reproduce figures of the paper, by number, or all. Without a name, list what there is.\n\n"
    f"The numbers are {', '.join(FIGURES)} and the word all. Names of checks (theorem4.8) and studies (delay-law) are "
    "taken, too.\n\n"
    "Writes figureN.png, figureN.nc (the plotted numbers) and figureN.json (settings, seeds, versions, summary), and "
    "prints one line of summary numbers.",
)


def _command(name: str, metavar: str, modules: Mapping[str, str], words: str) -> click.Command:
    def act(chosen: tuple[str, ...], changes: tuple[str, ...], **options: Any) -> None:
        if unknown := [one for one in chosen if one not in modules]:
            raise click.UsageError(f"{name} {unknown[0]!r}: unknown; there are {', '.join(modules)}")
        titles = [f"{name} {one}" for one in chosen]
        _act(titles, dict.fromkeys(titles, _assignments(changes)), **options)

    argument = click.Argument(["chosen"], metavar=metavar, nargs=-1, required=True)
    return click.Command(name, params=[argument, *_options()], callback=act, help=words)


check = _command(
    "check",
    "THEOREM…",
    CHECKS,
    "Check theorems of the paper, by number: 4.8, 4.10, 4.14 or 5.1.\n\n"
    "Prints a small table and one line of summary numbers, and writes theoremN.png, .nc and .json.",
)
study = _command(
    "study",
    "NAME…",
    STUDIES,
    "Carry out studies beyond the paper, by name.\n\n"
    "\b\n" + "\n".join(f"  {name}" for name in STUDIES) + "\n\n"  # \b: no line breaks within the names
    "Writes a picture, the plotted numbers (.nc) and settings with a summary (.json), and prints one line.",
)
