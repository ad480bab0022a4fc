"""Compile changed kernels of an editable installation before the tests, and let Ctrl-C work as on a terminal."""

import os
import signal
import sys
from pathlib import Path

from rebuild import rebuild

if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    rebuild()

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, and so would what it starts
