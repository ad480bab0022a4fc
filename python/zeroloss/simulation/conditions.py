"""Conditions on recorded values, as texts: ``test_accuracy >= 0.95``, and for stopping rules ``… for 3 records``."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._checks import ArgumentTypeError, ArgumentValueError, shown

_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = r"\s*(\w+)\s*(<=|>=|<|>)\s*(\S+)"


@dataclass(frozen=True)
class Condition:
    """A comparison of a recorded value with a number.

    Attributes
    ----------
    text : str
        As it was given, with single spaces.
    name, comparison, level : str, str, float
        Its parts.
    records : int
        Number of records in a row at which it has to hold.
    """

    text: str
    name: str
    comparison: str
    level: float
    records: int = 1

    def holds(self, values: Any) -> Any:
        """Whether the condition holds, for a number or each of an array."""
        return _COMPARISONS[self.comparison](values, self.level)


def parsed_events(texts: Sequence[str]) -> list[Condition]:
    """Return the events that texts describe, as ``test_accuracy >= 0.95``.

    Raises
    ------
    ValueError, TypeError
        If a text is no condition.
    """
    return [_parsed("events", text, _CONDITION, "test_accuracy >= 0.95") for text in _texts("events", texts)]


def parsed_stop(texts: Sequence[str]) -> list[Condition]:
    """Return the stopping rules that texts describe, as ``test_accuracy >= 1 for 3 records``.

    Raises
    ------
    ValueError, TypeError
        If a text is no condition, or if one of two rules always holds.
    """
    pattern = rf"{_CONDITION}(?:\s+for\s+(\d+)\s+records?)?"
    rules = [_parsed("stop", text, pattern, "test_accuracy >= 1 for 3 records") for text in _texts("stop", texts)]
    upwards = [rule for rule in rules if rule.comparison in {">", ">="}]
    downwards = [rule for rule in rules if rule.comparison in {"<", "<="}]
    for one in upwards:
        for other in downwards:
            strict = {one.comparison, other.comparison} == {">", "<"}
            gap = one.level > other.level or (one.level == other.level and strict)
            if one.name == other.name and not gap:
                raise ArgumentValueError(
                    "stop",
                    f"expected rules that leave values to run at, got {one.text!r} and {other.text!r}, "
                    "of which one always holds",
                )
    return rules


def check_names(argument: str, conditions: Sequence[Condition], recorded: Collection[str]) -> None:
    """Raise ValueError if a condition is on a value that is not recorded."""
    for condition in conditions:
        if condition.name not in recorded:
            raise ArgumentValueError(
                argument,
                f"expected a condition on a recorded value ({', '.join(sorted(recorded))}), got {condition.text!r}",
            )


def _texts(argument: str, texts: object) -> Sequence[Any]:
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise ArgumentTypeError(argument, f"expected a list of conditions, got {shown(texts)}")
    return texts


def _parsed(argument: str, text: object, pattern: str, example: str) -> Condition:
    wish = f"expected a condition on a recorded value, as {example}"
    if not isinstance(text, str):
        raise ArgumentTypeError(argument, f"{wish}, got {shown(text)}")
    found = re.fullmatch(rf"{pattern}\s*", text)
    try:
        if found is None:
            raise ValueError
        name, comparison, level, *records = found.groups()
        number = float(level)
        if math.isnan(number):
            raise ValueError
        count = int(records[0]) if records and records[0] else 1
        if count < 1:
            raise ValueError
    except ValueError:
        raise ArgumentValueError(argument, f"{wish}, got {shown(text)}") from None
    sustained = f" for {count} records" if count > 1 else ""
    return Condition(f"{name} {comparison} {level}{sustained}", name, comparison, number, count)
