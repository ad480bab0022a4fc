"""Checks of arguments, and errors that name the argument, the expected value and the value given.

Public functions check each argument once. A function here that is named after a type returns the checked value.
"""

from __future__ import annotations

import math
import operator
import os
import reprlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Choice = TypeVar("Choice")

DTYPES = ("float64", "float32")

#: Characters of a value or a name in a message.
_LONGEST_VALUE = 80
#: Characters of a message.
_LONGEST_LINE = 2000
#: Characters of a name that files store.
_LONGEST_NAME = 200
#: Characters at each end of a path in a message.
_LONGEST_PATH = 250


class ZerolossWarning(RuntimeWarning):
    """A warning of this package. The command prints these warnings and no others."""


@dataclass(frozen=True)
class Range:
    """The range of a number. As a string it is a phrase: "above 0", "in [0, 1)".

    With `typing.Annotated` it is part of a type, see `zeroloss._choices`. Its attributes are named as in
    annotated_types.

    Parameters
    ----------
    ge, gt, le, lt : float, optional
        The bounds: at least, above, at most, below. A number has no bound by default.
    """

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def __contains__(self, number: float) -> bool:
        return (
            (self.ge is None or number >= self.ge)
            and (self.gt is None or number > self.gt)
            and (self.le is None or number <= self.le)
            and (self.lt is None or number < self.lt)
        )

    def __str__(self) -> str:
        lower, upper = self.ge if self.gt is None else self.gt, self.le if self.lt is None else self.lt
        if upper is None:
            return "" if lower is None else f"{'of at least' if self.gt is None else 'above'} {lower}"
        if lower is None:
            return f"{'of at most' if self.lt is None else 'below'} {upper}"
        return f"in {'[' if self.gt is None else '('}{lower}, {upper}{']' if self.lt is None else ')'}"


POSITIVE = Range(gt=0)
NOT_NEGATIVE = Range(ge=0)
FRACTION = Range(ge=0, le=1)
SHARE = Range(gt=0, le=1)
BELOW_ONE = Range(ge=0, lt=1)


class ArgumentError(Exception):
    """An error about arguments, raised as `ArgumentValueError` or `ArgumentTypeError`.

    Its text is "name: problem", or "name, name: problem" for several arguments.

    Parameters
    ----------
    names : str or sequence of str
        The names of the arguments. An entry of a sequence has an index, such as ``betas[0]``.
    problem : str
        The problem in words, often "expected …, got …".

    Attributes
    ----------
    names : tuple of str
        The names of the arguments, without indices.
    """

    def __init__(self, names: str | Sequence[str], problem: str) -> None:
        labels = (names,) if isinstance(names, str) else tuple(names)
        super().__init__(f"{', '.join(labels)}: {problem}")
        self.names = tuple(label.partition("[")[0] for label in labels)
        self._parts = labels, problem

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._parts, self.__dict__


class ArgumentValueError(ArgumentError, ValueError):
    """A ValueError with the names of the arguments at fault, see `ArgumentError`."""


class ArgumentTypeError(ArgumentError, TypeError):
    """A TypeError with the names of the arguments at fault, see `ArgumentError`."""


def error_of_part(name: str, error: ValueError | TypeError) -> ArgumentError:
    """Return an error about a part of an argument as an error about the argument: "lr: steps: expected …"."""
    kind = ArgumentTypeError if isinstance(error, TypeError) else ArgumentValueError
    return kind(name, str(error))


class _Repr(reprlib.Repr):
    """A bounded ``repr``: containers are shortened before they are written."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxtuple = self.maxlist = self.maxdict = self.maxset = self.maxfrozenset = self.maxarray = 20
        self.maxstring = self.maxother = 2 * _LONGEST_VALUE

    def repr_int(self, x: int, level: int) -> str:
        """Return the digits of an integer. Python raises an error for more than some thousand digits."""
        digits = int(abs(x).bit_length() * math.log10(2))
        return repr(x) if digits < _LONGEST_VALUE // 2 else f"an integer of about {digits} digits"


_REPR = _Repr()


def format_value(value: object, most: int = _LONGEST_VALUE) -> str:
    """Return ``repr(value)`` for a message: one line without control characters, of at most ``most`` characters."""
    text = to_one_line(_REPR.repr(value))
    return text if len(text) <= most else f"{text[: most - 1]}…"


def to_one_line(text: str) -> str:
    """Return a text as one line for a terminal. Control characters are escaped, and a long text loses its middle."""
    return _escape_controls(" ".join(_cut(text).split()))


def format_path(path: str | bytes | os.PathLike[str]) -> str:
    """Return the name of a file for a message: one line without control characters."""
    return _escape_controls(_cut(os.fsdecode(path), _LONGEST_PATH))


def _cut(text: str, most: int = _LONGEST_LINE // 2) -> str:
    return text if len(text) <= 2 * most else f"{text[:most]}…{text[-most:]}"


def _escape_controls(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def is_storable_name(name: object) -> bool:
    """Return whether every file format can store a name: a string of 1 to 200 printable characters."""
    return isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and name.isprintable()


def integer(name: str, value: object, at_least: int) -> int:
    """Return ``value`` as an int that is not below ``at_least``. A bool or a float raises TypeError."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentTypeError(name, f"expected an integer, got {format_value(value)}") from None
    if number < at_least:
        raise ArgumentValueError(name, f"expected an integer of at least {at_least}, got {format_value(number)}")
    return number


def real(name: str, value: object) -> float:
    """Return ``value`` as a finite float."""
    if isinstance(value, bool | np.bool_ | str | bytes) or np.ndim(value) != 0:  # type: ignore[arg-type]
        raise ArgumentTypeError(name, f"expected a number, got {format_value(value)}")
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise ArgumentTypeError(name, f"expected a number, got {format_value(value)}") from None
    if not math.isfinite(number):
        raise ArgumentValueError(name, f"expected a finite number, got {number}")
    return number


def within(name: str, value: object, allowed: Range) -> float:
    """Return ``value`` as a float within a range."""
    number = real(name, value)
    if number not in allowed:
        raise ArgumentValueError(name, f"expected a number {allowed}, got {number}")
    return number


def positive(name: str, value: object) -> float:
    """Return ``value`` as a float above 0."""
    return within(name, value, POSITIVE)


def temperature(value: object, loss: str) -> float:
    """Return a temperature of the cross-entropy. Raise an error if it is not above 0, or not 1 with another loss."""
    number = positive("temperature", value)
    if number != 1 and loss != "cross_entropy":
        raise ArgumentValueError("temperature", f"needs loss 'cross_entropy', got {loss!r}")
    return number


def not_negative(name: str, value: object) -> float:
    """Return ``value`` as a float of at least 0."""
    return within(name, value, NOT_NEGATIVE)


def fraction(name: str, value: object) -> float:
    """Return ``value`` as a float in [0, 1]."""
    return within(name, value, FRACTION)


def share(name: str, value: object) -> float:
    """Return ``value`` as a float in (0, 1]."""
    return within(name, value, SHARE)


def below_one(name: str, value: object) -> float:
    """Return ``value`` as a float in [0, 1)."""
    return within(name, value, BELOW_ONE)


def set_fields(settings: object, **checked: object) -> None:
    """Set fields of a frozen dataclass to their checked values."""
    for name, value in checked.items():
        object.__setattr__(settings, name, value)


def choice(name: str, value: Choice, options: Collection[str]) -> Choice:
    """Return ``value``, one of ``options``."""
    if not isinstance(value, str) or value not in options:
        raise ArgumentValueError(name, f"expected one of {', '.join(options)}, got {format_value(value)}")
    return value


def check_distinct(name: str, values: Collection[object], at_least: int) -> None:
    """Raise ValueError unless there are at least ``at_least`` values, all of them different."""
    if len(values) < at_least or len(set(values)) < len(values):
        got = ", ".join(str(value) for value in values) or "none"
        expected = f"at least {at_least} value{'s' * (at_least > 1)}" if at_least else "values"
        raise ArgumentValueError(name, f"expected {expected}, each once, got {got}")


def check_instance(name: str, value: object, expected: type) -> None:
    """Raise TypeError unless ``value`` is an instance of ``expected``."""
    if not isinstance(value, expected):
        raise ArgumentTypeError(name, f"expected a {expected.__name__}, got {type(value).__name__}")


def matrix(name: str, value: Any, dtype: str | None = None, copy: bool = True) -> NDArray[Any]:
    """Return a matrix as a contiguous, read-only array of finite numbers.

    Parameters
    ----------
    name : str
        The argument, for errors.
    value : array, sparse matrix or nested sequence
        The matrix.
    dtype : str, optional
        The precision. By default float32 stays float32, and everything else becomes float64.
    copy : bool, default True
        Whether to copy always. Otherwise an array that has the right form is returned itself, and becomes read-only.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise ArgumentTypeError(name, "expected an array without a mask, got a masked one; fill it")
    try:
        array = value.toarray() if hasattr(value, "toarray") else np.asarray(value)  # A sparse matrix has ``toarray``.
    except ValueError:
        raise ArgumentValueError(name, "expected a matrix, got lists of unequal lengths") from None
    if array.ndim != 2:
        raise ArgumentValueError(name, f"expected a matrix (2 dimensions), got shape {array.shape}")
    if array.dtype.kind not in "biuf":
        raise ArgumentTypeError(name, f"expected real numbers, got dtype {array.dtype}")
    if dtype is None:
        dtype = "float32" if array.dtype.itemsize == 4 and array.dtype.kind == "f" else "float64"
    with np.errstate(over="ignore"):  # An overflow raises the error below.
        checked = np.array(array, dtype=dtype, order="C", copy=True if copy else None)
    if not np.isfinite(checked).all():
        raise ArgumentValueError(
            name, f"expected finite numbers in {dtype}, got NaN or infinity among {array.size} entries"
        )
    checked.flags.writeable = False
    return checked


def missing_library(argument: str, library: str, extra: str, package: str | None = None) -> ImportError:
    """Return an ImportError for a missing library that is part of an extra of this package."""
    return ImportError(
        f'{argument}: needs {library}, which is part of the extra "{extra}"; pip install {package or library}, or '
        f'in the folder of the repository: pip install ".[{extra}]"'
    )
