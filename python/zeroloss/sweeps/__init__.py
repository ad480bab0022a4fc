"""Sweeps: every combination of some settings, each a run that nothing can lose, and all of them one labelled cube."""

from .store import open_sweep
from .sweep import BrokenError, Sweep, sweep

__all__ = ["BrokenError", "Sweep", "open_sweep", "sweep"]
