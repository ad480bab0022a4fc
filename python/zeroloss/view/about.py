"""The settings, the outcome and the build of a run as rows of text, and the command that repeats it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import _toml
from .._display import shorten
from ..config import from_settings
from ..results import DESCRIPTIONS, Ending, Run, RunDirectory

#: The variables of the measure "alignment" of a configuration.
_ALIGNMENT = {
    f"alignment_{name}"
    for name in ("cosine", "decay_cosine", "tangent_share", "distance", "smallest_singular_value", "reason")
}
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
    configuration = None if directory is None else RunDirectory(directory).configuration
    if configuration is not None and configuration.is_file():
        what = "the run" if not (steps := _steps_before_extension(run, configuration)) else f"its first {steps} steps"
        sentence = f"This command repeats {what}, with the configuration in its directory:"
        return {
            "sentence": sentence,
            "command": f"zeroloss run {shlex.quote(str(configuration.absolute()))} --out NEW",
            "text": "",
        }
    omitted = _measured_in_python(run)
    sections = _sections_of(run)
    try:
        from_settings(sections)
        text = _toml.dumps(sections)
    except (ValueError, TypeError, ImportError):
        sentence = "The run was made in Python from samples, a network or functions that a configuration cannot name."
        return {"sentence": sentence, "command": "", "text": ""}
    notes = ["This command repeats the run, with the configuration below in a file config.toml."]
    if run.outcome.ending not in {Ending.REACHED_THE_END, Ending.STOPPED_BY_A_RULE}:
        notes.append("It takes the steps up to the last one of this run.")
    if omitted:
        names = shorten(", ".join(omitted), _LONGEST)
        notes.append(f"It leaves out what functions in Python measured: {names}.")
    return {"sentence": " ".join(notes), "command": "zeroloss run config.toml --out NEW", "text": text}


def _steps_before_extension(run: Run, configuration: Path) -> int | None:
    """Return the number of steps in the configuration of a run that has taken more steps; otherwise None."""
    try:
        steps = _toml.loads(configuration.read_bytes()).get("run", {}).get("steps")
    except ValueError:
        return None
    return steps if isinstance(steps, int) and steps < run.step else None


def _measured_in_python(run: Run) -> list[str]:
    """Return the names of the variables that a configuration cannot measure."""
    return [str(name) for name in run.history.data_vars if name not in DESCRIPTIONS and name not in _ALIGNMENT]


def _sections_of(run: Run) -> dict[str, dict[str, Any]]:
    """Return the sections of a configuration of a run that was made in Python."""
    keys = ("record_every", "snapshot_every", "loss_extremes", "event_every")
    records: dict[str, Any] = {key: run.settings.get(key) for key in keys}
    records |= {key: run.settings.get(key, []) for key in ("events", "stop")}
    sections = {name: dict(run.settings[name]) for name in ("data", "network", "dynamics")}
    records["measures"] = ["alignment"] if "alignment_cosine" in run.history else []
    # With adaptive steps, a run that was given by its duration ends at a time within its last step.
    if run.own_steps < run.step and "time" in run.history.coords:
        records["duration"] = float(run.history.time[-1])
    else:
        records["steps"] = run.step
    sections["run"] = records
    return {
        name: {key: value for key, value in section.items() if value is not None} for name, section in sections.items()
    }
