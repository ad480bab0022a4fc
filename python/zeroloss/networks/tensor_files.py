"""The named arrays of a safetensors, npz or ``torch.save`` file. Nothing in it is executed."""

from __future__ import annotations

import json
import math
import os
from typing import Any, BinaryIO

import numpy as np

from .._checks import format_value
from .._reading import (
    Arrays,
    RefusedError,
    check_fits_in_memory,
    describe_kind,
    file_size,
    fill_array,
    open_zip,
    read_npz,
    reading,
)
from .torch_files import NameFilter, bfloat16_to_float32, read_torch_stream, read_torch_zip

_SAFETENSORS_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}
_LONGEST_HEADER = 4 * 2**20  # bytes

#: Archives that are not read, by the name of an entry, and how to convert them.
_ARCHIVES = {
    "constants.pkl": "a TorchScript archive; save its weights alone: torch.save(torch.jit.load(OLD).state_dict(), NEW)",
    "archive_format": "an archive of torch.export; save the weights alone: torch.save(program.state_dict, NEW)",
    "model.weights.h5": "a Keras archive; write its arrays with numpy.savez(FILE, E=…, W=…)",
    "extern_modules": "an archive of torch.package; save model.state_dict() with torch.save instead",
}


def read_tensors(path: str | os.PathLike[str], is_wanted: NameFilter) -> tuple[Arrays, dict[str, str]]:
    """Read the wanted arrays of a file, by name, and its text metadata, which safetensors files may have.

    Raises
    ------
    OSError
        If there is no file, or it cannot be read.
    ValueError
        If the file is damaged, has an unknown format, or has something that is not read. The message has the path.
    """
    with reading(path, "a checkpoint") as file:
        head = file.read(512)
        file.seek(0)
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            return _read_zip(file, is_wanted), {}
        if head[:1] == b"\x80" and head[1:2] < b"\x20":
            return read_torch_stream(file, is_wanted), {}
        if head[8:9] == b"{":
            return _read_safetensors(file, is_wanted)
        raise RefusedError(
            f"expected a safetensors, npz or PyTorch file, got none of these ({file_size(file)} bytes): "
            f"{describe_kind(head)}"
        )


def _read_zip(file: BinaryIO, is_wanted: NameFilter) -> Arrays:
    """Read an npz file or a PyTorch archive."""
    with open_zip(file) as archive:
        entries = {name.rsplit("/", 1)[-1] for name in archive.namelist()}
        if kind := next((kind for entry, kind in _ARCHIVES.items() if entry in entries), None):
            raise RefusedError(f"expected an npz or PyTorch archive, got {kind}")
        pickles = [name for name in archive.namelist() if name.rsplit("/", 1)[-1] == "data.pkl"]
        if len(pickles) == 1:
            return read_torch_zip(archive, pickles[0], is_wanted)
        if pickles or any(not name.endswith(".npy") for name in archive.namelist()):
            raise RefusedError("expected an npz or PyTorch archive, got another zip archive")
    file.seek(0)
    arrays = read_npz(file, is_wanted)
    return {name: array for name, array in arrays.items() if array.dtype.kind in "biufc"}


def _read_safetensors(file: BinaryIO, is_wanted: NameFilter) -> tuple[Arrays, dict[str, str]]:
    """Read a safetensors file and its metadata."""
    length = int.from_bytes(file.read(8), "little")
    start = 8 + length
    if length > min(file_size(file) - 8, _LONGEST_HEADER):
        raise RefusedError(
            f"expected a safetensors header of at most {_LONGEST_HEADER} bytes within a file of {file_size(file)}, "
            f"got one of {length}"
        )
    header = json.loads(file.read(length).decode(), object_pairs_hook=_check_repetition)
    metadata = header.pop("__metadata__", {})
    if not all(isinstance(text, str) for text in metadata.values()):
        raise RefusedError("expected text metadata, got others")
    check_fits_in_memory(file_size(file))
    arrays: Arrays = {}
    end = 0
    for name, about in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, until = about["data_offsets"]
        if begin != end or not begin <= until <= file_size(file) - start:
            raise EOFError(
                f"{format_value(name)} is at bytes {begin} to {until} of {file_size(file) - start}, after byte {end}"
            )
        end = until
        if not is_wanted(name):
            continue
        if about["dtype"] not in _SAFETENSORS_TYPES:
            raise RefusedError(
                f"expected real numbers of 16 to 64 bits or integers, got {about['dtype']} in {format_value(name)}"
            )
        dtype = np.dtype(_SAFETENSORS_TYPES[about["dtype"]])
        shape = about["shape"]
        if any(n < 0 for n in shape) or math.prod(shape) * dtype.itemsize != until - begin:
            raise RefusedError(
                f"expected {until - begin} bytes, got shape {format_value(shape)} for {format_value(name)}"
            )
        raw = np.empty(until - begin, np.uint8)
        file.seek(start + begin)
        fill_array(file, raw)
        entries = raw.view(dtype).reshape(shape)
        arrays[name] = bfloat16_to_float32(entries) if about["dtype"] == "BF16" else entries
    if end != file_size(file) - start:
        raise EOFError(f"expected {end} bytes of tensors, got {file_size(file) - start}")
    return arrays, metadata


def _check_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dictionary, or raise an error if a name is repeated."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise RefusedError("expected each name once, got a repeated name")
    return values
