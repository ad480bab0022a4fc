"""Conditions on recorded values, written as texts: ``test_accuracy >= 0.95``.

A stopping rule may end with ``for 3 records``: the condition then has to hold for so many records in a row.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._checks import ArgumentTypeError, ArgumentValueError, format_value

_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*(\S+)(?:\s+for\s+(\d+)\s+records?)?\s*")
_EXAMPLES = {"events": "test_accuracy >= 0.95", "stop": "test_accuracy >= 1 for 3 records"}


@dataclass(frozen=True)
class Condition:
    """A comparison of a recorded value with a number.

    Attributes
    ----------
    text : str
        The text, with single spaces.
    name, comparison, level : str, str, float
        The parts of the text.
    records : int
        The number of consecutive records at which the condition has to hold.
    """

    text: str
    name: str
    comparison: str
    level: float
    records: int = 1

    def holds(self, values: Any) -> Any:
        """Whether the condition holds for a number, or for each number of an array."""
        return _COMPARISONS[self.comparison](values, self.level)


def parse_events(texts: Sequence[str]) -> list[Condition]:
    """Parse the texts of events, such as ``test_accuracy >= 0.95``.

    Raises
    ------
    ValueError, TypeError
        If a text is not a condition.
    """
    return _parse("events", texts)


def parse_stop_rules(texts: Sequence[str]) -> list[Condition]:
    """Parse the texts of stopping rules, such as ``test_accuracy >= 1 for 3 records``.

    Raises
    ------
    ValueError, TypeError
        If a text is not a condition, or if one of two rules always holds.
    """
    rules = _parse("stop", texts)
    for lower, upper in itertools.product(rules, repeat=2):
        if lower.name == upper.name and lower.comparison in {">", ">="} and upper.comparison in {"<", "<="}:
            strict = {lower.comparison, upper.comparison} == {">", "<"}
            if lower.level < upper.level or (lower.level == upper.level and not strict):
                raise ArgumentValueError(
                    "stop",
                    f"one of {lower.text!r} and {upper.text!r} always holds, so the run would end at once",
                )
    return rules


def check_names(argument: str, conditions: Sequence[Condition], recorded: Collection[str]) -> None:
    """Raise ValueError if a condition names a value that is not in ``recorded``."""
    for condition in conditions:
        if condition.name not in recorded:
            raise ArgumentValueError(
                argument,
                f"expected a condition on a recorded value ({', '.join(sorted(recorded))}), got {condition.text!r}",
            )


def _parse(argument: str, texts: object) -> list[Condition]:
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise ArgumentTypeError(argument, f"expected a list of conditions, got {format_value(texts)}")
    return [_parse_condition(argument, text) for text in texts]


def _parse_condition(argument: str, text: object) -> Condition:
    problem = f"expected a condition on a recorded value, such as {_EXAMPLES[argument]}, got {format_value(text)}"
    if not isinstance(text, str):
        raise ArgumentTypeError(argument, problem)
    if match := _CONDITION.fullmatch(text):
        name, comparison, level, records = match.groups()
        with contextlib.suppress(ValueError):  # The level is not a number, or has more digits than Python converts.
            number, count = float(level), int(records or 1)
            if not math.isnan(number) and count >= 1 and (records is None or argument == "stop"):
                sustained = f" for {count} records" if count > 1 else ""
                return Condition(f"{name} {comparison} {level}{sustained}", name, comparison, number, count)
    raise ArgumentValueError(argument, problem)
