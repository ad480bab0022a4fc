"""Read and write settings as TOML."""

from __future__ import annotations

import codecs
import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any

#: A key of very many parts, for which the standard library takes quadratic time.
_LONG_KEY = re.compile(r"""(?<![\w"'.-])(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){50}""")


def loads(content: bytes) -> dict[str, Any]:
    """Return the content of a TOML file, with or without a byte order mark.

    Raises
    ------
    ValueError
        If the file is not valid TOML.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in content[:64]:
        raise ValueError("expected a configuration file in UTF-8, got UTF-16 or binary data; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"expected a configuration file in UTF-8, got other bytes at {error.start}; save it as UTF-8"
        ) from None
    if _LONG_KEY.search(text):
        raise ValueError("expected TOML with keys of fewer than 50 parts, got a longer key")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("expected TOML, got brackets that are nested too deeply") from None
    except ValueError as error:  # a TOMLDecodeError, or an integer of thousands of digits
        raise ValueError(f"expected TOML, got {error}") from None


def dumps(settings: Mapping[str, Mapping[str, Any]]) -> str:
    """Return sections of settings as the text of a TOML file. Keys without a value are left out."""
    lines = []
    for section, keys in settings.items():
        lines += ["", f"[{section}]"]
        lines += [f"{_dump_key(key)} = {dump_value(value)}" for key, value in keys.items() if value is not None]
    return "\n".join(lines[1:]) + "\n"


def dump_value(value: Any) -> str:
    """Return a value as TOML. A string is written as in JSON, which differs only for one character."""
    if isinstance(value, Mapping):
        entries = (f"{_dump_key(key)} = {dump_value(entry)}" for key, entry in value.items() if entry is not None)
        return "{ " + ", ".join(entries) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(dump_value(entry) for entry in value) + "]"
    if isinstance(value, float):
        text = repr(value)
        return text if "." in text or "e" in text or "n" in text else f"{text}.0"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # TOML does not allow DEL in a string.


def _dump_key(key: str) -> str:
    return key if re.fullmatch(r"[\w-]+", key, re.ASCII) else json.dumps(key, ensure_ascii=False)
