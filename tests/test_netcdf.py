"""The package's NetCDF files have the objects, attributes and dimensions of the files that xarray writes."""

import io

import h5py
import numpy as np
import pytest
import xarray as xr

import zeroloss as zl
from problems import random_data, random_network
from zeroloss.results.netcdf import netcdf_content, write_netcdf_in_pieces

#: Attributes with places in the file, and what other libraries may omit.
PLACES = {"REFERENCE_LIST", "DIMENSION_LIST", "_NCProperties", "_Netcdf4Coordinates", "_Netcdf4Dimid"}


def run():
    data = random_data(5, 4, 3)
    settings = {"record_every": 3, "snapshot_every": 4, "progress": False}
    return zl.simulate(zl.GradientDescent(lr=0.01), data, random_network(data, 6), steps=10, **settings)


def all_kinds():
    """Variables of every type and shape, with names of dimensions too, and attributes of every type."""
    variables = {
        "truth": ("row", np.array([True, False])),
        "texts": ("row", np.array(["a", "‖E‖"])),
        "objects": ("row", np.array(["a", "bc"], object)),
        "letters": ("row", np.array([b"ab", b"c"])),
        "integers": ("row", np.array([1, 2], np.int32), {"units": "1", "range": [1, 2]}),
        "singles": ("row", np.array([1, np.nan], np.float32)),
        "matrix": (("row", "column"), np.arange(6.0).reshape(2, 3)),
        "square": (("bare", "column"), np.ones((4, 3))),
        "nothing": (("row", "empty"), np.zeros((2, 0))),
        "number": ((), 3.0),
        "text": ((), "three"),
        "bare": ("column", np.zeros(3)),
    }
    coordinates = {"row": ["u", "v"], "column": [1, 2, 3], "time": ("row", [0.5, 1.5])}
    return xr.Dataset(variables, coordinates, attrs={"count": 3, "names": ["a", "b"], "pair": [1.0, 2.0], "title": "λ"})


def describe(content):
    """Return everything in a NetCDF file except for places."""

    def attributes(owner):
        found = {name: np.asarray(value).tolist() for name, value in owner.attrs.items() if name not in PLACES}
        return str(sorted(found.items()))  # NaN equals NaN in texts.

    def scales(variable):
        return [[scale.name for scale in dimension.values()] for dimension in variable.dims]

    with h5py.File(io.BytesIO(content)) as stored:
        described = {
            name: (variable.shape, variable.maxshape, variable.dtype, attributes(variable), scales(variable))
            for name, variable in stored.items()
        }
        order = [name for name in stored if b"not a netCDF variable" not in stored[name].attrs.get("NAME", b"")]
        return described, order, attributes(stored)


@pytest.mark.parametrize(
    "make", [lambda: run().history, lambda: run().snapshots, all_kinds], ids=["history", "snapshots", "all kinds"]
)
def test_a_file_is_that_of_xarray(make, tmp_path):
    dataset = make()
    dataset.to_netcdf(tmp_path / "theirs.nc", engine="h5netcdf")
    content = netcdf_content(dataset)
    assert describe(content) == describe((tmp_path / "theirs.nc").read_bytes())
    theirs = xr.load_dataset(tmp_path / "theirs.nc", engine="h5netcdf")
    ours = xr.load_dataset(io.BytesIO(content), engine="h5netcdf")
    xr.testing.assert_identical(ours, theirs)
    assert {name: v.dtype for name, v in ours.variables.items()} == {
        name: v.dtype for name, v in theirs.variables.items()
    }
    again = netcdf_content(ours)  # What xarray remembers of the first file changes nothing.
    xr.testing.assert_identical(xr.load_dataset(io.BytesIO(again), engine="h5netcdf"), theirs)
    numbers = {name for name, v in ours.variables.items() if v.size and v.ndim and v.dtype.kind in "biuf"}
    with h5py.File(io.BytesIO(content)) as stored:
        checked = {name.removeprefix("_nc4_non_coord_") for name, variable in stored.items() if variable.fletcher32}
    assert checked == numbers


def test_a_file_in_pieces_is_that_of_xarray():
    snapshots, content = run().snapshots, io.BytesIO()
    pieces = [snapshots.isel(step=slice(begin, begin + 2)) for begin in range(0, snapshots.sizes["step"], 2)]
    assert len(pieces) > 1
    write_netcdf_in_pieces(content, snapshots.sizes["step"], pieces)
    assert describe(content.getvalue()) == describe(netcdf_content(snapshots))
    xr.testing.assert_identical(xr.load_dataset(content, engine="h5netcdf"), snapshots)
