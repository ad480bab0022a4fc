"""A checkpoint: the complete state of a run at a step, and how many rows of its history and snapshots there are."""

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

Columns = dict[str, NDArray[Any]]

FORMAT = 3  # of a run's directory

ObserverStates = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a run goes on from.

    Attributes
    ----------
    step : int
        Steps that led to ``state``.
    settings : mapping
        All that determines the run: dynamics, data, network, records, and the build that computed it.
    data : str
        The fingerprint of the samples.
    state : mapping of arrays
        The complete state of the dynamics.
    network : Network
        The parameters at the last record, which a flow that ended between two steps is ahead with.
    outcome : Outcome or None
        How the run ended; None while it is under way.
    records, snapshots : int
        Rows on the schedules of records and snapshots up to this step.
    last_record, last_snapshot : mapping of columns
        One row each, of a last step that is not on the schedule; empty where there is none.
    observers : mapping of name to mapping
        The state of each observer: arrays, and what JSON can hold.
    end : mapping
        The "step" and the "time" at which the run is to end, one of which may be None.
    out_of_time : bool
        Whether a rule on the wall-clock time ended the run, so that it is to go on to its own end.
    seconds : float
        Wall time spent so far.
    descriptions : mapping
        Units and meaning of measured variables.
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
        """The events so far, with their steps."""
        return dict(self.observers.get("events", {}).get("found", {}))

    def __repr__(self) -> str:
        rows = {"outcome": str(self.outcome or "in progress"), "records": self.records, "network": self.network}
        return _display.lines(f"Checkpoint at step {self.step}", rows)

    def write(self, path: Path) -> None:
        """Put the checkpoint into place."""
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
        arrays = {"network E": self.network.E, "network W": self.network.W}
        for kind in ("state", "last_record", "last_snapshot"):
            arrays |= {f"{kind} {name}": values for name, values in getattr(self, kind).items()}
        texts: dict[str, dict[str, Any]] = {}
        stored, same = {id(values): name for name, values in arrays.items()}, {}  # the last look is often at this step
        for observer, state in self.observers.items():
            texts[observer] = {key: value for key, value in state.items() if not isinstance(value, np.ndarray)}
            for key, values in state.items():
                if id(values) in stored:
                    same[f"observer {observer} {key}"] = stored[id(values)]
                elif isinstance(values, np.ndarray):
                    arrays[f"observer {observer} {key}"] = values
        write_checksummed(path, {**about, "observers": texts, "same": same}, arrays)


def read_checkpoint(path: Path) -> Checkpoint:
    """Return a checkpoint from its file; DamagedError or NewerFormatError where it is of no use."""
    about, arrays = read_checksummed(path)
    if isinstance(version := about.get("format"), int) and version > FORMAT:
        raise NewerFormatError(f"{path.name}: expected format {FORMAT}, got {version}, which a newer version wrote")
    try:
        return _checkpoint(about, arrays)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DamagedError(f"{path.name}: it holds no checkpoint: {type(error).__name__}: {error}") from None


def _checkpoint(about: dict[str, Any], arrays: Columns) -> Checkpoint:
    if about["format"] == 2:
        about, arrays = _from_format_2(about, arrays)
    arrays |= {name: arrays[other] for name, other in about["same"].items()}

    def of(kind: str) -> dict[str, NDArray[Any]]:
        return {name.removeprefix(f"{kind} "): a for name, a in arrays.items() if name.startswith(f"{kind} ")}

    E, W = arrays["network E"], arrays["network W"]
    E.flags.writeable = W.flags.writeable = False
    return Checkpoint(
        step=about["step"],
        settings=about["settings"],
        data=about["data"],
        state=of("state"),
        network=Network(E, W, about["activation"], about["network_settings"]),
        outcome=None if about["outcome"] is None else Outcome(Ending(about["outcome"][0]), about["outcome"][1]),
        records=about["records"],
        snapshots=about["snapshots"],
        last_record=of("last_record"),
        last_snapshot=of("last_snapshot"),
        observers={name: {**texts, **of(f"observer {name}")} for name, texts in about["observers"].items()},
        end=about["end"],
        out_of_time=about["out_of_time"],
        seconds=about["seconds"],
        descriptions={name: (texts[0], texts[1]) for name, texts in about["descriptions"].items()},
    )


def _from_format_2(about: dict[str, Any], arrays: Columns) -> tuple[dict[str, Any], Columns]:
    """Return a checkpoint of the format before observers had their own states as one of this format."""
    notes = about["notes"]
    looked = notes.get("look_step", about["step"])
    events = {"found": about["events"], "provisional": notes.get("provisional", []), "look_step": looked}
    look = {name.removeprefix("look "): a for name, a in arrays.items() if name.startswith("look ")}
    state = {name.removeprefix("state "): a for name, a in arrays.items() if name.startswith("state ")}
    look = look or dict(state)
    if about["settings"]["dynamics"]["kind"] == "predicted_gradient":
        for own, step in ((look, looked), (state, about["step"])):
            own.pop("W", None)
            own.setdefault("steps", np.array(step, np.int64))
    arrays = {name: a for name, a in arrays.items() if not name.startswith(("look ", "state "))}
    arrays |= {f"state {name}": a for name, a in state.items()}
    arrays |= {f"observer events state {name}": a for name, a in look.items()}
    earlier = {name.removeprefix("earlier "): a for name, a in arrays.items() if name.startswith("earlier ")}
    arrays |= {f"observer history {name}": a for name, a in earlier.items()}
    observers = {"history": {"extremes": notes.get("extremes")}, "events": events}
    end, out_of_time = notes.get("end", {}), notes.get("out_of_time", False)
    return {**about, "observers": observers, "same": {}, "end": end, "out_of_time": out_of_time}, arrays


def rows(columns: Mapping[str, NDArray[Any]]) -> int:
    """Return the number of rows of columns."""
    return len(columns["step"]) if columns else 0


def stack_rows(parts: list[Mapping[str, NDArray[Any]]]) -> Columns:
    """Return the rows of columns one after the other."""
    full = [part for part in parts if rows(part)]
    return {name: np.concatenate([part[name] for part in full]) for name in full[0]} if full else {}
