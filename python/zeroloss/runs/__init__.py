"""Long runs in directories of their own, with checkpoints.

`run` begins one from a configuration, `resume` continues it from the last checkpoint, to the bits of an uninterrupted
run, and `report` draws it. `zeroloss.load` reads the directory at any time.
"""

from .continuation import DifferentBuildError
from .execute import Broken, load, resume, run
from .report import report

__all__ = ["Broken", "DifferentBuildError", "load", "report", "resume", "run"]
