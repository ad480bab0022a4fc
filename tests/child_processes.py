"""Functions that the tests run in child processes, and a function that waits for them.

The module does not import PyTorch, which the fork server would load, too.
"""

import os
import resource
import signal
import sys
import time
from pathlib import Path

import h5py

import zeroloss as zl
from zeroloss import config, runs


def check_that_all_is_loaded():
    """Fail if the fork server did not find the module with which it loads the package."""
    assert "loaded_server" in sys.modules


def begin_or_resume(settings, directory):
    """Begin a run, or resume it if it has begun."""
    if zl.results.RunDirectory(directory).configuration.exists():
        runs.resume(directory, progress=False, on_warning=lambda line: None)
    else:
        runs.run(config.from_settings(settings), directory, progress=False)


def run_until_killed_at_write(settings, directory, number):
    """Begin or resume a run, and kill it at the ``number``-th call that renames, removes or flushes a file."""
    calls = 0

    def count(function):
        def call(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    os.fsync = count(os.fsync)
    Path.replace = count(Path.replace)
    Path.unlink = count(Path.unlink)
    begin_or_resume(settings, directory)


def run_with_file_limit(settings, directory, bytes_allowed, report):
    """Begin or resume a run in which no file may grow beyond a size; send the error to ``report``."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_allowed, bytes_allowed))
    try:
        begin_or_resume(settings, directory)
    except runs.RunInterruptedError as error:
        report.send(str(error))
    else:
        report.send("ended")


def lock_directory(directory, ready, release):
    """Lock a run's directory until ``release`` is set."""
    with zl.results.RunDirectory(directory).lock():
        ready.set()
        release.wait()


def open_for_appending(path, ready, release):
    """Open a NetCDF file for appending, with HDF5's lock on it, until ``release`` is set."""
    with h5py.File(path, "a"):
        ready.set()
        release.wait()


def run_until_killed_at_record(settings, directory, step):
    """Begin a run, and kill it as soon as it has the record of a step."""

    def kill(at, values):
        if at == step:
            os.kill(os.getpid(), signal.SIGKILL)

    runs.run(config.from_settings(settings), directory, progress=False, on_record=kill)


def wait_for(condition):
    """Wait until a condition holds; fail after a minute."""
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)
