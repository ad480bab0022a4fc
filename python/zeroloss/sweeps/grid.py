"""The cells of a sweep: every combination of the values that its configuration lists."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import _toml
from .._checks import shown
from ..config import HOW_SAFELY, Configuration, ConfigurationError, fingerprint_of, from_settings

_MOST_CELLS = 1_000_000
_MOST_TOLD = 10  # problems of cells


@dataclass(frozen=True)
class Axis:
    """A line of ``[sweep]``: keys that vary together, and their values, (values, keys)."""

    keys: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class Cell:
    """One combination: its labels by key, its complete settings, and the name of its directory."""

    labels: Mapping[str, Any]
    settings: Mapping[str, Mapping[str, Any]]
    name: str

    def __str__(self) -> str:
        return ", ".join(f"{key} = {_toml.value(value)}" for key, value in self.labels.items())

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
            [f'sweep: expected a section [sweep] with lists, as "network.seed" = [1, 2], got {shown(section)}']
        )
    problems: list[str] = []
    found, seen = [], set[str]()
    for name, values in section.items():
        keys = tuple(key.strip() for key in str(name).split(","))
        if isinstance(values, Mapping):
            problems.append(f'sweep.{name}: expected quotes around a key, as "{name}.{next(iter(values), "seed")}"')
            continue
        if any(key.count(".") != 1 or key.startswith("sweep.") for key in keys):
            problems.append(f"sweep: expected keys as section.key, got {shown(name)}")
        if idle := [key for key in keys if key.removeprefix("run.") in HOW_SAFELY and key.startswith("run.")]:
            problems.append(f"sweep.{idle[0]}: expected a key on which records depend, got one that changes none")
        if twice := [key for key in keys if key in seen or keys.count(key) > 1]:
            problems.append(f"sweep: expected every key once, got {twice[0]} again")
        seen.update(keys)
        if not isinstance(values, list | tuple) or not values:
            problems.append(f"sweep.{name}: expected a list of values, got {shown(values)}")
            continue
        rows = [(value,) for value in values] if len(keys) == 1 else values
        if wrong := [row for row in rows if not isinstance(row, list | tuple) or len(row) != len(keys)]:
            problems.append(f"sweep.{name}: expected lists of {len(keys)} values, got {shown(wrong[0])}")
            continue
        texts = [_toml.value(row) for row in rows]
        if len(set(texts)) < len(texts):
            again = next(text for place, text in enumerate(texts) if text in texts[:place])
            problems.append(f"sweep.{name}: expected every value once, got {again} again")
        found.append(Axis(keys, tuple(tuple(row) for row in rows)))
    if problems:
        raise ConfigurationError(problems)
    return found


def cells(settings: Mapping[str, Any]) -> list[Cell]:
    """Return the cells of a configuration with a section ``[sweep]``, the last key varying fastest.

    Raises
    ------
    ConfigurationError
        As `axes`, and with what is wrong in a cell.
    """
    lines = axes(settings)
    count = 1
    for axis in lines:
        count *= len(axis.values)
    if count > _MOST_CELLS:
        raise ConfigurationError([f"sweep: expected at most {_MOST_CELLS} combinations, got {count}"])
    base = {name: section for name, section in settings.items() if name != "sweep"}
    problems: dict[str, str] = {}
    found: list[Cell] = []
    names: dict[str, Cell] = {}
    contents: dict[str, str] = {}
    for combination in itertools.product(*(axis.values for axis in lines)):
        labels = {
            key: value
            for axis, row in zip(lines, combination, strict=True)
            for key, value in zip(axis.keys, row, strict=True)
        }
        own: dict[str, Any] = {name: dict(keys) if isinstance(keys, Mapping) else keys for name, keys in base.items()}
        for name, value in labels.items():
            section, key = name.split(".")
            if isinstance(own.setdefault(section, {}), dict):  # else it is told as no section
                own[section][key] = value
        cell = Cell(labels, own, "")
        try:
            complete = from_settings(own).settings
        except ConfigurationError as error:
            for line in error.problems:
                problems.setdefault(line, str(cell))
            continue
        name = fingerprint_of(_with_contents(complete, contents), how_far=True)
        if name in names:
            problems.setdefault(f"sweep: expected different runs, got the same as with {names[name]}", str(cell))
        names[name] = cell
        found.append(Cell(labels, complete, name))
    if problems:
        told = [f"{line} (with {where})" for line, where in list(problems.items())[:_MOST_TOLD]]
        raise ConfigurationError([*told, *_more(len(problems) - _MOST_TOLD)])
    return found


def _with_contents(settings: Mapping[str, Mapping[str, Any]], known: dict[str, str]) -> Mapping[str, Any]:
    """Return settings with the SHA-256 of each file in place of its name."""

    def digest(file: str) -> str:
        if file not in known:
            known[file] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
        return known[file]

    return {
        section: {key: digest(value) if key == "file" else value for key, value in keys.items()}
        for section, keys in settings.items()
    }


def _more(count: int) -> Sequence[str]:
    return [f"and {count} more"] if count > 0 else []
