"""Reads the pickles of PyTorch files as data: nothing in them is imported, called or built but what stands here.

The opcodes come from the standard library's disassembler and work on a stack of plain values. Of globals, PyTorch's
storage types and the three functions that state dictionaries are made with are known by name, as names; every other one
is refused where it is mentioned, whether or not it would be called.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

_DICTIONARY = ("collections", "OrderedDict")
_TENSOR = ("torch._utils", "_rebuild_tensor_v2")
_PARAMETER = ("torch._utils", "_rebuild_parameter")

_MOST_DIMENSIONS = 64  # NumPy's

#: NumPy's letters of what a storage holds; bfloat16 has none, and is read as its 16 bits.
STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


class RefusedError(ValueError):
    """What a file holds is not what can be read: a sentence, expected … got …."""


class Storage(NamedTuple):
    """The flat array that a tensor is part of: its type (a key of STORAGES), its name in the file, its length."""

    kind: str
    key: str
    length: int


class Tensor(NamedTuple):
    """A strided part of a storage; offset and strides in entries."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Global(NamedTuple):
    module: str
    name: str


class _Mark:
    pass


def read_pickle(stream: BinaryIO) -> Any:
    """Return what one pickle holds: dictionaries, lists, tuples, strings, numbers and `Tensor`.

    Raises
    ------
    RefusedError
        For a global, a call or an opcode that a state dictionary does not need.
    Exception
        Of various kinds, for a damaged pickle.
    """
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "STOP":
            (result,) = machine.stack
            return result
        machine.step(opcode.name, argument)
    raise EOFError("no end of the pickle")


class _Machine:
    """The stack and memory of a pickle under way."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._memory: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Take one opcode."""
        if name in _PUSHES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memory[len(self._memory) if name == "MEMOIZE" else argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self._memory[argument])
        elif name in _TUPLES:
            self.stack.append(self._pop(_TUPLES[name]))
        elif name in ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "BUILD"):
            self._fill(name)
        elif name not in _IGNORED:
            self.stack.append(self._make(name, argument))

    def _fill(self, name: str) -> None:
        """Add to the list or dictionary on the stack."""
        values = self._pop({"APPEND": 1, "BUILD": 1, "SETITEM": 2}.get(name))
        if name.startswith("APPEND"):
            _expect(isinstance(self.stack[-1], list), "items for a list")
            self.stack[-1].extend(values)
            return
        _expect(isinstance(self.stack[-1], dict), "items or attributes for a dictionary")
        if name != "BUILD":  # the _metadata of a state dictionary, versions of its modules, is left out
            keys = values[::2]
            _expect(all(isinstance(key, str | int) for key in keys), "keys that are strings or integers")
            self.stack[-1].update(zip(keys, values[1::2], strict=True))

    def _make(self, name: str, argument: Any) -> Any:
        """Return what a global, a reference or a call stands for."""
        if name == "GLOBAL":
            return _known(*argument.split(" ", 1))
        if name == "STACK_GLOBAL":
            return _known(*self._pop(2))
        if name == "BINPERSID":
            return _storage(*self._pop(1))
        if name == "REDUCE":
            return _made(*self._pop(2))
        raise RefusedError(f"expected a dictionary of tensors, got a pickle with opcode {name}")

    def _pop(self, count: int | None) -> tuple[Any, ...]:
        """Take so many values off the stack, or all above the topmost mark, and the mark."""
        if count is None:
            count = next(i for i, value in enumerate(reversed(self.stack)) if value is _Mark)
            return self._pop(count + 1)[1:]
        if len(self.stack) < count:
            raise EOFError("nothing on the stack")
        values = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return values


_IGNORED = frozenset({"PROTO", "FRAME"})
_PUSHES = frozenset(
    {"BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"}
)
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: _Mark,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "TUPLE": None}


def _known(module: object, name: object) -> _Global:
    if (module, name) in (_DICTIONARY, _TENSOR, _PARAMETER) or (module == "torch" and name in STORAGES):
        return _Global(str(module), str(name))
    shown = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "a computed name"
    raise RefusedError(f"expected a dictionary of tensors and nothing to execute, got a mention of {shown[:100]!r}")


def _storage(reference: Any) -> Storage:
    """Of ("storage", type, key, device, length), the legacy format's with a view of it, None, behind."""
    word, kind, key, _, length, *view = reference
    is_one = word == "storage" and isinstance(kind, _Global) and kind.module == "torch" and isinstance(key, str)
    _expect(is_one and view in ([], [None]), "a reference to a storage")
    return Storage(kind.name, key, _natural(length))


def _made(function: Any, arguments: Any) -> Any:
    """Return what a call of one of the three known functions makes."""
    if function == _DICTIONARY and arguments == ():
        return {}
    if function == _TENSOR and isinstance(arguments, tuple) and isinstance(arguments[0], Storage):
        storage, offset, shape, strides = arguments[:4]
        _expect(len(shape) == len(strides) <= _MOST_DIMENSIONS, f"a stride for each of up to {_MOST_DIMENSIONS} sizes")
        return Tensor(storage, _natural(offset), tuple(map(_natural, shape)), tuple(map(_natural, strides)))
    if function == _PARAMETER and isinstance(arguments, tuple) and isinstance(arguments[0], Tensor):
        return arguments[0]
    raise RefusedError("expected a dictionary of tensors, got a pickle with a call that makes something else")


def _natural(number: object) -> int:
    _expect(isinstance(number, int) and not isinstance(number, bool) and number >= 0, "sizes that are whole numbers")
    return number  # type: ignore[return-value]


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise RefusedError(f"expected {what}, got a pickle with something else")
