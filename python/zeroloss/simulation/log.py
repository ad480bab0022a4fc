"""The log of a run's directory, and a function of the caller's that is called with every record."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any

from .events import Events
from .observer import Observer, View

#: Takes the step and the values of every record as it is made.
Announce = Callable[[int, Mapping[str, Any]], None]


class Log(Observer):
    """The observer that writes a line for each event, for decay lost to rounding, and for a signal."""

    def __init__(
        self, write: Callable[[str], None], events: Events, requested: Callable[[], signal.Signals | None]
    ) -> None:
        self._write, self._events, self._requested = write, events, requested
        self._told = set(events.found)
        self._told_decay = False

    def observe(self, view: View) -> None:
        """Write what has happened."""
        for text, step in self._events.found.items():
            if text not in self._told:
                self._told.add(text)
                self._write(f"{text} at step {step}")
        share = (view.values or {}).get("effective_decay", 1.0)
        if abs(share - 1) > 0.01 and not self._told_decay:
            self._told_decay = True
            self._write(f"rounding leaves {share:.3g} of the weight decay at step {view.step}")
        if view.interrupted and (number := self._requested()) is not None:
            self._write(f"interrupted by {number.name} after {view.step} steps")


class Announcements(Observer):
    """The observer that calls a function with every record of a run's own steps, once."""

    def __init__(self, announce: Announce, done: int | None = None) -> None:
        self._announce, self._done = announce, -1 if done is None else done

    def observe(self, view: View) -> None:
        """Announce the records of a chunk."""
        if view.interrupted:
            return
        for step, values in [*view.within, (view.step, view.values)]:
            if values is not None and step > self._done:
                self._done = step
                self._announce(step, values)
