"""A server for the page of a run in progress. It reads the files of the run, and never writes.

It listens on the loopback interface only. The address has a random token, and requests with another path, method or
host are refused. The page asks for newer data; the server reads the run again if its files have changed, and rests
after each reading for twenty times the processor time of the reading.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from ..results import Run
from .page import data_of, run_page, to_json

#: Seconds between two readings of the run, at least, and as a multiple of the processor time of a reading.
_PAUSE = 1.0
_REST = 20.0

NamedRuns = list[tuple[str, Run, Path | None]]


class Follower:
    """The newest data of runs in directories.

    Parameters
    ----------
    paths : sequence of Path
        The directories.
    read : function
        The function that loads the runs from the directories, with their names.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[Sequence[Path]], NamedRuns]) -> None:
        self._paths, self._read = paths, read
        self._lock = threading.Lock()
        self._next = 0.0
        self._files: object = None
        self.version = 0
        self._refresh()

    def page(self) -> bytes:
        """Return the page with the newest data."""
        with self._lock:
            self._refresh()
            return run_page(self._runs, "data").encode()

    def newer(self, version: int) -> bytes | None:
        """Return the data as JSON, or None if the page has this version."""
        with self._lock:
            self._refresh()
            if version == self.version:
                return None
            return to_json({**data_of(self._runs), "version": self.version}).encode()

    def _refresh(self) -> None:
        """Read the runs again if their files have changed and the rest after the last reading is over."""
        if time.monotonic() < self._next:
            return
        start = time.thread_time()
        files = [_describe_files(path) for path in self._paths]
        if files != self._files:
            self._runs, self._files = self._read(self._paths), files
            self.version += 1
        self._next = time.monotonic() + max(_PAUSE, _REST * (time.thread_time() - start))


def _describe_files(directory: Path) -> list[tuple[str, int, int]]:
    """Return the name, the time and the size of the files of a run that change when it proceeds."""
    found = []
    for path in [directory / "run.json", directory / "history.nc", *sorted((directory / "checkpoints").glob("step-*"))]:
        try:
            about = path.stat()
        except FileNotFoundError:
            continue
        found.append((path.name, about.st_mtime_ns, about.st_size))
    return found


class Server(ThreadingHTTPServer):
    """A server of one page and its data on 127.0.0.1.

    Parameters
    ----------
    follower : Follower
        The data.
    port : int
        The port; 0 for a free one.
    """

    daemon_threads = True

    def __init__(self, follower: Follower, port: int) -> None:
        self.follower, self.token = follower, secrets.token_urlsafe(24)
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.server_port}/{self.token}/"


class _Handler(BaseHTTPRequestHandler):
    """Answers the two requests of the page."""

    server: Server
    timeout = 30

    def do_GET(self) -> None:
        """Send the page, or newer data, or nothing if there are none."""
        path, _, query = self.path.partition("?")
        host = self.headers.get("Host", "")
        known = {f"/{self.server.token}/": "page", f"/{self.server.token}/data": "data"}
        if host != f"127.0.0.1:{self.server.server_port}" or path not in known:
            self._send(HTTPStatus.NOT_FOUND, b"", "text/plain")
            return
        try:
            if known[path] == "page":
                self._send(HTTPStatus.OK, self.server.follower.page(), "text/html; charset=utf-8")
                return
            version = query.removeprefix("version=")
            newer = self.server.follower.newer(int(version) if version.isdecimal() else 0)
        except (OSError, ValueError):  # The run is being replaced, or a file cannot be read at the moment.
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, b"", "text/plain")
            return
        status = HTTPStatus.NO_CONTENT if newer is None else HTTPStatus.OK
        self._send(status, newer or b"", "application/json")

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
        headers |= {"Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        with contextlib.suppress(ConnectionError):  # The page was closed.
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing, because a log would contain the token."""
