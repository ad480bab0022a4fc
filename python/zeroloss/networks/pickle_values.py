"""The values in pickles of PyTorch files, as data, and the calls that make them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._checks import format_value
from .._reading import RefusedError
from .known_globals import (
    DICTIONARIES,
    DTYPES,
    ENCODES,
    LISTS,
    NUMPY_ARRAYS,
    NUMPY_SCALARS,
    NUMPY_TYPE,
    OTHER_TENSORS,
    REBUILDS,
    STORAGES,
    UNTYPED_LETTERS,
    VALUES,
    WRAPPERS,
)

_MOST_DIMENSIONS = 64  # NumPy's limit


class Storage(NamedTuple):
    """The flat array of which tensors are parts: its type (a key of STORAGE_LETTERS), name in the file, and length."""

    kind: str
    key: str
    length: int


class Tensor(NamedTuple):
    """A strided part of a storage, with offset and strides in entries.

    ``negated`` is true if the storage has the negative entries, as for the imaginary part of a conjugated tensor.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    negated: bool


class OtherTensor(NamedTuple):
    """A tensor that is not part of a storage and is not read: sparse, nested or meta."""

    kind: str


class Global(NamedTuple):
    """The name of an object in a module, which is not imported."""

    module: str
    name: str


class Value:
    """A value that is not used, such as a date, a path or a device."""


#: The only instance.
VALUE = Value()


class NumpyType:
    """A NumPy dtype under construction: its letters, and the order of its bytes."""

    def __init__(self, letters: str) -> None:
        self.letters, self.order = letters, "<"

    def dtype(self) -> np.dtype[Any]:
        """Return the dtype, or raise an error unless it is a type of numbers or texts."""
        dtype = np.dtype(self.letters).newbyteorder(">" if self.order == ">" else "<")
        expect(dtype.kind in "biufcSU" and dtype.itemsize > 0, "arrays of numbers")
        return dtype


class NumpyArray:
    """A NumPy array under construction."""

    array: NDArray[Any] | None = None


def checked_global(module: object, name: object) -> Global:
    """Return a global that a file may mention, or raise RefusedError."""
    if isinstance(module, str) and isinstance(name, str):
        if (module, name) in _KNOWN:
            return Global(module, name)
        mention = format_value(f"{module}.{name}", 100)
    else:
        mention = "'a computed name'"
    raise RefusedError(
        f"expected a dictionary of tensors and nothing to execute, got a mention of {mention}; "
        "save only the weights of a model: torch.save(model.state_dict(), FILE)"
    )


def call_known(function: Any, arguments: Any) -> Any:
    """Return the value that a call of a known function makes, or raise RefusedError."""
    if isinstance(function, Global) and isinstance(arguments, tuple):
        for names, make in _MAKERS:
            if function in names:
                return make(function, *arguments)
    raise _other_call()


def _dictionary(function: Global, *arguments: Any) -> dict[Any, Any]:
    """Make a dictionary."""
    match function.name, arguments:
        case ("Counter", (dict(counts),)):
            return counts
        case ("defaultdict", (Global() | None,)) | (_, ()):
            return {}
    raise _other_call()


def _list(function: Global, *arguments: Any) -> list[Any] | tuple[Any, ...]:
    """Make a list."""
    match arguments:
        case () | ((), *_):  # A deque has its greatest length behind the empty tuple; its items follow.
            return []
        case (list() | tuple() as values, *_):
            return values
    raise _other_call()


def _tensor(function: Global, *arguments: Any) -> Any:
    """Make a tensor from the arguments of one of PyTorch's functions."""
    match function.name, arguments:
        case ("_rebuild_from_type_v2", (Global() as rebuild, Global(), tuple(inner), _)) if rebuild in REBUILDS:
            return _tensor(rebuild, *inner)
        case (("_rebuild_parameter" | "_rebuild_parameter_with_state"), (Tensor() as tensor, *_)):
            return tensor
        case (("_rebuild_tensor" | "_rebuild_tensor_v2" | "_rebuild_tensor_v3"), (Storage() as storage, *rest)):
            offset, shape, strides = rest[:3]
            fits = isinstance(shape, list | tuple) and len(shape) == len(strides) <= _MOST_DIMENSIONS
            expect(fits, f"a stride for each of up to {_MOST_DIMENSIONS} sizes")
            if function.name == "_rebuild_tensor_v3":
                storage = _with_type(storage, rest[5])
            metadata = rest[-1] if isinstance(rest[-1], dict) else {}
            negated = metadata.get("neg") is True
            return Tensor(storage, natural(offset), tuple(map(natural, shape)), tuple(map(natural, strides)), negated)
    raise _other_call()


def _with_type(storage: Storage, dtype: Any) -> Storage:
    """Return an untyped storage of bytes as a storage of a type."""
    expect(isinstance(dtype, Global) and dtype.name in UNTYPED_LETTERS, "a type of numbers that is known")
    itemsize = np.dtype(UNTYPED_LETTERS[dtype.name]).itemsize
    return Storage(dtype.name, storage.key, storage.length // itemsize)


def _encode(function: Global, *arguments: Any) -> bytes:
    """Make bytes from text."""
    match arguments:
        case (str(text), "latin1"):
            return text.encode("latin1")
        case ():
            return b""
    raise _other_call()


def numpy_array(shape: Any, dtype: Any, fortran: Any, content: Any) -> NDArray[Any]:
    """Make a NumPy array from its parts."""
    expect(isinstance(dtype, NumpyType) and isinstance(content, bytes), "an array of numbers")
    expect(isinstance(shape, tuple) and len(shape) <= _MOST_DIMENSIONS, "an array of numbers")
    kind = dtype.dtype()
    expect(math.prod(map(natural, shape)) * kind.itemsize == len(content), "an array that fits its shape")
    return np.frombuffer(content, kind).reshape(shape, order="F" if fortran else "C")


def _numpy_type(function: Global, *arguments: Any) -> NumpyType:
    """Make a NumPy type under construction."""
    expect(bool(arguments) and isinstance(arguments[0], str) and len(arguments[0]) < 10, "a NumPy type")
    return NumpyType(arguments[0])


_MAKERS: tuple[tuple[frozenset[tuple[str, str]], Callable[..., Any]], ...] = (
    (REBUILDS, _tensor),
    (DICTIONARIES, _dictionary),
    (LISTS, _list),
    (NUMPY_ARRAYS, lambda *_: NumpyArray()),
    (frozenset({NUMPY_TYPE}), _numpy_type),
    (ENCODES, _encode),
    (frozenset(OTHER_TENSORS), lambda function, *_: OtherTensor(OTHER_TENSORS[function])),
    (VALUES | NUMPY_SCALARS, lambda *_: VALUE),
)
_KNOWN = frozenset().union(*(names for names, _ in _MAKERS), STORAGES, DTYPES, WRAPPERS)


def natural(number: object) -> int:
    """Return an integer of at least 0, or raise RefusedError."""
    expect(isinstance(number, int) and not isinstance(number, bool) and number >= 0, "sizes that are whole numbers")
    return number  # type: ignore[return-value]


def expect(holds: bool, what: str) -> None:
    """Raise RefusedError unless a condition is true."""
    if not holds:
        raise RefusedError(f"expected {what}, got a pickle with something else")


def _other_call() -> RefusedError:
    """Return the error for a call that is not allowed."""
    return RefusedError("expected a dictionary of tensors, got a pickle with a call that makes something else")
