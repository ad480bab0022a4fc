"""The context of a cell of a grid: a shared progress bar, and a shared interruption.

A grid of cells runs on several threads or processes. A cell calls ``simulate`` as any program does. Through this
context, the simulations of all cells share one progress bar, and Ctrl-C ends them although they are not on the main
thread.
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
    """The context of the simulations in one cell.

    Attributes
    ----------
    stop_signal : function
        Returns the signal that stops the grid, or None. It is called often.
    on_steps : function
        Called with numbers of steps as they are taken.
    threads : int
        Threads for one step of a simulation without the argument ``threads``.
    steps : float
        The number of steps that the cell announced, or 0. A simulation of a duration reports its share of them.
    was_stopped : bool
        Whether a simulation was stopped before its end.
    """

    stop_signal: Callable[[], signal.Signals | None]
    on_steps: Callable[[int], None]
    threads: int = 1
    steps: float = 0.0
    was_stopped: bool = False

    @contextlib.contextmanager
    def activate(self) -> Iterator[CellContext]:
        """Make this the context of the current thread, in a ``with`` block.

        Yields
        ------
        CellContext
            This context.
        """
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)


_current: ContextVar[CellContext | None] = ContextVar("zeroloss_cell", default=None)


def current_cell() -> CellContext | None:
    """Return the context of the cell that runs on the current thread.

    Returns
    -------
    CellContext or None
        The context; None outside of cells.
    """
    return _current.get()


def check_interruption() -> None:
    """Raise KeyboardInterrupt if the grid was stopped. Long loops of a cell that do not call ``simulate`` call this."""
    cell = current_cell()
    if cell is not None and cell.stop_signal() is not None:
        raise KeyboardInterrupt
