"""Describe the arguments of a function in words, from its signature and its docstring."""

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

from ._checks import Range, format_value
from ._choices import ABSENT, OneOf

_WORDS = {int: "an integer", float: "a number", str: "a string", bool: "true or false"}
_PLURALS = {int: "integers", float: "numbers", str: "strings", bool: "truth values"}
_COUNTS = {2: "two", 3: "three"}


def describe_hint(hint: Any, limits: Iterable[Any] = ()) -> str:
    """Describe the values that a type hint allows in a configuration: "an integer of at least 0", "one of mean, sum".

    ``limits`` are further bounds of a number.
    """
    alternatives = dict.fromkeys(text for part in _parts(hint) if (text := _describe_part(part, limits)))
    return " or ".join(alternatives) or "a value"


def get_defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the arguments of a function except the data, each with its default or ``inspect.Parameter.empty``."""
    parameters = _parameters(function)
    fields = dataclasses.fields(function) if dataclasses.is_dataclass(function) else ()
    factories = {field.name: field.default_factory for field in fields}
    defaults = {name: make() for name, make in factories.items() if make is not dataclasses.MISSING}
    return {name: defaults.get(name, parameter.default) for name, parameter in parameters.items() if name != "data"}


@functools.cache
def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a function, which are looked up for every configuration of a sweep."""
    return inspect.signature(function).parameters


@functools.cache
def _model(function: Callable[..., Any]) -> tuple[type[BaseModel], Mapping[str, str], Mapping[str, str]]:
    """Return a pydantic model of the arguments of a function, the name of each field, and a description of each.

    Fields are not named like their arguments, because pydantic reserves some names, such as ``copy``.
    """
    hints, defaults = get_hints(function), get_defaults(function)
    fields = {name: f"argument_{place}" for place, name in enumerate(defaults)}
    about: dict[str, Any] = {
        fields[name]: (hints[name], Field(... if default is inspect.Parameter.empty else default, alias=name))
        for name, default in defaults.items()
    }
    config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)
    model = create_model("Section", __config__=config, **about)
    return model, fields, {name: describe_hint(hints[name]) for name in fields}


def check_types(function: Callable[..., Any], keys: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, float]]:
    """Compare the types of keys with the arguments of a function.

    Returns
    -------
    lines : dict of str to str
        A line for each key that is missing, unknown or of the wrong type.
    numbers : dict of str to float
        The integers given for arguments of type float, as floats: 1 and 1.0 are the same setting.
    """
    model, fields, known = _model(function)
    try:
        arguments = model(**{key: tuple(value) if isinstance(value, list) else value for key, value in keys.items()})
    except ValidationError as error:
        return describe_errors(error, keys, known), {}
    integers = {key: value for key, value in keys.items() if isinstance(value, int)}
    return {}, {key: float(v) for key, v in integers.items() if isinstance(getattr(arguments, fields[key]), float)}


def describe_errors(error: ValidationError, keys: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, str]:
    """Return a line for each key at fault: the key, the expected value and the value given.

    ``known`` has a description of each valid key. The words of pydantic are not used.
    """
    lines: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        key = str(problem["loc"][0])
        if key not in known:
            lines[key] = f"{format_value(key)[1:-1]}: {describe_unknown(key, known)}"
        elif key not in keys:
            lines[key] = f"{key}: missing; expected {known[key]}"
        else:
            lines[key] = f"{key}: expected {known[key]}, got {format_value(keys[key])}"
    return lines


def describe_unknown(name: str, known: Iterable[str], kind: str = "key") -> str:
    """Describe an unknown name, with the feature to use instead, the closest valid name, or all valid names."""
    if name in ABSENT:
        return f"unknown {kind}; {ABSENT[name]}"
    names = list(known)
    return f"unknown {kind}" + (suggest(name, names) or f"; expected one of {', '.join(names)}")


def suggest(name: object, known: Iterable[str]) -> str:
    """Return "; did you mean …?" with the closest valid name; an empty text if none is close."""
    close = difflib.get_close_matches(str(name)[:100], list(known), 1)
    return f"; did you mean {close[0]}?" if close else ""


def get_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of the arguments of a function or class; `typing.Any` if a type cannot be resolved."""
    target = function.__init__ if inspect.isclass(function) else function
    try:
        hints = typing.get_type_hints(target, include_extras=True)
    except NameError:  # A type is imported only for type checkers, or is local to a function.
        hints = {}
    return {name: hints.get(name, Any) for name in _parameters(function)}


def list_choices(hint: Any) -> list[str]:
    """Return the strings among which a type hint chooses; an empty list if it is no choice between strings."""
    options: list[str] = []
    for part in _parts(hint):
        if typing.get_origin(part) is typing.Literal:
            options += typing.get_args(part)
        if typing.get_origin(part) is typing.Annotated:
            options += [text for entry in part.__metadata__ if isinstance(entry, OneOf) for text in entry.options]
    return options


def _parts(hint: Any) -> list[Any]:
    """Return the parts of a union, without None."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [part for member in typing.get_args(hint) for part in _parts(member)]
    return [] if hint is type(None) else [hint]


def _describe_part(hint: Any, limits: Iterable[Any]) -> str | None:  # noqa: PLR0911 — one return for each case
    """Describe a type that is not a union; None if no value of a configuration can have it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        base, entries = arguments[0], arguments[1:]
        texts = [f"one of {', '.join(entry.options)}" for entry in entries if isinstance(entry, OneOf)]
        texts += [entry for entry in entries if isinstance(entry, str)]
        # A field of pydantic has a list of bounds.
        bounds = [bound for entry in entries for bound in getattr(entry, "metadata", [entry])]
        return texts[0] if texts else _describe_part(base, [*limits, *bounds])
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
    return None


def _plural(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return f"{_plural(arguments[0])}{_limits(arguments[1:])}"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"lists of {_plural(arguments[0])}"
    return _PLURALS.get(hint) or describe_hint(hint).removeprefix("one of ").replace(", ", " or ")


def _limits(limits: Iterable[Any]) -> str:
    """Describe the bounds of a number; their attributes are named as in annotated_types."""
    bounds = [(name, getattr(limit, name, None)) for limit in limits for name in ("ge", "gt", "le", "lt")]
    allowed = str(Range(**{name: bound for name, bound in bounds if bound is not None}))
    return f" {allowed}" if allowed else ""


def parse_parameter_docs(function: Callable[..., Any]) -> dict[str, str]:
    """Return the first sentence about each parameter in a numpydoc docstring, without backquotes."""
    docs: dict[str, str] = {}
    docstring = inspect.cleandoc(function.__doc__ or "")  # Python 3.13 removes the indentation, 3.12 does not.
    for names, text in re.findall(r"^([\w, ]+) : [^\n]*\n((?:    [^\n]*\n?)+)", docstring, re.M):
        sentence = re.split(r"(?<!Eq)\. ", " ".join(text.split()))[0].rstrip(".").replace("`", "")
        docs |= {name.strip(): sentence for name in names.split(",")}
    return docs
