"""What a function's signature and docstring say about its arguments, in words."""

from __future__ import annotations

import difflib
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from ._checks import shown
from ._choices import ABSENT

_WORDS = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}
_PLURALS = {int: "integers", float: "numbers", str: "strings", bool: "truth values"}
_COUNTS = {2: "two", 3: "three"}


def words(hint: Any, limits: Iterable[Any] = ()) -> str:
    """Return what a type hint stands for in a configuration: "an integer of at least 0", "one of mean, sum"."""
    alternatives = dict.fromkeys(alternative for part in _parts(hint) if (alternative := _word(part, limits)))
    return " or ".join(alternatives) or "a value"


def signature_defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the arguments of a function but for the data, each with its default, or ``inspect.Parameter.empty``."""
    parameters = inspect.signature(function).parameters
    return {name: parameter.default for name, parameter in parameters.items() if name != "data"}


@functools.cache
def _model(function: Callable[..., Any]) -> tuple[type[BaseModel], Mapping[str, str]]:
    """Return a model of a function's arguments, and what each is in words."""
    hints = hints_of(function)
    fields: dict[str, Any] = {
        name: (hints[name], ... if default is inspect.Parameter.empty else default)
        for name, default in signature_defaults(function).items()
    }
    model = create_model("Section", __config__=ConfigDict(extra="forbid", strict=True), **fields)
    return model, {name: words(hints[name]) for name in fields}


def typed(function: Callable[..., Any], keys: Mapping[str, Any]) -> tuple[list[str], dict[str, float]]:
    """Say which keys are missing, unknown, or of the wrong type for a function's arguments.

    Integers that stand for floats are returned as such, so that 1 and 1.0 are the same setting.
    """
    model, known = _model(function)
    try:
        found = model(**{key: tuple(value) if isinstance(value, list) else value for key, value in keys.items()})
    except ValidationError as error:
        return lines(error, keys, known), {}
    numbers = {key: v for key, v in keys.items() if isinstance(v, int) and isinstance(getattr(found, key), float)}
    return [], {key: float(v) for key, v in numbers.items()}


def lines(error: ValidationError, given: Mapping[str, Any], known: Mapping[str, str]) -> list[str]:
    """Return a line for each key at fault: expectation and what came."""
    lines: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        key = str(problem["loc"][0])
        if key not in known:
            lines[key] = f"{shown(key)[1:-1]}: {unknown(key, known)}"
        elif key not in given:
            lines[key] = f"{key}: expected a value, got none"
        else:
            lines[key] = f"{key}: expected {known[key]}, got {shown(given[key])}"
    return list(lines.values())


def unknown(name: str, known: Iterable[str]) -> str:
    """Say which names are known, and which of them may be meant, or what there is instead."""
    absent = f"; {ABSENT[name]}" if name in ABSENT else nearest(name, known)
    return f"expected one of {', '.join(known)}, got this key{absent}"


def nearest(name: object, known: Iterable[str]) -> str:
    """Say which known name is nearest, if one is near."""
    close = difflib.get_close_matches(str(name)[:100], list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of a function's or a class's arguments."""
    return typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)


def choices(hint: Any) -> list[str]:
    """Return the strings that a hint allows, if it is a choice between some."""
    return [
        value for part in _parts(hint) if typing.get_origin(part) is typing.Literal for value in typing.get_args(part)
    ]


def _parts(hint: Any) -> list[Any]:
    """Return the parts of a union, without None."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [part for one in typing.get_args(hint) for part in _parts(one)]
    return [] if hint is type(None) else [hint]


def _word(hint: Any, limits: Iterable[Any]) -> str | None:  # noqa: PLR0911 — a case each
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _word(arguments[0], [*limits, *arguments[1:]])
    if origin is typing.Literal:
        return f"one of {', '.join(arguments)}" if len(arguments) > 1 else f'"{arguments[0]}"'
    if hint in _WORDS:
        return f"{_WORDS[hint]}{_limits(limits) if hint in (int, float) else ''}"
    if origin is tuple and arguments and ... not in arguments:
        return f"a list of {_COUNTS.get(len(arguments), len(arguments))} {_plural(arguments[0])}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a table"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list of {_plural(arguments[0])}"
    return None  # a class of Python, which no configuration can hold


def _plural(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"lists of {_plural(arguments[0])}"
    return _PLURALS.get(hint) or words(hint).removeprefix("one of ").replace(", ", " or ")


def _limits(limits: Iterable[Any]) -> str:
    """Return the bounds of a number in words; their kinds are those of annotated_types."""
    forms = (("ge", "of at least"), ("gt", "above"), ("le", "of at most"), ("lt", "below"))
    found = [f"{word} {getattr(limit, name)}" for limit in limits for name, word in forms if hasattr(limit, name)]
    return f" {' and '.join(found)}" if found else ""


def parameter_docs(function: Callable[..., Any]) -> dict[str, str]:
    """Return the first sentence on each argument of a numpydoc docstring."""
    found: dict[str, str] = {}
    for names, text in re.findall(r"^    ([\w, ]+) : [^\n]*\n((?:        [^\n]*\n?)+)", function.__doc__ or "", re.M):
        sentence = re.split(r"(?<!Eq)\. ", " ".join(text.split()))[0].rstrip(".")
        found |= {name.strip(): sentence for name in names.split(",")}
    return found
