"""Sweeps: every combination of some settings, each a run that nothing can lose, and all of them one labelled cube."""

from .cell import ClusterError
from .store import Store, open_sweep, report
from .sweep import BrokenError, Sweep, connect, sweep

__all__ = ["BrokenError", "ClusterError", "Store", "Sweep", "connect", "open_sweep", "report", "sweep"]
