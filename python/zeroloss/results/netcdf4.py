"""The NetCDF-4 format: HDF5 files in which scales stand for dimensions, and attributes number them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import h5py
    import xarray as xr

#: Names of the types of complex numbers, by their size in bytes.
_COMPLEX = {8: "_PFNC_FLOAT_COMPLEX_TYPE", 16: "_PFNC_DOUBLE_COMPLEX_TYPE"}


def create_variables(
    stored: h5py.File,
    dataset: xr.Dataset,
    sizes: Mapping[str, int] | None = None,
    chunks_of: Callable[[xr.Variable], tuple[int, ...]] | None = None,
) -> dict[str, xr.Variable]:
    """Create the dimensions, variables and attributes of a dataset in an empty file.

    h5netcdf writes the same objects, but it looks up each of them dozens of times, which takes half of the time of a
    short run.

    Parameters
    ----------
    stored : h5py.File
        The file. Objects in it are in the order of their creation, for which it needs ``track_order=True``.
    dataset : xarray.Dataset
        The variables. Their values are not written.
    sizes : mapping of str to int, optional
        Sizes of dimensions along which the dataset is only a piece.
    chunks_of : function of a variable, optional
        Return the shape of the HDF5 chunks of a variable. Default: h5py chooses.

    Returns
    -------
    dict of str to xarray.Variable
        The variables as the file stores them: booleans are integers, and bytes are letters along a last axis.
    """
    variables, attributes = _encode(dataset)
    found = {str(dim): size for variable in variables.values() for dim, size in variable.sizes.items()}
    dims = {dim: (size if sizes is None else sizes.get(dim, size)) for dim, size in found.items()}
    created = {
        dim: stored.create_dataset(dim, (dims[dim],), ">f4", maxshape=(dims[dim] or None,), track_order=True)
        for dim in dims.keys() - variables.keys()
    }
    for name, variable in variables.items():
        created[name] = _create(stored, name, variable, [dims[str(dim)] for dim in variable.dims], chunks_of)
    for number, (dim, size) in enumerate(dims.items()):
        scale = created[dim]
        scale.make_scale(dim if dim in variables else f"This is a netCDF dimension but not a netCDF variable.{size:10}")
        scale.attrs["_Netcdf4Dimid"] = np.int32(number)
    for name, variable in variables.items():
        _attach(created, name, [str(dim) for dim in variable.dims], list(dims))
        _write_attributes(created[name], variable.attrs)
    _write_attributes(stored, attributes)
    return variables


def _encode(dataset: xr.Dataset) -> tuple[dict[str, xr.Variable], Mapping[Any, Any]]:
    """Return the variables as NetCDF stores them, and the attributes of the dataset."""
    import xarray as xr  # noqa: PLC0415 — half of the package's import time

    found, attributes = xr.conventions.encode_dataset_coordinates(dataset)
    variables = {}
    for name, variable in found.items():
        plain = xr.Variable(variable.dims, variable.values, variable.attrs)  # without encodings of an earlier file
        encoded = xr.conventions.encode_cf_variable(plain, name=name)
        if encoded.dtype.kind == "O":
            encoded = encoded.fillna("")  # type: ignore[no-untyped-call]
        elif encoded.dtype.kind == "S":
            letters = encoded.values[..., None].view("S1")
            encoded = xr.Variable((*encoded.dims, f"string{letters.shape[-1]}"), letters, encoded.attrs)
        variables[str(name)] = encoded
    return variables, attributes


def _create(
    stored: h5py.File,
    name: str,
    variable: xr.Variable,
    shape: list[int],
    chunks_of: Callable[[xr.Variable], tuple[int, ...]] | None,
) -> h5py.Dataset:
    """Create the dataset of a variable. Numbers have checksums."""
    import h5py  # noqa: PLC0415

    options: dict[str, Any] = {}
    dtype = variable.dtype
    if 0 in shape:
        options["maxshape"] = [size or None for size in shape]
    elif shape and dtype.kind in "iuf":
        options = {"fletcher32": True, "chunks": chunks_of(variable) if chunks_of else True}
    if dtype.kind in "UO":
        dtype = h5py.string_dtype()
    elif dtype.kind == "c":
        committed = _COMPLEX[dtype.itemsize]
        if committed not in stored:
            stored[committed] = dtype
        dtype = stored[committed]
    fill = variable.attrs.get("_FillValue")
    return stored.create_dataset(name, shape, dtype, fillvalue=fill, track_order=True, **options)


def _attach(created: Mapping[str, h5py.Dataset], name: str, dims: list[str], order: list[str]) -> None:
    """Attach its scales to a variable. ``order`` has all dimensions in the order of their numbers."""
    if dims:
        created[name].attrs["_Netcdf4Coordinates"] = np.array([order.index(dim) for dim in dims], np.int32)
    if dims and dims != [name]:
        created[name].attrs["_Netcdf4Dimid"] = np.int32(order.index(dims[0]))
        for axis, dim in enumerate(dims):
            created[name].dims[axis].attach_scale(created[dim])


def _write_attributes(target: h5py.Dataset | h5py.File, attributes: Mapping[Any, Any]) -> None:
    for name, value in attributes.items():
        target.attrs[name] = value if isinstance(value, str) or np.ndim(value) else np.atleast_1d(value)
