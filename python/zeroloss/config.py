"""The configuration of a run: a TOML file, keyword arguments, or both, checked as a whole before anything starts.

``[data]``, ``[network]`` and ``[dynamics]`` each choose one function or class of the package (``task``, ``init``,
``kind``) and pass their other keys on to it, so that its arguments are the section's keys; ``[run]`` is `RunSettings`.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from . import _deprecated, _plain, _toml, datasets
from ._checks import ArgumentError, ArgumentTypeError, one_line, shown
from ._hints import lines, nearest, signature_defaults, typed, unknown, words
from ._reading import RefusedError, reading, size_of
from ._run_settings import RunSettings
from ._sections import BUILT, Section, defaults_text
from .datasets import Dataset
from .dynamics import AdamW, Dynamics, GradientDescent, NormFlow
from .dynamics.registry import is_built_in
from .networks import Network
from .results import DESCRIPTIONS, RunDirectory
from .results.recognition import is_sweep
from .simulation.conditions import check_names, parsed_events, parsed_stop
from .simulation.stopping import GRADIENT_NORM

__all__ = ["Configuration", "ConfigurationError", "RunSettings", "defaults_text", "from_file", "from_settings"]

Settings = Mapping[str, Any]
_LARGEST_FILE = 16 * 2**20  # bytes


class ConfigurationError(ValueError):
    """All that is wrong with a configuration: ``problems`` has a line for each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = [one_line(problem) for problem in problems]
        super().__init__("; ".join(self.problems))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


#: The sections of a run.
SECTIONS = (*BUILT, "run")


@dataclass(frozen=True)
class Configuration:
    """A run, described completely. ``settings`` holds every key of every section; the rest is built from them."""

    settings: Mapping[str, Mapping[str, Any]] = field(repr=False)
    run: RunSettings
    data: Dataset
    network: Network
    dynamics: Dynamics

    def fingerprint(self) -> str:
        """Return a hash of all that determines the records: not how far, how safely and on how many threads."""
        return fingerprint_of(self.settings)

    def text(self) -> str:
        """Return the settings as a TOML file."""
        return _toml.written(self.settings)


#: Keys of [run] that say how far a run goes, and those that change nothing of its records.
_HOW_FAR = frozenset({"steps", "duration"} | {key for key in RunSettings.model_fields if key.startswith("stop")})
HOW_SAFELY = frozenset({"threads", "checkpoint_every", "checkpoint_minutes", "keep_checkpoints"})


def fingerprint_of(settings: Settings, *, how_far: bool = False) -> str:
    """Return the fingerprint of complete settings, with how far the run goes or, as a resumed one may go on, without.

    Keys without a value count as left out.
    """
    return fingerprint_of_texts(section_text(name, settings[name], how_far=how_far) for name in sorted(settings))


def section_text(name: str, keys: Settings, *, how_far: bool = False) -> str:
    """Return the part of a section in a fingerprint."""
    ways: frozenset[str] = frozenset()
    if name == "run":
        ways = HOW_SAFELY if how_far else HOW_SAFELY | _HOW_FAR
    named = _deprecated.first_names(name, keys)
    kept = {key: value for key, value in named.items() if value is not None and key not in ways}
    return f"{json.dumps(name)}: {json.dumps(kept, sort_keys=True)}"


def fingerprint_of_texts(texts: Iterable[str]) -> str:
    """Return the fingerprint of the texts of all sections, in the order of their names."""
    return hashlib.sha256(f"{{{', '.join(texts)}}}".encode()).hexdigest()[:16]


def from_file(path: str | os.PathLike[str], **overrides: Mapping[str, Any]) -> Configuration:
    """Read a configuration file.

    Parameters
    ----------
    path : path
        A TOML file. Names of files in it are relative to its directory.
    overrides : mapping of section to keys and values
        In place of what the file says, as ``dynamics={"lr": 0.5}``.

    Raises
    ------
    ConfigurationError
        With all that is wrong: key, expectation, what came, and the nearest valid key for a misspelt one.
    """
    return from_settings(settings_of_file(path, **overrides))


def settings_of_file(path: str | os.PathLike[str], **overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections of a configuration file, with absolute names of files and the new names of settings.

    Old names cause warnings, except in a file that the package wrote: the configuration of a run or of a sweep.
    """
    settings, folder = _read(path), Path(path).parent
    is_stored = RunDirectory(folder).is_ours() or is_sweep(folder / "cells.json")
    settings, overrides = with_new_names(settings, warn=not is_stored), with_new_names(overrides)
    for name, keys in overrides.items():
        section = settings.get(name, {})
        settings[name] = {**section, **keys} if isinstance(section, Mapping) else section
    return settings


def with_new_names(settings: Settings, *, warn: bool = True) -> dict[str, Any]:
    """Return sections under the new names of their keys; see `zeroloss._deprecated`."""
    try:
        return _deprecated.rename_sections(settings, warn=warn)
    except ValueError as error:
        raise ConfigurationError([str(error)]) from None


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the sections of a configuration file as they stand, with absolute names of files."""
    try:
        with reading(path, "a configuration file") as file:
            if size_of(file) > _LARGEST_FILE:
                raise RefusedError(f"expected a configuration file of at most {_LARGEST_FILE} bytes, got a larger one")
            try:
                settings = _toml.parsed(file.read())
            except ValueError as error:
                raise RefusedError(str(error)) from None
    except (ValueError, OSError) as error:
        raise ConfigurationError([str(error)]) from None
    return _plain.resolve_file_names(Path(path).parent, settings)


def from_settings(settings: Settings) -> Configuration:
    """Return the configuration of sections and keys as Python values; see `from_file`."""
    if not isinstance(settings, Mapping):
        raise ArgumentTypeError("settings", f"expected a mapping of sections, got {shown(settings)}")
    problems: list[str] = []
    given = sections_of(with_new_names(settings), problems)
    parts = {name: checked_part(name, given.get(name, {})) for name in ("data", "dynamics")}
    parts["network"] = checked_part("network", given.get("network", {}), parts["data"].built)
    parts["run"] = checked_part("run", given.get("run", {}), parts["dynamics"].built)
    problems += [problem for name in SECTIONS for problem in parts[name].problems]
    if problems:
        raise ConfigurationError(problems)
    resolved = {name: parts[name].keys for name in SECTIONS}
    return Configuration(resolved, *(parts[name].built for name in ("run", "data", "network", "dynamics")))


@dataclass(frozen=True)
class Part:
    """A section that was checked: every key of it, what it describes, and what is wrong with it."""

    keys: dict[str, Any]
    built: Any
    problems: Sequence[str] = ()


class _Problems:
    """The lines about what is wrong with a section, one for a key."""

    def __init__(self, section: str) -> None:
        self.lines: list[str] = []
        self._section = section
        self._keys: set[str] = set()

    def add(self, keys: Sequence[str], text: str) -> None:
        """Add a text that begins with the keys at fault, unless one of them has a line; without keys, any text."""
        if not self.about(keys):
            self.lines.append(f"{self._section}{'.' if keys else ': '}{text}")
            self._keys.update(keys)

    def about(self, keys: Iterable[str]) -> bool:
        """Whether one of some keys has a line."""
        return not self._keys.isdisjoint(keys)


def checked_part(name: str, given: Mapping[str, Any], basis: Any = None) -> Part:
    """Check a section and build what it describes.

    Parameters
    ----------
    name : str
        One of `SECTIONS`.
    given : mapping
        Its keys.
    basis : Dataset or Dynamics, optional
        What a network is for, and what ``[run]`` is of. None if that has problems of its own.
    """
    large = {key: most for key, value in given.items() if (most := _plain.largest_allowed(value))}
    problems = _Problems(name)
    for key, most in large.items():
        problems.add([key], f"{shown(key)[1:-1]}: expected {most}, got more")
    given = {key: value for key, value in given.items() if key not in large}
    if name == "run":
        run = _run_settings(given, problems)
        if run is None:
            return Part({}, None, problems.lines)
        further = [] if basis is None else _run_problems(run, basis)
        return Part(run.model_dump(), run, [*problems.lines, *further])
    keys = _resolved(BUILT[name], given, problems)
    context = {}
    if name == "network":  # one for other data goes on looking for mistakes
        context["data"] = datasets.modular_addition(2, train_count=2) if basis is None else basis
    built = _built(BUILT[name], keys, context, problems)
    return Part(keys, built, problems.lines)


def sections_of(settings: Settings, problems: list[str]) -> dict[str, dict[str, Any]]:
    """Return the keys of each section that is one; what is wrong with the others is added to ``problems``."""
    try:
        settings = _plain.to_plain(settings)
    except ValueError as error:
        raise ConfigurationError([str(error)]) from None
    for name in settings:
        if name == "sweep":
            problems.append("sweep: expected no such section for a single run; zeroloss sweep takes it")
        elif name not in SECTIONS:
            problems.append(f"{shown(name)[1:-1]}: {unknown(name, SECTIONS)}")
        elif not isinstance(settings[name], Mapping):
            problems.append(f"{name}: expected a section [{name}], got {shown(settings[name])}")
    sections = {name: settings[name] for name in SECTIONS if isinstance(settings.get(name), Mapping)}
    return {name: {str(key): value for key, value in keys.items()} for name, keys in sections.items()}


def _resolved(section: Section, given: Settings, problems: _Problems) -> dict[str, Any]:
    """Return every key of a section: those given, checked for their types, and defaults."""
    keys = dict(given)
    choice = keys.pop(section.selector, next(iter(section.choices)))
    if not isinstance(choice, str) or choice not in section.choices:
        expected = f"expected one of {', '.join(section.choices)}, got {shown(choice)}"
        problems.add([section.selector], f"{section.selector}: {expected}{nearest(choice, section.choices)}")
        choice = next(iter(section.choices))
    function = section.choices[choice]
    defaults = dict(section.defaults.get(choice, {}))
    if any(key in keys for key in section.alternatives):
        defaults = {key: value for key, value in defaults.items() if key not in section.alternatives}
    keys = {**defaults, **keys}
    wrong, numbers = typed(function, keys)
    for key, line in wrong.items():
        problems.add([key], line)
    keys |= numbers
    valid = signature_defaults(function)
    return {section.selector: choice, **valid, **{key: value for key, value in keys.items() if key in valid}}


def _built(section: Section, keys: Settings, context: Settings, problems: _Problems) -> Any:
    """Build what a section describes. To find more mistakes, try without each key at fault, at most twice per key."""
    function = section.choices[keys[section.selector]]
    without = signature_defaults(function)
    arguments = {key: keys[key] for key in without if keys[key] is not inspect.Parameter.empty}
    required = {key for key, value in without.items() if value is inspect.Parameter.empty}
    defaults = dict(section.defaults.get(keys[section.selector], {}))
    first = True
    while required <= arguments.keys():  # Missing keys have been reported.
        try:
            built = function(**context, **arguments)
        except (ValueError, TypeError, OSError, ImportError) as error:
            at_fault = [key for key in error.names if key in keys] if isinstance(error, ArgumentError) else []
            reported = problems.about(key for key, value in arguments.items() if value is keys[key])
            if at_fault or not reported or isinstance(error, OSError | ImportError):
                problems.add(at_fault, str(error))  # Another error may come from a value of the wrong type.
            key = next((key for key in at_fault if key in arguments and arguments[key] != without[key]), None)
            if key is None:
                return None
            first = False
            del arguments[key]
            default = None if key in section.alternatives else defaults.pop(key, None)
            if default is not None and default != keys[key]:
                arguments[key] = default
        else:
            return built if first else None
    return None


def _run_settings(given: Settings, problems: _Problems) -> RunSettings | None:
    try:
        run = RunSettings(**given)
    except ValidationError as error:
        hints = {key: words(field.annotation, field.metadata) for key, field in RunSettings.model_fields.items()}
        for key, line in lines(error, given, hints).items():
            problems.add([key], line)
        return None
    return run.model_copy(update={"steps": 100_000}) if run.steps is None and run.duration is None else run


def _run_problems(run: RunSettings, dynamics: Dynamics) -> Iterator[str]:
    """Say what of [run] does not fit together."""
    if run.steps is not None and run.duration is not None:
        yield f"run.steps, run.duration: expected one of them, got {run.steps} and {run.duration}"
    if run.event_every is None and run.record_every == "log" and run.events:
        yield 'run.event_every: expected an integer of at least 1 with record_every = "log", got none'
    for name, texts, parse in (("events", run.events, parsed_events), ("stop", run.stop or (), parsed_stop)):
        try:
            conditions = parse(texts)
            if is_built_in(dynamics):  # A user's may record more.
                check_names(name, conditions, {*DESCRIPTIONS, GRADIENT_NORM} if name == "stop" else set(DESCRIPTIONS))
        except ValueError as error:
            yield f"run.{error}"
    slow = isinstance(dynamics, NormFlow) or (isinstance(dynamics, GradientDescent) and dynamics.weight_decay > 0)
    if run.stop_slow_time is not None and not slow and is_built_in(dynamics):
        yield "run.stop_slow_time: expected norm_flow, or gradient_descent with weight_decay above 0, got another"
    if run.stop_gradient_norm is not None and not isinstance(dynamics, GradientDescent | AdamW):
        yield "run.stop_gradient_norm: expected gradient_descent or adamw, got other dynamics"
