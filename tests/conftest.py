"""Set up the test session.

Changed kernels of an editable installation are compiled, temporary files are in memory, BLAS uses one thread, Ctrl-C
works as on a terminal, the slow tests run first, and the garbage collector ignores what exists before the tests.
"""

import gc
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from rebuild import rebuild

MEMORY = Path("/dev/shm")

# Threads of several processes wait for each other in loops: an eigenvalue of 60 rows takes a second instead of 2 ms.
# NumPy, SciPy, PyTorch and child processes read this when they start. The kernels have threads of their own.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    rebuild()
    # The tests flush tens of thousands of files. A disk takes 1 to 50 ms for each, memory none.
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > 2**32:
        os.environ.setdefault("TMPDIR", str(MEMORY))
        tempfile.tempdir = None  # Pytest has already made temporary files, and the directory was cached.

# A background job ignores SIGINT, and its child processes inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


# Imports and 8000 tests make millions of objects that live to the end. Each full collection would visit them all.
gc.disable()


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item, nextitem):
    """Leave the libraries and caches that live on after a module out of the later collections."""
    yield
    if nextitem is not None and nextitem.path != item.path:
        gc.collect()
        gc.freeze()


def pytest_collection_modifyitems(items):
    """Run the slow tests first, so that no process waits for one of them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def server():
    """Start a process that has loaded everything and forks children at once."""
    import child_processes  # noqa: PLC0415 — after the kernels are compiled

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["loaded_server"])
    with pytest.MonkeyPatch.context() as patched:
        # Python 3.11 does not pass its search path to the server, and a module that is not found is no error there.
        patched.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        warm = context.Process(target=child_processes.check_that_all_is_loaded)
        warm.start()
    warm.join()
    assert warm.exitcode == 0
    return context


@pytest.fixture(scope="session")
def browser():
    """Start one browser for all tests of pages; skip them if there is none."""
    from browser import Browser, start_browser  # noqa: PLC0415 — Selenium is imported for these tests only

    driver = start_browser()
    yield Browser(driver)
    driver.quit()


@pytest.fixture(scope="module")
def equal_content_once():
    """Make the content of equal NetCDF files once, which takes half of the time of a short run.

    It is made in memory, from the dataset alone. So a failure of a file operation cannot change it.
    """
    from zeroloss.results import directory  # noqa: PLC0415 — after the kernels are compiled

    make, made = directory.netcdf_content, {}

    def find_or_make(dataset):
        values = {name: (v.dims, v.dtype.str, v.values.tobytes(), v.attrs) for name, v in dataset.variables.items()}
        key = repr((values, dataset.attrs))
        if key not in made:
            made[key] = make(dataset)
        return made[key]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(directory, "netcdf_content", find_or_make)
        yield
