"""The configuration of a run: a TOML file, keyword arguments, or both, checked as a whole before anything starts.

``[data]``, ``[network]`` and ``[dynamics]`` each choose one function or class of the package (``task``, ``init``,
``kind``) and pass their other keys on to it, so that its arguments are the section's keys; ``[run]`` is `RunSettings`.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from . import _settings, _toml, datasets, networks
from ._checks import ArgumentTypeError, one_line, shown
from ._choices import Dtype
from ._hints import choices, hints_of, lines, nearest, parameter_docs, signature_defaults, typed, unknown, words
from ._reading import RefusedError, reading, size_of
from ._run_settings import RunSettings
from .datasets import Dataset
from .dynamics import DYNAMICS, AdamW, Dynamics, Event, GradientDescent, NormFlow
from .networks import Network

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


def _network_from_file(
    data: Dataset,
    file: str,
    names: dict[str, str | list[str]] | None = None,
    ignore: tuple[str, ...] | None = None,
    activation: str | None = None,
    dtype: Dtype | None = None,
) -> Network:
    """Read a network from a file.

    Parameters
    ----------
    data : Dataset
        That it has to fit.
    file : str
        A safetensors, npz or PyTorch file, see `zeroloss.networks.from_checkpoint`.
    names : mapping
        The tensors of the layers, as { E = "fc1.weight", W = "fc2.weight" }.
    ignore : sequence of str
        Names, or patterns with *, of further tensors that may be dropped, as ["optimizer.*"].
    activation : str
        By name; what the file says or relu by default.
    dtype : str
        In place of the file's.
    """
    layouts = None if names is None else {k: tuple(v) if isinstance(v, list) else v for k, v in names.items()}
    net = networks.from_checkpoint(file, layouts, activation, ignore or ())  # type: ignore[arg-type]  # which checks them
    networks.check_fits(net, data)
    return net if dtype is None else net.astype(dtype)


@dataclass(frozen=True)
class _Section:
    """A section that chooses what to build: by which key, among what, and with what in place of missing keys."""

    selector: str
    choices: Mapping[str, Callable[..., Any]]
    defaults: Mapping[str, Mapping[str, Any]]
    alternatives: tuple[str, ...] = ()  # keys of which one given takes the place of the others' defaults


_SECTIONS: Mapping[str, _Section] = {
    "data": _Section(
        "task",
        {**datasets.TASKS, "arrays": datasets.from_file},
        {"modular_addition": {"p": 11, "test_count": 7}},
        ("train_fraction", "train_count", "test_count"),
    ),
    "network": _Section(
        "init",
        {"uniform_fan_in": networks.uniform_fan_in, "normal": networks.normal, "file": _network_from_file},
        {"uniform_fan_in": {"hidden": 128, "seed": 1}, "normal": {"hidden": 512, "std": 37**-0.5, "seed": 1}},
    ),
    "dynamics": _Section(
        "kind",
        DYNAMICS,
        {
            "gradient_descent": {"lr": 1.0, "weight_decay": 1e-4},
            "predicted_gradient": {"step_size": 1e-3},
            "norm_flow": {"step_size": 0.01},
        },
        ("step_size", "rtol"),
    ),
}


#: The sections of a run.
SECTIONS = (*_SECTIONS, "run")


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
_HOW_FAR = frozenset({"steps", "duration"} | {key for key in RunSettings.model_fields if key.startswith("stop_")})
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
    kept = {key: value for key, value in keys.items() if value is not None and key not in ways}
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
    """Return the sections of a configuration file as they stand, but for names of files, which become absolute."""
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
    settings = _settings.with_files_from(Path(path).parent, settings)
    for name, keys in overrides.items():
        section = settings.get(name, {})
        settings[name] = {**section, **keys} if isinstance(section, Mapping) else section
    return settings


def from_settings(settings: Settings) -> Configuration:
    """Return the configuration of sections and keys as Python values; see `from_file`."""
    if not isinstance(settings, Mapping):
        raise ArgumentTypeError("settings", f"expected a mapping of sections, got {shown(settings)}")
    problems: list[str] = []
    given = sections_of(settings, problems)
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
    large = {key: most for key, value in given.items() if (most := _settings.too_large(value))}
    problems = [f"{name}.{shown(key)[1:-1]}: expected {most}, got more" for key, most in large.items()]
    given = {key: value for key, value in given.items() if key not in large}
    if name == "run":
        run = _run_settings(given, problems)
        if run is None:
            return Part({}, None, problems)
        return Part(run.model_dump(), run, [] if basis is None else list(_run_problems(run, basis)))
    keys = _resolved(name, _SECTIONS[name], given, problems)
    context = {}
    if name == "network":  # one for other data goes on looking for mistakes
        context["data"] = datasets.modular_addition(2, train_count=2) if basis is None else basis
    built = _built(name, _SECTIONS[name], keys, context, problems)
    return Part(keys, built, problems)


def sections_of(settings: Settings, problems: list[str]) -> dict[str, dict[str, Any]]:
    """Return the keys of each section that is one; what is wrong with the others is added to ``problems``."""
    try:
        settings = _settings.plain(settings)
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


def defaults_text() -> str:
    """Return a complete, commented configuration file with every key at its default."""
    lines = ["# A run of zeroloss; every key has the value that it has if it is left out.", ""]
    for name, section in _SECTIONS.items():
        for place, (choice, function) in enumerate(section.choices.items()):
            mark = "" if place == 0 else "# "
            comments, hints = parameter_docs(function), hints_of(function)
            lines.append(f"{mark}[{name}]" if place == 0 else f"# or, instead of this [{name}]:")
            options = f"  # one of {', '.join(section.choices)}" if place == 0 else ""
            lines.append(f'{mark}{section.selector} = "{choice}"{options}')
            values = {**signature_defaults(function), **section.defaults.get(choice, {})}
            for key, value in values.items():
                unset = value is None or value is inspect.Parameter.empty
                text = f"# {key} = …" if unset else f"{mark}{key} = {_toml.value(value)}"
                allowed = networks.ACTIVATIONS if key == "activation" else choices(hints[key])
                remarks = [f"one of {', '.join(allowed)}"] if allowed else []
                remarks += [comments[key]] if key in comments else []
                lines.append(f"{text}  # {'; '.join(remarks)}" if remarks else text)
            lines.append("")
    lines.append("[run]")
    for key, about in RunSettings.model_fields.items():
        value = 100_000 if key == "steps" else about.default
        text = f"# {key} = …" if value is None else f"{key} = {_toml.value(value)}"
        lines.append(f"{text}  # {about.description}")
    return "\n".join(lines) + "\n"


def allowed_values() -> dict[str, list[str]]:
    """Return the keys of a configuration that take one of a few strings, as section.key, with these."""
    found: dict[str, list[str]] = {}
    for name, section in _SECTIONS.items():
        found[f"{name}.{section.selector}"] = list(section.choices)
        for function in section.choices.values():
            for key, hint in hints_of(function).items():
                options = list(networks.ACTIVATIONS) if key == "activation" else choices(hint)
                known = found.get(f"{name}.{key}", [])
                if options:
                    found[f"{name}.{key}"] = list(dict.fromkeys([*known, *options]))
    return found


def _resolved(name: str, section: _Section, given: Settings, problems: list[str]) -> dict[str, Any]:
    """Return every key of a section: those given, checked for their types, and defaults."""
    keys = dict(given)
    choice = keys.pop(section.selector, next(iter(section.choices)))
    if not isinstance(choice, str) or choice not in section.choices:
        options = ", ".join(section.choices)
        problems.append(
            f"{name}.{section.selector}: expected one of {options}, got {shown(choice)}"
            f"{nearest(choice, section.choices)}"
        )
        choice = next(iter(section.choices))
    function = section.choices[choice]
    defaults = dict(section.defaults.get(choice, {}))
    if any(key in keys for key in section.alternatives):
        defaults = {key: value for key, value in defaults.items() if key not in section.alternatives}
    keys = {**defaults, **keys}
    wrong, numbers = typed(function, keys)
    problems += [f"{name}.{line}" for line in wrong]
    keys |= numbers
    valid = signature_defaults(function)
    return {section.selector: choice, **valid, **{key: value for key, value in keys.items() if key in valid}}


def _built(name: str, section: _Section, keys: Settings, context: Settings, problems: list[str]) -> Any:
    """Build what a section describes. To find more mistakes, try without each key at fault, at most twice per key."""
    function = section.choices[keys[section.selector]]
    arguments = {key: value for key, value in keys.items() if key != section.selector}
    arguments = {key: value for key, value in arguments.items() if value is not inspect.Parameter.empty}
    required = {key for key, value in signature_defaults(function).items() if value is inspect.Parameter.empty}
    defaults = dict(section.defaults.get(keys[section.selector], {}))
    faults = 0
    while True:
        if not required <= arguments.keys():  # which has been reported
            return None
        try:
            built = function(**context, **arguments)
        except (ValueError, TypeError, OSError, ImportError) as error:
            key = str(error).split(":")[0].split(",")[0]
            line = f"{name}.{error}" if key in keys else f"{name}: {error}"
            if line not in problems and not any(problem.startswith(f"{name}.{key}:") for problem in problems):
                problems.append(line)
            faults += 1
            if key not in arguments:
                return None
            del arguments[key]
            default = None if key in section.alternatives else defaults.pop(key, None)
            if default is not None and default != keys[key]:
                arguments[key] = default
        else:
            return built if faults == 0 else None


def _run_settings(given: Settings, problems: list[str]) -> RunSettings | None:
    try:
        run = RunSettings(**given)
    except ValidationError as error:
        hints = {key: words(field.annotation, field.metadata) for key, field in RunSettings.model_fields.items()}
        problems += [f"run.{line}" for line in lines(error, given, hints)]
        return None
    return run.model_copy(update={"steps": 100_000}) if run.steps is None and run.duration is None else run


def _run_problems(run: RunSettings, dynamics: Dynamics) -> Iterator[str]:
    """Say what of [run] does not fit together."""
    if run.steps is not None and run.duration is not None:
        yield f"run.steps, run.duration: expected one of them, got {run.steps} and {run.duration}"
    if run.event_every is None and run.record_every == "log" and run.events:
        yield 'run.event_every: expected an integer of at least 1 with record_every = "log", got none'
    for text in run.events:
        try:
            Event.parse(text)
        except ValueError as error:
            yield f"run.{error}"
    slow = isinstance(dynamics, NormFlow) or (isinstance(dynamics, GradientDescent) and dynamics.weight_decay > 0)
    if run.stop_slow_time is not None and not slow:
        yield "run.stop_slow_time: expected norm_flow, or gradient_descent with weight_decay above 0, got another"
    if run.stop_gradient_norm is not None and not isinstance(dynamics, GradientDescent | AdamW):
        yield "run.stop_gradient_norm: expected gradient_descent or adamw, got other dynamics"
