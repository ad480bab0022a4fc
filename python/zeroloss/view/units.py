"""The snapshots of a run for a page: the weights of its units, and the cyclic group of its task."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import fourier
from ..results import Run
from .encode import encode, encode_weights

#: Units in a page. Of a wider network it has those with the largest ‖E_u‖ ‖W_u‖ in the last snapshot.
_MOST_UNITS = 512
#: Weights and outputs in a page.
_MOST_VALUES = 2_000_000


def units_of(run: Run, table_size: int) -> tuple[dict[str, Any] | None, NDArray[np.intp]]:
    """Return the weights of a run's units, and the places of the snapshots that the page has.

    Parameters
    ----------
    run : Run
        The run.
    table_size : int
        The number of pairs in the table of predictions, which needs room in the page for each snapshot.

    Returns
    -------
    units : dict or None
        "steps", "count" (of snapshots in the run), "hidden", "units" (their numbers), "E", "W" and "group". None
        without snapshots.
    places : ndarray
        The places of the snapshots in the run.
    """
    if run.snapshots is None or not run.snapshots.sizes["step"]:
        return None, np.arange(0)
    snapshots = run.snapshots
    count, d_in, hidden = snapshots.E.shape
    d_out = snapshots.W.shape[2]
    last_E, last_W = snapshots.E[-1].values, snapshots.W[-1].values
    products = np.linalg.norm(np.nan_to_num(last_E), axis=0) * np.linalg.norm(np.nan_to_num(last_W), axis=1)
    units = np.sort(np.argsort(-products, kind="stable")[:_MOST_UNITS])
    room = max(2, _MOST_VALUES // (len(units) * (d_in + d_out) + table_size))
    places = np.unique(np.linspace(0, count - 1, min(count, room)).round().astype(np.intp))
    E = np.stack([snapshots.E[place].values[:, units].T for place in places])
    W = np.stack([snapshots.W[place].values[units] for place in places])
    about = {
        "steps": encode(snapshots.step.values[places], "float64"),
        "count": count,
        "hidden": hidden,
        "d_in": d_in,
        "d_out": d_out,
        "units": encode(units, "float64"),
        "E": encode_weights(E),
        "W": encode_weights(W),
        "group": _group_of(run, d_out),
    }
    return about, places


def _group_of(run: Run, d_out: int) -> dict[str, Any] | None:
    """Return the rows of E for each operand and the columns of W in the order of the group; None without a group."""
    try:
        rows = fourier.group_rows(run.data)
    except ValueError:
        return None
    if len(rows[0]) < 2 or any(int(block.max()) >= run.data.d_in for block in rows):
        return None
    first = rows[0] % d_out
    return {
        "rows": [encode(block, "float64") for block in rows],
        "columns": encode(first, "float64"),
        "modulus": run.data.d_in // len(rows),
        "doubles": len(rows) == 1 and run.data.settings.get("summands", 2) == 2,
    }
