"""The steps at which a simulation records: a regular or a logarithmic grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .. import _checks
from .._checks import ArgumentValueError
from .._choices import Every

#: Steps in each decade of a logarithmic grid.
_PER_DECADE = 20


@dataclass(frozen=True)
class Schedule:
    """A grid of steps: 0 and the multiples of ``every``, or for ``"log"`` 0 and the integers nearest to 10^(k/20).

    Parameters
    ----------
    name : str
        The argument that gives ``every``, for errors.
    every : int or "log"
        The distance of the grid, at least 1.
    """

    name: str
    every: Every

    def __post_init__(self) -> None:
        if isinstance(self.every, str) and self.every != "log":
            raise ArgumentValueError(self.name, f'expected an integer of at least 1 or "log", got {self.every!r}')
        if self.every != "log":
            object.__setattr__(self, "every", _checks.integer(self.name, self.every, 1))

    def due(self, step: int) -> bool:
        """Return whether a step is on the grid."""
        if isinstance(self.every, int):
            return step % self.every == 0
        return step == 0 or self.next_after(step - 1) == step

    def next_after(self, step: int) -> int:
        """Return the first step of the grid after ``step``."""
        if isinstance(self.every, int):
            return (step // self.every + 1) * self.every
        if step < 1:
            return 1
        k = math.floor(_PER_DECADE * math.log10(step))
        while (candidate := round(10 ** (k / _PER_DECADE))) <= step:
            k += 1
        return candidate

    def count(self, begin: int, end: int) -> int:
        """Return the number of steps of the grid from ``begin`` to ``end``, both included."""
        if isinstance(self.every, int):
            return end // self.every - (begin - 1) // self.every
        count, step = 0, begin - 1
        while (step := self.next_after(step) if step >= 0 else 0) <= end:
            count += 1
        return count
