"""What a function's signature and docstring say about its arguments, in words."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from ._checks import Range, shown
from ._choices import ABSENT, OneOf

_WORDS = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}
_PLURALS = {int: "integers", float: "numbers", str: "strings", bool: "truth values"}
_COUNTS = {2: "two", 3: "three"}


def words(hint: Any, limits: Iterable[Any] = ()) -> str:
    """Return what a type hint stands for in a configuration: "an integer of at least 0", "one of mean, sum"."""
    alternatives = dict.fromkeys(alternative for part in _parts(hint) if (alternative := _word(part, limits)))
    return " or ".join(alternatives) or "a value"


def signature_defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the arguments of a function except the data, each with its default, or ``inspect.Parameter.empty``."""
    parameters = inspect.signature(function).parameters
    fields = dataclasses.fields(function) if dataclasses.is_dataclass(function) else ()
    made = {one.name: one.default_factory() for one in fields if one.default_factory is not dataclasses.MISSING}
    return {name: made.get(name, parameter.default) for name, parameter in parameters.items() if name != "data"}


@functools.cache
def _model(function: Callable[..., Any]) -> tuple[type[BaseModel], Mapping[str, str], Mapping[str, str]]:
    """Return a model of a function's arguments, the field of each argument, and what each is in words.

    The fields have names of their own, because pydantic's models reserve some, such as ``copy``.
    """
    hints, defaults = hints_of(function), signature_defaults(function)
    fields = {name: f"argument_{place}" for place, name in enumerate(defaults)}
    about: dict[str, Any] = {
        fields[name]: (hints[name], Field(... if default is inspect.Parameter.empty else default, alias=name))
        for name, default in defaults.items()
    }
    config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
    model = create_model("Section", __config__=config, **about)
    return model, fields, {name: words(hints[name]) for name in fields}


def typed(function: Callable[..., Any], keys: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, float]]:
    """Return a line for each key that is missing, unknown, or of the wrong type for a function's arguments.

    Integers that stand for floats are returned too, as floats, so that 1 and 1.0 are the same setting.
    """
    model, fields, known = _model(function)
    try:
        found = model(**{key: tuple(value) if isinstance(value, list) else value for key, value in keys.items()})
    except ValidationError as error:
        return lines(error, keys, known), {}
    integers = {key: value for key, value in keys.items() if isinstance(value, int)}
    return {}, {key: float(v) for key, v in integers.items() if isinstance(getattr(found, fields[key]), float)}


def lines(error: ValidationError, given: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, str]:
    """Return a line for each key at fault: the key, what was expected, and what came."""
    lines: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        key = str(problem["loc"][0])
        if key not in known:
            lines[key] = f"{shown(key)[1:-1]}: {unknown(key, known)}"
        elif key not in given:
            lines[key] = f"{key}: expected a value, got none"
        else:
            lines[key] = f"{key}: expected {known[key]}, got {shown(given[key])}"
    return lines


def unknown(name: str, known: Iterable[str]) -> str:
    """Say which names are known, and which of them may be meant, or what there is instead."""
    absent = f"; {ABSENT[name]}" if name in ABSENT else nearest(name, known)
    return f"expected one of {', '.join(known)}, got this key{absent}"


def nearest(name: object, known: Iterable[str]) -> str:
    """Say which known name is nearest, if one is near."""
    close = difflib.get_close_matches(str(name)[:100], list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of the arguments of a function or class; `typing.Any` if they cannot be found out."""
    made = function.__init__ if inspect.isclass(function) else function
    try:
        hints = typing.get_type_hints(made, include_extras=True)
    except NameError:  # a type that only type checkers import, or that is local to a function
        hints = {}
    return {name: hints.get(name, Any) for name in inspect.signature(function).parameters}


def choices(hint: Any) -> list[str]:
    """Return the strings that a hint allows, if it is a choice between some."""
    found: list[str] = []
    for part in _parts(hint):
        if typing.get_origin(part) is typing.Literal:
            found += typing.get_args(part)
        if typing.get_origin(part) is typing.Annotated:
            found += [
                text for metadata in part.__metadata__ if isinstance(metadata, OneOf) for text in metadata.options
            ]
    return found


def _parts(hint: Any) -> list[Any]:
    """Return the parts of a union, without None."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [part for one in typing.get_args(hint) for part in _parts(one)]
    return [] if hint is type(None) else [hint]


def _word(hint: Any, limits: Iterable[Any]) -> str | None:  # noqa: PLR0911 — a case each
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        said = [f"one of {', '.join(one.options)}" for one in arguments[1:] if isinstance(one, OneOf)]
        said += [one for one in arguments[1:] if isinstance(one, str)]
        own = [limit for one in arguments[1:] for limit in getattr(one, "metadata", [one])]  # of a field of pydantic
        return said[0] if said else _word(arguments[0], [*limits, *own])
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
    if origin is typing.Annotated:
        return f"{_plural(arguments[0])}{_limits(arguments[1:])}"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"lists of {_plural(arguments[0])}"
    return _PLURALS.get(hint) or words(hint).removeprefix("one of ").replace(", ", " or ")


def _limits(limits: Iterable[Any]) -> str:
    """Return the bounds of a number in words; their kinds are those of annotated_types."""
    bounds = [(name, getattr(limit, name, None)) for limit in limits for name in ("ge", "gt", "le", "lt")]
    allowed = str(Range(**{name: bound for name, bound in bounds if bound is not None}))
    return f" {allowed}" if allowed else ""


def parameter_docs(function: Callable[..., Any]) -> dict[str, str]:
    """Return the first sentence on each argument of a numpydoc docstring."""
    found: dict[str, str] = {}
    for names, text in re.findall(r"^    ([\w, ]+) : [^\n]*\n((?:        [^\n]*\n?)+)", function.__doc__ or "", re.M):
        sentence = re.split(r"(?<!Eq)\. ", " ".join(text.split()))[0].rstrip(".")
        found |= {name.strip(): sentence for name in names.split(",")}
    return found
