"""How a simulation ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Ending(StrEnum):
    """How a simulation ended."""

    REACHED_THE_END = "reached the end"
    STOPPED_BY_THE_USER = "stopped by the user"
    STOPPED_BY_A_RULE = "stopped by a rule"
    DIVERGED = "diverged"
    SINGULAR = "singular"
    STIFF = "stiff"
    NOT_CONVERGED = "not converged"
    BROKEN_OFF = "broken off"

    @property
    def can_go_on(self) -> bool:
        """Whether an extension is possible: the state is sound."""
        return self in {Ending.REACHED_THE_END, Ending.STOPPED_BY_THE_USER, Ending.STOPPED_BY_A_RULE}


@dataclass(frozen=True)
class Outcome:
    """How a simulation ended, with a sentence that says where and what to do."""

    ending: Ending
    sentence: str

    def __str__(self) -> str:
        return f"{self.ending}: {self.sentence}"
