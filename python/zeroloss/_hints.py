"""What a function's signature and docstring say about its arguments, in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any


def parameter_docs(function: Callable[..., Any]) -> dict[str, str]:
    """Return the first sentence on each argument of a numpydoc docstring."""
    found: dict[str, str] = {}
    for names, text in re.findall(r"^    ([\w, ]+) : [^\n]*\n((?:        [^\n]*\n?)+)", function.__doc__ or "", re.M):
        sentence = re.split(r"(?<!Eq)\. ", " ".join(text.split()))[0].rstrip(".")
        found |= {name.strip(): sentence for name in names.split(",")}
    return found
