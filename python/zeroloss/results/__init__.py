"""The results of a simulation, in memory and in a directory."""

from typing import Any

from .._deprecated import find_renamed
from .checkpoint import Checkpoint
from .directory import RunDirectory as RunDirectory  # for other parts of the package, not for users
from .ensemble import Ensemble, side_by_side
from .files import DamagedError, NewerFormatError, UnreadableError
from .history import (
    DESCRIPTIONS,
    RESERVED_NAMES,
    TIME,
    TIMES,
    columns_of,
    history_dataset,
    labels,
    read_records,
    snapshot_dataset,
)
from .lock import InUseError, file_lock
from .outcome import Ending, Outcome
from .reading import read, run_at
from .run import Measures, Run, describe_origin
from .samples import fingerprint, read_samples, write_samples

__all__ = [
    "DESCRIPTIONS",
    "RESERVED_NAMES",
    "TIME",
    "TIMES",
    "Checkpoint",
    "DamagedError",
    "Ending",
    "Ensemble",
    "InUseError",
    "Measures",
    "NewerFormatError",
    "Outcome",
    "Run",
    "UnreadableError",
    "columns_of",
    "describe_origin",
    "file_lock",
    "fingerprint",
    "history_dataset",
    "labels",
    "read",
    "read_records",
    "read_samples",
    "run_at",
    "side_by_side",
    "snapshot_dataset",
    "write_samples",
]

_RENAMED = {"held": "file_lock", "trained": "describe_origin"}


def __getattr__(name: str) -> Any:
    return find_renamed(globals(), name, _RENAMED)
