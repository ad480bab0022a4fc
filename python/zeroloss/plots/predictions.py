"""The table of predictions of a task with two operands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._checks import ArgumentValueError
from ..datasets import Dataset, find_operands
from ..networks import Network
from .figures import find_figure, take_axes
from .pictures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The kinds of cells, by number, with their colour. Test samples are dark and training samples are pale.
KINDS = {
    "training, right": "#BBD7EA",
    "training, wrong": "#F6C9A4",
    "test, right": "#0072B2",
    "test, wrong": "#B34700",
}


def plot_predictions(net: Network, data: Dataset, *, axes: Axes | None = None) -> Figure:
    """Plot for each pair of operands whether the network predicts the right class.

    Row a and column b belong to the first and the second operand. Pale cells are training samples, dark ones test
    samples. Blue cells are right; orange cells with a cross are wrong. Pairs without a sample stay white. If a task has
    only the pairs a ≤ b, because the order does not matter, (b, a) has the cell of (a, b).

    Parameters
    ----------
    net : Network
        The network.
    data : Dataset
        A task with two operands, such as modular addition or the composition of permutations.
    axes : Axes, optional
        The axes to draw in. By default a new figure is made.

    Returns
    -------
    Figure
        The figure with the axes.

    Raises
    ------
    ValueError, TypeError
        If the samples are not pairs of operands with classes, or the network does not fit them.
    """
    table, counts = classify_pairs(net, data)
    with style():
        (panel,) = take_axes(axes, 1, width=4.6, height=5.2)
        draw_table(panel, table, counts)
    return find_figure(panel)


def classify_pairs(net: Network, data: Dataset) -> tuple[NDArray[np.float64], list[int]]:
    """Find the kind of each pair of operands, and count the samples of each kind.

    Parameters
    ----------
    net : Network
        The network.
    data : Dataset
        A task with two operands.

    Returns
    -------
    table : ndarray, (m, m)
        The place of the kind in `KINDS` for each pair of m operands. NaN for a pair without a sample.
    counts : list of int
        The number of samples of each kind.

    Raises
    ------
    ValueError, TypeError
        As for `plot_predictions`.
    """
    _checks.check_instance("net", net, Network)
    _checks.check_instance("data", data, Dataset)
    if net.W.shape[1] != data.d_out:
        raise ArgumentValueError("net", f"expected {data.d_out} outputs, as the data have, got {net.W.shape[1]}")
    operands = find_operands(data)
    if operands is None:
        task = data.settings.get("task", "other samples")
        raise ArgumentValueError(
            "data", f"expected a task with two operands, such as modular addition or permutations, got {task}"
        )
    table = np.full((data.d_out, data.d_out), np.nan)
    counts = [0] * len(KINDS)
    training, test = np.split(operands, [data.train_count])
    for pairs, rows, Y, right in (
        (training, data.rows_train, data.Y_train, 0),
        (test, data.rows_test, data.Y_test, 2),
    ):
        outputs = net.outputs(rows)
        is_right = np.isfinite(outputs).all(axis=1) & (outputs.argmax(axis=1) == Y.argmax(axis=1))
        for (a, b), kind in zip(pairs.tolist(), np.where(is_right, right, right + 1).tolist(), strict=True):
            counts[kind] += 1
            is_taken = not np.isnan(table[a, b])  # by the sample (a, b), which as a sum has the same inputs as (b, a)
            table[(b, a) if is_taken else (a, b)] = kind
    if data.d_in == data.d_out:
        table = np.where(np.isnan(table), table.T, table)
    return table, counts


def draw_table(axes: Axes, table: NDArray[np.float64], counts: Sequence[int]) -> None:
    """Draw a table of kinds, with a legend that counts the samples.

    Parameters
    ----------
    axes : Axes
        The axes to draw in.
    table : ndarray, (m, m)
        The kinds, see `classify_pairs`.
    counts : sequence of int
        The number of samples of each kind.
    """
    import matplotlib as mpl  # noqa: PLC0415

    colours = mpl.colors.ListedColormap(list(KINDS.values()))
    shown = np.ma.masked_invalid(table)
    axes.imshow(shown, cmap=colours, vmin=-0.5, vmax=3.5, origin="lower", interpolation="nearest")
    a, b = np.nonzero((table == 1) | (table == 3))
    size = max(1.0, min(6.0, 110 / len(table)))
    cross: Any = {"color": "black", "markersize": size, "markeredgewidth": size / 6, "linestyle": "none"}
    axes.plot(b, a, "x", **cross)
    axes.grid(visible=False)
    axes.set(xlabel="second operand", ylabel="first operand")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
    handles = [mpl.patches.Patch(color=colour) for colour in KINDS.values()]
    labels = [f"{name}: {count}" for name, count in zip(KINDS, counts, strict=True)]
    axes.legend(handles, labels, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
