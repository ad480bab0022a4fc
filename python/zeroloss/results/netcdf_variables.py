"""The variables of NetCDF files, written with h5py.

NetCDF stores each dimension as a *scale* of HDF5: a dataset that is attached to an axis of the variables. The scale is
the coordinate with the name of the dimension, or an empty dataset. Attributes number the dimensions. The functions here
make the same objects as h5netcdf, which searches the file for each of them again and takes eight times as long.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import h5py
    import xarray as xr

#: The prefix that NetCDF gives to a variable with the name of another variable's dimension.
RENAMED = "_nc4_non_coord_"

_NOT_A_VARIABLE = "This is a netCDF dimension but not a netCDF variable."
#: Bytes of a variable in an HDF5 chunk, which has one checksum and is in memory as a whole.
_CHUNK = 2**20


def create_variables(stored: h5py.File, dataset: xr.Dataset, sizes: Mapping[Any, int]) -> dict[str, h5py.Dataset]:
    """Create the variables of a dataset without their values, in an empty file.

    Parameters
    ----------
    stored : h5py.File
        The file.
    dataset : xarray.Dataset
        The variables with their dimensions, types and attributes.
    sizes : mapping of name to int
        The size of each dimension in the file.

    Returns
    -------
    dict of str to h5py.Dataset
        The variables, by name.
    """
    import h5py  # noqa: PLC0415 — slow to import, and needed only with results
    import xarray as xr  # noqa: PLC0415 — half of the package's import time

    encoded, attributes = xr.conventions.encode_dataset_coordinates(dataset)
    encoded = {name: _encode(name, variable) for name, variable in encoded.items()}
    sizes = {**sizes, **{dim: n for v in encoded.values() for dim, n in v.sizes.items() if dim not in sizes}}
    numbers = {dim: number for number, dim in enumerate(sizes)}
    properties = f"version=2,h5py={h5py.__version__},hdf5={h5py.version.hdf5_version}"
    stored.attrs["_NCProperties"] = np.bytes_(properties.encode())
    _write_attributes(stored, attributes)
    created: dict[Hashable, h5py.Dataset] = {}
    for dim, size in sizes.items():
        if dim in encoded and encoded[dim].dims == (dim,):
            scale, name = _create(stored, str(dim), encoded[dim], sizes), f"{dim}".encode()
            created[dim] = scale
        else:
            growing = {} if size else {"maxshape": (None,), "chunks": True}
            scale = stored.create_dataset(str(dim), (size,), ">f4", track_order=True, **growing)
            name = f"{_NOT_A_VARIABLE}{size:10}".encode()
        h5py.h5ds.set_scale(scale.id, name)
        scale.attrs["_Netcdf4Dimid"] = np.int32(numbers[dim])
    scales = {dim: stored[str(dim)].id for dim in sizes}
    for name, variable in encoded.items():
        if name not in created:
            created[name] = _create(stored, f"{RENAMED}{name}" if name in sizes else str(name), variable, sizes)
            for axis, dim in enumerate(variable.dims):
                h5py.h5ds.attach_scale(created[name].id, scales[dim], axis)
            if variable.dims:
                created[name].attrs["_Netcdf4Dimid"] = np.int32(numbers[variable.dims[0]])
        if variable.dims:
            created[name].attrs["_Netcdf4Coordinates"] = np.array([numbers[dim] for dim in variable.dims], np.int32)
    return {str(name): created[name] for name in encoded}


def write_values(created: Mapping[str, h5py.Dataset], dataset: xr.Dataset, rows: slice | EllipsisType = ...) -> None:
    """Write the values of a dataset into the variables that `create_variables` made.

    With ``rows`` it is a piece along the dimension "step", and goes to these rows.
    """
    for name, variable in dataset.variables.items():
        values = _as_letters(variable.values)
        values = values.astype(object) if values.dtype.kind == "U" else values
        created[str(name)][(rows, ...) if rows is not ... and "step" in variable.dims else ...] = values


def _encode(name: Hashable, variable: xr.Variable) -> xr.Variable:
    """Convert a variable to a type of NetCDF: booleans are integers, and bytes are letters along a last axis."""
    import xarray as xr  # noqa: PLC0415

    variable = xr.conventions.encode_cf_variable(variable, name=name)
    if variable.dtype.kind != "S":
        return variable
    letters = _as_letters(variable.values)
    return xr.Variable((*variable.dims, f"string{letters.shape[-1]}"), letters, variable.attrs)


def _as_letters(values: NDArray[Any]) -> NDArray[Any]:
    if values.dtype.kind != "S":
        return values
    return np.ascontiguousarray(values)[..., np.newaxis].view("S1")


def _create(stored: h5py.File, name: str, variable: xr.Variable, sizes: Mapping[Any, int]) -> h5py.Dataset:
    """Create a variable with its attributes. Numbers have checksums, and a dimension of size 0 can grow."""
    import h5py  # noqa: PLC0415

    attributes = dict(variable.attrs)
    fill = attributes.pop("_FillValue", None)
    shape = tuple(sizes[dim] for dim in variable.dims)
    options: dict[str, Any] = {"track_order": True}
    if 0 in shape:
        options |= {"maxshape": tuple(size or None for size in shape), "chunks": True}
    elif shape and variable.dtype.kind in "biuf":
        rows = min(shape[0], max(1, _CHUNK * variable.shape[0] // max(1, variable.nbytes)))
        options |= {"chunks": (rows, *shape[1:]), "fletcher32": True}
    dtype = h5py.string_dtype() if variable.dtype.kind in "OU" else variable.dtype
    if fill is not None:
        options["fillvalue"] = fill
    created = stored.create_dataset(name, shape, dtype, **options)
    _write_attributes(created, attributes if fill is None else {**attributes, "_FillValue": variable.dtype.type(fill)})
    return created


def _write_attributes(owner: h5py.File | h5py.Dataset, attributes: Mapping[Any, Any]) -> None:
    """Write attributes. NetCDF stores a number as an array with one entry."""
    for name, value in attributes.items():
        is_number = np.isscalar(value) and not isinstance(value, str | bytes)
        owner.attrs[name] = np.atleast_1d(value) if is_number else value
