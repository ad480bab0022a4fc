"""The table of predictions of a task with two operands: a cell for each pair of numbers, at each snapshot."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ..datasets import Dataset, find_operands
from ..results import Run
from .encode import encode

#: Cells of a table in a page.
_MOST_CELLS = 20_000


def pairs_of(data: Dataset) -> NDArray[np.intp] | None:
    """Find the two operands of each sample, if a page has place for their table.

    Parameters
    ----------
    data : Dataset
        The samples.

    Returns
    -------
    ndarray, (n + n_test, 2), or None
        See `find_operands`. None also if the table would have too many cells.
    """
    return find_operands(data) if data.d_out**2 <= _MOST_CELLS else None


def table_of(run: Run, places: Sequence[int] | NDArray[np.intp]) -> dict[str, Any] | None:
    """Return the predictions and margins for each pair, at some snapshots.

    Parameters
    ----------
    run : Run
        The run.
    places : sequence of int
        The places of the snapshots.

    Returns
    -------
    dict or None
        "n", "mirror" (whether a pair (a, b) also stands for (b, a)), "a", "b", "test" (0 or 1), "target", and over the
        snapshots "predicted" and "margin": the output of the target minus the largest other output. None if the task
        has no pairs, or there are no snapshots.
    """
    data = run.data
    pairs = pairs_of(data)
    if pairs is None or run.snapshots is None or not len(places):
        return None
    X = csr_array(np.vstack([data.X_train, data.X_test]))
    target = np.vstack([data.Y_train, data.Y_test]).argmax(axis=1)
    predicted, margin = [], []
    for place in places:
        parameters: dict[str, Any] = {n: run.snapshots[n][int(place)].values for n in run.network.parameters}
        F = np.asarray(dataclasses.replace(run.network, **parameters).outputs(X), np.float64)
        own = F[np.arange(len(F)), target]
        predicted.append(F.argmax(axis=1))
        F[np.arange(len(F)), target] = -np.inf
        margin.append(own - F.max(axis=1))
    return {
        "n": data.d_out,
        "mirror": data.settings.get("pairs") == "unordered",
        "a": encode(pairs[:, 0], "uint16"),
        "b": encode(pairs[:, 1], "uint16"),
        "test": encode(np.arange(len(pairs)) >= data.train_count, "uint8"),
        "target": encode(target, "uint16"),
        "predicted": encode(predicted, "uint16"),
        "margin": encode(margin),
    }
