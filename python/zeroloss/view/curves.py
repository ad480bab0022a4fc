"""The records of a run for a page: at most some thousand, which keep the extremes of every curve."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..results import TIMES, Run
from .encode import encode

#: Intervals of steps, on a linear and on a logarithmic axis, of which the extremes of the losses are kept.
_INTERVALS = 400
#: With at most this number of records all are kept.
_MOST_RECORDS = 3000
#: Curves whose extremes are kept.
_EXTREMES = ("train_loss", "test_loss", "test_accuracy")

#: The charts of the first panel: curves with a short label, a colour and a dash.
MAIN = {
    "loss": {"train_loss": ("train", "blue", "solid"), "test_loss": ("test", "vermilion", "dashed")},
    "accuracy": {"train_accuracy": ("train", "blue", "solid"), "test_accuracy": ("test", "vermilion", "dashed")},
    "norms": {"norm_E": ("‖E‖", "green", "solid"), "norm_W": ("‖W‖", "orange", "dashed")},
}


def curves_of(run: Run, name: str) -> dict[str, Any]:
    """Return the records of a run, with times, and the steps of its events.

    Parameters
    ----------
    run : Run
        The run.
    name : str
        Its name in the page.

    Returns
    -------
    dict
        "name", "records" (their number in the run), "steps", "times", "curves" and "events".
    """
    history = run.history
    kept = keep_extremes(history.step.values, [history[name].values for name in _EXTREMES if name in history])
    curves = {
        str(key): {"values": encode(values.values[kept]), "about": str(values.attrs.get("description", ""))}
        for key, values in history.data_vars.items()
        if values.dims == ("step",) and values.dtype.kind in "fiub"
    }
    times = {name: encode(history[name].values[kept], "float64") for name in TIMES if name in history.coords}
    return {
        "name": name,
        "records": int(history.sizes["step"]),
        "steps": encode(history.step.values[kept], "float64"),
        "times": times,
        "curves": curves,
        "events": [{"text": str(text), "step": step} for text, step in run.events.items()],
    }


def keep_extremes(steps: NDArray[Any], curves: list[NDArray[Any]]) -> NDArray[np.intp]:
    """Return the places of the records that a page draws, in order.

    They are the first and the last record, and, in each of some hundred intervals of the steps and of their logarithm,
    the first record and the records with the least and the greatest value of each curve.

    Parameters
    ----------
    steps : ndarray, (records,)
        The steps, ascending.
    curves : list of ndarray, (records,)
        The curves.

    Returns
    -------
    ndarray
        The places; all if there are few records.
    """
    if len(steps) <= _MOST_RECORDS:
        return np.arange(len(steps))
    kept = {0, len(steps) - 1}
    for scale in (steps.astype(np.float64), np.log1p(steps.astype(np.float64))):
        edges = np.searchsorted(scale, np.linspace(scale[0], scale[-1], _INTERVALS + 1))
        for begin, end in itertools.pairwise(edges):
            if begin == end:
                continue
            kept.add(int(begin))
            for curve in curves:
                part = curve[begin:end]
                if np.isfinite(part).any():
                    kept.update((int(begin + np.nanargmin(part)), int(begin + np.nanargmax(part))))
    return np.array(sorted(kept))
