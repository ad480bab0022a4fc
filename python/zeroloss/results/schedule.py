"""At which steps a simulation records: 0, a regular or logarithmic grid, and the last."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .. import _checks
from .._checks import ArgumentValueError
from .._choices import Every

_PER_DECADE = 20


@dataclass(frozen=True)
class Schedule:
    """The multiples of ``every``; for ``"log"`` the integers nearest to 10^(k/20), which every run shares."""

    name: str
    every: Every

    def __post_init__(self) -> None:
        if isinstance(self.every, str) and self.every != "log":
            raise ArgumentValueError(self.name, f'expected an integer of at least 1 or "log", got {self.every!r}')
        if self.every != "log":
            object.__setattr__(self, "every", _checks.integer(self.name, self.every, 1))

    def due(self, step: int) -> bool:
        """Whether a step is on the grid."""
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
        """Return how many steps from ``begin`` to ``end`` are on the grid."""
        if isinstance(self.every, int):
            return end // self.every - (begin - 1) // self.every
        found, step = 0, begin - 1
        while (step := self.next_after(step) if step >= 0 else 0) <= end:
            found += 1
        return found
