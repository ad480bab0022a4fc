"""The log file of a run in a directory."""

from __future__ import annotations

import signal
from collections.abc import Callable

from .events import Events
from .observer import Observer, View


class Log(Observer):
    """The observer that writes a line for each event, for decay that rounding changes, and for a signal."""

    def __init__(
        self, write: Callable[[str], None], events: Events, stop_signal: Callable[[], signal.Signals | None]
    ) -> None:
        self._write, self._events, self._stop_signal = write, events, stop_signal
        self._logged = set(events.first_steps)
        self._has_logged_decay = False

    def observe(self, view: View) -> None:
        """Write the new lines."""
        for text, step in self._events.first_steps.items():
            if text not in self._logged:
                self._logged.add(text)
                self._write(f"{text} at step {step}")
        share = (view.values or {}).get("effective_decay", 1.0)
        if abs(share - 1) > 0.01 and not self._has_logged_decay:
            self._has_logged_decay = True
            self._write(f"rounding leaves {share:.3g} of the weight decay at step {view.step}")
        if view.is_interrupted and (number := self._stop_signal()) is not None:
            self._write(f"interrupted by {number.name} after {view.step} steps")
