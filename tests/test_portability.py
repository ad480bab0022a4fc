"""Differences between operating systems: locks, flushing, signals, and modules that exist only on some of them."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import psutil
import pytest
import pythons

from test_runs import settings
from test_sweeps import run_sweep, with_sweep
from zeroloss import _resources, config, runs
from zeroloss.results import InUseError, RunDirectory, file_lock


def test_a_lock_names_its_holder_and_its_file_stays(tmp_path):
    path = tmp_path / "lock"
    with file_lock(path):
        before = path.stat()
        with pytest.raises(InUseError, match=f"in use by process {os.getpid()}, which runs in it"), file_lock(path):
            pass
    assert path.read_text() == f" {os.getpid()}\n"
    with file_lock(path):
        assert path.stat().st_ino == before.st_ino


def test_a_lock_can_be_waited_for(tmp_path):
    order = []

    def lock_second():
        with file_lock(tmp_path / "lock", wait=True):
            order.append("second")

    with file_lock(tmp_path / "lock"):
        thread = threading.Thread(target=lock_second)
        thread.start()
        time.sleep(0.1)
        order.append("first")
    thread.join(timeout=20)
    assert order == ["first", "second"]


def test_a_lock_file_that_cannot_be_written_still_locks(tmp_path, monkeypatch):
    """The operating system refuses to open the file for writing, as it does for a user without permission."""
    path, real = tmp_path / "lock", os.open
    path.touch()

    def open_read_only(file, flags, *mode):
        if file == path and flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        return real(file, flags, *mode)

    monkeypatch.setattr(os, "open", open_read_only)
    with file_lock(path), pytest.raises(InUseError, match="in use by process unknown"), file_lock(path):
        pass
    assert path.read_bytes() == b""


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL], ids=errno.errorcode.get)
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, code):
    def raise_no_locks(descriptor, *, blocking):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("filelock.lock_descriptor", raise_no_locks)
    with pytest.raises(ValueError, match=r"a: its file system has no locks .*; choose a directory on another") as error:
        runs.run(config.from_settings(settings()), tmp_path / "a", progress=False)
    assert not isinstance(error.value, InUseError)
    monkeypatch.undo()
    assert runs.run(config.from_settings(settings()), tmp_path / "a", progress=False).step == 300


def test_other_errors_of_a_lock_are_reported_as_they_are(tmp_path, monkeypatch):
    def raise_input_output_error(descriptor, *, blocking):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("filelock.lock_descriptor", raise_input_output_error)
    with pytest.raises(runs.RunInterruptedError, match=os.strerror(errno.EIO)):
        runs.run(config.from_settings(settings()), tmp_path / "a", progress=False)
    assert not RunDirectory(tmp_path / "a").checkpoint_paths()


def test_the_package_works_without_posix_modules(tmp_path):
    """It computes and saves. A run in a directory reports that nothing can be locked without ``fcntl``."""
    code = """
import sys, warnings
import psutil  # Its part for Linux needs some of them.
for name in ("fcntl", "grp", "pwd", "resource", "syslog", "termios", "tty"):
    sys.modules[name] = None
import zeroloss as zl
data = zl.datasets.modular_addition(5, test_count=3)
net = zl.networks.normal(data, hidden=8, std=0.5, seed=1)
run = zl.simulate(zl.GradientDescent(lr=0.1), data, net, steps=10)
warnings.simplefilter("ignore")  # filelock warns that it has no locks.
run.save(sys.argv[1] + "/saved")
print(zl.load(sys.argv[1] + "/saved").step)
try:
    zl.runs.run(zl.config.from_settings({"run": {"steps": 10}}), sys.argv[1] + "/run", progress=False)
except ValueError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    assert done.stdout.startswith(f"10\n{tmp_path}/run: its file system has no locks (fcntl is unavailable)")


def test_a_signal_handler_of_c_code_stays(tmp_path, monkeypatch):
    """Python returns None for such a handler and could not restore it. The signal is not handled, and the run ends."""
    real, taken = signal.signal, []

    def noting(number, handler):
        taken.append(number)
        return real(number, handler)

    monkeypatch.setattr(signal, "getsignal", lambda number: signal.default_int_handler if number == 2 else None)
    monkeypatch.setattr(signal, "signal", noting)
    assert runs.run(config.from_settings(settings()), tmp_path / "a", progress=False).step == 300
    assert set(taken) == {signal.SIGINT}


def test_windows_flushes_no_directories_and_masks_no_signals(tmp_path, monkeypatch):
    real, flags = os.open, {}

    def noting(path, flag, *mode):
        flags[os.path.isdir(path)] = flag  # noqa: PTH112 — it may be a string
        return real(path, flag, *mode)

    for module in ("results.files", "sweeps.workers"):
        monkeypatch.setattr(f"zeroloss.{module}.sys", types.SimpleNamespace(platform="win32"))
    monkeypatch.delattr(signal, "pthread_sigmask")
    monkeypatch.setattr(os, "open", noting)
    done = run_sweep(with_sweep({"network.seed": [1, 2]}), tmp_path / "out")
    assert len(done.outcomes) == 2
    assert set(flags) == {False}
    assert flags[False] & os.O_RDWR


def test_memory_and_processors_are_found_without_linux(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sysconf")
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.delenv("ZEROLOSS_NUM_THREADS", raising=False)
    monkeypatch.setattr(_resources, "_CGROUP", tmp_path)
    assert 2**20 < _resources.available_memory() <= psutil.virtual_memory().total
    assert _resources.available_processors() == os.cpu_count()
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.current").write_text("2000000\n")
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert _resources.available_memory() == 3_000_000
    assert _resources.available_processors() == 1


def test_pythons_are_found_on_the_path_and_in_pyenv(tmp_path, monkeypatch, capsys):
    """Each version of pyproject.toml is searched for; an interpreter that does not run is skipped."""
    folders = {
        "path": tmp_path / "path",
        **{n: tmp_path / ".pyenv" / "versions" / n / "bin" for n in ("3.12.1", "3.13.0")},
    }
    for name, folder in folders.items():
        folder.mkdir(parents=True)
        runs_well = name != "path"
        script = folder / ("python3.12" if name != "3.13.0" else "python3.13")
        script.write_text(f"#!/bin/sh\necho {script}\nexit {0 if runs_well else 127}\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folders['path']}:/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(pythons, "tests_pass", lambda python, version: version == "3.12")
    assert pythons.list_versions()[:3] == ["3.11", "3.12", "3.13"]
    assert pythons.main(["3.12", "3.13", "3.99"]) == 1
    printed = capsys.readouterr().out
    assert f"Python 3.12: {folders['3.12.1']}/python3.12" in printed
    assert "Python 3.99: not found on the PATH or in ~/.pyenv/versions" in printed
    assert printed.endswith("Python 3.12: the tests passed\nPython 3.13: the tests failed\n")
    assert pythons.main(["3.99"]) == 1
    assert pythons.main(["3.12"]) == 0


def test_test_modules_can_be_imported_without_pytorch():
    """Importing a test module does not load PyTorch, nor do pytest's queries of its objects."""
    code = "import sys; sys.modules['torch'] = None; sys.path += sys.argv[1:]; import problems, test_learning_rate"
    code += "; print(hasattr(problems.torch, '__wrapped__'))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "False\n", done.stderr
