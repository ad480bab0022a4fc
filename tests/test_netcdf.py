"""NetCDF files against the files that xarray and h5netcdf write: the same objects in HDF5, and the same values."""

import io

import h5py
import numpy as np
import pytest
import xarray as xr

from zeroloss.results.netcdf import netcdf_content, write_netcdf_in_pieces


def dataset(steps=3):
    """Return variables of every kind that files store, with and without coordinates."""
    random = np.random.default_rng(0)
    over = ("step", "rule")
    variables = {
        "loss": ("step", random.random(steps), {"units": "1", "description": "‖E‖", "number": 3, "two": [1.0, 2.0]}),
        "float32": (over, random.random((steps, 2)).astype(np.float32)),
        "count": ("step", np.arange(steps, dtype=np.uint8), {"_FillValue": np.uint8(9)}),
        "done": (over, random.random((steps, 2)) < 0.5),
        "E": (("step", "d_in", "hidden"), random.random((steps, 4, 5))),
        "scalar": 2.5,
        "text": "a name",
        "names": ("step", np.array(["first", "é", ""] * steps)[:steps]),
        "letters": ("step", np.array([b"ab", b"c", b"abc"] * steps)[:steps]),
        "values": ("step", random.random(steps) * (1 + 2j)),
        "single values": ("step", (random.random(steps) * 1j).astype(np.complex64)),
        "objects": ("rule", np.array(["one", None], dtype=object)),
        "empty": (("none", "rule"), np.zeros((0, 2))),
    }
    coordinates = {"step": np.arange(steps) * 10, "rule": ["a", "b"], "time": ("step", random.random(steps))}
    return xr.Dataset(variables, coordinates, {"settings": '{"a": 1}', "version": 3})


def describe(content):
    """Return every object and attribute of an HDF5 file; references are the names of objects."""
    found = {}
    with h5py.File(io.BytesIO(content)) as file:

        def name(reference):
            return file[reference].name

        def describe_value(key, attributes):
            value = attributes[key]
            if key == "DIMENSION_LIST":
                return [[name(one) for one in scales] for scales in value]
            if key == "REFERENCE_LIST":
                return sorted((name(one), int(axis)) for one, axis in value)
            return np.asarray(value).dtype.kind, np.shape(value), repr(np.asarray(value).tolist())

        for path in (".", *file):
            item = file[path]
            listed = [key for key in item.attrs if key not in {"_NCProperties", "_Netcdf4Dimid", "_Netcdf4Coordinates"}]
            found[path] = {key: describe_value(key, item.attrs) for key in listed}
            if isinstance(item, h5py.Dataset):
                found[path] |= {"dtype": item.dtype, "shape": item.shape, "most": item.maxshape, "scale": item.is_scale}
                found[path]["values"] = item[()].tobytes() if item.dtype.kind != "O" else np.asarray(item).tolist()
                ids = np.atleast_1d(item.attrs.get("_Netcdf4Coordinates", np.zeros(0, np.int32)))
                scales = [file[dim].attrs["_Netcdf4Dimid"] for dim in file if file[dim].attrs.get("CLASS") is not None]
                assert len(scales) == len(set(scales))
                found[path]["dims"] = [[one for one in file if is_scale_of(file[one], number)] for number in ids]
    return found


def is_scale_of(item, number):
    return isinstance(item, h5py.Dataset) and item.is_scale and item.attrs["_Netcdf4Dimid"] == number


def read(content):
    with xr.open_dataset(io.BytesIO(content), engine="h5netcdf") as stored:
        return stored.load()


def test_files_have_the_objects_that_h5netcdf_writes(tmp_path):
    data = dataset()
    data.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    expected, content = (tmp_path / "a.nc").read_bytes(), netcdf_content(data)
    found, objects = describe(content), describe(expected)
    assert found.keys() == objects.keys()
    for path in objects:
        assert found[path] == objects[path], path
    assert list(read(content).variables) == list(read(expected).variables)
    assert read(content).identical(read(expected))


def test_a_dataset_that_was_read_is_written_again():
    stored = read(netcdf_content(dataset()))
    assert read(netcdf_content(stored)).identical(stored)


def test_numbers_have_checksums():
    with h5py.File(io.BytesIO(netcdf_content(dataset()))) as file:
        for name in ("loss", "float32", "count", "done", "E", "step", "time"):
            assert file[name].fletcher32, name


@pytest.mark.parametrize("lengths", [[3], [1, 2], [2, 1]])
def test_pieces_make_one_file(lengths):
    whole = dataset()[["loss", "E", "time"]]
    ends = np.cumsum(lengths)
    pieces = [whole.isel(step=slice(end - length, end)) for length, end in zip(lengths, ends, strict=True)]
    content = io.BytesIO()
    write_netcdf_in_pieces(content, 3, pieces)
    assert describe(content.getvalue()) == describe(netcdf_content(whole))
