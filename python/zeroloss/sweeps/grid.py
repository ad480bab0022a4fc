"""The cells of a sweep: every combination of the values that its configuration lists."""

from __future__ import annotations

import collections
import functools
import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .. import _toml
from .._checks import format_value
from .._fingerprint import EXECUTION_KEYS, combine_fingerprint, section_text
from .._plain import to_plain
from .._progress import progress_bar
from .._reading import reading
from ..config import (
    SECTIONS,
    CheckedSection,
    Configuration,
    ConfigurationError,
    check_section,
    extract_sections,
    from_settings,
)

_MAX_CELLS = 1_000_000
_MAX_REPORTED = 10  # problems of cells
_MAX_BUILT = 16  # datasets and dynamics in memory while cells are checked
_GREATEST_SEED = 2**256


@dataclass(frozen=True)
class Axis:
    """A line of ``[sweep]``: keys that vary together, and their values, (values, keys)."""

    keys: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]

    @functools.cached_property
    def labels(self) -> list[list[tuple[str, Any]]]:
        """Each key with its value, for each of the values."""
        return [list(zip(self.keys, row, strict=True)) for row in self.values]


@dataclass(frozen=True)
class Cell:
    """One combination: its labels by key, its complete settings, and the name of its directory."""

    labels: Mapping[str, Any]
    settings: Mapping[str, Mapping[str, Any]]
    name: str

    def __str__(self) -> str:
        return ", ".join(f"{key} = {_toml.dump_value(value)}" for key, value in self.labels.items())

    def configuration(self) -> Configuration:
        """Return the run, built."""
        return from_settings(self.settings)


def axes(settings: Mapping[str, Any]) -> list[Axis]:
    """Return the axes of a configuration's section ``[sweep]``.

    Raises
    ------
    ConfigurationError
        For a section that is missing or empty, and for keys and lists that are none.
    """
    section = settings.get("sweep")
    if not isinstance(section, Mapping) or not section:
        raise ConfigurationError(
            [f'sweep: expected a section [sweep] with lists, as "network.seed" = [1, 2], got {format_value(section)}']
        )
    problems: list[str] = []
    found, seen = [], set[str]()
    for name, values in section.items():
        keys = tuple(key.strip() for key in str(name).split(","))
        if isinstance(values, Mapping):
            problems.append(f'sweep.{name}: expected quotes around a key, as "{name}.{next(iter(values), "seed")}"')
            continue
        if any(key.count(".") != 1 or key.startswith("sweep.") for key in keys):
            problems.append(f"sweep: expected keys as section.key, got {format_value(name)}")
        if idle := [key for key in keys if key.removeprefix("run.") in EXECUTION_KEYS and key.startswith("run.")]:
            problems.append(f"sweep.{idle[0]}: expected a key on which records depend, got one that changes none")
        if twice := [key for key in keys if key in seen or keys.count(key) > 1]:
            problems.append(f"sweep: expected every key once, got {twice[0]} again")
        seen.update(keys)
        if not isinstance(values, list | tuple) or not values:
            problems.append(f"sweep.{name}: expected a list of values, got {format_value(values)}")
            continue
        rows = [(value,) for value in values] if len(keys) == 1 else values
        if wrong := [row for row in rows if not isinstance(row, list | tuple) or len(row) != len(keys)]:
            problems.append(f"sweep.{name}: expected lists of {len(keys)} values, got {format_value(wrong[0])}")
            continue
        texts = [_toml.dump_value(row) for row in rows]
        if len(set(texts)) < len(texts):
            again = next(text for text, count in collections.Counter(texts).items() if count > 1)
            problems.append(f"sweep.{name}: expected every value once, got {again} again")
        found.append(Axis(keys, tuple(tuple(row) for row in rows)))
    if problems:
        raise ConfigurationError(problems)
    return found


def cells(settings: Mapping[str, Any], progress: bool | None = None) -> list[Cell]:
    """Return the cells of a configuration with a section ``[sweep]``, the last key varying fastest.

    Raises
    ------
    ConfigurationError
        As `axes`, and with what is wrong in a cell.
    """
    lines = axes(settings)
    count = math.prod(len(axis.values) for axis in lines)
    if count > _MAX_CELLS:
        raise ConfigurationError([f"sweep: expected at most {_MAX_CELLS} combinations, got {format_value(count)}"])
    try:
        base = to_plain({name: section for name, section in settings.items() if name != "sweep"})
    except ValueError as error:
        raise ConfigurationError([str(error)]) from None
    problems: dict[str, str] = {}
    found: list[Cell] = []
    names: dict[str, Cell] = {}
    parts = _Parts(base, lines)
    places = itertools.product(*(range(len(axis.values)) for axis in lines))
    for place in progress_bar(progress, iterable=places, total=count, desc="cells", unit="cell", leave=False):
        labels = {key: value for axis, i in zip(lines, place, strict=True) for key, value in axis.labels[i]}
        if not found and not problems:
            others: list[str] = []
            extract_sections(_apply_labels(base, labels), others)
            problems |= dict.fromkeys(others, str(Cell(labels, {}, "")))
        own = {name: parts.at(name, place) for name in SECTIONS}
        if wrong := [line for part, _ in own.values() for line in part.problems]:
            for line in wrong:
                problems.setdefault(line, str(Cell(labels, {}, "")))
            continue
        name = combine_fingerprint(own[section][1] for section in sorted(own))
        cell = Cell(labels, {section: part.keys for section, (part, _) in own.items()}, name)
        if name in names:
            problems.setdefault(f"sweep: expected different runs, got the same as with {names[name]}", str(cell))
        names[name] = cell
        found.append(cell)
    if problems:
        told = [f"{line} (with {where})" for line, where in list(problems.items())[:_MAX_REPORTED]]
        raise ConfigurationError([*told, *_format_rest(len(problems) - _MAX_REPORTED)])
    return found


class _Parts:
    """The sections of all cells: each different one is checked once, and one whose seed differs is not checked again.

    That makes planning quick: cells share the sections that no key of theirs changes.
    """

    #: What a section is checked with.
    _BASES: Mapping[str, str] = MappingProxyType({"network": "data", "run": "dynamics"})

    def __init__(self, base: Mapping[str, Any], lines: Sequence[Axis]) -> None:
        self._base, self._lines = base, lines
        self._axes = {
            name: [i for i, axis in enumerate(lines) if any(key.startswith(f"{name}.") for key in axis.keys)]
            for name in SECTIONS
        }
        self._found: dict[tuple[Any, ...], tuple[CheckedSection, str]] = {}
        self._checked: dict[tuple[Any, ...], CheckedSection] = {}
        self._built: dict[tuple[Any, ...], Any] = {}
        self._contents: dict[str, str] = {}

    def at(self, name: str, place: tuple[int, ...]) -> tuple[CheckedSection, str]:
        """Return a section at a place on the axes, with its text in the cell's fingerprint."""
        own = (name, *(place[i] for i in self._axes[name]))
        below = self._BASES.get(name)
        key = own if below is None else (*own, below, *(place[i] for i in self._axes[below]))
        if key not in self._found:
            part = self._part(name, place)
            text = section_text(name, self._with_contents(part.keys), with_length=True) if not part.problems else ""
            self._found[key] = part, text
        return self._found[key]

    def _section_keys(self, name: str, place: tuple[int, ...]) -> dict[str, Any]:
        section = self._base.get(name, {})
        keys = dict(section) if isinstance(section, Mapping) else {}
        for i in self._axes[name]:
            swept = (label for label in self._lines[i].labels[place[i]] if label[0].startswith(f"{name}."))
            keys |= {key.split(".")[1]: value for key, value in swept}
        return keys

    def _key(self, name: str, place: tuple[int, ...]) -> tuple[Any, ...]:
        """Return what tells apart the sections that are to be checked: not the seed, if it is one."""
        seedless = [i for i in self._axes[name] if self._lines[i].keys != (f"{name}.seed",)]
        seed = self._section_keys(name, place).get("seed", 0)
        sound = isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < _GREATEST_SEED
        own = (name, *(place[i] for i in (seedless if sound else self._axes[name])), sound)
        return own if name not in self._BASES else (*own, *self._key(self._BASES[name], place))

    def _part(self, name: str, place: tuple[int, ...]) -> CheckedSection:
        key, given = self._key(name, place), self._section_keys(name, place)
        if key not in self._checked:
            basis = self._basis(name, place)
            part = check_section(name, given, basis)
            self._cache(key, part.built)
            self._checked[key] = CheckedSection(part.keys, None, part.problems)
        part = self._checked[key]
        return CheckedSection({**part.keys, "seed": given["seed"]}, None, part.problems) if "seed" in given else part

    def _basis(self, name: str, place: tuple[int, ...]) -> Any:
        if name not in self._BASES:
            return None
        below = self._BASES[name]
        key = self._key(below, place)
        if key not in self._built:
            self._cache(key, check_section(below, self._section_keys(below, place)).built)
        return self._built[key]

    def _cache(self, key: tuple[Any, ...], built: Any) -> None:
        """Keep the newest few: data may be large."""
        self._built[key] = built
        if len(self._built) > _MAX_BUILT:
            del self._built[next(iter(self._built))]

    def _with_contents(self, keys: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a section with the SHA-256 of a file in place of its name."""
        if "file" not in keys:
            return keys
        file = keys["file"]
        if file not in self._contents:
            with reading(file, "a file of data or weights") as content:
                digest = hashlib.file_digest(content, "sha256")  # type: ignore[arg-type]
            self._contents[file] = digest.hexdigest()
        return {**keys, "file": self._contents[file]}


def _apply_labels(base: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with the values of a cell."""
    own: dict[str, Any] = {name: dict(keys) if isinstance(keys, Mapping) else keys for name, keys in base.items()}
    for name, value in labels.items():
        section, key = name.split(".")
        if isinstance(own.setdefault(section, {}), dict):  # else it is reported as no section
            own[section][key] = value
    return own


def _format_rest(count: int) -> Sequence[str]:
    return [f"and {count} more"] if count > 0 else []
