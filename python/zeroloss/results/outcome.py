"""How a simulation ends: the kind of its ending, with a message."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from .._deprecated import warn_renamed


class Ending(StrEnum):
    """The kind of ending of a simulation.

    Attributes
    ----------
    REACHED_THE_END : str
        The last step or the end of the duration was reached.
    RUNNING : str
        A process is running the simulation.
    INTERRUPTED : str
        The process was killed. The run can continue from its newest valid checkpoint.
    STOPPED_BY_THE_USER : str
        A signal such as Ctrl-C ended the run, with a checkpoint.
    STOPPED_BY_A_RULE : str
        A condition of ``stop`` was met.
    DIVERGED : str
        A parameter or the loss is not finite.
    SINGULAR : str
        A matrix could not be factored.
    STIFF : str
        The adaptive step of a flow became too small.
    NOT_CONVERGED : str
        An iteration within a step did not converge.
    BROKEN_OFF : str
        A user's code raised an error.
    """

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
    def can_continue(self) -> bool:
        """Whether the run can be extended: its state is finite and valid."""
        return self not in {Ending.DIVERGED, Ending.SINGULAR, Ending.STIFF, Ending.NOT_CONVERGED, Ending.BROKEN_OFF}

    @property
    def is_final(self) -> bool:
        """Whether the run has ended: it is not in progress and was not interrupted."""
        return self not in {Ending.RUNNING, Ending.INTERRUPTED, Ending.STOPPED_BY_THE_USER}

    @property
    def can_go_on(self) -> bool:
        """Deprecated name of `can_continue`."""
        warn_renamed("Ending.can_go_on", "can_continue")
        return self.can_continue

    @property
    def is_the_end(self) -> bool:
        """Deprecated name of `is_final`."""
        warn_renamed("Ending.is_the_end", "is_final")
        return self.is_final


@dataclass(frozen=True)
class Outcome:
    """The ending of a simulation, with a message.

    Attributes
    ----------
    ending : Ending
        The kind of ending.
    message : str
        The step or time at which the simulation ended, and after a failure what to change.
    """

    ending: Ending
    message: str

    @property
    def sentence(self) -> str:
        """Deprecated name of `message`."""
        warn_renamed("Outcome.sentence", "message")
        return self.message

    def __str__(self) -> str:
        return f"{self.ending}: {self.message}"
