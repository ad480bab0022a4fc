"""The records and snapshots of a run as xarray datasets over "step", with units and meaning."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .files import DamagedError
from .netcdf import damage_of

if TYPE_CHECKING:
    import h5py
    import xarray as xr

Columns = Mapping[str, NDArray[Any]]

#: What marks the columns of time coordinates, to keep them apart from variables of the same name.
TIME = "time "

#: The time coordinates that a history may have.
TIMES = ("time", "slow_time")

#: Units and meaning of what every history may hold.
DESCRIPTIONS = {
    "step": ("1", "number of steps taken"),
    "time": ("step size", "time of the dynamics: the sizes of the steps taken, added"),
    "slow_time": ("1", "slow time s = weight_decay · time / (1 − momentum)"),
    "train_loss": ("1", "loss on the training samples, without weight decay"),
    "train_loss_min": ("1", "least training loss since the record before, both ends included"),
    "train_loss_max": ("1", "greatest training loss since the record before, both ends included"),
    "test_loss": ("1", "loss on the test samples, without weight decay"),
    "train_accuracy": ("1", "share of training samples whose largest output is the target's"),
    "test_accuracy": ("1", "share of test samples whose largest output is the target's"),
    "norm_E": ("1", "Frobenius norm of the first layer"),
    "norm_W": ("1", "Frobenius norm of the second layer"),
    "effective_decay": ("1", "weight decay that is left after rounding, over the one asked for"),
    "residual": ("1", "Frobenius norm of H W − Y on the training samples"),
    "cost": ("1", "R(E)/λ = ‖E‖² + tr(YᵀB), Eq. 19 for every ridge"),
    "largest_residual": ("1", "max|F − Y| over the training samples"),
    "step_size": ("1", "size of the last accepted step"),
    "evaluations": ("1", "evaluations of the flow's slope, or solves of an implicit step, so far"),
    "pinned_pairs": ("1", "pairs of a sample and a unit whose pre-activation is held on the activation's kink"),
    "rejected_steps": ("1", "adaptive steps rejected so far"),
    "condition": ("1", "estimate (from below) of the condition number of the factored Gram matrix"),
}


#: What stands on axes, where the name of a variable does not say it: xarray takes it from ``long_name``.
_LABELS = {
    "slow_time": "slow time s",
    "norm_E": "‖E‖",
    "norm_W": "‖W‖",
    "residual": "‖H W − Y‖",
    "cost": "cost R/λ",
    "largest_residual": "max|F − Y|",
    "condition": "condition number",
}


def history_dataset(
    columns: Columns, settings: Mapping[str, Any], descriptions: Mapping[str, tuple[str, str]] = MappingProxyType({})
) -> xr.Dataset:
    """Return the records as a Dataset over "step", with the time coordinates of each.

    ``columns`` are the steps under "step", time coordinates under their name after `TIME`, and variables;
    ``descriptions`` are units and meaning of measured variables.
    """
    import xarray as xr  # noqa: PLC0415 — slow to import, and needed only with results

    variables, coordinates = {}, {}
    for name, values in columns.items():
        own = name.removeprefix(TIME)
        if own != name or name == "step":
            coordinates[own] = ("step", values, _attributes(own))
        else:
            dims = ("step", *(f"{name}_{axis}" for axis in range(values.ndim - 1)))
            variables[name] = (dims, values, _attributes(name, descriptions))
    if not columns:
        coordinates["step"] = ("step", np.empty(0, np.int64), _attributes("step"))
    return xr.Dataset(variables, coordinates, attrs={"settings": json.dumps(settings)})


def snapshot_dataset(columns: Columns) -> xr.Dataset:
    """Return E and W over "step", with the time coordinates of each."""
    import xarray as xr  # noqa: PLC0415

    coordinates = {name.removeprefix(TIME): values for name, values in columns.items() if name not in {"E", "W"}}
    return xr.Dataset(
        {
            "E": (("step", "d_in", "hidden"), columns["E"], labels("E", "", "first layer, (d_in, h)")),
            "W": (("step", "hidden", "d_out"), columns["W"], labels("W", "", "second layer, (h, d_out)")),
        },
        {name: ("step", values, _attributes(name)) for name, values in coordinates.items()},
    )


def columns_of(dataset: xr.Dataset) -> dict[str, NDArray[Any]]:
    """Return the columns that a dataset was made of."""
    times = {f"{TIME}{name}": dataset[name].values for name in dataset.coords if name != "step"}
    return {"step": dataset.step.values, **times, **{str(name): dataset[name].values for name in dataset.data_vars}}


@contextlib.contextmanager
def open_columns(path: Path) -> Iterator[dict[str, h5py.Dataset]]:
    """Open a file of records or snapshots. Its columns are read when they are indexed, see `column_values`.

    Raises
    ------
    FileNotFoundError, UnreadableError
        If there is no file, or it cannot be read at the moment.
    DamagedError
        If the file is not such a file, or its columns are larger than the file.
    """
    with contextlib.ExitStack() as stack:
        with damage_of(path):
            stored, variables = stack.enter_context(_open_variables(path))
            names = [stored.attrs.get("coordinates", "")]
            names += [variable.attrs.get("coordinates", "") for variable in variables.values()]
            times = set(" ".join(names).split())
            columns = {f"{TIME}{name}" if name in times else name: variable for name, variable in variables.items()}
            if any(column.shape[:1] != columns["step"].shape for column in columns.values()):
                raise DamagedError(f"{path.name}: its variables have different numbers of steps")
        yield columns


def column_values(column: h5py.Dataset, begin: int, end: int) -> NDArray[Any]:
    """Read the rows [begin, end) of a column. NetCDF has no booleans, so that they are stored as integers."""
    values: NDArray[Any] = column[begin:end]
    return values.astype(bool) if column.attrs.get("dtype") == "bool" else values


def read_records(path: Path) -> tuple[dict[str, tuple[NDArray[Any], dict[str, str]]], dict[str, Any]]:
    """Return the numbers over "step" of a history file, each with its unit and meaning, and the file's attributes.

    Raises
    ------
    FileNotFoundError, UnreadableError, DamagedError
        As `open_columns`.
    """
    with damage_of(path), _open_variables(path) as (stored, variables):
        count = len(variables["step"])
        columns = {}
        for name, values in variables.items():
            if values.shape == (count,):
                keys = ("units", "long_name", "description")
                meaning = {key: str(values.attrs[key]) for key in keys if key in values.attrs}
                columns[name] = values[()], meaning
        return columns, dict(stored.attrs)


@contextlib.contextmanager
def _open_variables(path: Path) -> Iterator[tuple[h5py.File, dict[str, h5py.Dataset]]]:
    """Open a NetCDF file and return its variables, by h5py alone, which takes a tenth of xarray's time.

    HDF5 would ask for a lock, which another program may hold, or which the file system may not have. The files are
    replaced by renaming, so that they can be read without one.
    """
    import h5py  # noqa: PLC0415 — as xarray

    with path.open("rb") as file, h5py.File(file) as stored:
        variables = {
            name: variable
            for name, variable in stored.items()
            if b"not a netCDF variable" not in variable.attrs.get("NAME", b"")
        }
        size = os.fstat(file.fileno()).st_size
        if sum(variable.nbytes for variable in variables.values()) > size:
            raise DamagedError(f"{path.name}: its {size} bytes expand to more than was written")
        yield stored, variables


def _attributes(name: str, descriptions: Mapping[str, tuple[str, str]] = MappingProxyType({})) -> dict[str, str]:
    units, description = {**descriptions, **DESCRIPTIONS}.get(name, ("", "measured by a function of the user's"))
    return labels(_LABELS.get(name, name), units, description)


def labels(name: str, units: str, description: str) -> dict[str, str]:
    """Return the attributes of a variable; xarray writes ``long_name``, which is its name in words, on axes."""
    return {"units": units, "long_name": name.replace("_", " "), "description": description}
