"""Long runs in directories, with checkpoints.

`run` starts a run from a configuration. `resume` continues it from its newest valid checkpoint, with the same bits as
an uninterrupted run. `report` summarises and draws it. `zeroloss.load` reads the directory at any time.
"""

from typing import Any

from .._deprecated import find_renamed
from .continuation import DifferentBuildError
from .execute import RunInterruptedError, load, resume, run
from .report import report

__all__ = ["DifferentBuildError", "RunInterruptedError", "load", "report", "resume", "run"]


def __getattr__(name: str) -> Any:
    return find_renamed(globals(), name, {"Broken": "RunInterruptedError"})
