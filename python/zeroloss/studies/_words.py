"""Numbers as text (ranges over seeds, tables) and fitted slopes, as several studies report them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["count_seeds", "find_ranges", "fit_log_slope", "format_range", "format_table"]


def count_seeds(count: int) -> str:
    """Return a number of seeds in words."""
    return f"{count} seed{'s' if count > 1 else ''}"


def find_ranges(per_seed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the least and the greatest value over the seeds of every number; None if a seed does not have it."""

    def over_seeds(values: list[Any]) -> Any:
        if isinstance(values[0], Mapping):
            return {key: over_seeds([value[key] for value in values]) for key in values[0]}
        return None if None in values else [min(values), max(values)]

    return {key: over_seeds([numbers[key] for numbers in per_seed]) for key in per_seed[0] if key != "seed"}


def format_range(pair: Sequence[float], form: str) -> str:
    """Return both ends of a range in a number format, or one of them if they look the same."""
    low, high = (format(end, form).replace("-", "−") for end in pair)
    return low if low == high else f"{low} … {high}" if "−" in low + high else f"{low}–{high}"


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a small table with columns aligned to the right."""
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    return "\n".join(
        "  ".join(word.rjust(width) for word, width in zip(row, widths, strict=True)) for row in [head, *rows]
    )


def fit_log_slope(x: ArrayLike, y: ArrayLike) -> float:
    """Return the slope of log y against log x by least squares."""
    return float(np.polyfit(np.log(np.asarray(x)), np.log(np.asarray(y)), 1)[0])
