"""Write a page into a file that overwrites nothing of others, and open it in the browser."""

from __future__ import annotations

import itertools
import os
import tempfile
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

from .._checks import ArgumentValueError
from .._reading import is_special
from ..results import Run
from ..results.files import write_atomically
from ..runs import load
from .follow import Follower, Server
from .page import MARK, read_library, run_page


def view(
    directories: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str] | None = None, *, open_page: bool = True
) -> Path:
    """Write the page of a run, with the curves of further runs, and open it in the browser.

    Parameters
    ----------
    directories : sequence of path
        The directories of the runs. The first one has all panels.
    out : path, optional
        The file, whose name ends in ``.html``. By default it is ``view.html`` in the first directory, with a number if
        another program wrote a file of that name.
    open_page : bool
        Whether to open the page in the browser, by default True.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FileNotFoundError, DamagedError, ValueError
        As for `zeroloss.load`.
    FileExistsError
        If ``out`` is a file that this package did not write.
    ImportError
        If Bokeh is not installed.
    """
    paths = [Path(directory) for directory in directories]
    runs = _named_runs(paths)
    return write_page(run_page(runs), find_page_path(paths[0], out), open_page)


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
    with Server(Follower([Path(directory) for directory in directories], _named_runs), port) as server:
        on_start(server.address)
        if open_page:
            webbrowser.open(server.address)
        server.serve_forever()


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

    A page that this package wrote is replaced; other files are not.
    """
    if out is not None:
        if Path(out).suffix.lower() != ".html":
            raise ArgumentValueError("out", f"expected a name that ends in .html, got {out}")
        if not Path(out).parent.is_dir():
            raise FileNotFoundError(f"out: there is no directory {Path(out).parent}")
        if os.path.lexists(out) and not is_page(Path(out)):
            raise FileExistsError(f"out: {out} is a file that zeroloss did not write; choose another name")
        return Path(out)
    names = itertools.chain(["view.html"], (f"view-{number}.html" for number in itertools.count(2)))
    paths = (directory / name for name in names)
    return next(path for path in paths if not os.path.lexists(path) or is_page(path))


def is_page(path: Path) -> bool:
    """Return whether a file is a page that this package wrote, judged by its first bytes."""
    if is_special(path) or not path.is_file():
        return False
    with path.open("rb") as file:
        return MARK.encode() in file.read(500)
