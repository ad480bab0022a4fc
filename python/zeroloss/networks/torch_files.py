"""The tensors of a file of ``torch.save``: the zip archive of today and the stream of before PyTorch 1.6."""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .pickled import STORAGES, RefusedError, Storage, Tensor, read_pickle

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_MOST_VALUES = 100_000  # in the dictionaries of a file, which may hold one another many times over
_DEEPEST = 32

Arrays = dict[str, NDArray[Any]]


def read_torch_zip(archive: zipfile.ZipFile, pickle_name: str) -> Arrays:
    """Return the tensors by name, of an archive whose dictionary is in ``pickle_name``."""
    root = pickle_name.removesuffix("data.pkl")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise RefusedError("expected a PyTorch archive that is not compressed, got a compressed one")
    order = archive.read(f"{root}byteorder").decode() if f"{root}byteorder" in archive.namelist() else "little"
    if order not in ("little", "big"):
        raise RefusedError(f"expected byteorder little or big, got {order[:20]!r}")
    found: dict[Storage, NDArray[Any]] = {}

    def entries(storage: Storage) -> NDArray[Any]:
        if storage not in found:
            found[storage] = _storage_array(archive.read(f"{root}data/{storage.key}"), storage, order)
        return found[storage]

    return _tensors(read_pickle(io.BytesIO(archive.read(pickle_name))), entries)


def read_torch_stream(content: bytes) -> Arrays:
    """Return the tensors by name, of a file in the legacy format: five pickles, and the storages behind them."""
    stream = io.BytesIO(content)
    if read_pickle(stream) != _LEGACY_MAGIC or read_pickle(stream) != _LEGACY_PROTOCOL:
        raise RefusedError("expected a file of torch.save, got another pickle")
    if read_pickle(stream)["little_endian"] is not True:
        raise RefusedError("expected a legacy PyTorch file of a little-endian machine, got one of a big-endian machine")
    state, keys = read_pickle(stream), read_pickle(stream)
    places: dict[str, tuple[int, int]] = {}
    kinds = {tensor.storage.key: tensor.storage for _, tensor in _found_tensors(state)}
    for key in keys:  # 8 bytes of length, and the entries
        (length,) = struct.unpack("<q", stream.read(8))
        itemsize = np.dtype(STORAGES[kinds[key].kind]).itemsize
        places[key] = stream.tell(), length * itemsize
        if length < 0 or len(content) - stream.tell() < length * itemsize:
            raise EOFError(f"storage {key!r} is cut short")
        stream.seek(length * itemsize, io.SEEK_CUR)

    def entries(storage: Storage) -> NDArray[Any]:
        start, size = places[storage.key]
        return _storage_array(content[start : start + size], storage, "little")

    return _tensors(state, entries)


def bfloat16_to_float32(bits: NDArray[Any]) -> NDArray[np.float32]:
    """Return the numbers of 16-bit patterns: the upper half of a float32's, so that this is exact."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _tensors(state: Any, entries: Callable[[Storage], NDArray[Any]]) -> Arrays:
    if not isinstance(state, dict):
        raise RefusedError(f"expected a dictionary of tensors, got a {type(state).__name__.lower()}")
    arrays: Arrays = {}
    for name, tensor in _found_tensors(state):
        if name in arrays:
            raise RefusedError(f"expected different names, got {name!r} twice")
        arrays[name] = _strided(name, tensor, entries(tensor.storage))
    return arrays


def _found_tensors(state: Any) -> list[tuple[str, Tensor]]:
    """Return the tensors in dictionaries, lists and tuples, with their keys joined by dots."""
    found: list[tuple[str, Tensor]] = []
    seen = 0

    def visit(name: str, value: Any, depth: int) -> None:
        nonlocal seen
        seen += 1
        if seen > _MOST_VALUES or depth > _DEEPEST:
            raise RefusedError(f"expected at most {_MOST_VALUES} values, {_DEEPEST} levels deep, got more")
        if isinstance(value, Tensor):
            found.append((name, value))
        elif isinstance(value, dict | list | tuple):
            for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
                visit(f"{name}.{key}" if name else str(key), inner, depth + 1)

    visit("", state, 0)
    return found


def _storage_array(raw: bytes, storage: Storage, order: str) -> NDArray[Any]:
    dtype = np.dtype(STORAGES[storage.kind]).newbyteorder("<" if order == "little" else ">")
    if len(raw) != storage.length * dtype.itemsize:
        expected = f"{storage.length * dtype.itemsize} bytes of storage {storage.key[:20]!r}"
        raise RefusedError(f"expected {expected}, got {len(raw)}")
    array = np.frombuffer(raw, dtype)
    return bfloat16_to_float32(array) if storage.kind == "BFloat16Storage" else array


def _strided(name: str, tensor: Tensor, entries: NDArray[Any]) -> NDArray[Any]:
    """Return the tensor as a view of its storage."""
    count = math.prod(tensor.shape)
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    if count > 0 and last >= len(entries):
        raise RefusedError(f"expected {name!r} within its storage of {len(entries)} entries, got one up to {last}")
    if count > len(entries):
        raise RefusedError(f"expected {name!r} with entries of its own, got an expanded tensor; save a clone() of it")
    if count == 0:
        return np.zeros(tensor.shape, entries.dtype)
    steps = [stride * entries.itemsize for stride in tensor.strides]
    return np.lib.stride_tricks.as_strided(entries[tensor.offset :], tensor.shape, steps, writeable=False)
