"""The context of a cell: simulations in it report their steps to the whole, and end when the whole is to end.

A grid of cells is carried out on several threads or processes. A cell calls ``simulate`` as a program would; this
context is how its simulations share one progress bar, and how Ctrl-C reaches them off the main thread.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = ["CellContext", "check_interruption", "current_cell"]


@dataclass
class CellContext:
    """What a cell's simulations share with the whole.

    Attributes
    ----------
    stop_signal : function
        Returns the signal that asks for the end, or None; it is called often.
    on_steps : function
        Called with numbers of steps as they are taken.
    threads : int
        Threads for one step of a simulation that is not given a number of them.
    was_stopped : bool
        Whether a simulation ended before its end because it was asked to.
    """

    stop_signal: Callable[[], signal.Signals | None]
    on_steps: Callable[[int], None]
    threads: int = 1
    was_stopped: bool = False

    @contextlib.contextmanager
    def activate(self) -> Iterator[CellContext]:
        """Make this the context of the current thread for a while."""
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)


_current: ContextVar[CellContext | None] = ContextVar("zeroloss_cell", default=None)


def current_cell() -> CellContext | None:
    """Return the context of the cell that the current thread carries out; None outside of cells."""
    return _current.get()


def check_interruption() -> None:
    """Raise KeyboardInterrupt if the cell is asked to end: for long loops that simulate nothing."""
    cell = current_cell()
    if cell is not None and cell.stop_signal() is not None:
        raise KeyboardInterrupt
