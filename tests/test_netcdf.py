"""NetCDF files agree with the files of xarray and h5netcdf: values, types, attributes and dimensions."""

import io

import h5py
import numpy as np
import pytest
import xarray as xr

from zeroloss.results.netcdf import write_netcdf, write_netcdf_in_pieces

DATASETS = {
    "numbers": xr.Dataset(
        {
            "a": (("step", "k"), np.array([[1, np.nan, 3], [4, 5, 6]], np.float32), {"units": "1", "count": 4}),
            "b": ("step", [True, False]),
            "i": ("step", np.array([1, 255], np.uint8)),
            "number": ((), 3.5, {"factor": 1.5}),
            "cube": (("step", "k", "label"), np.arange(12.0).reshape(2, 3, 2)),
        },
        {"step": [0, 5], "time": ("step", [0.0, 0.5]), "label": ["u", "größe"], "run": 7},
        {"seed": 3, "lr": 2.5, "text": "ü", "list": [1, 2, 3]},
    ),
    "text": xr.Dataset(
        {
            "words": ("step", ["x", "größe"]),
            "bytes": (("step", "k"), np.array([[b"ab", b"c"], [b"d", b""]])),
            "objects": ("step", np.array(["a", "bb"], dtype=object)),
            "word": ((), "text"),
        },
        {"step": [0, 1]},
    ),
    "name of a dimension": xr.Dataset({"x": ("k", [1.0, 2.0])}).assign_coords(k2=("k", [3, 4])),
    "sizes of 0": xr.Dataset({"a": (("step", "none"), np.empty((2, 0)))}, {"step": [1, 2]}),
    "no steps": xr.Dataset({"a": ("step", np.empty(0))}, {"step": np.empty(0, np.int64)}),
    "nothing": xr.Dataset(attrs={"settings": "{}"}),
}


def netcdf(dataset):
    write_netcdf(file := io.BytesIO(), dataset)
    return file


def objects_of(file):
    """Return type, shape, attributes and scales of each variable and dimension, except their numbers."""
    found = {}
    with h5py.File(file) as stored:
        for name, variable in stored.items():
            keys = {"REFERENCE_LIST", "DIMENSION_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates"}
            attributes = {key: np.array(value).tolist() for key, value in variable.attrs.items() if key not in keys}
            scales = [[scale.name for scale in axis.values()] for axis in variable.dims]
            about = (variable.dtype, variable.shape, variable.maxshape, scales, len(variable.attrs))
            found[name] = repr((*about, sorted(attributes.items())))
    return found


@pytest.mark.parametrize("name", [name for name in DATASETS if name not in {"no steps", "sizes of 0"}])
def test_files_have_the_objects_of_h5netcdf(name, tmp_path):
    DATASETS[name].to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    assert objects_of(netcdf(DATASETS[name])) == objects_of(tmp_path / "a.nc")


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("decode", [True, False])
def test_files_are_read_like_the_files_of_xarray(name, decode, tmp_path):
    DATASETS[name].to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    one, other = (
        xr.open_dataset(file, engine="h5netcdf", decode_cf=decode)
        for file in (netcdf(DATASETS[name]), tmp_path / "a.nc")
    )
    with one, other:
        xr.testing.assert_identical(one.load(), other.load())
        assert {key: one[key].dtype for key in one.variables} == {key: other[key].dtype for key in other.variables}


def test_numbers_have_checksums():
    with h5py.File(netcdf(DATASETS["numbers"])) as stored:
        assert all(stored[name].fletcher32 for name in ("step", "time", "a", "b", "i", "cube"))


@pytest.mark.parametrize("name", ["numbers", "text"])
def test_pieces_make_the_file_of_the_whole(name):
    dataset = DATASETS[name]
    write_netcdf_in_pieces(file := io.BytesIO(), 2, [dataset.isel(step=[0]), dataset.isel(step=[1])])
    with xr.open_dataset(file, engine="h5netcdf") as one, xr.open_dataset(netcdf(dataset), engine="h5netcdf") as other:
        xr.testing.assert_identical(one.load(), other.load())
