"""What processes of the fault tests do; without PyTorch, for they start at once from a server that has all loaded."""

import os
import resource
import signal
from pathlib import Path

import h5py

import zeroloss as zl
from zeroloss import config, runs


def carry_out(settings, directory):
    """Begin the run, or go on with it where it has begun."""
    if zl.results.RunDirectory(directory).configuration.exists():
        runs.resume(directory, progress=False, tell=lambda line: None)
    else:
        runs.run(config.from_settings(settings), directory, progress=False)


def killed_at_write(settings, directory, number):
    """The same, killed at the ``number``-th call that changes a file's place or flushes it."""
    calls = 0

    def counted(function):
        def call(*arguments, **options):
            nonlocal calls
            calls += 1
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return call

    os.fsync = counted(os.fsync)
    Path.replace = counted(Path.replace)
    Path.unlink = counted(Path.unlink)
    carry_out(settings, directory)


def with_file_limit(settings, directory, bytes_allowed, report):
    """The same where no file may grow beyond a size; what it raises goes to ``report``."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_allowed, bytes_allowed))
    try:
        carry_out(settings, directory)
    except runs.Broken as error:
        report.send(str(error))
    else:
        report.send("ended")


def hold(directory, ready, release):
    """Hold a run's directory until told to let go."""
    with zl.results.RunDirectory(directory).locked():
        ready.set()
        release.wait()


def hold_open(path, ready, release):
    """Hold a NetCDF file open for appending, with HDF5's lock on it."""
    with h5py.File(path, "a"):
        ready.set()
        release.wait()


def killed_at_record(settings, directory, step):
    """Begin a run, killed when it has the record of a step."""

    def kill(at, values):
        if at == step:
            os.kill(os.getpid(), signal.SIGKILL)

    runs.run(config.from_settings(settings), directory, progress=False, announce=kill)
