"""The report of a sweep: lines that sum it up, and a picture."""

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
from .store import NOT_ENDED, open_sweep


def report(
    directory: str | os.PathLike[str], out: str | os.PathLike[str] | None = None, *, by: str | None = None
) -> list[str]:
    """Sum up and draw a sweep, ended or under way.

    Parameters
    ----------
    directory : path
        The directory of the sweep.
    out : path, optional
        The picture, by default DIR/report.png.
    by : str, optional
        The dimension of the cube by which curves are grouped; by default the first that is no seed.

    Returns
    -------
    list of str
        How the cells ended, when events happened in them, and where the picture is.
    """
    found = open_sweep(directory)
    endings = collections.Counter(found.ending.values.ravel().tolist())
    lines = [f"{directory}: {found.ending.size} cells: {', '.join(f'{n} {name}' for name, n in endings.most_common())}"]
    count = found.ending.size - endings[NOT_ENDED]
    ends = found.last_step.where(found.ending != Ending.DIVERGED, np.inf)  # a run that diverged never has an event
    for name in found.event.values.tolist():
        steps = found.event_step.sel(event=name)
        happened = int(np.isfinite(steps).sum())
        middle = survival.median(steps, ends)
        reached = f"median {middle:.0f}" if np.isfinite(middle) else "median not reached"
        when = f", at steps {float(steps.min()):.0f} to {float(steps.max()):.0f}, {reached}" if happened else ""
        lines.append(f"{name}: in {happened} of {count} cells{when}")
    path = find_picture_path(Path(directory), out)
    with plots.style():
        figure = picture.draw(found, Path(directory).resolve().name, by)
        write_atomically(path, lambda file: plots.save(figure, file))
    return [*lines, f"picture: {path}"]
