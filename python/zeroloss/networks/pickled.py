"""Reads the pickles of PyTorch files as data. Nothing is imported, called or built, except the values in this package.

The opcodes work on a stack of plain values. A global is only a name. The known globals are PyTorch's storage types, the
functions that make tensors, and the types of plain values that training scripts save with them: sizes, devices, NumPy's
scalars and arrays, dates, paths. Every other global is rejected when it is mentioned, whether it is called or not.

The work is bounded by the number of opcodes. Numbers are not counted: a list of losses may be as long as the file.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from .._reading import RefusedError
from .known_globals import STORAGES, WRAPPERS
from .pickle_values import (
    VALUE,
    Global,
    NumpyArray,
    NumpyType,
    Storage,
    Value,
    call_known,
    checked_global,
    expect,
    natural,
    numpy_array,
)

_MOST_OPCODES = 2_000_000  # without numbers; an opcode that makes a value counts twice
_GREATEST_KEY = 2**60  # the hashes of integers up to here are different
_LONGEST_NAME = 1000


class Pickle(NamedTuple):
    """The value of a pickle, its storages by key, and the number of its opcodes without numbers."""

    value: Any
    storages: dict[str, Storage]
    opcodes: int


def read_pickle(stream: BinaryIO, size: int) -> Pickle:
    """Read one pickle: dictionaries, lists, tuples, strings, numbers, arrays and `Tensor`.

    Parameters
    ----------
    stream : file
        The stream, whose position is after the pickle when the function returns.
    size : int
        The length of the whole stream.

    Raises
    ------
    RefusedError
        If a global, a call or an opcode is one that a state dictionary does not need, or there are too many opcodes.
    Exception
        Of various kinds, if the pickle is damaged.
    """
    machine = _Machine(stream, size)
    return Pickle(machine.run(), machine.storages, machine.opcodes)


class _Machine:
    """The stack and the memory of a pickle that is being read."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size = stream, size
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self.memory: list[Any] = []
        self._far: dict[int, Any] = {}  # values at places that are not consecutive
        self.storages: dict[str, Storage] = {}
        self.opcodes = 0

    def run(self) -> Any:
        """Execute opcodes to the end, and return the value."""
        read, push, memory = self._stream.read, self._stack.append, self.memory
        opcodes = 0
        while (code := read(1)) != b".":
            if number := _NUMBERS.get(code):
                push(number[0](read(number[1]))[0])
                continue
            if code in _CONSTANTS:
                push(_CONSTANTS[code])
                continue
            opcodes += 1 + (code in _MAKING)
            if opcodes + len(self._far) > _MOST_OPCODES:
                raise RefusedError(f"expected at most {_MOST_OPCODES} values other than numbers, got more")
            if code == b"h":  # the two most frequent opcodes, without a call
                place = read(1)[0]
                push(memory[place] if place < len(memory) else self._far[place])
            elif code == b"\x94":
                memory.append(self._top())
            elif (step := _STEPS.get(code)) is not None:
                step(self)
            else:
                raise _opcode_error(code)
        self.opcodes = opcodes
        (value,) = self._stack
        return value

    def take(self, count: int) -> bytes:
        """Read bytes. A length beyond the end of the file raises an error before anything is allocated."""
        if count > 2**16 and count > self._size - self._stream.tell():
            raise EOFError("it is cut short")
        content = self._stream.read(count)
        if len(content) < count:
            raise EOFError("it is cut short")
        return content

    def natural(self, width: int) -> int:
        """Read an integer of at least 0."""
        return int.from_bytes(self.take(width), "little")

    def pop(self, count: int) -> list[Any]:
        """Take values off the stack, but none below the topmost mark."""
        start = len(self._stack) - count
        if start < (self._marks[-1] if self._marks else 0):
            raise EOFError("nothing on the stack")
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def pop_to_mark(self) -> list[Any]:
        """Take all values above the topmost mark, and the mark."""
        return self.pop(len(self._stack) - self._marks.pop())

    def push(self, value: Any) -> None:
        """Push a value."""
        self._stack.append(value)

    def mark(self) -> None:
        """Mark the place at which the values of a list, a tuple or a dictionary begin."""
        self._marks.append(len(self._stack))

    def _top(self) -> Any:
        """Return the topmost value."""
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise EOFError("nothing on the stack")
        return self._stack[-1]

    def put(self, place: int) -> None:
        """Store the topmost value at a place of the memory."""
        value = self._top()
        if place < len(self.memory):
            self.memory[place] = value
        elif place == len(self.memory) and place not in self._far:
            self.memory.append(value)
        else:
            self._far[place] = value

    def get(self, place: int) -> None:
        """Push the value that was stored at a place."""
        self.push(self.memory[place] if place < len(self.memory) else self._far[place])

    def text(self, width: int) -> None:
        """Push a text."""
        self.push(self.take(self.natural(width)).decode("utf-8", "surrogatepass"))

    def fill(self, values: list[Any]) -> None:
        """Append values to the topmost list."""
        expect(isinstance(self._top(), list), "items for a list")
        self._stack[-1].extend(values)

    def set(self, values: list[Any]) -> None:
        """Add keys and values to the topmost dictionary."""
        expect(isinstance(self._top(), dict), "items or attributes for a dictionary")
        keys = values[::2]
        expect(all(map(_is_key, keys)), "keys that are strings or integers")
        self._stack[-1].update(zip(keys, values[1::2], strict=True))

    def build(self) -> None:
        """Take the attributes of the topmost value. Only the attributes of arrays are used."""
        (state,) = self.pop(1)
        match self._top():
            case NumpyType() as kind:
                kind.order = state[1]
            case NumpyArray() as instance:
                _, shape, dtype, fortran, content = state[-5:]
                instance.array = numpy_array(shape, dtype, fortran, content)
            case value:  # for example the versions of the modules of a state dictionary
                expect(isinstance(value, dict | Value), "items or attributes for a dictionary")

    def mention(self) -> None:
        """Push a global."""
        module, name = (self._stream.readline(_LONGEST_NAME) for _ in range(2))
        self.push(checked_global(module.rstrip(b"\n").decode(), name.rstrip(b"\n").decode()))

    def refer(self) -> None:
        """Push the storage of a reference ("storage", type, key, device, length).

        The legacy format has a further entry, a view, which is None.
        """
        ((word, kind, key, _, length, *view),) = self.pop(1)
        is_storage = word == "storage" and isinstance(kind, Global) and kind in STORAGES and isinstance(key, str)
        expect(is_storage and view in ([], [None]), "a reference to a storage")
        self.storages[key] = Storage(kind.name, key, natural(length))
        self.push(self.storages[key])

    def new(self, name: str, count: int) -> None:
        """Make an instance of one of the types that need no call."""
        kind, *_ = self.pop(count)
        if not isinstance(kind, Global) or kind not in WRAPPERS:
            raise RefusedError(f"expected a dictionary of tensors, got a pickle with opcode {name}")
        self.push({} if WRAPPERS[kind] == "dictionary" else VALUE)


def _is_key(key: object) -> bool:
    """Return whether a value may be a key of a dictionary."""
    if isinstance(key, tuple):  # only flat tuples, because the hash of a deep one overflows the stack
        return all(not isinstance(part, tuple) and _is_key(part) for part in key)
    return isinstance(key, str | float | bytes | None) or (isinstance(key, int) and abs(key) < _GREATEST_KEY)


def _opcode_error(code: bytes) -> Exception:
    """Return the error for an unknown opcode."""
    if not code:
        return EOFError("no end of the pickle")
    name = next((opcode.name for opcode in pickletools.opcodes if opcode.code.encode("latin1") == code), None)
    return RefusedError(
        f"expected a dictionary of tensors, got a pickle with {f'opcode {name}' if name else 'no opcode'}"
    )


#: The opcodes of plain numbers: a function that reads them, and their length.
_NUMBERS: dict[bytes, tuple[Callable[[bytes], Any], int]] = {
    b"G": (struct.Struct(">d").unpack, 8),
    b"K": (struct.Struct("<B").unpack, 1),
    b"M": (struct.Struct("<H").unpack, 2),
    b"J": (struct.Struct("<i").unpack, 4),
}
_CONSTANTS: dict[bytes, Any] = {b"N": None, b"\x88": True, b"\x89": False, b")": ()}

_MAKING = frozenset(
    {b"}", b"]", b"t", b"X", b"U", b"T", b"C", b"B"}
    | {bytes([code]) for code in b"\x85\x86\x87\x8c\x8d\x8e\x8f\x91\x96"}
)

_Step = Callable[[_Machine], Any]


def _tuple_of(count: int) -> _Step:
    """Return the step of an opcode that makes a tuple."""
    return lambda machine: machine.push(tuple(machine.pop(count)))


def _integer(width: int) -> _Step:
    """Return the step of an opcode that pushes a long integer."""
    return lambda machine: machine.push(int.from_bytes(machine.take(machine.natural(width)), "little", signed=True))


def _raw(width: int) -> _Step:
    """Return the step of an opcode that pushes bytes."""
    return lambda machine: machine.push(machine.take(machine.natural(width)))


def _old_text(width: int) -> _Step:
    """Return the step of an opcode that pushes a text of Python 2."""
    return lambda machine: machine.push(machine.take(machine.natural(width)).decode("latin1"))


#: The steps of the other opcodes, with their names in the module ``pickletools``.
_STEPS: dict[bytes, _Step] = {
    b"\x80": lambda machine: machine.take(1),  # PROTO
    b"\x95": lambda machine: machine.take(8),  # FRAME
    b"(": lambda machine: machine.mark(),
    b"0": lambda machine: machine.pop(1),  # POP
    b"1": lambda machine: machine.pop_to_mark(),  # POP_MARK
    b"}": lambda machine: machine.push({}),
    b"]": lambda machine: machine.push([]),
    b"\x8f": lambda machine: machine.push([]),  # EMPTY_SET
    b"\x91": lambda machine: machine.push(tuple(machine.pop_to_mark())),  # FROZENSET
    b"t": lambda machine: machine.push(tuple(machine.pop_to_mark())),
    b"\x85": _tuple_of(1),
    b"\x86": _tuple_of(2),
    b"\x87": _tuple_of(3),
    b"a": lambda machine: machine.fill(machine.pop(1)),
    b"e": lambda machine: machine.fill(machine.pop_to_mark()),
    b"\x90": lambda machine: machine.fill(machine.pop_to_mark()),  # ADDITEMS
    b"s": lambda machine: machine.set(machine.pop(2)),
    b"u": lambda machine: machine.set(machine.pop_to_mark()),
    b"q": lambda machine: machine.put(machine.natural(1)),
    b"r": lambda machine: machine.put(machine.natural(4)),
    b"j": lambda machine: machine.get(machine.natural(4)),
    b"\x8c": lambda machine: machine.text(1),
    b"X": lambda machine: machine.text(4),
    b"\x8d": lambda machine: machine.text(8),
    b"U": _old_text(1),
    b"T": _old_text(4),
    b"C": _raw(1),
    b"B": _raw(4),
    b"\x8e": _raw(8),
    b"\x96": _raw(8),
    b"\x8a": _integer(1),
    b"\x8b": _integer(4),
    b"c": lambda machine: machine.mention(),
    b"\x93": lambda machine: machine.push(checked_global(*machine.pop(2))),
    b"Q": lambda machine: machine.refer(),
    b"R": lambda machine: machine.push(call_known(*machine.pop(2))),
    b"b": lambda machine: machine.build(),
    b"\x81": lambda machine: machine.new("NEWOBJ", 2),
    b"\x92": lambda machine: machine.new("NEWOBJ_EX", 3),
}
