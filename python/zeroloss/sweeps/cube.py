"""The cube of a sweep: the histories of all cells in one labelled dataset."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .. import _toml
from .._checks import ZerolossWarning
from ..results import TIMES, Outcome, RunDirectory, labels, read_records

if TYPE_CHECKING:
    import xarray as xr

    from .store import Store

NOT_ENDED = "not ended"

Column = tuple[NDArray[Any], Mapping[str, Any]]
_History = dict[str, Column]


def make_cube(store: Store, outcomes: Mapping[str, Outcome]) -> xr.Dataset:
    """Return the cube that `zeroloss.sweeps.open_sweep` describes, of the cells with an outcome."""
    histories = {place: _read_history(store.cell(name)) for place, name in enumerate(store.names) if name in outcomes}
    endings = [str(outcomes[name].ending) if name in outcomes else NOT_ENDED for name in store.names]
    words = {
        "ending": (endings, "how the run ended"),
        "outcome": ([str(outcomes.get(name, "")) for name in store.names], "how and where the run ended"),
        "cell": (list(store.names), "directory of the run in cells/"),
    }
    names = store.names_of_keys({name for history in histories.values() for name in history})
    dims, shape = [names[axis.keys[0]] for axis in store.axes], tuple(len(axis.values) for axis in store.axes)
    import xarray as xr  # noqa: PLC0415 — slow to import

    cube = xr.Dataset(
        {
            name: (dims, np.array(texts, object).reshape(shape), labels(name, "", meaning))
            for name, (texts, meaning) in words.items()
        },
        attrs={"settings": json.dumps(store.common)},
    )
    for axis, dim in zip(store.axes, dims, strict=True):
        for place, key in enumerate(axis.keys):
            about = labels(names[key], "", f"value of {key}")
            cube = cube.assign_coords({names[key]: (dim, _values([row[place] for row in axis.values]), about)})
    for over, meaning in (("step", "number of steps taken"), ("event", "condition whose first step is found")):
        columns = _join_histories(histories, over)
        cube = cube.assign_coords({over: (over, columns.pop(over)[0], labels(over, "", meaning))})
        for name, (values, attributes) in columns.items():
            spread = np.full((len(store.names), *values.shape[1:]), np.nan)
            spread[list(histories)] = values
            cube[name] = ((*dims, over), spread.reshape(*shape, -1), attributes)
    last = np.full(len(store.names), np.nan)
    for place, history in histories.items():
        last[place] = history["step"][0][-1] if history else np.nan
    cube["last_step"] = (dims, last.reshape(shape), labels("last_step", "1", "last step of the run"))
    return cube.set_coords([name for name in TIMES if name in cube])


def _read_history(path: Path) -> _History:
    """Return the records of an ended run, and the steps of its events; nothing if they cannot be read."""
    directory = RunDirectory(path)
    try:
        columns, about = read_records(directory.history_file)
        events = json.loads(about.get("events", "{}"))
        names = json.loads(about["settings"]).get("events", [])
        steps = np.array([events.get(name, np.nan) for name in names], np.float64)
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # Such as a DamagedError.
        warnings.warn(
            f"{directory.path}: {error}; delete the directory to run the cell again", ZerolossWarning, stacklevel=5
        )
        return {}
    meaning = labels("event_step", "1", "first step at which the condition holds")
    return {**columns, "event": (np.array(names, object), {}), "event_step": (steps, meaning)}


def _join_histories(histories: Mapping[int, _History], over: str) -> _History:
    """Return the variables of all cells over "step" or "event", of shape (cells, points). Missing values are NaN."""
    points = {point: None for history in histories.values() if history for point in history[over][0].tolist()}
    axis = sorted(points) if over == "step" else list(points)
    places = {point: place for place, point in enumerate(axis)}
    present = {"event_step"} if over == "event" else {name for history in histories.values() for name in history}
    names = sorted(present - ({"step", "event"} if over == "event" else {"step", "event", "event_step"}))
    joined: _History = {over: (np.array(axis, np.int64 if over == "step" else object), {})}
    for name in names:
        values, attributes = np.full((len(histories), len(axis)), np.nan), {}
        for row, history in zip(values, histories.values(), strict=True):
            if name in history:
                row[[places[point] for point in history[over][0].tolist()]] = history[name][0]
                attributes = dict(history[name][1])
        joined[name] = values, attributes
    return joined


def _values(values: Sequence[Any]) -> NDArray[Any]:
    """Return values as a coordinate: numbers and truth values unchanged, anything else, or a mixture, as TOML."""
    kinds = {type(value) for value in values}
    fits_in_int64 = all(abs(value) < 2**63 for value in values if isinstance(value, int))
    if kinds == {bool} or (kinds <= {int, float} and fits_in_int64):
        return np.array(values)
    return np.array([value if kinds == {str} else _toml.dump_value(value) for value in values], object)
