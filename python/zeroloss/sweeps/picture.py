"""The picture of a sweep: a heat map of delays over two of its keys, and curves grouped by one key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import plots
from .._checks import ArgumentValueError

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

#: With more cells, their single curves are not drawn.
_MAX_FAINT = 200
#: The first of these values that the cells have is drawn.
_CURVES = ("test_accuracy", "test_loss", "train_loss")


def draw(cube: xr.Dataset, title: str, by: str | None = None) -> Figure:
    """Draw the delays, if there are events, and the curves of a sweep.

    Parameters
    ----------
    cube : Dataset
        The cube that `open_sweep` returns.
    title : str
        The name of the sweep.
    by : str, optional
        The dimension by which curves are grouped; by default the first one that is not a seed.

    Raises
    ------
    ValueError
        If ``by`` is not the dimension of a swept key.
    """
    keys = [str(dim) for dim in cube.ending.dims]
    if by is not None and by not in keys:
        raise ArgumentValueError("by", f"expected one of {', '.join(keys)}, got {by}")
    name = next((name for name in _CURVES if name in cube and np.isfinite(cube[name]).any()), None)
    parts = [*(["delays"] if cube.sizes["event"] else []), *(["curves"] if name else [])]
    figure = plots.make_figure(6.0 * max(len(parts), 1), 4.8)
    plots.write_literally(figure.suptitle(title, fontsize=8, color=plots.COLOURS["grey"], x=0.99, ha="right"))
    places: Any = figure.subfigures(1, len(parts), squeeze=False, wspace=0.04).ravel() if parts else []
    for place, letter, part in zip(places, "ab", parts, strict=False):
        if part == "delays":
            _delays(place, letter, cube)
        else:
            assert name is not None
            _curves(place, letter, cube[name], by or plots.choose_keys(cube)[0])
    return figure


def _delays(place: SubFigure, letter: str, cube: xr.Dataset) -> None:
    """Draw the median steps to the last event, or from the first to the last event. Unreached medians are hatched."""
    first, *_, last = [*cube.event.values.tolist()] * 2
    keys = plots.choose_keys(cube)
    plots.draw_squares(place.subplots(), *plots.find_delays(cube, last, keys, since=None if first == last else first))
    plots.add_title(place, letter, "median delay; hatched: not reached in most cells")


def _curves(place: SubFigure, letter: str, curves: xr.DataArray, by: str) -> None:
    """Draw a faint curve for every cell, and the mean of each group."""
    import matplotlib as mpl  # noqa: PLC0415

    axes: Axes = place.subplots()
    labels = plots.format_values(curves[by])
    shades = mpl.colormaps["viridis"](np.linspace(0.9, 0.05, len(labels)))
    faint = curves.size / curves.sizes["step"] <= _MAX_FAINT
    for shade, label, place_of in zip(shades, labels, range(len(labels)), strict=True):
        group = curves.isel({by: place_of})
        rows = group.transpose(..., "step").values.reshape(-1, group.sizes["step"])
        rows = rows[np.isfinite(rows).any(axis=1)]
        if not len(rows):
            continue
        for row in rows if faint and len(rows) > 1 else []:
            is_recorded = np.isfinite(row)
            axes.plot(curves.step[is_recorded], row[is_recorded], color=shade, alpha=0.35, linewidth=0.7)
        counts = np.isfinite(rows).sum(axis=0)
        whole = counts == counts.max()  # Every point of the mean is over the same cells.
        axes.plot(curves.step[whole], rows[:, whole].mean(axis=0), color=shade, label=label)
    if _is_log_spaced(curves.step.values):
        axes.set_xscale("log")
    if "loss" in str(curves.name):
        axes.set_yscale("log")
    axes.set(xlabel="step", ylabel=str(curves.attrs.get("long_name", curves.name)))
    legend = axes.legend(title=curves[by].attrs["long_name"], title_fontsize=8, ncols=1 + len(labels) // 9)
    plots.write_literally(*legend.get_texts())
    plots.add_title(place, letter, f"{curves.attrs.get('long_name', curves.name)}, grouped by {by}; means and cells")


def _is_log_spaced(steps: NDArray[Any]) -> bool:
    """Whether steps are spaced logarithmically, so that the gaps grow with the steps."""
    positive = steps[steps > 0]
    return len(positive) > 3 and positive[-1] - positive[-2] > 3 * (positive[1] - positive[0])
