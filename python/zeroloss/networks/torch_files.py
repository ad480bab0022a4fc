"""The tensors of a file of ``torch.save``: the zip archive of today, and the stream of PyTorch before 1.6."""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._checks import format_value
from .._reading import Arrays, RefusedError, check_fits_in_memory, file_size, fill_array
from .known_globals import STORAGE_LETTERS, UNTYPED_LETTERS
from .pickle_values import NumpyArray, OtherTensor, Storage, Tensor
from .pickled import Pickle, read_pickle

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_MOST_VALUES = 100_000  # containers and tensors, each as often as it occurs; more if a file has more opcodes
_DEEPEST = 32
_LONGEST_NAME = 1000
_LETTERS = {**STORAGE_LETTERS, **UNTYPED_LETTERS}

AnyTensor = Tensor | NumpyArray | OtherTensor

#: A function of a name that returns whether the tensor is read. For a name with a dot at its end, it returns whether
#: any tensor within this dictionary is read.
NameFilter = Callable[[str], bool]


def read_torch_zip(archive: zipfile.ZipFile, pickle_name: str, is_wanted: NameFilter) -> Arrays:
    """Read the wanted tensors of an archive, whose dictionary is in ``pickle_name``, by name."""
    root = pickle_name.removesuffix("data.pkl")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
        raise RefusedError("expected a PyTorch archive that is not compressed, got a compressed one")
    order = archive.read(f"{root}byteorder").decode() if f"{root}byteorder" in archive.namelist() else "little"
    if order not in ("little", "big"):
        raise RefusedError(f"expected byteorder little or big, got {format_value(order)}")

    def raw(storage: Storage) -> NDArray[np.uint8]:
        entry = archive.getinfo(f"{root}data/{storage.key}")
        with archive.open(entry) as stream:
            return _read_bytes(stream, entry.file_size)  # type: ignore[arg-type]

    content = archive.read(pickle_name)  # the whole archive fits in memory
    pickle = read_pickle(io.BytesIO(content), len(content))
    return _tensors(pickle, raw, order, is_wanted, sum(entry.file_size for entry in archive.infolist()))


def read_torch_stream(stream: BinaryIO, is_wanted: NameFilter) -> Arrays:
    """Read the wanted tensors of a file in the legacy format, five pickles followed by the storages, by name."""
    size = file_size(stream)
    magic, protocol = read_pickle(stream, size).value, None
    if magic == _LEGACY_MAGIC:
        protocol = read_pickle(stream, size).value
    if protocol != _LEGACY_PROTOCOL:
        raise RefusedError(
            "expected a file of torch.save, got another pickle; write its arrays with numpy.savez(FILE, E=…, W=…)"
        )
    if read_pickle(stream, size).value["little_endian"] is not True:
        raise RefusedError("expected a legacy PyTorch file of a little-endian machine, got one of a big-endian machine")
    check_fits_in_memory(size)
    pickle = read_pickle(stream, size)
    places: dict[str, tuple[int, int]] = {}
    for key in read_pickle(stream, size).value:  # 8 bytes with the length, then the entries
        (length,) = struct.unpack("<q", stream.read(8))
        itemsize = np.dtype(_LETTERS[pickle.storages[key].kind]).itemsize
        places[key] = stream.tell(), length * itemsize
        if length < 0 or size - stream.tell() < length * itemsize:
            raise EOFError(f"storage {key!r} is cut short")
        stream.seek(length * itemsize, io.SEEK_CUR)

    def raw(storage: Storage) -> NDArray[np.uint8]:
        start, length = places[storage.key]
        stream.seek(start)
        return _read_bytes(stream, length)

    return _tensors(pickle, raw, "little", is_wanted, size)


def bfloat16_to_float32(bits: NDArray[Any]) -> NDArray[np.float32]:
    """Convert 16-bit patterns to numbers. A pattern is the upper half of a float32, so the result is exact."""
    wide = bits.astype(np.uint32)
    np.left_shift(wide, np.uint32(16), out=wide)
    return wide.view(np.float32)


def _read_bytes(stream: BinaryIO, size: int) -> NDArray[np.uint8]:
    """Read a number of bytes."""
    raw = np.empty(size, np.uint8)
    fill_array(stream, raw)
    return raw


def _tensors(
    pickle: Pickle, raw: Callable[[Storage], NDArray[np.uint8]], order: str, is_wanted: NameFilter, size: int
) -> Arrays:
    """Read the wanted tensors of a dictionary. ``raw`` returns the bytes of a storage."""
    if not isinstance(pickle.value, dict):
        kinds = {"Tensor": "tensor", "OtherTensor": "tensor", "NumpyArray": "NumPy array"}
        kind = kinds.get(name := type(pickle.value).__name__, name.lower())
        raise RefusedError(
            f"expected a dictionary of tensors, got a {kind}; torch.save(model.state_dict(), FILE) writes one"
        )
    arrays: Arrays = {}
    storages: dict[Storage, NDArray[Any]] = {}
    entries = 0
    for name, tensor in _Tree(pickle, is_wanted).tensors():
        if name in arrays:
            raise RefusedError(f"expected different names, got {format_value(name)} twice")
        if isinstance(tensor, NumpyArray):
            if tensor.array is not None:
                arrays[name] = tensor.array
            continue
        if isinstance(tensor, OtherTensor):
            raise RefusedError(
                f"expected dense tensors, got the {tensor.kind} tensor {format_value(name)}; name it in ignore, or "
                "save it as a dense tensor"
            )
        if tensor.storage not in storages:
            storages[tensor.storage] = _storage_array(raw(tensor.storage), tensor.storage, order)
        arrays[name] = _view_storage(name, tensor, storages[tensor.storage])
        entries += arrays[name].size
        if entries > 16 * size:
            raise RefusedError(f"expected at most {16 * size} entries in all tensors, got more: they share storages")
    return arrays


class _Shape(NamedTuple):
    """The number of values in a container and its inner containers, its depth, and whether it has tensors."""

    values: int
    depth: int
    tensors: bool


class _Tree:
    """The dictionaries, lists and tuples of a file, which may contain one another many times."""

    def __init__(self, pickle: Pickle, is_wanted: NameFilter) -> None:
        self._root, self._is_wanted = pickle.value, is_wanted
        self._most = max(_MOST_VALUES, pickle.opcodes)
        self._shapes: dict[int, _Shape] = {}

    def tensors(self) -> list[tuple[str, AnyTensor]]:
        """Return the wanted tensors and arrays, with their keys joined by dots."""
        tensors: list[tuple[str, AnyTensor]] = []

        def visit(name: str, value: Any) -> None:
            if isinstance(value, AnyTensor):
                if self._is_wanted(name):
                    tensors.append((name, value))
            elif self._shape(value, 0).tensors:
                for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
                    below = f"{name}.{key}" if name else str(key)
                    if isinstance(inner, AnyTensor) or _is_container(inner):
                        if len(below) > _LONGEST_NAME:
                            raise RefusedError(
                                f"expected names of at most {_LONGEST_NAME} characters, got {format_value(below)}"
                            )
                        if isinstance(inner, AnyTensor) or self._is_wanted(f"{below}."):
                            visit(below, inner)

        visit("", self._root)
        return tensors

    def _shape(self, value: Any, depth: int) -> _Shape:
        """Compute the shape of a container, once for each."""
        if id(value) in self._shapes:
            return self._shapes[id(value)]
        values, deepest, tensors = 1, 0, False
        for inner in value.values() if isinstance(value, dict) else value:
            if isinstance(inner, AnyTensor):
                values, tensors = values + 1, True
            elif _is_container(inner):
                if depth > _DEEPEST:
                    break
                shape = self._shape(inner, depth + 1)
                values, deepest = values + shape.values, max(deepest, shape.depth + 1)
                tensors = tensors or shape.tensors
        if values > self._most or depth + deepest > _DEEPEST:
            raise RefusedError(f"expected at most {_MOST_VALUES} values, {_DEEPEST} levels deep, got more")
        self._shapes[id(value)] = _Shape(values, deepest, tensors)
        return self._shapes[id(value)]


def _is_container(value: object) -> bool:
    """Return whether a value is a dictionary, a list or a tuple."""
    return isinstance(value, dict | list) or type(value) is tuple


def _storage_array(raw: NDArray[np.uint8], storage: Storage, order: str) -> NDArray[Any]:
    """Convert the bytes of a storage to an array of its type."""
    dtype = np.dtype(_LETTERS[storage.kind]).newbyteorder("<" if order == "little" else ">")
    if len(raw) != storage.length * dtype.itemsize:
        expected = f"{storage.length * dtype.itemsize} bytes of storage {format_value(storage.key, 20)}"
        raise RefusedError(f"expected {expected}, got {len(raw)}")
    array = raw.view(dtype)
    return bfloat16_to_float32(array) if storage.kind == "BFloat16Storage" else array


def _view_storage(name: str, tensor: Tensor, entries: NDArray[Any]) -> NDArray[Any]:
    """Return a tensor as a view of its storage."""
    count = math.prod(tensor.shape)
    last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
    if count > 0 and last >= len(entries):
        raise RefusedError(
            f"expected {format_value(name)} within its storage of {len(entries)} entries, got one up to {last}"
        )
    if count > len(entries):
        raise RefusedError(
            f"expected {format_value(name)} with separate entries, got an expanded tensor; save a clone() of it"
        )
    if count == 0:
        return np.zeros(tensor.shape, entries.dtype)
    steps = [stride * entries.itemsize for stride in tensor.strides]
    view = np.lib.stride_tricks.as_strided(entries[tensor.offset :], tensor.shape, steps, writeable=False)
    return -view if tensor.negated else view
