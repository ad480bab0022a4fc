"""The commands ``check`` and ``study``: the paper's theorems by number, and studies beyond it by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ..experiments import CHECKS, STUDIES, Experiment
from .command import assignment
from .reproduce import carry_out
from .reproduce import check as check_experiment


def _command(name: str, metavar: str, experiments: Mapping[str, Experiment], words: str) -> click.Command:
    def act(chosen: tuple[str, ...], out: Path, seeds: int | None, quick: bool, changes: tuple[str, ...]) -> None:
        if unknown := [one for one in chosen if one not in experiments]:
            raise click.UsageError(f"{name} {unknown[0]!r}: unknown; there are {', '.join(experiments)}")
        given = dict(assignment(change, "NAME=VALUE") for change in changes)
        for one in dict.fromkeys(chosen):  # all of them before the first one starts
            check_experiment(f"{name} {one}", experiments[one], given)
        for one in dict.fromkeys(chosen):
            carry_out(f"{name} {one}", experiments[one], out, seeds, quick, given)

    parameters: list[Any] = [
        click.Argument(["chosen"], metavar=metavar, nargs=-1, required=True),
        click.Option(
            ["--out"],
            type=click.Path(path_type=Path),
            default=Path("out"),
            show_default=True,
            help="Directory for the files.",
        ),
        click.Option(["--seeds"], type=click.IntRange(min=1), help="Number of seeds; its own by default."),
        click.Option(
            ["--set", "changes"],
            metavar="NAME=VALUE",
            multiple=True,
            help="In place of a setting, as its .json holds them.",
        ),
        click.Option(["--quick"], is_flag=True, help="The same in small, in seconds; marked on the picture."),
    ]
    return click.Command(name, params=parameters, callback=act, help=words)


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
