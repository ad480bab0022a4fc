"""Conditions on recorded values, as texts: ``test_accuracy >= 0.95``, and for stopping rules ``… for 3 records``."""

from __future__ import annotations

import contextlib
import itertools
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
_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|<|>)\s*(\S+)(?:\s+for\s+(\d+)\s+records?)?\s*")
_EXAMPLES = {"events": "test_accuracy >= 0.95", "stop": "test_accuracy >= 1 for 3 records"}


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
        Number of consecutive records at which it has to hold.
    """

    text: str
    name: str
    comparison: str
    level: float
    records: int = 1

    def holds(self, values: Any) -> Any:
        """Whether the condition holds, for a number or each of an array."""
        return _COMPARISONS[self.comparison](values, self.level)


def parse_events(texts: Sequence[str]) -> list[Condition]:
    """Return the events that texts describe, such as ``test_accuracy >= 0.95``.

    Raises
    ------
    ValueError, TypeError
        If a text is no condition.
    """
    return _parse("events", texts)


def parse_stop_rules(texts: Sequence[str]) -> list[Condition]:
    """Return the stopping rules that texts describe, such as ``test_accuracy >= 1 for 3 records``.

    Raises
    ------
    ValueError, TypeError
        If a text is no condition, or if one of two rules always holds.
    """
    rules = _parse("stop", texts)
    for one, other in itertools.product(rules, repeat=2):
        if one.name == other.name and one.comparison in {">", ">="} and other.comparison in {"<", "<="}:
            strict = {one.comparison, other.comparison} == {">", "<"}
            if one.level < other.level or (one.level == other.level and not strict):
                raise ArgumentValueError(
                    "stop",
                    f"expected rules that leave values to run at, got {one.text!r} and {other.text!r}, "
                    "of which one always holds",
                )
    return rules


def check_names(argument: str, conditions: Sequence[Condition], recorded: Collection[str]) -> None:
    """Raise ValueError if a condition is on a value that is not among ``recorded``."""
    for condition in conditions:
        if condition.name not in recorded:
            raise ArgumentValueError(
                argument,
                f"expected a condition on a recorded value ({', '.join(sorted(recorded))}), got {condition.text!r}",
            )


def _parse(argument: str, texts: object) -> list[Condition]:
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise ArgumentTypeError(argument, f"expected a list of conditions, got {shown(texts)}")
    return [_parse_condition(argument, text) for text in texts]


def _parse_condition(argument: str, text: object) -> Condition:
    wish = f"expected a condition on a recorded value, as {_EXAMPLES[argument]}, got {shown(text)}"
    if not isinstance(text, str):
        raise ArgumentTypeError(argument, wish)
    if found := _CONDITION.fullmatch(text):
        name, comparison, level, records = found.groups()
        with contextlib.suppress(ValueError):  # of a level that is no number, or of more digits than Python converts
            number, count = float(level), int(records or 1)
            if not math.isnan(number) and count >= 1 and (records is None or argument == "stop"):
                sustained = f" for {count} records" if count > 1 else ""
                return Condition(f"{name} {comparison} {level}{sustained}", name, comparison, number, count)
    raise ArgumentValueError(argument, wish)
