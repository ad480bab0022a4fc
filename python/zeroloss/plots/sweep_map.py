"""The heat map of a sweep: delays or final values over two of its keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .. import survival
from .._checks import ArgumentValueError, format_value
from .._display import shorten
from .figures import find_figure, take_axes
from .pictures import COLOURS, style, write_condition, write_literally

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DIVERGED = "diverged"  # of the variable "ending"
_LONGEST = 60  # characters of a label


def plot_sweep(
    cube: xr.Dataset,
    value: str,
    x: str | None = None,
    y: str | None = None,
    *,
    since: str | None = None,
    axes: Axes | None = None,
) -> Figure:
    """Plot a heat map of a sweep over two of its keys: the delay of an event, or the last value of a variable.

    The cells of other keys, such as seeds, share a square. It shows the median of their delays, by the estimate of
    Kaplan and Meier, or the median of their last values. A square is hatched if most of its runs ended before the event
    (their delays are censored), or if all of its runs diverged. A square without ended runs is empty.

    Parameters
    ----------
    cube : xarray.Dataset
        The cube that `zeroloss.sweeps.open_sweep` returns.
    value : str
        An event of the sweep, such as ``"test_accuracy >= 0.95"``, or a variable over "step", such as ``"test_loss"``.
    x : str, optional
        The key along the abscissa, a dimension of the cube. By default the longest one that is not a seed.
    y : str, optional
        The key along the ordinate. By default the second longest one that is not a seed, if there is one.
    since : str, optional
        The event from which delays are counted, such as ``"train_accuracy >= 1"``. By default they are counted from
        step 0.
    axes : Axes, optional
        The axes to draw in. By default a new figure is made.

    Returns
    -------
    Figure
        The figure with the axes.

    Raises
    ------
    ValueError
        If the cube has no such event, variable or key.
    """
    keys = choose_keys(cube, x, y)
    is_event = value in _events(cube)
    if since is not None and not is_event:
        raise ArgumentValueError("since", f"expected only with an event, got {format_value(since)}")
    squares, label = find_delays(cube, value, keys, since) if is_event else find_last(cube, value, keys)
    with style():
        (panel,) = take_axes(axes, 1, width=5.2, height=4.2)
        draw_squares(panel, squares, label)
    return find_figure(panel)


def _events(cube: xr.Dataset) -> list[str]:
    return [str(event) for event in cube.event.values] if "event" in cube else []


def choose_keys(cube: xr.Dataset, x: str | None = None, y: str | None = None) -> list[str]:
    """Return the keys of the axes: the given ones, and otherwise the longest ones that are not seeds."""
    keys = [str(dim) for dim in cube.ending.dims]
    for name, key in (("x", x), ("y", y)):
        if key is not None and key not in keys:
            raise ArgumentValueError(name, f"expected one of {', '.join(keys)}, got {format_value(key)}")
    if x is not None and x == y:
        raise ArgumentValueError("y", f"expected another key than x, got {format_value(y)}")
    given = {x, y}
    others = [key for key in keys if not key.endswith("seed")] or keys
    longest = iter(sorted((key for key in others if key not in given), key=lambda key: -cube.sizes[key]))
    chosen = [key if key is not None else next(longest, None) for key in (x, y)]
    return [key for key in chosen if key is not None]


def find_delays(cube: xr.Dataset, event: str, keys: Sequence[str], since: str | None) -> tuple[xr.DataArray, str]:
    """Return the median delay over the other keys and its label. Infinite if most runs ended before the event."""
    known = _events(cube)
    for name, text in (("value", event), ("since", since)):
        if text is not None and text not in known:
            raise ArgumentValueError(name, f"expected one of {', '.join(known)}, got {format_value(text)}")
    # A run that diverged can have no later event.
    ends = cube.last_step.where(cube.ending != _DIVERGED, np.inf)
    steps, label = cube.event_step.sel(event=event), f"steps to {write_condition(event)}"
    if since is not None:
        begin = cube.event_step.sel(event=since)
        steps, ends, label = (
            steps - begin,
            ends - begin,
            f"steps from {write_condition(since)}\nto {write_condition(event)}",
        )
    others = [str(dim) for dim in steps.dims if dim not in keys]
    is_known = steps.notnull() | ends.notnull()
    middle = survival.median(steps, ends, others) if others else steps.where(np.isfinite(steps), np.inf)
    return middle.where(is_known.any(others) if others else is_known).transpose(*keys[::-1]), label


def find_last(cube: xr.Dataset, variable: str, keys: Sequence[str]) -> tuple[xr.DataArray, str]:
    """Return the median over the other keys of the last recorded values, and its label. Infinite if all diverged."""
    curves = [str(name) for name, values in cube.items() if values.dims[-1:] == ("step",)]
    if variable not in curves:
        known = ", ".join([*_events(cube), *curves])
        raise ArgumentValueError("value", f"expected one of {known}, got {format_value(variable)}")
    curve = cube[variable]
    last = curve.where(curve.step == cube.last_step).max("step")  # NaN in all places except one
    has_diverged = cube.ending == _DIVERGED
    others = [str(dim) for dim in last.dims if dim not in keys]
    middle = last.where(~has_diverged).median(others)
    gone = has_diverged.any(others) & middle.isnull()
    label = f"last {curve.attrs.get('long_name', variable)}"
    return middle.where(~gone, np.inf).transpose(*keys[::-1]), label


def draw_squares(axes: Axes, squares: xr.DataArray, label: str) -> None:
    """Draw a value for each square: infinite ones hatched, missing ones empty.

    Parameters
    ----------
    axes : Axes
        The axes to draw in.
    squares : xarray.DataArray, (y, x) or (x,)
        The values, labelled by the keys.
    label : str
        The meaning of the values.
    """
    import matplotlib as mpl  # noqa: PLC0415 — Matplotlib is loaded with the first picture.

    values = np.atleast_2d(squares.values.astype(np.float64))
    finite = values[np.isfinite(values)]
    is_log = finite.size > 1 and finite.min() > 0 and finite.max() > 10 * finite.min()
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    norm = mpl.colors.LogNorm(low, high) if is_log else mpl.colors.Normalize(low, high)
    shown = np.ma.masked_invalid(values)
    image = axes.imshow(shown, origin="lower", aspect="auto", cmap="viridis_r", norm=norm, interpolation="nearest")
    for row, column in np.argwhere(np.isposinf(values)):
        corner = (column - 0.5, row - 0.5)
        axes.add_patch(
            mpl.patches.Rectangle(corner, 1, 1, fill=False, hatch="////", linewidth=0, edgecolor=COLOURS["grey"])
        )
    axes.grid(visible=False)
    *y, x = [str(dim) for dim in squares.dims]
    axes.set_xticks(range(values.shape[1]), format_values(squares[x]), rotation=45 if values.shape[1] > 6 else 0)
    axes.set_yticks(range(values.shape[0]) if y else [], format_values(squares[y[0]]) if y else [])
    axes.set_xlabel(shorten(squares[x].attrs.get("long_name", x), _LONGEST))
    if y:
        axes.set_ylabel(shorten(squares[y[0]].attrs.get("long_name", y[0]), _LONGEST))
    text = "\n".join(shorten(line, _LONGEST) for line in label.splitlines())
    if finite.size:
        bar = axes.figure.colorbar(image, ax=axes, shrink=0.8)
        bar.set_label(text, parse_math=False)
    else:
        axes.set_title(text, parse_math=False)
    write_literally(axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels())


def format_values(values: xr.DataArray) -> list[str]:
    """Return the values of a key as labels."""
    texts = (f"{value:g}" if isinstance(value, int | float) else str(value) for value in values.values.tolist())
    return [shorten(text, _LONGEST) for text in texts]
