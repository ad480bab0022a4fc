"""Describe the machine and the versions of a table, without host names and paths."""

from __future__ import annotations

import datetime
import os
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import zeroloss as zl

_PACKAGES = ("zeroloss", "numpy", "scipy", "torch", "jax", "jaxlib")


def describe_processor() -> str:
    """Return the name of the processor, with family and model if the system reports them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "unknown processor"
    fields = dict(re.findall(r"^([^\t:]+?)\s*:\s*(.*)$", text.split("\n\n")[0], re.MULTILINE))
    name = fields.get("model name", "unknown processor")
    known = "cpu family" in fields and "model" in fields
    return f"{name} (family {fields['cpu family']}, model {fields['model']})" if known else name


def describe() -> dict[str, Any]:
    """Return everything that a result depends on: processor, level, cores, versions, load and date."""
    build = zl.build_info()
    return {
        "processor": describe_processor(),
        "level": build["level"],
        "cores": len(os.sched_getaffinity(0)),
        "compiler": build["compiler"],
        "versions": {package: _version(package) for package in _PACKAGES},
        "python": build["python"],
        "load": round(os.getloadavg()[1], 1),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def file_stem(machine: dict[str, Any]) -> str:
    """Return a file name, without suffix, made of processor and level."""
    return re.sub(r"[^a-z0-9]+", "-", f"{machine['processor']} {machine['level']}".lower()).strip("-")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
