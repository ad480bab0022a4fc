"""How a simulation ends."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Ending(StrEnum):
    """How a simulation ended."""

    REACHED_THE_END = "reached the end"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
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
        return self not in {Ending.DIVERGED, Ending.SINGULAR, Ending.STIFF, Ending.NOT_CONVERGED, Ending.BROKEN_OFF}

    @property
    def is_the_end(self) -> bool:
        """Whether nothing is left to do: the run is neither under way nor was it interrupted."""
        return self not in {Ending.RUNNING, Ending.INTERRUPTED, Ending.STOPPED_BY_THE_USER}


@dataclass(frozen=True)
class Outcome:
    """How a simulation ended, with a sentence that says where and what to do."""

    ending: Ending
    sentence: str

    def __str__(self) -> str:
        return f"{self.ending}: {self.sentence}"
