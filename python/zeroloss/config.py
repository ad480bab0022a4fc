"""The configuration of a run: a TOML file, a mapping, or both. It is checked as a whole before anything starts.

Each of the sections ``[data]``, ``[network]`` and ``[dynamics]`` chooses a function or class of the package by one key
(``task``, ``init``, ``kind``). The other keys of the section are its arguments. The section ``[run]`` is `RunSettings`.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from . import _deprecated, _plain, _toml, datasets
from ._checks import ArgumentError, ArgumentTypeError, format_value, to_one_line
from ._fingerprint import fingerprint_of
from ._hints import check_types, describe_errors, describe_hint, describe_unknown, get_defaults, suggest
from ._reading import RefusedError, file_size, reading
from ._run_settings import RunSettings
from ._sections import BUILT, Section, defaults_text
from .datasets import Dataset
from .dynamics import AdamW, Dynamics, GradientDescent, GradientFlow, NormFlow
from .dynamics.registry import is_built_in
from .networks import Network
from .results import DESCRIPTIONS, RunDirectory
from .results.recognition import is_sweep
from .simulation.conditions import check_names, parse_events, parse_stop_rules
from .simulation.stopping import GRADIENT_NORM

__all__ = ["Configuration", "ConfigurationError", "RunSettings", "defaults_text", "from_file", "from_settings"]

Settings = Mapping[str, Any]
_LARGEST_FILE = 16 * 2**20  # bytes


class ConfigurationError(ValueError):
    """The errors of a configuration.

    Attributes
    ----------
    problems : list of str
        A line for each error.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = [to_one_line(problem) for problem in problems]
        super().__init__("; ".join(self.problems))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


#: The sections of a run.
SECTIONS = (*BUILT, "run")


@dataclass(frozen=True)
class Configuration:
    """The complete description of a run.

    Attributes
    ----------
    settings : mapping of section to mapping
        The value of every key of every section.
    run : RunSettings
        The section ``[run]``.
    data : Dataset
        The dataset of the section ``[data]``.
    network : Network
        The network of the section ``[network]`` before the first step.
    dynamics : Dynamics
        The dynamics of the section ``[dynamics]``.
    """

    settings: Mapping[str, Mapping[str, Any]] = field(repr=False)
    run: RunSettings
    data: Dataset
    network: Network
    dynamics: Dynamics

    def fingerprint(self) -> str:
        """Return a hash of the settings that determine the records.

        The length of the run, its checkpoints and the number of threads are not included.

        Returns
        -------
        str
            The first 16 hexadecimal digits of a SHA-256.
        """
        return fingerprint_of(self.settings)

    def text(self) -> str:
        """Return the settings as the text of a TOML file.

        Returns
        -------
        str
            The text. Keys without a value are left out.
        """
        return _toml.dumps(self.settings)


def from_file(path: str | os.PathLike[str], **overrides: Mapping[str, Any]) -> Configuration:
    """Read a configuration file.

    Parameters
    ----------
    path : path
        A TOML file. Names of files in it are relative to its directory.
    **overrides : mapping of key to value
        Values that override the file, by section, such as ``dynamics={"lr": 0.5}``.

    Returns
    -------
    Configuration
        The checked configuration. A key that is not in the file has its default.

    Raises
    ------
    ConfigurationError
        If anything is wrong. All errors are reported together. Each names the key, the expected value, the value given
        and, for a misspelt key, the closest valid one.

    Examples
    --------
    >>> import zeroloss as zl
    >>> configuration = zl.config.from_file("adamw.toml", run={"steps": 100})  # doctest: +SKIP
    """
    return from_settings(read_sections(path, **overrides))


def read_sections(path: str | os.PathLike[str], **overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections of a configuration file with absolute names of files and the new names of settings.

    The values are not checked. Old names cause warnings, except in a file that the package wrote: the configuration of
    a run or of a sweep.
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
    """Return the sections of a configuration file as they are, except that names of files become absolute."""
    try:
        with reading(path, "a configuration file") as file:
            if file_size(file) > _LARGEST_FILE:
                raise RefusedError(f"expected a configuration file of at most {_LARGEST_FILE} bytes, got a larger file")
            try:
                settings = _toml.loads(file.read())
            except ValueError as error:
                raise RefusedError(str(error)) from None
    except (ValueError, OSError) as error:
        raise ConfigurationError([str(error)]) from None
    return _plain.resolve_file_names(Path(path).parent, settings)


def from_settings(settings: Settings) -> Configuration:
    """Return the configuration of a mapping of sections.

    Parameters
    ----------
    settings : mapping of section to mapping
        The keys of each section with their values, such as ``{"dynamics": {"lr": 0.5}, "run": {"steps": 100}}``.

    Returns
    -------
    Configuration
        The checked configuration. A key that is not given has its default.

    Raises
    ------
    ConfigurationError
        As for `from_file`.

    Examples
    --------
    >>> import zeroloss as zl
    >>> zl.config.from_settings({"network": {"hidden": 64}}).network.hidden
    64
    """
    if not isinstance(settings, Mapping):
        raise ArgumentTypeError("settings", f"expected a mapping of sections, got {format_value(settings)}")
    problems: list[str] = []
    sections = extract_sections(with_new_names(settings), problems)
    parts = {name: check_section(name, sections.get(name, {})) for name in ("data", "dynamics")}
    parts["network"] = check_section("network", sections.get("network", {}), parts["data"].built)
    parts["run"] = check_section("run", sections.get("run", {}), parts["dynamics"].built)
    problems += [problem for name in SECTIONS for problem in parts[name].problems]
    if problems:
        raise ConfigurationError(problems)
    resolved = {name: parts[name].keys for name in SECTIONS}
    return Configuration(resolved, *(parts[name].built for name in ("run", "data", "network", "dynamics")))


@dataclass(frozen=True)
class CheckedSection:
    """A checked section: all its keys, the object built from them (None after an error), and a line for each error."""

    keys: dict[str, Any]
    built: Any
    problems: Sequence[str] = ()


class _Problems:
    """The lines about the errors of a section, at most one for each key."""

    def __init__(self, section: str) -> None:
        self.lines: list[str] = []
        self._section = section
        self._keys: set[str] = set()

    def add(self, keys: Sequence[str], text: str) -> None:
        """Add a text that begins with the keys at fault, unless one of them has a line. Without keys, add any text."""
        if not self.include(keys):
            self.lines.append(f"{self._section}{'.' if keys else ': '}{text}")
            self._keys.update(keys)

    def include(self, keys: Iterable[str]) -> bool:
        """Return whether one of the keys has a line."""
        return not self._keys.isdisjoint(keys)


def check_section(name: str, keys: Mapping[str, Any], context: Any = None) -> CheckedSection:
    """Check a section and build the object that it describes.

    Parameters
    ----------
    name : str
        One of `SECTIONS`.
    keys : mapping
        The keys of the section.
    context : Dataset or Dynamics, optional
        The dataset of a network, and the dynamics of a section ``[run]``. None if their section has errors.
    """
    problems = _Problems(name)
    limits = {key: limit for key, value in keys.items() if (limit := _plain.largest_allowed(value))}
    for key, limit in limits.items():
        problems.add([key], f"{format_value(key)[1:-1]}: expected {limit}, got more")
    keys = {key: value for key, value in keys.items() if key not in limits}
    if name == "run":
        run = _build_run_settings(keys, problems)
        if run is None:
            return CheckedSection({}, None, problems.lines)
        conflicts = [] if context is None else _find_conflicts(run, context)
        return CheckedSection(run.model_dump(), run, [*problems.lines, *conflicts])
    keys = _resolve_keys(BUILT[name], keys, problems)
    arguments = {}
    if name == "network":  # Without a dataset, one of another size serves to find further errors.
        arguments["data"] = datasets.modular_addition(2, train_count=2) if context is None else context
    built = _build(BUILT[name], keys, arguments, problems)
    return CheckedSection(keys, built, problems.lines)


def extract_sections(settings: Settings, problems: list[str]) -> dict[str, dict[str, Any]]:
    """Return the keys of each valid section. Lines about the others are added to ``problems``."""
    try:
        settings = _plain.to_plain(settings)
    except ValueError as error:
        raise ConfigurationError([str(error)]) from None
    for name in settings:
        if name == "sweep":
            problems.append("sweep: a single run cannot have this section; use zeroloss sweep")
        elif name not in SECTIONS:
            problems.append(f"{format_value(name)[1:-1]}: {describe_unknown(name, SECTIONS, 'section')}")
        elif not isinstance(settings[name], Mapping):
            problems.append(f"{name}: expected a section [{name}], got {format_value(settings[name])}")
    sections = {name: settings[name] for name in SECTIONS if isinstance(settings.get(name), Mapping)}
    return {name: {str(key): value for key, value in keys.items()} for name, keys in sections.items()}


def _resolve_keys(section: Section, keys: Settings, problems: _Problems) -> dict[str, Any]:
    """Return the value of every key of a section: the given value, whose type is checked, or the default."""
    keys = dict(keys)
    choice = keys.pop(section.selector, next(iter(section.choices)))
    if isinstance(choice, str):
        choice = section.synonyms.get(choice, choice)
    if not isinstance(choice, str) or choice not in section.choices:
        expected = f"expected one of {', '.join(section.names)}, got {format_value(choice)}"
        problems.add([section.selector], f"{section.selector}: {expected}{suggest(choice, section.names)}")
        choice = next(iter(section.choices))
    function = section.choices[choice]
    defaults = dict(section.defaults.get(choice, {}))
    if any(key in keys for key in section.alternatives):
        defaults = {key: value for key, value in defaults.items() if key not in section.alternatives}
    keys = {**defaults, **keys}
    wrong, numbers = check_types(function, keys)
    for key, line in wrong.items():
        problems.add([key], line)
    keys |= numbers
    valid = get_defaults(function)
    return {section.selector: choice, **valid, **{key: value for key, value in keys.items() if key in valid}}


def _build(section: Section, keys: Settings, context: Settings, problems: _Problems) -> Any:
    """Build the object that a section describes; None after an error.

    To find further errors, the call is repeated without each key at fault, at most twice for each key.
    """
    function = section.choices[keys[section.selector]]
    without = get_defaults(function)
    arguments = {key: keys[key] for key in without if keys[key] is not inspect.Parameter.empty}
    required = {key for key, value in without.items() if value is inspect.Parameter.empty}
    defaults = dict(section.defaults.get(keys[section.selector], {}))
    is_first_call = True
    while required <= arguments.keys():  # Missing keys have been reported.
        try:
            built = function(**context, **arguments)
        except (ValueError, TypeError, OSError, ImportError) as error:
            at_fault = [key for key in error.names if key in keys] if isinstance(error, ArgumentError) else []
            reported = problems.include(key for key, value in arguments.items() if value is keys[key])
            if at_fault or not reported or isinstance(error, OSError | ImportError):
                problems.add(at_fault, str(error))  # Otherwise the error may come from a value that was reported.
            key = next((key for key in at_fault if key in arguments and arguments[key] != without[key]), None)
            if key is None:
                return None
            is_first_call = False
            del arguments[key]
            default = None if key in section.alternatives else defaults.pop(key, None)
            if default is not None and default != keys[key]:
                arguments[key] = default
        else:
            return built if is_first_call else None
    return None


def _build_run_settings(keys: Settings, problems: _Problems) -> RunSettings | None:
    try:
        run = RunSettings(**keys)
    except ValidationError as error:
        fields = RunSettings.model_fields
        hints = {key: describe_hint(field.annotation, field.metadata) for key, field in fields.items()}
        for key, line in describe_errors(error, keys, hints).items():
            problems.add([key], line)
        return None
    return run.model_copy(update={"steps": 100_000}) if run.steps is None and run.duration is None else run


def _find_conflicts(run: RunSettings, dynamics: Dynamics) -> Iterator[str]:
    """Yield a line for each key of [run] that does not fit the other keys or the dynamics."""
    if run.steps is not None and run.duration is not None:
        yield f"run.steps, run.duration: expected one of them, got {run.steps} and {run.duration}"
    if run.event_every is None and run.record_every == "log" and run.events:
        yield 'run.event_every: needs a value with record_every = "log", for example 100'
    for name, texts, parse in (("events", run.events, parse_events), ("stop", run.stop or (), parse_stop_rules)):
        try:
            conditions = parse(texts)
            if is_built_in(dynamics):  # A dynamics of a user may record more.
                check_names(name, conditions, {*DESCRIPTIONS, GRADIENT_NORM} if name == "stop" else set(DESCRIPTIONS))
        except ValueError as error:
            yield f"run.{error}"
    slow = isinstance(dynamics, NormFlow) or (
        isinstance(dynamics, GradientDescent | GradientFlow) and dynamics.weight_decay > 0
    )
    if run.stop_slow_time is not None and not slow and is_built_in(dynamics):
        yield "run.stop_slow_time: needs norm_flow, or gradient_descent or gradient_flow with weight_decay above 0"
    if run.stop_gradient_norm is not None and not isinstance(dynamics, GradientDescent | AdamW | GradientFlow):
        yield "run.stop_gradient_norm: needs gradient_descent, adamw or gradient_flow"
