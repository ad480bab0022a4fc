"""Settings as TOML, written and read."""

from __future__ import annotations

import codecs
import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

#: A key of very many parts, which the standard library takes quadratic time for.
_LONG_KEY = re.compile(r"""(?<![\w"'.-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){50}""")


def parsed(content: bytes) -> dict[str, Any]:
    """Return what a TOML file says, with or without a byte order mark.

    Raises
    ------
    ValueError
        For a file that is no TOML, in one sentence: expected … got ….
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content[:64]:
        raise ValueError("expected a configuration file in UTF-8, got UTF-16 or binary data; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        got = f"other bytes at {error.start}"
        raise ValueError(f"expected a configuration file in UTF-8, got {got}; save it as UTF-8") from None
    if _LONG_KEY.search(text):
        raise ValueError("expected TOML with keys of fewer than 50 parts, got a longer one")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("expected TOML, got brackets within brackets too deep to read") from None
    except ValueError as error:  # also of numbers with thousands of digits
        raise ValueError(f"expected TOML, got {error}") from None


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
