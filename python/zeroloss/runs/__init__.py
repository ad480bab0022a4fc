"""Long runs in a directory of their own, which nothing can lose.

`run` begins one from a configuration, `resume` goes on with it from the last checkpoint, to the same bits as if nothing
had happened, and `report` draws it. `zeroloss.load` reads the directory at any time.
"""

from .continuation import DifferentBuildError
from .execute import Broken, load, resume, run
from .report import report

__all__ = ["Broken", "DifferentBuildError", "load", "report", "resume", "run"]
