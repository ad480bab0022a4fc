"""The table of predictions of a task with two operands: a cell for each pair of numbers, at each snapshot."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ..datasets import Dataset
from ..results import Run
from .encode import encode

#: Cells of a table in a page.
_MOST_CELLS = 20_000


def pairs_of(data: Dataset) -> tuple[NDArray[np.intp], NDArray[np.intp], int] | None:
    """Find the two operands of each sample.

    Parameters
    ----------
    data : Dataset
        The samples.

    Returns
    -------
    (a, b, n) or None
        The operands of the training and then the test samples, numbers below n. None if a sample is not a pair of two
        numbers in k-hot form, or the table would have too many cells.
    """
    settings = data.settings
    n = settings.get("p", data.d_in // 2)
    if "task" not in settings or settings["task"] == "arrays" or data.classes is None or data.d_in not in {n, 2 * n}:
        return None
    if n * n > _MOST_CELLS:
        return None
    rows = csr_array(np.vstack([data.X_train, data.X_test]))
    if not np.isin(rows.data, (1.0, 2.0)).all() or not (rows.sum(axis=1) == 2).all():
        return None
    numbers = np.repeat(rows.indices, rows.data.astype(np.intp)).reshape(-1, 2)
    numbers = np.sort(numbers, axis=1) - ([0, 0] if data.d_in == n else [0, n])
    if (numbers < 0).any() or (numbers >= n).any():
        return None
    return numbers[:, 0], numbers[:, 1], int(n)


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
    found = pairs_of(run.data)
    if found is None or run.snapshots is None or not len(places):
        return None
    a, b, n = found
    data = run.data
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
        "n": n,
        "mirror": data.settings.get("pairs") == "unordered",
        "a": encode(a, "uint16"),
        "b": encode(b, "uint16"),
        "test": encode(np.arange(len(a)) >= data.train_count, "uint8"),
        "target": encode(target, "uint16"),
        "predicted": encode(predicted, "uint16"),
        "margin": encode(margin),
    }
