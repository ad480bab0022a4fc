"""A growing table of rows over steps, in files with checksums.

Rows are added in pieces. Pieces are joined, because there should be few files. A written row never changes. A
checkpoint therefore refers to rows by their number. If a run continues from an earlier checkpoint, the rows after it
are removed and computed again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import DamagedError, is_checksummed, read_checksummed, write_checksummed

Columns = dict[str, NDArray[Any]]

#: Bytes above which pieces are not joined.
_JOIN_UP_TO = 8 * 2**20
#: Attempts to list the pieces while another process joins some.
_TRIES = 100


@dataclass(frozen=True)
class _Piece:
    """A file with the rows [begin, end)."""

    begin: int
    end: int
    path: Path

    def read(self) -> Columns:
        """Return the columns. DamagedError: their length is not the length in the name of the file."""
        columns = read_checksummed(self.path)[1]
        if "step" not in columns or {len(values) for values in columns.values()} != {self.end - self.begin}:
            raise DamagedError(f"{self.path.name}: its rows do not match its name")
        return columns


class Table:
    """A table in files ``NAME-first-end`` of a directory, each with the rows [first, end) of all columns."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory, name

    def append(self, first: int, columns: Mapping[str, NDArray[Any]]) -> None:
        """Add rows from number ``first`` on, and remove earlier rows with these numbers.

        A new piece is joined with the pieces before it that are not much longer, like the digits of a binary counter.
        Each row is then written about log₂(rows) times, and there are about log₂(rows) pieces. Large pieces are not
        joined, because at most a few MB should be in memory.
        """
        count = len(columns["step"])
        step = max(1, _JOIN_UP_TO * count // max(1, sum(values.nbytes for values in columns.values())))
        for begin in range(0, count, step):
            self._append(first + begin, {name: values[begin : begin + step] for name, values in columns.items()})

    def _append(self, first: int, columns: Columns) -> None:
        begin, end, rows = first, first + len(columns["step"]), columns
        before = self._pieces(first)
        while before:
            piece = before[-1]
            is_large = begin - piece.begin > 2 * (end - begin) or piece.path.stat().st_size > _JOIN_UP_TO
            if piece.end == begin and is_large:
                break
            earlier = {name: values[: begin - piece.begin] for name, values in piece.read().items()}
            begin, rows = piece.begin, join_columns([earlier, rows])
            before.pop()
        target = self._directory / f"{self._name}-{begin:012d}-{end:012d}"
        write_checksummed(target, {"rows": end - begin}, rows)
        remaining = {target, *(piece.path for piece in before)}
        for path in self.paths():
            if path not in remaining:
                path.unlink()

    def holds(self, rows: int) -> bool:
        """Return whether there are pieces with the first ``rows`` rows."""
        try:
            return bool(self._pieces(rows)) or rows == 0
        except DamagedError:
            return False

    def blocks(self, rows: int, begin: int = 0) -> Iterator[Columns]:
        """Yield the rows [begin, rows) piece by piece, also while another process adds rows and joins pieces.

        Raises
        ------
        DamagedError
            If rows are missing.
        """
        pieces = self._pieces_now(rows)
        while begin < rows:
            piece = next(piece for piece in pieces if piece.end > begin)
            try:
                columns = piece.read()
            except FileNotFoundError:  # Another process has joined it with others.
                pieces = self._pieces_now(rows)
                continue
            yield {name: values[begin - piece.begin : rows - piece.begin] for name, values in columns.items()}
            begin = piece.end

    def _pieces_now(self, rows: int) -> list[_Piece]:
        """Return the pieces. The list is made again if another process joined some at the same time."""
        for _ in range(_TRIES):
            paths = self.paths()
            try:
                return self._pieces(rows)
            except DamagedError:
                if self.paths() == paths:
                    raise
        return self._pieces(rows)

    def paths(self) -> list[Path]:
        """Return the files of the pieces. Other files with similar names are left out."""
        paths = []
        for path in self._directory.glob(f"{self._name}-*"):
            with contextlib.suppress(FileNotFoundError):  # Another process joins pieces.
                if self._numbers(path) and is_checksummed(path):
                    paths.append(path)
        return sorted(paths)

    def clear(self) -> None:
        """Remove all pieces."""
        for path in self.paths():
            path.unlink()

    def _numbers(self, path: Path) -> re.Match[str] | None:
        return re.fullmatch(rf"{self._name}-(\d{{12,}})-(\d{{12,}})", path.name)

    def _pieces(self, rows: int) -> list[_Piece]:
        """Return the pieces that hold the first ``rows`` rows, in order; the last may hold more."""
        candidates: dict[int, list[_Piece]] = {}
        for path in self.paths():
            if numbers := self._numbers(path):
                piece = _Piece(int(numbers[1]), int(numbers[2]), path)
                candidates.setdefault(piece.begin, []).append(piece)
        pieces: list[_Piece] = []
        end = 0
        while end < rows:  # A crash may leave a joined piece next to its parts; the longest piece is used.
            if end not in candidates:
                raise DamagedError(f"{self._name}: expected {rows} rows, found only the first {end}")
            pieces.append(max(candidates[end], key=lambda piece: piece.end))
            end = pieces[-1].end
        return pieces


def join_columns(parts: Sequence[Mapping[str, NDArray[Any]]]) -> Columns:
    """Concatenate columns. A part that lacks a column, because it is of an earlier version, has NaN there."""
    if len(parts) == 1:
        return dict(parts[0])
    samples = {name: column for part in parts for name, column in part.items()}
    return {name: np.concatenate([_take_column(part, name, like) for part in parts]) for name, like in samples.items()}


def _take_column(part: Mapping[str, NDArray[Any]], name: str, like: NDArray[Any]) -> NDArray[Any]:
    return part[name] if name in part else np.full((len(part["step"]), *like.shape[1:]), np.nan)
