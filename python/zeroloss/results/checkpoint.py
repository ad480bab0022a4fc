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
from .files import DamagedError, NewerFormatError, read_sealed, write_sealed
from .outcome import Ending, Outcome

Columns = dict[str, NDArray[Any]]

FORMAT = 2  # of a run's directory


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
    look : mapping of arrays
        The state at the last look for events, where that was another step.
    earlier : mapping of step to Network
        The networks that measures with a lag compare with.
    events : mapping of event to step
        The events so far.
    notes : mapping
        What else goes on: extremes of the loss, the step of the last look, how far stopping rules have got.
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
    look: Columns = field(default_factory=dict)
    earlier: Mapping[int, Network] = field(default_factory=dict)
    events: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    descriptions: Mapping[str, tuple[str, str]] = field(default_factory=dict)

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
            "outcome": None if self.outcome is None else [self.outcome.ending, self.outcome.sentence],
            "records": self.records,
            "snapshots": self.snapshots,
            "events": dict(self.events),
            "notes": dict(self.notes),
            "seconds": self.seconds,
            "descriptions": {name: list(texts) for name, texts in self.descriptions.items()},
        }
        arrays = {"network E": self.network.E, "network W": self.network.W}
        for kind in ("state", "last_record", "last_snapshot", "look"):
            arrays |= {f"{kind} {name}": values for name, values in getattr(self, kind).items()}
        for step, network in self.earlier.items():
            arrays |= {f"earlier E {step}": network.E, f"earlier W {step}": network.W}
        write_sealed(path, about, arrays)


def read_checkpoint(path: Path) -> Checkpoint:
    """Return a checkpoint from its file; DamagedError or NewerFormatError where it is of no use."""
    about, arrays = read_sealed(path)
    if isinstance(version := about.get("format"), int) and version > FORMAT:
        raise NewerFormatError(f"{path.name}: expected format {FORMAT}, got {version}, which a newer version wrote")
    try:
        return _checkpoint(about, arrays)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DamagedError(f"{path.name}: it holds no checkpoint: {type(error).__name__}: {error}") from None


def _checkpoint(about: dict[str, Any], arrays: Columns) -> Checkpoint:
    def of(kind: str) -> dict[str, NDArray[Any]]:
        return {name.removeprefix(f"{kind} "): a for name, a in arrays.items() if name.startswith(f"{kind} ")}

    def network(E: NDArray[Any], W: NDArray[Any]) -> Network:
        E.flags.writeable = W.flags.writeable = False
        return Network(E, W, about["activation"], about["network_settings"])

    earlier = of("earlier")
    steps = sorted(int(name.split()[1]) for name in earlier if name.startswith("E"))
    return Checkpoint(
        step=about["step"],
        settings=about["settings"],
        data=about["data"],
        state=of("state"),
        network=network(arrays["network E"], arrays["network W"]),
        outcome=None if about["outcome"] is None else Outcome(Ending(about["outcome"][0]), about["outcome"][1]),
        records=about["records"],
        snapshots=about["snapshots"],
        last_record=of("last_record"),
        last_snapshot=of("last_snapshot"),
        look=of("look"),
        earlier={step: network(earlier[f"E {step}"], earlier[f"W {step}"]) for step in steps},
        events=about["events"],
        notes=about["notes"],
        seconds=about["seconds"],
        descriptions={name: (texts[0], texts[1]) for name, texts in about["descriptions"].items()},
    )


def rows(columns: Mapping[str, NDArray[Any]]) -> int:
    """Return the number of rows of columns."""
    return len(columns["step"]) if columns else 0


def stacked(parts: list[Mapping[str, NDArray[Any]]]) -> Columns:
    """Return the rows of columns one after the other."""
    full = [part for part in parts if rows(part)]
    return {name: np.concatenate([part[name] for part in full]) for name in full[0]} if full else {}
