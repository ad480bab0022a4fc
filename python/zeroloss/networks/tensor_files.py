"""Named arrays of a file, whatever its format: safetensors, npz, or one of ``torch.save``; nothing is executed."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from .._machine import check_memory
from .pickled import RefusedError
from .torch_files import Arrays, bfloat16_to_float32, read_torch_stream, read_torch_zip

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

#: What a damaged file makes its readers raise.
_DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
    safetensors.SafetensorError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def read_tensors(path: Path) -> tuple[Arrays, dict[str, str]]:
    """Return the arrays of a file by name, and its text metadata, which safetensors files may have.

    Raises
    ------
    FileNotFoundError
        Where there is no file.
    ValueError
        For a file that is damaged, of no known format, or holds what is not read; with its path.
    """
    if not path.is_file():
        raise FileNotFoundError(f"path: expected a checkpoint, found no file {path}")
    check_memory(f"checkpoint {path}", 4 * path.stat().st_size)
    content = path.read_bytes()
    try:
        if content.startswith(b"PK\x03\x04"):
            return _read_zip(content), {}
        if content.startswith(b"\x80"):
            return read_torch_stream(content), {}
        if content[8:9] == b"{":
            return _read_safetensors(content)
    except RefusedError as refused:
        raise ValueError(f"{path}: {refused}") from None
    except _DAMAGE as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise ValueError(f"{path}: expected a whole checkpoint, got a damaged one ({reason})") from None
    raise ValueError(f"{path}: expected a safetensors, npz or PyTorch file, got none of these ({len(content)} bytes)")


def _read_zip(content: bytes) -> Arrays:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        check_memory("a checkpoint's arrays", 2 * sum(entry.file_size for entry in archive.infolist()))
        if damaged := archive.testzip():  # of every entry: a name that is damaged would be one that is missing
            raise zipfile.BadZipFile(f"checksum of {damaged!r}")
        pickles = [name for name in names if name.rsplit("/", 1)[-1] == "data.pkl"]
        if len(pickles) == 1:
            return read_torch_zip(archive, pickles[0])
        if pickles or any(not name.endswith(".npy") for name in names):
            raise RefusedError("expected an npz or PyTorch archive, got another zip archive")
        arrays = {name.removesuffix(".npy"): _read_npy(archive.read(name)) for name in names}
        return {name: array for name, array in arrays.items() if array.dtype.kind in "biufc"}


def _read_npy(content: bytes) -> NDArray[Any]:
    return np.asarray(np.lib.format.read_array(io.BytesIO(content), allow_pickle=False))


def _read_safetensors(content: bytes) -> tuple[Arrays, dict[str, str]]:
    arrays: Arrays = {}
    for name, tensor in safetensors.deserialize(content):  # type: ignore[no-untyped-call]
        if tensor["dtype"] not in _SAFETENSORS_TYPES:
            raise RefusedError(f"expected real numbers of 16 to 64 bits or integers, got {tensor['dtype']} in {name!r}")
        array = np.frombuffer(tensor["data"], _SAFETENSORS_TYPES[tensor["dtype"]]).reshape(tensor["shape"])
        arrays[name] = bfloat16_to_float32(array) if tensor["dtype"] == "BF16" else array
    header = content[8 : 8 + int.from_bytes(content[:8], "little")]
    return arrays, json.loads(header).get("__metadata__", {})
