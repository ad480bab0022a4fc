"""Checkpoints: the complete state of a run at a step, and the numbers of its records and snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _display
from ..networks import Network
from .files import DamagedError, NewerFormatError, read_checksummed, write_checksummed
from .outcome import Ending, Outcome
from .table import join_columns

Columns = dict[str, NDArray[Any]]

#: The version of the format of a run's directory.
FORMAT = 3

ObserverStates = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The state from which a run continues.

    Attributes
    ----------
    step : int
        The number of steps that led to ``state``.
    settings : mapping
        The settings that determine the run: dynamics, data, network and records; and the build that computes it.
    data : str
        The fingerprint of the samples, see `fingerprint`.
    state : mapping of arrays
        The complete state of the dynamics.
    network : Network
        The parameters at the last record. If a flow stopped between two steps, this is later than ``state``.
    outcome : Outcome or None
        The outcome of the run; None while it is in progress.
    records, snapshots : int
        The numbers of scheduled records and snapshots up to this step.
    last_record, last_snapshot : mapping of columns
        One row each, for a last step that is not on the schedule; otherwise empty.
    observers : mapping of name to mapping
        The state of each observer: arrays, and values that JSON can store.
    end : mapping
        The "step" and the "time" at which the run will end; one of them may be None.
    out_of_time : bool
        Whether ``stop_minutes`` ended the run. Then a resumed run continues to its original end.
    seconds : float
        The wall-clock time of the run so far.
    descriptions : mapping
        The unit and the meaning of each variable that a user's function measures.
    """

    step: int
    settings: dict[str, Any]
    data: str
    state: dict[str, NDArray[Any]]
    network: Network
    outcome: Outcome | None = None
    records: int = 0
    snapshots: int = 0
    last_record: Columns = field(default_factory=dict)
    last_snapshot: Columns = field(default_factory=dict)
    observers: ObserverStates = field(default_factory=dict)
    end: Mapping[str, Any] = field(default_factory=dict)
    out_of_time: bool = False
    seconds: float = 0.0
    descriptions: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def events(self) -> dict[str, int]:
        """The step of each event that has occurred."""
        return dict(self.observers.get("events", {}).get("found", {}))

    def __repr__(self) -> str:
        rows = {"outcome": str(self.outcome or "in progress"), "records": self.records, "network": self.network}
        return _display.format_lines(f"Checkpoint at step {self.step}", rows)

    def write(self, path: Path) -> None:
        """Write the checkpoint to a file, atomically.

        Parameters
        ----------
        path : Path
            The file.
        """
        about = {
            "format": FORMAT,
            "step": self.step,
            "settings": self.settings,
            "data": self.data,
            "activation": self.network.activation,
            "network_settings": dict(self.network.settings),
            "outcome": None if self.outcome is None else [self.outcome.ending, self.outcome.message],
            "records": self.records,
            "snapshots": self.snapshots,
            "end": dict(self.end),
            "out_of_time": self.out_of_time,
            "seconds": self.seconds,
            "descriptions": {name: list(texts) for name, texts in self.descriptions.items()},
        }
        arrays = {f"network {name}": array for name, array in self.network.parameters.items()}
        for kind in ("state", "last_record", "last_snapshot"):
            arrays |= {f"{kind} {name}": values for name, values in getattr(self, kind).items()}
        texts: dict[str, dict[str, Any]] = {}
        # An array that is stored already is stored once: the state at the last check for events is often this state.
        stored, same = {id(values): name for name, values in arrays.items()}, {}
        for observer, state in self.observers.items():
            texts[observer] = {key: value for key, value in state.items() if not isinstance(value, np.ndarray)}
            for key, values in state.items():
                if id(values) in stored:
                    same[f"observer {observer} {key}"] = stored[id(values)]
                elif isinstance(values, np.ndarray):
                    arrays[f"observer {observer} {key}"] = values
        write_checksummed(path, {**about, "observers": texts, "same": same}, arrays)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint from its file.

    Raises
    ------
    DamagedError
        If the file is damaged.
    NewerFormatError
        If a newer version wrote it.
    """
    about, arrays = read_checksummed(path)
    if isinstance(version := about.get("format"), int) and version > FORMAT:
        raise NewerFormatError(f"{path.name}: expected at most format {FORMAT}, got {version} of a newer version")
    try:
        return _decode(about, arrays)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DamagedError(f"{path.name}: not a checkpoint: {type(error).__name__}: {error}") from None


def _decode(about: dict[str, Any], arrays: Columns) -> Checkpoint:
    if about["format"] == 2:
        about, arrays = _convert_format_2(about, arrays)
    arrays |= {name: arrays[other] for name, other in about["same"].items()}

    def select(kind: str) -> dict[str, NDArray[Any]]:
        return {name.removeprefix(f"{kind} "): a for name, a in arrays.items() if name.startswith(f"{kind} ")}

    parameters = select("network")
    for array in parameters.values():
        array.flags.writeable = False
    return Checkpoint(
        step=about["step"],
        settings=about["settings"],
        data=about["data"],
        state=select("state"),
        network=Network(**parameters, activation=about["activation"], settings=about["network_settings"]),
        outcome=None if about["outcome"] is None else Outcome(Ending(about["outcome"][0]), about["outcome"][1]),
        records=about["records"],
        snapshots=about["snapshots"],
        last_record=select("last_record"),
        last_snapshot=select("last_snapshot"),
        observers={name: {**texts, **select(f"observer {name}")} for name, texts in about["observers"].items()},
        end=about["end"],
        out_of_time=about["out_of_time"],
        seconds=about["seconds"],
        descriptions={name: (texts[0], texts[1]) for name, texts in about["descriptions"].items()},
    )


def _convert_format_2(about: dict[str, Any], arrays: Columns) -> tuple[dict[str, Any], Columns]:
    """Convert a checkpoint of format 2, in which observers had no states of their own."""
    notes = about["notes"]
    looked = notes.get("look_step", about["step"])
    events = {"found": about["events"], "provisional": notes.get("provisional", []), "look_step": looked}
    look = {name.removeprefix("look "): a for name, a in arrays.items() if name.startswith("look ")}
    state = {name.removeprefix("state "): a for name, a in arrays.items() if name.startswith("state ")}
    look = look or dict(state)
    if about["settings"]["dynamics"]["kind"] == "predicted_gradient":
        for stepper_state, step in ((look, looked), (state, about["step"])):
            stepper_state.pop("W", None)
            stepper_state.setdefault("steps", np.array(step, np.int64))
    arrays = {name: a for name, a in arrays.items() if not name.startswith(("look ", "state "))}
    arrays |= {f"state {name}": a for name, a in state.items()}
    arrays |= {f"observer events state {name}": a for name, a in look.items()}
    earlier = {name.removeprefix("earlier "): a for name, a in arrays.items() if name.startswith("earlier ")}
    arrays |= {f"observer history {name}": a for name, a in earlier.items()}
    observers = {"history": {"extremes": notes.get("extremes")}, "events": events}
    end, out_of_time = notes.get("end", {}), notes.get("out_of_time", False)
    return {**about, "observers": observers, "same": {}, "end": end, "out_of_time": out_of_time}, arrays


def count_rows(columns: Mapping[str, NDArray[Any]]) -> int:
    """Return the number of rows of columns."""
    return len(columns["step"]) if columns else 0


def stack_rows(parts: list[Mapping[str, NDArray[Any]]]) -> Columns:
    """Concatenate the rows of columns."""
    full = [part for part in parts if count_rows(part)]
    return join_columns(full) if full else {}
