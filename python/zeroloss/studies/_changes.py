"""Changes of the settings of a study, as of the option ``--set``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from .._checks import ArgumentValueError, format_value
from .._hints import describe_hint

__all__ = ["change_settings"]


def change_settings(settings: Any, changes: Mapping[str, object]) -> Any:
    """Return settings with other values, converted to the types of the fields."""
    hints = get_type_hints(type(settings))
    values = {}
    for name, value in changes.items():
        if name not in hints or name in {"seeds", "quick"}:
            known = ", ".join(key for key in hints if key not in {"seeds", "quick"})
            raise ArgumentValueError(name, f"expected one of {known}, got this name")
        try:
            values[name] = TypeAdapter(hints[name]).validate_python(value)
        except ValidationError:
            raise ArgumentValueError(
                name, f"expected {describe_hint(hints[name])}, got {format_value(value)}"
            ) from None
        _check_numbers(name, values[name])
    return replace(settings, **values)


def _check_numbers(name: str, value: object) -> None:
    """Raise ValueError for a number that is not finite, and for a list without values."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ArgumentValueError(name, f"expected finite numbers, got {value}")
    if isinstance(value, tuple):
        if not value:
            raise ArgumentValueError(name, "expected at least one value, got none")
        for entry in value:
            _check_numbers(name, entry)
