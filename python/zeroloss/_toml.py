"""Settings written as TOML, which Python only reads."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def written(settings: Mapping[str, Mapping[str, Any]]) -> str:
    """Return sections of settings as a TOML file; keys without a value are left out."""
    lines = []
    for section, keys in settings.items():
        own = (f"{_key(key)} = {value(entry)}" for key, entry in keys.items() if entry is not None)
        lines += ["", f"[{section}]", *own]
    return "\n".join(lines[1:]) + "\n"


def value(given: Any) -> str:
    """Return a value as TOML writes it; strings as JSON does, which is almost the same."""
    if isinstance(given, Mapping):
        return (
            "{ "
            + ", ".join(f"{_key(key)} = {value(entry)}" for key, entry in given.items() if entry is not None)
            + " }"
        )
    if isinstance(given, list | tuple):
        return "[" + ", ".join(value(entry) for entry in given) + "]"
    if isinstance(given, float):
        text = repr(given)
        return text if "." in text or "e" in text or "n" in text else f"{text}.0"
    return json.dumps(given, ensure_ascii=False).replace("\x7f", "\\u007f")  # which JSON allows as it is


def _key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key, re.ASCII) else json.dumps(key, ensure_ascii=False)
