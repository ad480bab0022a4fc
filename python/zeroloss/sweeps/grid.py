"""The cells of a sweep: every combination of the values in its configuration."""

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
#: The greatest number of problems in an error.
_MAX_REPORTED = 10
#: The greatest number of datasets and dynamics in memory while cells are checked.
_MAX_BUILT = 16
_GREATEST_SEED = 2**256


@dataclass(frozen=True)
class Axis:
    """A line of ``[sweep]``: keys that vary together, and their values, of shape (values, keys)."""

    keys: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]

    @functools.cached_property
    def labels(self) -> list[list[tuple[str, Any]]]:
        """For each row of values, every key with its value."""
        return [list(zip(self.keys, row, strict=True)) for row in self.values]


@dataclass(frozen=True)
class Cell:
    """A combination of values: its labels by key, its complete settings, and the name of its directory."""

    labels: Mapping[str, Any]
    settings: Mapping[str, Mapping[str, Any]]
    name: str

    def __str__(self) -> str:
        return ", ".join(f"{key} = {_toml.dump_value(value)}" for key, value in self.labels.items())

    def configuration(self) -> Configuration:
        """Return the configuration of the run."""
        return from_settings(self.settings)


def axes(settings: Mapping[str, Any]) -> list[Axis]:
    """Return the axes in the section ``[sweep]`` of a configuration.

    Raises
    ------
    ConfigurationError
        If the section is missing or empty, or its keys or lists are invalid.
    """
    section = settings.get("sweep")
    if not isinstance(section, Mapping) or not section:
        raise ConfigurationError(
            [f'sweep: needs a section [sweep] with lists, such as "network.seed" = [1, 2], got {format_value(section)}']
        )
    problems: list[str] = []
    result, seen = [], set[str]()
    for name, values in section.items():
        keys = tuple(key.strip() for key in str(name).split(","))
        if isinstance(values, Mapping):
            problems.append(f'sweep.{name}: a key needs quotes: "{name}.{next(iter(values), "seed")}"')
            continue
        if any(key.count(".") != 1 or key.startswith("sweep.") for key in keys):
            problems.append(f"sweep: expected keys of the form section.key, got {format_value(name)}")
        if idle := [key for key in keys if key.removeprefix("run.") in EXECUTION_KEYS and key.startswith("run.")]:
            problems.append(f"sweep.{idle[0]}: does not change the records, so it cannot be swept")
        if twice := [key for key in keys if key in seen or keys.count(key) > 1]:
            problems.append(f"sweep: the key {twice[0]} appears twice")
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
            problems.append(f"sweep.{name}: the value {again} appears twice")
        result.append(Axis(keys, tuple(tuple(row) for row in rows)))
    if problems:
        raise ConfigurationError(problems)
    return result


def cells(settings: Mapping[str, Any], progress: bool | None = None) -> list[Cell]:
    """Return the cells of a configuration with a section ``[sweep]``. The last key varies fastest.

    Raises
    ------
    ConfigurationError
        If the section or a cell is invalid.
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
    result: list[Cell] = []
    names: dict[str, Cell] = {}
    parts = _Parts(base, lines)
    places = itertools.product(*(range(len(axis.values)) for axis in lines))
    for place in progress_bar(progress, iterable=places, total=count, desc="cells", unit="cell", leave=False):
        labels = {key: value for axis, i in zip(lines, place, strict=True) for key, value in axis.labels[i]}
        if not result and not problems:
            others: list[str] = []
            extract_sections(_apply_labels(base, labels), others)
            problems |= dict.fromkeys(others, str(Cell(labels, {}, "")))
        sections = {name: parts.at(name, place) for name in SECTIONS}
        if wrong := [line for part, _ in sections.values() for line in part.problems]:
            for line in wrong:
                problems.setdefault(line, str(Cell(labels, {}, "")))
            continue
        name = combine_fingerprint(sections[section][1] for section in sorted(sections))
        cell = Cell(labels, {section: part.keys for section, (part, _) in sections.items()}, name)
        if name in names:
            problems.setdefault(f"sweep: the run is the same as with {names[name]}", str(cell))
        names[name] = cell
        result.append(cell)
    if problems:
        lines_of_cells = [f"{line} (with {cell})" for line, cell in list(problems.items())[:_MAX_REPORTED]]
        raise ConfigurationError([*lines_of_cells, *_format_rest(len(problems) - _MAX_REPORTED)])
    return result


class _Parts:
    """The sections of all cells. Each different section is checked once, and not again for another seed.

    Planning is therefore fast: cells share the sections that the swept keys do not change.
    """

    #: The section whose object a section is checked with.
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
        position = (name, *(place[i] for i in self._axes[name]))
        below = self._BASES.get(name)
        key = position if below is None else (*position, below, *(place[i] for i in self._axes[below]))
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
        """Return a key of the sections that are checked separately. It does not depend on the seed if that is valid."""
        seedless = [i for i in self._axes[name] if self._lines[i].keys != (f"{name}.seed",)]
        seed = self._section_keys(name, place).get("seed", 0)
        is_valid = isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < _GREATEST_SEED
        position = (name, *(place[i] for i in (seedless if is_valid else self._axes[name])), is_valid)
        return position if name not in self._BASES else (*position, *self._key(self._BASES[name], place))

    def _part(self, name: str, place: tuple[int, ...]) -> CheckedSection:
        key, keys = self._key(name, place), self._section_keys(name, place)
        if key not in self._checked:
            basis = self._basis(name, place)
            part = check_section(name, keys, basis)
            self._cache(key, part.built)
            self._checked[key] = CheckedSection(part.keys, None, part.problems)
        part = self._checked[key]
        return CheckedSection({**part.keys, "seed": keys["seed"]}, None, part.problems) if "seed" in keys else part

    def _basis(self, name: str, place: tuple[int, ...]) -> Any:
        if name not in self._BASES:
            return None
        below = self._BASES[name]
        key = self._key(below, place)
        if key not in self._built:
            self._cache(key, check_section(below, self._section_keys(below, place)).built)
        return self._built[key]

    def _cache(self, key: tuple[Any, ...], built: Any) -> None:
        """Store a built object, and drop the oldest ones. Datasets may be large."""
        self._built[key] = built
        if len(self._built) > _MAX_BUILT:
            del self._built[next(iter(self._built))]

    def _with_contents(self, keys: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a section with the SHA-256 of a file instead of its name."""
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
    sections: dict[str, Any] = {name: dict(keys) if isinstance(keys, Mapping) else keys for name, keys in base.items()}
    for name, value in labels.items():
        section, key = name.split(".")
        if isinstance(sections.setdefault(section, {}), dict):  # Otherwise the error about the section is reported.
            sections[section][key] = value
    return sections


def _format_rest(count: int) -> Sequence[str]:
    return [f"and {count} more"] if count > 0 else []
