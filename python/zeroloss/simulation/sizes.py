"""The memory and disk space that records and snapshots take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .._resources import check_memory
from ..networks import Network
from ..results.schedule import Schedule

#: The bytes of a record in memory: Python numbers in dictionaries.
RECORD = 900
#: The bytes of a record on disk.
STORED_RECORD = 100


def count_rows(settings: Mapping[str, Any], begin: int, end: int) -> tuple[int, int]:
    """Return the numbers of records and snapshots between two steps."""
    every = settings["snapshot_every"]
    snapshots = 0 if every is None else Schedule("snapshot_every", every).count(begin, end)
    return Schedule("record_every", settings["record_every"]).count(begin, end), snapshots


def check_results_fit(settings: Mapping[str, Any], networks: Sequence[Network], begin: int, end: int) -> None:
    """Raise ValueError if the records and snapshots of runs, one for each network, cannot fit in memory."""
    records, snapshots = count_rows(settings, begin, end)
    needed = snapshots * sum(network.nbytes for network in networks)
    if needed:
        check_memory(f"snapshot_every: {len(networks) * snapshots} snapshots", needed)
    check_memory(f"record_every: {len(networks) * records} records", needed + len(networks) * records * RECORD)
