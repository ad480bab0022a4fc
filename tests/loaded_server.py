"""Import everything that a run needs, once, in the process that forks child processes."""

import tempfile
from pathlib import Path

import zeroloss as zl
from child_processes import begin_or_resume

_SETTINGS = {
    "data": {"p": 5, "test_count": 3},
    "network": {"hidden": 8},
    "run": {"steps": 2, "snapshot_every": 1, "checkpoint_every": 1},
}

with tempfile.TemporaryDirectory() as _folder:
    begin_or_resume(_SETTINGS, Path(_folder) / "run")
    zl.load(Path(_folder) / "run")
