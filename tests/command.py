"""Run the command in the process of the tests, which is faster than a process for each call."""

import io
import signal
import subprocess
from contextlib import redirect_stderr, redirect_stdout

import pytest

from zeroloss import cli


def run_command(*words):
    """Run the command; return its exit status and both outputs, as `subprocess.run` does."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            cli.main([str(word) for word in words])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    printed = (stream.buffer.getvalue().decode(stream.encoding) for stream in (out, err))
    return subprocess.CompletedProcess(words, ended.value.code, *printed)
