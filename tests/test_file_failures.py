"""A failure at every file operation leaves the old or the new run complete, and the files of others unchanged.

Failures are a full disk, Ctrl-C and SIGKILL, at each call that opens, writes, flushes, renames, links or removes a file
or makes or removes a directory, one after the other.
"""

import errno
import io
import itertools
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

import zeroloss as zl
from problems import same_bits
from test_foreign_files import contents, write_foreign_files
from test_runs import settings
from test_sweeps import settings as sweep_settings
from zeroloss import config, runs, sweeps
from zeroloss.results.netcdf import write_netcdf_in_pieces

pytestmark = pytest.mark.usefixtures("equal_content_once")

OTHERS = ("thesis.tex", "checkpoints/epoch=9.ckpt", "rows/history-of-1848")

FEW = {"steps": 60, "record_every": 20, "snapshot_every": 30, "checkpoint_every": 25, "keep_checkpoints": 2}


class Failures:
    """An audit hook that fails at the ``number``-th file operation that changes something below a directory."""

    def __init__(self, directory):
        self.directory, self.number, self.count, self.failure = str(directory), 0, 0, None

    def __call__(self, event, arguments):
        if self.failure is None or not self._counts(event, arguments):
            return
        self.count += 1
        if self.count == self.number:
            self.failure()

    def _counts(self, event, arguments):
        if event == "open":
            path, _, flags = arguments
            return self._below(path) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        names = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "zeroloss.write", "zeroloss.fsync")
        return event in names and self._below(arguments[0])

    def _below(self, path):
        if isinstance(path, int):
            path = Path(f"/proc/self/fd/{path}").readlink()
        return str(os.fsdecode(path)).startswith(self.directory) or not Path(os.fsdecode(path)).is_absolute()


class AuditedFile:
    """A file whose writes raise audit events."""

    def __init__(self, file):
        self._file = file

    def write(self, content):
        sys.audit("zeroloss.write", self._file.fileno())
        return self._file.write(content)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def __getattr__(self, name):
        return getattr(self._file, name)


def disk_is_full():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupt():
    raise KeyboardInterrupt


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


FAILURES = (disk_is_full, interrupt, kill)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("failures")


@pytest.fixture(scope="module")
def failures(folder):
    """Install the audit hook. It stays in the process and does nothing after the tests."""
    hook = Failures(folder)
    sys.addaudithook(hook)
    fsync = os.fsync

    def fsync_with_event(descriptor):
        sys.audit("zeroloss.fsync", descriptor)
        fsync(descriptor)

    opened = io.open

    def open_audited(file, mode="r", *arguments, **options):
        found = opened(file, mode, *arguments, **options)
        return AuditedFile(found) if "b" in mode and set(mode) & set("wx+") else found

    os.fsync, io.open = fsync_with_event, open_audited
    yield hook
    os.fsync, io.open = fsync, opened
    hook.failure = None


def fail_at_each(failures, prepare, act, check, stride=1):
    """Let ``act`` fail at the first file operation, the next, and so on until it succeeds; check the files each time.

    The kinds of failure take turns. ``stride`` is the distance from one operation to the next one that fails.
    """
    for turn in itertools.count():
        failure, number = FAILURES[turn % len(FAILURES)], 1 + turn * stride
        prepare()
        failures.number, failures.count = number, 0
        if failure is kill:
            ended = succeeds_in_child(failures, failure, act)
        else:
            failures.failure = failure
            try:
                act()
                ended = True
            except (OSError, runs.RunInterruptedError, sweeps.SweepInterruptedError, KeyboardInterrupt):
                ended = False
            finally:
                failures.failure = None
        check(ended, failure)
        if failures.count < number and (failure is not kill or ended):
            assert ended
            return number


def succeeds_in_child(failures, failure, act):
    child = os.fork()
    if child == 0:
        failures.failure = failure
        try:
            act()
        finally:
            os._exit(1 if sys.exc_info()[0] else 0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return not os.WIFSIGNALED(status)


def hidden_files(directory):
    return [str(path) for path in directory.rglob(".*")]


def simulate(steps):
    made = config.from_settings(settings())
    return zl.simulate(made.dynamics, made.data, made.network, steps=steps, record_every=20, snapshot_every=10)


@pytest.mark.slow
def test_saving_over_an_earlier_run_leaves_one_of_the_two(folder, failures):
    target, old, new = folder / "over" / "run", simulate(50), simulate(30)
    old.save(folder / "old")
    write_foreign_files(folder / "old", OTHERS)

    def prepare():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder / "old", target)

    def check(ended, failure):
        loaded = zl.load(target)
        expected = new if ended or loaded.step == 30 else old
        assert same_bits(loaded.history, expected.history)
        assert same_bits(loaded.snapshots, expected.snapshots)
        assert same_bits(loaded.network.E, expected.network.E)
        assert str(loaded.outcome) == str(expected.outcome)
        assert all(contents(target, [name])[name].endswith(b"years of work\n") for name in OTHERS)
        old.save(target)  # The next attempt succeeds, and leaves no temporary files.
        assert hidden_files(target) == []
        assert zl.load(target).step == 50

    assert fail_at_each(failures, prepare, lambda: new.save(target), check) > 20


@pytest.mark.slow
def test_a_failed_save_into_a_new_directory_can_be_repeated(folder, failures):
    target, new = folder / "new" / "run", simulate(30)

    def check(ended, failure):
        if not ended and failure is not kill and target.exists():
            assert zl.load(target).step == 30  # It failed after the directory was complete.
        new.save(target)
        assert same_bits(zl.load(target).history, new.history)
        assert hidden_files(target) == []

    fail_at_each(failures, lambda: shutil.rmtree(target, ignore_errors=True), lambda: new.save(target), check)


@pytest.mark.slow
def test_a_failed_run_is_resumed_to_the_same_bits(folder, failures):
    base = folder / "run"
    whole = runs.run(config.from_settings(settings(**FEW)), base / "whole run", progress=False)
    target = base / "a run"

    def act():
        if zl.results.RunDirectory(target).configuration.exists():
            return runs.resume(target, progress=False)
        return runs.run(config.from_settings(settings(**FEW)), target, progress=False)

    def check(ended, failure):
        loaded = act()
        assert same_bits(loaded.history, whole.history)
        assert same_bits(loaded.snapshots, whole.snapshots)
        assert hidden_files(target) == []

    assert fail_at_each(failures, lambda: shutil.rmtree(target, ignore_errors=True), act, check) > 20


@pytest.mark.slow
def test_a_failed_copy_of_a_run_leaves_the_original_unchanged(folder, failures):
    base = folder / "copy"
    source, target = base / "source", base / "copy"
    whole = runs.run(config.from_settings(settings(**FEW)), source, progress=False)
    before = contents(source)

    def check(ended, failure):
        after = contents(source)
        assert {**after, "lock": b""} == {**before, "lock": b""}
        if zl.results.RunDirectory(target).has_begun():
            loaded = runs.resume(target, progress=False)
        else:
            loaded = runs.resume(source, out=target, progress=False)
        assert same_bits(loaded.history, whole.history)
        assert same_bits(loaded.snapshots, whole.snapshots)
        assert hidden_files(target) == []

    fail_at_each(
        failures,
        lambda: shutil.rmtree(target, ignore_errors=True),
        lambda: runs.resume(source, out=target, progress=False),
        check,
    )


@pytest.mark.slow
def test_a_failed_sweep_is_continued_to_the_same_cube(folder, failures):
    base = folder / "sweep"
    given = {**sweep_settings(), "sweep": {"network.seed": [1]}}
    given["run"] = {"steps": 60, "record_every": 20, "checkpoint_every": 25}
    target = base / "sweep"

    def act():
        return sweeps.sweep(given, target, workers=1, progress=False)

    act()
    cube = sweeps.open_sweep(target)
    write_foreign_files(base, OTHERS)
    before = contents(base, OTHERS)

    def check(ended, failure):
        assert act().failures == []
        assert sweeps.open_sweep(target).equals(cube)
        assert hidden_files(target) == []
        assert contents(base, OTHERS) == before

    # Most of its operations belong to runs, and fail one by one in the tests above.
    fail_at_each(failures, lambda: shutil.rmtree(target, ignore_errors=True), act, check, stride=3)


class LimitedFile(io.RawIOBase):
    """A file in memory that cannot grow beyond a size."""

    def __init__(self, most):
        self._content, self.most = io.BytesIO(), most

    def readable(self):
        return True

    def writable(self):
        return True

    def seekable(self):
        return True

    def seek(self, offset, whence=0):
        return self._content.seek(offset, whence)

    def readinto(self, buffer):
        return self._content.readinto(buffer)

    def truncate(self, size=None):
        return self._content.truncate(size)

    def write(self, content):
        if self._content.tell() + len(content) > self.most:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        return self._content.write(content)


def test_a_netcdf_file_that_cannot_grow_is_an_error_at_every_size():
    """This includes buffered content that is written by seeking, at which HDF5 would end the process."""
    snapshots = simulate(30).snapshots
    whole = LimitedFile(10**9)
    with io.BufferedRandom(whole) as file:
        write_netcdf_in_pieces(file, snapshots.sizes["step"], [snapshots])
        size = file.seek(0, io.SEEK_END)
    for most in range(0, size, 499):
        limited = LimitedFile(most)
        with io.BufferedRandom(limited) as file:
            with pytest.raises(OSError, match="File too large"):
                write_netcdf_in_pieces(file, snapshots.sizes["step"], [snapshots])
            limited.most = 10**9  # The rest of the buffer is written when the file is closed.
