"""The settings, the outcome and the build of a run as rows of text, and the command that repeats it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import _toml
from .._display import shorten
from ..config import from_settings
from ..results import Run, RunDirectory

#: Characters of a value.
_LONGEST = 400


def about_run(run: Run, directory: Path | None) -> dict[str, Any]:
    """Return the rows of each section, and how to repeat the run.

    Parameters
    ----------
    run : Run
        The run.
    directory : Path or None
        The directory of the run.

    Returns
    -------
    dict
        "outcome"; "sections", each with a title and rows of a name and a value; and "repeat" with "sentence",
        "command" and "text", which may be empty.
    """
    settings = dict(run.settings)
    build = settings.pop("build", {})
    parts = {title: settings.pop(title, {}) for title in ("data", "network", "dynamics")}
    outcome = {"outcome": str(run.outcome), "last step": run.step}
    outcome |= {str(text): "not yet" if step is None else f"step {step}" for text, step in run.events.items()}
    sections = {"Outcome": outcome, "Data": parts["data"], "Network": parts["network"], "Dynamics": parts["dynamics"]}
    sections |= {"Records": settings, "Build": build}
    return {
        "outcome": str(run.outcome),
        "sections": [make_section(title, rows) for title, rows in sections.items()],
        "repeat": _repeat(run, directory),
    }


def make_section(title: str, rows: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section with its rows as text."""
    return {"title": title, "rows": [[shorten(str(name), _LONGEST), _text(value)] for name, value in rows.items()]}


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    return shorten("none" if value is None else str(value), _LONGEST)


def _repeat(run: Run, directory: Path | None) -> dict[str, str]:
    """Return how to repeat a run: from the configuration in its directory, or from one that is made of its settings."""
    if directory is not None and RunDirectory(directory).configuration.is_file():
        file = shlex.quote(str(RunDirectory(directory).configuration.absolute()))
        sentence = "This command repeats the run, with the configuration in its directory:"
        return {"sentence": sentence, "command": f"zeroloss run {file} --out NEW", "text": ""}
    sections = _sections_of(run)
    try:
        from_settings(sections)
        text = _toml.dumps(sections)
    except (ValueError, TypeError, ImportError):
        sentence = "The run was made in Python from samples, a network or functions that a configuration cannot name."
        return {"sentence": sentence, "command": "", "text": ""}
    sentence = "This command repeats the run, with the configuration below in a file config.toml:"
    return {"sentence": sentence, "command": "zeroloss run config.toml --out NEW", "text": text}


def _sections_of(run: Run) -> dict[str, dict[str, Any]]:
    """Return the sections of a configuration of a run that was made in Python."""
    keys = ("record_every", "snapshot_every", "loss_extremes", "event_every")
    records = {key: run.settings.get(key) for key in keys}
    sections = {name: dict(run.settings[name]) for name in ("data", "network", "dynamics")}
    measures = ["alignment"] if "alignment_cosine" in run.history else []
    sections["run"] = {"steps": run.step, **records, "events": run.settings.get("events", []), "measures": measures}
    return {
        name: {key: value for key, value in section.items() if value is not None} for name, section in sections.items()
    }
