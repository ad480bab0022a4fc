"""A growing table on disk, over steps: rows are added in sealed pieces, which are joined so that there are few.

Rows once written never change. So a checkpoint refers to them by their number alone, and after a fall back to an
earlier one the rows beyond are dropped, to be made again.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import DamagedError, is_checksummed, read_checksummed, write_checksummed

Columns = dict[str, NDArray[Any]]

_JOIN_UP_TO = 8 * 2**20  # bytes

_TRIES = 100


@dataclass(frozen=True)
class _Piece:
    """A file with the rows [begin, end)."""

    begin: int
    end: int
    path: Path

    def read(self) -> Columns:
        """Return its columns; DamagedError unless all are as long as the name of the file says."""
        columns = read_checksummed(self.path)[1]
        if "step" not in columns or {len(values) for values in columns.values()} != {self.end - self.begin}:
            raise DamagedError(f"{self.path.name}: it does not hold the rows that its name says")
        return columns


class Table:
    """The pieces ``NAME-first-end`` of a directory, with the rows [first, end) of columns of equal length."""

    def __init__(self, directory: Path, name: str) -> None:
        self._directory, self._name = directory, name

    def append(self, first: int, columns: Mapping[str, NDArray[Any]]) -> None:
        """Add rows from number ``first`` on, in place of any that were there.

        As with the digits of a binary counter, a piece takes in those before it that are not much greater: each row is
        written about log₂(rows) times, and the pieces are about log₂(rows) many. Great pieces are left alone, so that
        no more than a few MB are in memory.
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
            great = begin - piece.begin > 2 * (end - begin) or piece.path.stat().st_size > _JOIN_UP_TO
            if piece.end == begin and great:
                break
            earlier = {name: values[: begin - piece.begin] for name, values in piece.read().items()}
            begin, rows = piece.begin, join_columns([earlier, rows])
            before.pop()
        target = self._directory / f"{self._name}-{begin:012d}-{end:012d}"
        write_checksummed(target, {"rows": end - begin}, rows)
        kept = {target, *(piece.path for piece in before)}
        for path in self.paths():
            if path not in kept:
                path.unlink()

    def holds(self, rows: int) -> bool:
        """Whether there are pieces with the first ``rows`` rows."""
        try:
            return bool(self._pieces(rows)) or rows == 0
        except DamagedError:
            return False

    def blocks(self, rows: int, begin: int = 0) -> Iterator[Columns]:
        """Return the rows [begin, rows) piece by piece, also while another process adds rows and joins pieces.

        Raises
        ------
        DamagedError
            Where they are not all there.
        """
        pieces = self._pieces_now(rows)
        while begin < rows:
            piece = next(piece for piece in pieces if piece.end > begin)
            try:
                found = piece.read()
            except FileNotFoundError:  # Another process has joined it with others.
                pieces = self._pieces_now(rows)
                continue
            yield {name: values[begin - piece.begin : rows - piece.begin] for name, values in found.items()}
            begin = piece.end

    def _pieces_now(self, rows: int) -> list[_Piece]:
        """Return the pieces; a list made while another process joined some may lack them, and is made again."""
        for _ in range(_TRIES):
            paths = self.paths()
            try:
                return self._pieces(rows)
            except DamagedError:
                if self.paths() == paths:
                    raise
        return self._pieces(rows)

    def paths(self) -> list[Path]:
        """Return the pieces' files; others' files may have similar names, and stay as they are."""
        found = []
        for path in self._directory.glob(f"{self._name}-*"):
            with contextlib.suppress(FileNotFoundError):  # Another process joins pieces.
                if self._numbers(path) and is_checksummed(path):
                    found.append(path)
        return sorted(found)

    def clear(self) -> None:
        """Remove all pieces."""
        for path in self.paths():
            path.unlink()

    def _numbers(self, path: Path) -> re.Match[str] | None:
        return re.fullmatch(rf"{self._name}-(\d{{12,}})-(\d{{12,}})", path.name)

    def _pieces(self, rows: int) -> list[_Piece]:
        """Return the pieces that hold the first ``rows`` rows, in order; the last may hold more."""
        found: dict[int, list[_Piece]] = {}
        for path in self.paths():
            if numbers := self._numbers(path):
                piece = _Piece(int(numbers[1]), int(numbers[2]), path)
                found.setdefault(piece.begin, []).append(piece)
        chosen: list[_Piece] = []
        at = 0
        while at < rows:  # a crash may leave a joined piece beside its parts: the longest is taken
            if at not in found:
                raise DamagedError(f"{self._name}: expected {rows} rows, found those before row {at}")
            chosen.append(max(found[at], key=lambda piece: piece.end))
            at = chosen[-1].end
        return chosen


def join_columns(parts: list[Columns]) -> Columns:
    """Return columns one after the other; all parts hold the same."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
