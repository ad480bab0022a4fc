"""Signals as requests: the first ends a simulation with partial results, the second raises at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any


class Interruption:
    """A context in which the first signal only sets ``requested``; off the main thread it changes nothing.

    Handlers of other code stay: SIGINT is taken only from Python's own handler, and other signals only if they are
    named. A handler that C code installed stays too, because Python could not restore it.
    """

    def __init__(self, signals: Sequence[signal.Signals] = (signal.SIGINT,)) -> None:
        self._received: signal.Signals | None = None
        self._signals = signals
        self._before: dict[signal.Signals, Any] = {}

    @property
    def stop_signal(self) -> signal.Signals | None:
        """The signal that asks for the end, or None."""
        return self._received

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                before = signal.getsignal(number)  # None: of C code
                if before is not None and (number != signal.SIGINT or before is signal.default_int_handler):
                    self._before[number] = before
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._received is not None:
            before = self._before[signal.Signals(number)]
            if callable(before):
                before(number, frame)
            raise KeyboardInterrupt
        self._received = signal.Signals(number)


class ExternalStop(Interruption):
    """An interruption without handlers, for one of many simulations that are ended together.

    ``read_signal`` returns the signal that asks for the end, or None. It is called often, also from other threads.
    """

    def __init__(self, read_signal: Callable[[], signal.Signals | None]) -> None:
        super().__init__(())
        self._read_signal = read_signal

    @property
    def stop_signal(self) -> signal.Signals | None:
        """The signal that asks for the end, or None."""
        return self._read_signal()
