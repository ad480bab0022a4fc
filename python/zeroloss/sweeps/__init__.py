"""Many runs: one engine for sweeps, studies and ensembles, on all processors, on processes, or on a cluster."""

from typing import Any

from .._deprecated import find_renamed
from .cell import ClusterError
from .many import simulate_many
from .report import report
from .store import Store, open_sweep
from .sweep import Sweep, SweepInterruptedError, connect, sweep

__all__ = [
    "ClusterError",
    "Store",
    "Sweep",
    "SweepInterruptedError",
    "connect",
    "open_sweep",
    "report",
    "simulate_many",
    "sweep",
]


def __getattr__(name: str) -> Any:
    return find_renamed(globals(), name, {"BrokenError": "SweepInterruptedError"})
