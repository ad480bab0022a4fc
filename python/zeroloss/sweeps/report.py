"""The report of a sweep: lines of text, and a picture."""

from __future__ import annotations

import collections
import os
from pathlib import Path

import numpy as np

from .. import plots, survival
from ..results import Ending
from ..results.files import write_atomically
from ..runs.report import find_picture_path
from . import picture
from .cube import NOT_ENDED
from .store import open_sweep


def report(
    directory: str | os.PathLike[str], out: str | os.PathLike[str] | None = None, *, by: str | None = None
) -> list[str]:
    """Summarise and draw a sweep, which may still be running.

    Parameters
    ----------
    directory : path
        The directory of the sweep.
    out : path, optional
        The file of the picture; by default DIR/report.png.
    by : str, optional
        The dimension of the cube by which curves are grouped; by default the first one that is not a seed.

    Returns
    -------
    list of str
        Lines with the outcomes of the cells, the steps of the events, and the file of the picture.
    """
    cube = open_sweep(directory)
    endings = collections.Counter(cube.ending.values.ravel().tolist())
    lines = [f"{directory}: {cube.ending.size} cells: {', '.join(f'{n} {name}' for name, n in endings.most_common())}"]
    count = cube.ending.size - endings[NOT_ENDED]
    # Cells that have not ended are often the slow ones, so a median of the others is not the median of all.
    ended, of_ended = ("ended ", " of the ended cells") if endings[NOT_ENDED] else ("", "")
    ends = cube.last_step.where(cube.ending != Ending.DIVERGED, np.inf)  # A run that diverged can have no later event.
    for name in cube.event.values.tolist():
        steps = cube.event_step.sel(event=name)
        happened = int(np.isfinite(steps).sum())
        middle = survival.median(steps, ends)
        reached = f"median{of_ended} {middle:.0f}" if np.isfinite(middle) else f"median{of_ended} not reached"
        when = f", at steps {float(steps.min()):.0f} to {float(steps.max()):.0f}, {reached}" if happened else ""
        lines.append(f"{name}: in {happened} of {count} {ended}cells{when}")
    path = find_picture_path(Path(directory), out)
    with plots.style():
        figure = picture.draw(cube, Path(directory).resolve().name, by)
        write_atomically(path, lambda file: plots.save(figure, file))
    return [*lines, f"picture: {path}"]
