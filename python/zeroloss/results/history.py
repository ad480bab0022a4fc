"""The records and snapshots of a run as xarray datasets over "step", with units and descriptions."""

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

#: The prefix of columns that are time coordinates; it distinguishes them from variables of the same name.
TIME = "time "

#: The time coordinates that a history may have.
TIMES = ("time", "slow_time")

#: The names of the other variables and coordinates of histories and of the cubes of sweeps.
RESERVED_NAMES = ("step", "event", "event_step", "ending", "outcome", "cell", "last_step")

#: The unit and the meaning of each variable and coordinate of a history.
DESCRIPTIONS = {
    "step": ("1", "number of steps taken"),
    "time": ("step size", "time of the dynamics: the sum of the step sizes"),
    "slow_time": ("1", "slow time s = weight_decay · time, for descent with momentum divided by 1 − momentum"),
    "train_loss": ("1", "loss on the training samples, without weight decay"),
    "train_loss_min": ("1", "least training loss since the previous record, both ends included"),
    "train_loss_max": ("1", "greatest training loss since the previous record, both ends included"),
    "test_loss": ("1", "loss on the test samples, without weight decay"),
    "train_accuracy": ("1", "share of training samples whose largest output is the target's"),
    "test_accuracy": ("1", "share of test samples whose largest output is the target's"),
    "norm_E": ("1", "Frobenius norm of the first layer"),
    "norm_W": ("1", "Frobenius norm of the second layer"),
    "norm_bias": ("1", "norm of all biases"),
    "effective_decay": ("1", "weight decay that remains after rounding, divided by the weight decay of the settings"),
    "residual": ("1", "Frobenius norm of H W − Y on the training samples"),
    "cost": ("1", "R(E)/λ = ‖E‖² + tr(YᵀB), Eq. 19 for every ridge"),
    "largest_residual": ("1", "max|F − Y| over the training samples"),
    "step_size": ("1", "size of the last accepted step"),
    "evaluations": ("1", "evaluations of the flow's slope, or solves of an implicit step, so far"),
    "pinned_pairs": ("1", "pairs of a sample and a unit whose pre-activation is held on the activation's kink"),
    "hessian_trace": ("1", "trace of the Hessian of the mean squared error on the zero-loss set"),
    "softening": ("1", "softening δ of the flow, F − Y = −δλ with the multiplier λ; 0 before J loses rank"),
    "stages": ("1", "stages of the last step of the Runge–Kutta–Chebyshev method"),
    "spectral_radius": ("1", "largest eigenvalue of the Hessian of loss and weight decay when it was last computed"),
    "rejected_steps": ("1", "adaptive steps rejected so far"),
    "condition": ("1", "estimate (from below) of the condition number of the factored Gram matrix"),
}


#: Labels of axes that differ from the name of the variable. xarray takes them from ``long_name``.
_LABELS = {
    "slow_time": "slow time s",
    "norm_E": "‖E‖",
    "norm_W": "‖W‖",
    "norm_bias": "norm of the biases",
    "residual": "‖H W − Y‖",
    "cost": "cost R/λ",
    "largest_residual": "max|F − Y|",
    "condition": "condition number",
}


def history_dataset(
    columns: Columns, settings: Mapping[str, Any], descriptions: Mapping[str, tuple[str, str]] = MappingProxyType({})
) -> xr.Dataset:
    """Return the records of a run as a dataset over "step" with time coordinates.

    Parameters
    ----------
    columns : mapping of str to array of shape (records, …)
        The steps under "step", the time coordinates under their name with the prefix `TIME`, and the variables.
    settings : mapping
        The settings of the run, which become the attribute "settings" as JSON.
    descriptions : mapping of str to (str, str)
        The unit and the meaning of each variable that a user's function measures.

    Returns
    -------
    xarray.Dataset
        The records. Each variable has the attributes "units", "long_name" and "description".
    """
    import xarray as xr  # noqa: PLC0415 — slow to import, and needed only with results

    variables, coordinates = {}, {}
    for name, values in columns.items():
        coordinate = name.removeprefix(TIME)
        if coordinate != name or name == "step":
            coordinates[coordinate] = ("step", values, _attributes(coordinate))
        else:
            dims = ("step", *(f"{name}_{axis}" for axis in range(values.ndim - 1)))
            variables[name] = (dims, values, _attributes(name, descriptions))
    if not columns:
        coordinates["step"] = ("step", np.empty(0, np.int64), _attributes("step"))
    return xr.Dataset(variables, coordinates, attrs={"settings": json.dumps(settings)})


def snapshot_dataset(columns: Columns) -> xr.Dataset:
    """Return the snapshots of a run as a dataset over "step" with time coordinates.

    Parameters
    ----------
    columns : mapping of str to array
        The steps under "step", the time coordinates under their name with the prefix `TIME`, E of shape
        (snapshots, d_in, h) and W of shape (snapshots, h, d_out), and the biases if there are any, of shapes
        (snapshots, h) and (snapshots, d_out).

    Returns
    -------
    xarray.Dataset
        E over ("step", "d_in", "hidden") and W over ("step", "hidden", "d_out"), and possibly bias_hidden over
        ("step", "hidden") and bias_output over ("step", "d_out").
    """
    import xarray as xr  # noqa: PLC0415

    parameters = {
        "E": (("d_in", "hidden"), "first layer, (d_in, h)"),
        "W": (("hidden", "d_out"), "second layer, (h, d_out)"),
        "bias_hidden": (("hidden",), "biases of the hidden units, (h,)"),
        "bias_output": (("d_out",), "biases of the outputs, (d_out,)"),
    }
    coordinates = {name.removeprefix(TIME): values for name, values in columns.items() if name not in parameters}
    return xr.Dataset(
        {
            name: (("step", *dims), columns[name], labels(name, "", meaning))
            for name, (dims, meaning) in parameters.items()
            if name in columns
        },
        {name: ("step", values, _attributes(name)) for name, values in coordinates.items()},
    )


def columns_of(dataset: xr.Dataset) -> dict[str, NDArray[Any]]:
    """Return the columns from which `history_dataset` or `snapshot_dataset` made a dataset.

    Parameters
    ----------
    dataset : xarray.Dataset
        A history or snapshots.

    Returns
    -------
    dict of str to array
        The columns.
    """
    times = {f"{TIME}{name}": dataset[name].values for name in dataset.coords if name != "step"}
    return {"step": dataset.step.values, **times, **{str(name): dataset[name].values for name in dataset.data_vars}}


#: The prefix that NetCDF gives to a variable with the name of another variable's dimension.
_RENAMED = "_nc4_non_coord_"


@contextlib.contextmanager
def open_columns(path: Path) -> Iterator[dict[str, h5py.Dataset]]:
    """Open a file of records or snapshots, and yield its columns. `read_column` reads their rows.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    UnreadableError
        If the file cannot be read at the moment.
    DamagedError
        If the file is not valid, or its columns are larger than the file.
    """
    with contextlib.ExitStack() as stack:
        with damage_of(path):
            stored, variables = stack.enter_context(_open_variables(path))
            names = [stored.attrs.get("coordinates", "")]
            names += [variable.attrs.get("coordinates", "") for variable in variables.values()]
            dimensions = {name for name, variable in variables.items() if variable.name == f"/{_RENAMED}{name}"}
            times = {*" ".join(names).split(), *dimensions}  # xarray takes a dimension's name for a coordinate's.
            columns = {f"{TIME}{name}" if name in times else name: variable for name, variable in variables.items()}
            if any(column.shape[:1] != columns["step"].shape for column in columns.values()):
                raise DamagedError(f"{path.name}: its variables have different numbers of steps")
        yield columns


def read_column(column: h5py.Dataset, begin: int, end: int) -> NDArray[Any]:
    """Read the rows [begin, end) of a column.

    NetCDF has no booleans and stores them as integers. Strings are objects, and bytes are letters along a last axis.
    """
    if column.dtype.kind == "O":
        return column.asstr()[begin:end].astype(str)  # type: ignore[no-any-return]
    values: NDArray[Any] = column[begin:end]
    if values.dtype.kind == "S":
        return values.view(f"S{values.shape[-1]}")[..., 0]
    return values.astype(bool) if column.attrs.get("dtype") == "bool" else values


def read_records(path: Path) -> tuple[dict[str, tuple[NDArray[Any], dict[str, str]]], dict[str, Any]]:
    """Read the variables over "step" of a history file.

    Parameters
    ----------
    path : Path
        A file ``history.nc``.

    Returns
    -------
    columns : dict of str to (array, dict)
        Each variable with one number for each step, and its attributes "units", "long_name" and "description".
    attributes : dict
        The attributes of the file.

    Raises
    ------
    FileNotFoundError
        If there is no file.
    UnreadableError
        If the file cannot be read at the moment.
    DamagedError
        If the file is damaged.
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
    """Open a NetCDF file with h5py, which takes a tenth of the time of xarray, and yield it and its variables.

    HDF5 does not lock the file: another program may hold the lock, or the file system may have no locks. A lock is not
    needed, because the package replaces files only by renaming.
    """
    import h5py  # noqa: PLC0415 — slow to import, and needed only with results

    with path.open("rb") as file, h5py.File(file) as stored:
        objects = {name: stored[name] for name in stored}  # ``items`` would yield None for damaged objects.
        variables = {
            name.removeprefix(_RENAMED): variable
            for name, variable in objects.items()
            if isinstance(variable, h5py.Dataset) and b"not a netCDF variable" not in variable.attrs.get("NAME", b"")
        }
        size = os.fstat(file.fileno()).st_size
        if sum(variable.nbytes for variable in variables.values()) > size:
            raise DamagedError(f"{path.name}: its {size} bytes expand to a larger size")
        yield stored, variables


def _attributes(name: str, descriptions: Mapping[str, tuple[str, str]] = MappingProxyType({})) -> dict[str, str]:
    units, description = {**descriptions, **DESCRIPTIONS}.get(name, ("", "measured by a function of the user's"))
    return labels(_LABELS.get(name, name), units, description)


def labels(name: str, units: str, description: str) -> dict[str, str]:
    """Return the attributes of a variable.

    Parameters
    ----------
    name : str
        The name. With spaces instead of underscores it becomes ``long_name``, which xarray writes on axes.
    units : str
        The unit; "1" for a number without a unit.
    description : str
        The meaning.

    Returns
    -------
    dict of str to str
        The attributes "units", "long_name" and "description".
    """
    return {"units": units, "long_name": name.replace("_", " "), "description": description}
