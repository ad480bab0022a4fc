"""Many runs: one engine for sweeps, studies and ensembles, on all processors, on processes, or on a cluster."""

from .cell import ClusterError
from .many import simulate_many
from .report import report
from .store import Store, open_sweep
from .sweep import BrokenError, Sweep, connect, sweep

__all__ = ["BrokenError", "ClusterError", "Store", "Sweep", "connect", "open_sweep", "report", "simulate_many", "sweep"]
