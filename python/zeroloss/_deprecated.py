"""Old names of settings, arguments and public objects.

An old name works for one more version. Code, configuration files, ``--set`` and sweeps that use it get a warning.
Settings that an earlier version stored are renamed without a warning.
"""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ._checks import ArgumentValueError, ZerolossWarning

Kind = TypeVar("Kind", bound=type)
Function = TypeVar("Function", bound=Callable[..., Any])


class ZerolossDeprecationWarning(ZerolossWarning, DeprecationWarning):
    """A warning about an old name. The command shows it, as it shows every `ZerolossWarning`."""


@dataclass(frozen=True)
class Renamed:
    """The new name of a setting, and the new names of its values.

    Parameters
    ----------
    name : str
        The new name.
    values : mapping of str to str
        The new name of each value that was renamed.
    kinds : tuple of str
        The values of the key ``kind`` for which the setting was renamed; empty for all.
    """

    name: str
    values: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()


_DESCENTS = ("gradient_descent", "adamw")

#: The settings that were renamed, by section and old name.
RENAMED: Mapping[str, Mapping[str, Renamed]] = {
    "dynamics": {
        "norm_control": Renamed(
            "norm_constraint", {"hold": "fixed", "cap": "at_most", "rescale": "once"}, kinds=_DESCENTS
        ),
        "norm_step": Renamed("norm_from_step", kinds=_DESCENTS),
    },
    "run": {"stop_records": Renamed("stop_sustained_records")},
}


def accept_old_names(section: str) -> Callable[[Kind], Kind]:
    """Return a decorator of a dataclass that accepts old keyword arguments and attributes, with a warning."""
    table = RENAMED[section]

    def decorate(kind: Kind) -> Kind:
        init = kind.__init__  # type: ignore[misc]
        fields = kind.__dataclass_fields__.keys()  # type: ignore[attr-defined]

        @functools.wraps(init)
        def renamed_init(self: Any, *arguments: Any, **options: Any) -> None:
            old_names = table.keys() & options.keys()
            if old_names:
                if fields <= options.keys():  # dataclasses.replace adds the old names to all fields.
                    replaced = {table[old].name for old in old_names}
                    options = {name: value for name, value in options.items() if name not in replaced}
                options = _rename(table, options, "", warn=True)
            init(self, *arguments, **options)

        kind.__init__ = renamed_init  # type: ignore[misc]
        for old, renamed in table.items():
            setattr(kind, old, _old_attribute(f"{kind.__name__}.{old}", renamed))
        return kind

    return decorate


def _old_attribute(name: str, renamed: Renamed) -> property:
    """Return a property with the old name and the old values of a setting."""

    def read(self: Any) -> Any:
        _warn(name, renamed)
        return _rename_value({new: value for value, new in renamed.values.items()}, getattr(self, renamed.name))

    return property(read, doc=f"Deprecated name of ``{renamed.name}``.")


def rename_keys(section: str, keys: Mapping[str, Any], *, warn: bool) -> dict[str, Any]:
    """Return the keys of a section under their new names, with a warning for each old name if ``warn``.

    Raises
    ------
    ValueError
        If a setting has both its names.
    """
    return _rename(_renamed_keys(section, keys), keys, f"{section}.", warn)


def rename_sections(settings: Mapping[str, Any], *, warn: bool) -> dict[str, Any]:
    """Return the sections of a configuration, also ``[sweep]``, under the new names of their keys.

    Sections that are not mappings stay as they are.
    """
    sections = {
        name: rename_keys(name, keys, warn=warn) if isinstance(keys, Mapping) else keys
        for name, keys in settings.items()
    }
    if isinstance(settings.get("sweep"), Mapping):
        lines = settings["sweep"].items()
        sections["sweep"] = dict(_rename_axis(settings, name, rows, warn) for name, rows in lines)
    return sections


def first_names(section: str, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a section under their old names, from which fingerprints are made in all versions."""
    result = dict(keys)
    for old, renamed in _renamed_keys(section, keys).items():
        if renamed.name in result:
            old_values = {new: value for value, new in renamed.values.items()}
            result[old] = _rename_value(old_values, result.pop(renamed.name))
    return result


def _renamed_keys(section: str, keys: object) -> Mapping[str, Renamed]:
    """Return the renamed settings of a section, for the kind that its keys choose."""
    kind = keys.get("kind") if isinstance(keys, Mapping) else None
    return {
        old: renamed
        for old, renamed in RENAMED.get(section, {}).items()
        if kind is None or not renamed.kinds or kind in renamed.kinds
    }


def _rename(table: Mapping[str, Renamed], keys: Mapping[str, Any], prefix: str, warn: bool) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in keys.items():
        renamed = table.get(name)
        if renamed is None:
            result[name] = value
            continue
        if renamed.name in keys:
            raise ArgumentValueError(f"{prefix}{name}", f"is the old name of {renamed.name}; give only {renamed.name}")
        result[renamed.name] = _rename_value(renamed.values, value)
        if warn:
            _warn(f"{prefix}{name}", renamed)
    return result


def _rename_axis(settings: Mapping[str, Any], name: str, rows: Any, warn: bool) -> tuple[str, Any]:
    """Return a line of ``[sweep]`` under new names: keys that vary together, and their values."""
    keys = [key.strip() for key in str(name).split(",")]
    values: list[Mapping[str, str]] = [{} for _ in keys]
    changed = False
    for place, key in enumerate(keys):
        section, _, old = key.partition(".")
        renamed = _renamed_keys(section, settings.get(section)).get(old)
        if renamed is not None:
            changed = True
            keys[place], values[place] = f"{section}.{renamed.name}", renamed.values
            if warn:
                _warn(key, renamed)
    if not changed:
        return name, rows
    if not isinstance(rows, list | tuple):
        return ", ".join(keys), rows  # The sweep reports the error.
    if len(keys) == 1:
        return keys[0], [_rename_value(values[0], value) for value in rows]
    return ", ".join(keys), [
        [_rename_value(*pair) for pair in zip(values, row, strict=True)]
        if isinstance(row, list | tuple) and len(row) == len(keys)
        else row
        for row in rows
    ]


def _rename_value(values: Mapping[str, str], value: Any) -> Any:
    return values.get(value, value) if isinstance(value, str) else value


def warn_renamed(old: str, new: str) -> None:
    """Warn that the name of a public object is deprecated."""
    _warn(old, Renamed(new))


def rename_arguments(**names: str) -> Callable[[Function], Function]:
    """Return a decorator of a function that accepts the old names of keyword arguments, with a warning.

    Parameters
    ----------
    **names : str
        The new name by old name, such as ``announce="on_record"``.
    """
    table = {old: Renamed(new) for old, new in names.items()}

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            if not table.keys().isdisjoint(options):
                options = _rename(table, options, "", warn=True)
            return function(*arguments, **options)

        return call  # type: ignore[return-value]

    return decorate


def find_renamed(module: Mapping[str, Any], name: str, names: Mapping[str, str]) -> Any:
    """Return the object of a module that had another name, for the ``__getattr__`` of the module.

    Parameters
    ----------
    module : mapping
        The ``globals()`` of the module.
    name : str
        The name that was asked for.
    names : mapping of str to str
        The new name by old name.

    Raises
    ------
    AttributeError
        If the name is not an old name.
    """
    if name not in names:
        raise AttributeError(f"module {module['__name__']!r} has no attribute {name!r}")
    warn_renamed(f"{module['__name__']}.{name}", names[name])
    return module[names[name]]


def _warn(old: str, renamed: Renamed) -> None:
    """Warn at the first caller outside of the package and of the libraries that make its settings."""
    level, frame, inner = 1, sys._getframe(), {"zeroloss", "dataclasses", "copy", "pydantic"}
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in inner:
        level, frame = level + 1, frame.f_back
    values = ", ".join(f"{new} instead of {value}" for value, new in renamed.values.items())
    line = f"{old} is deprecated; use {renamed.name}" + (f" ({values})" if values else "")
    warnings.warn(line, ZerolossDeprecationWarning, stacklevel=level)
