"""Numbers in words: ranges over seeds, tables, and fitted slopes, as several studies report them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["log_slope", "ranges", "rows_of_text", "spelled"]


def ranges(per_seed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the least and the greatest value over the seeds of every number that each seed has."""

    def over_seeds(values: list[Any]) -> Any:
        if isinstance(values[0], Mapping):
            return {key: over_seeds([value[key] for value in values]) for key in values[0]}
        return None if None in values else [min(values), max(values)]

    return {key: over_seeds([numbers[key] for numbers in per_seed]) for key in per_seed[0] if key != "seed"}


def spelled(pair: Sequence[float], form: str) -> str:
    """Return a range in words: both ends in a number format, or one of them if they look alike."""
    low, high = (format(end, form).replace("-", "−") for end in pair)
    return low if low == high else f"{low} … {high}" if "−" in low + high else f"{low}–{high}"


def rows_of_text(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a small table, its columns aligned to the right."""
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    return "\n".join(
        "  ".join(word.rjust(width) for word, width in zip(row, widths, strict=True)) for row in [head, *rows]
    )


def log_slope(x: ArrayLike, y: ArrayLike) -> float:
    """Return the slope of log y against log x by least squares."""
    return float(np.polyfit(np.log(np.asarray(x)), np.log(np.asarray(y)), 1)[0])
