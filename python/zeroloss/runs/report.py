"""The report of a run: a summary and one picture."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

from .. import plots
from .._checks import ArgumentValueError
from ..results import Run, RunDirectory
from ..results.files import write_atomically
from . import picture
from .execute import load


def report(directory: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> list[str]:
    """Draw a run, which has ended or is in progress, and return a summary.

    Parameters
    ----------
    directory : path
        A directory that ``zeroloss run`` or ``Run.save`` wrote.
    out : path, optional
        The file of the picture, whose name ends in ``.png``. By default it is ``report.png`` in the directory, with a
        number if another program wrote a file of that name.

    Returns
    -------
    list of str
        The lines of the summary; the last one names the picture.

    Raises
    ------
    FileNotFoundError
        If there is no run.
    DamagedError
        If no checkpoint is valid.
    FileExistsError
        If ``out`` is a file that this package did not write.
    ValueError
        If ``out`` does not end in ``.png``.
    """
    return report_of(load(directory), directory, out)


def report_of(run: Run, directory: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> list[str]:
    """Draw a run that was loaded from a directory, and return the lines of `report`."""
    path = find_picture_path(Path(directory), out)
    with plots.style():
        figure = picture.draw(run, Path(directory).resolve().name)
        write_atomically(path, lambda file: plots.save(figure, file))
    return [*_summary(run, RunDirectory(directory)), f"picture: {path}"]


def find_picture_path(directory: Path, out: str | os.PathLike[str] | None) -> Path:
    """Return the path of the picture: ``out``, or the first free name in the directory.

    A picture that this package wrote is replaced; other files are not.
    """
    if out is not None:
        if Path(out).suffix.lower() != ".png":
            raise ArgumentValueError("out", f"expected a name that ends in .png, got {out}")
        if os.path.lexists(out) and not plots.is_ours(Path(out)):
            raise FileExistsError(f"out: {out} is a file that zeroloss did not write; choose another name")
        return Path(out)
    names = itertools.chain(["report.png"], (f"report-{number}.png" for number in itertools.count(2)))
    paths = (directory / name for name in names)
    return next(path for path in paths if not os.path.lexists(path) or (path.is_file() and plots.is_ours(path)))


def _summary(run: Run, directory: RunDirectory) -> list[str]:
    dynamics = ", ".join(f"{key} {value}" for key, value in run.settings["dynamics"].items() if value is not None)
    lines = [f"{run.outcome}", f"{dynamics}", f"{run.data}", f"{run.network}"]
    if run.history.sizes["step"]:
        last = run.history.isel(step=-1)
        for name in ("train_loss", "test_loss", "train_accuracy", "test_accuracy", "norm_E", "norm_W"):
            lines.append(f"{name:<15} {float(run.history[name][0]):<12.5g} → {float(last[name]):.5g}")
    for operand, (first, last_share) in picture.strongest_shares(run).items():
        lines.append(f"{'strongest share':<15} {first:<12.5g} → {last_share:.5g}{'  of ' * bool(operand)}{operand}")
    events = {text: step for text, step in run.events.items() if step is not None}
    lines += [f"{text:<24} first at step {step}" for text, step in sorted(events.items(), key=lambda item: item[1])]
    if directory.log_file.exists():
        lines.append(f"log: {directory.log_file}")
    return lines
