"""Signals that end a simulation: the first one with partial results, the second one at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any


class Interruption:
    """A context in which the first signal only sets ``stop_signal``, and the second one raises KeyboardInterrupt.

    It handles SIGINT only if Python's default handler is installed, and other signals only if they are named. It leaves
    handlers of C code alone, because Python could not restore them. On other threads than the main one it does nothing.

    Parameters
    ----------
    signals : sequence of Signals
        The signals to handle.
    """

    def __init__(self, signals: Sequence[signal.Signals] = (signal.SIGINT,)) -> None:
        self._received: signal.Signals | None = None
        self._signals = signals
        self._before: dict[signal.Signals, Any] = {}

    @property
    def stop_signal(self) -> signal.Signals | None:
        """The signal that stops the simulation, or None."""
        return self._received

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                before = signal.getsignal(number)  # None for a handler of C code.
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
    """An interruption from outside, for simulations that are stopped together. It installs no handlers.

    Parameters
    ----------
    read_signal : function
        Returns the signal that stops the simulation, or None. It is called often, also from other threads.
    """

    def __init__(self, read_signal: Callable[[], signal.Signals | None]) -> None:
        super().__init__(())
        self._read_signal = read_signal

    @property
    def stop_signal(self) -> signal.Signals | None:
        """The signal that stops the simulation, or None."""
        return self._read_signal()
