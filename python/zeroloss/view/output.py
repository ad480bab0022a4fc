"""Write a page into a file that overwrites nothing of others, and open it in the browser."""

from __future__ import annotations

import itertools
import os
import tempfile
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

from .._checks import ArgumentValueError
from ..results import Run
from ..results.files import write_atomically
from ..runs import load
from ..sweeps import Store
from .follow import Follower, Server
from .page import is_page, read_library, run_page
from .sweep import sweep_page


def view(
    directories: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str] | None = None, *, open_page: bool = True
) -> Path:
    """Write the page of a run, with the curves of further runs, or of a sweep, and open it in the browser.

    Parameters
    ----------
    directories : sequence of path
        The directories of the runs, of which the first one has all panels; or the directory of one sweep.
    out : path, optional
        The file, whose name ends in ``.html``. By default it is ``view.html`` in the first directory, with a number if
        a file of that name was edited or is of another program.
    open_page : bool
        Whether to open the page in the browser, by default True.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FileNotFoundError, DamagedError, ValueError
        As for `zeroloss.load`, or if a sweep is not alone.
    FileExistsError
        If ``out`` is a file that this package did not write, or a page that was edited.
    ImportError
        If Bokeh is not installed.
    """
    paths = [Path(directory) for directory in directories]
    if _has_sweep(paths):
        if len(paths) > 1:
            raise ArgumentValueError("directories", f"expected one sweep, or runs only, got {len(paths)} directories")
        file = find_page_path(paths[0], out)
        is_inside = file.resolve().parent == paths[0].resolve()
        base = "" if is_inside else f"{paths[0].resolve().as_uri()}/"
        return write_page(sweep_page(Store.open(paths[0]).cube(may_be_empty=True), paths[0], base), file, open_page)
    return write_page(run_page(_named_runs(paths)), find_page_path(paths[0], out), open_page)


def view_run(run: Run, out: str | os.PathLike[str] | None, open_page: bool) -> Path:
    """Write the page of a run in memory, and open it in the browser.

    Parameters
    ----------
    run : Run
        The run.
    out : path or None
        The file, as for `view`. None means a new file in the directory for temporary files.
    open_page : bool
        Whether to open the page in the browser.

    Returns
    -------
    Path
        The file.
    """
    page = run_page([("run", run, None)])
    directory = Path(tempfile.mkdtemp(prefix="zeroloss-")) if out is None else Path()
    return write_page(page, find_page_path(directory, out), open_page)


def serve(
    directories: Sequence[str | os.PathLike[str]],
    on_start: Callable[[str], None],
    *,
    port: int = 0,
    open_page: bool = True,
) -> None:
    """Serve the page of a run in progress on 127.0.0.1 until an interruption. The page follows the files of the run.

    Parameters
    ----------
    directories : sequence of path
        The directories of the runs, as for `view`.
    on_start : function of str
        Called with the address of the page.
    port : int
        The port, by default a free one.
    open_page : bool
        Whether to open the page in the browser.

    Raises
    ------
    FileNotFoundError, DamagedError, ValueError, ImportError
        As for `view`.
    OSError
        If the port is in use.
    """
    read_library()
    paths = [Path(directory) for directory in directories]
    if _has_sweep(paths):
        raise ArgumentValueError("directories", "expected runs to follow, got a sweep; follow one of its cells")
    with Server(Follower(paths, _named_runs), port) as server:
        on_start(server.address)
        if open_page:
            webbrowser.open(server.address)
        server.serve_forever()


def _has_sweep(paths: Sequence[Path]) -> bool:
    return any(Store.is_at(path) for path in paths)


def _named_runs(paths: Sequence[Path]) -> list[tuple[str, Run, Path | None]]:
    """Load runs, with names that differ."""
    names = [path.resolve().name for path in paths]
    if len({*names}) < len(names):
        names = [str(path) for path in paths]
    return [(name, load(path), path) for name, path in zip(names, paths, strict=True)]


def write_page(page: str, file: Path, open_page: bool) -> Path:
    """Write a page, and open it in the browser."""
    write_atomically(file, page.encode())
    if open_page:
        webbrowser.open(file.resolve().as_uri())
    return file


def find_page_path(directory: Path, out: str | os.PathLike[str] | None) -> Path:
    """Return the path of a page: ``out``, or the first free name in the directory.

    A page that this package wrote is replaced; edited pages and other files are not.
    """
    if out is not None:
        if Path(out).suffix.lower() != ".html":
            raise ArgumentValueError("out", f"expected a name that ends in .html, got {out}")
        if not Path(out).parent.is_dir():
            raise FileNotFoundError(f"out: there is no directory {Path(out).parent}")
        if os.path.lexists(out) and not is_page(Path(out)):
            raise FileExistsError(f"out: {out} was edited or is not a page that zeroloss wrote; choose another name")
        return Path(out)
    names = itertools.chain(["view.html"], (f"view-{number}.html" for number in itertools.count(2)))
    paths = (directory / name for name in names)
    return next(path for path in paths if not os.path.lexists(path) or is_page(path))
