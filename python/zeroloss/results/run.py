"""What a simulation leaves: its history, snapshots, final network and outcome, and how they are kept on disk."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from .. import _display
from .._choices import Every
from ..datasets import Dataset
from ..networks import Network
from .checkpoint import Checkpoint, Columns, ObserverStates
from .describe import describe_run
from .directory import RunDirectory
from .history import columns_of
from .lock import InUseError
from .outcome import Ending, Outcome
from .samples import fingerprint, write_samples
from .schedule import Schedule

if TYPE_CHECKING:
    import xarray as xr

#: A user's own functions of the network (and, with a ``lag``, of an earlier one), by the name they are recorded under.
Measures = Mapping[str, Callable[..., Any]]


@dataclass(eq=False)
class Run:
    """The result of ``simulate``.

    Attributes
    ----------
    history : xarray.Dataset over "step"
        The records; a record at step t describes the parameters θ_t. Units and meaning are in the attributes.
    network : Network
        The parameters at the last step.
    snapshots : xarray.Dataset over "step" or None
        E (step, d_in, h) and W (step, h, d_out), with the times of the history as coordinates; None without
        ``snapshot_every``.
    outcome : Outcome
        How the simulation ended.
    settings : mapping
        All that determines the run: dynamics, data, network, records, and the build that computed it.
    data : Dataset
        The samples.
    state : mapping of arrays
        The complete state of the dynamics at the last step, from which ``extend`` goes on.
    own_steps : int
        Number of steps that led to ``state``. A flow that ended at a time has one more, shortened step before its
        last record.
    observers : mapping of name to mapping
        What observers of the simulation, such as events, need to go on.
    events : mapping of condition to step
        At which step each event first held; None for one that has not.
    dynamics : Dynamics or None
        What was simulated; None after loading, until the run is extended.
    signal : Signals or None
        The signal that ended a run in a directory early.
    """

    history: xr.Dataset
    network: Network
    snapshots: xr.Dataset | None
    outcome: Outcome
    settings: dict[str, Any]
    data: Dataset
    state: dict[str, NDArray[Any]]
    extender: Callable[..., None]
    measures: Measures = field(default_factory=dict)
    own_steps: int = 0
    observers: ObserverStates = field(default_factory=dict)
    events: Mapping[str, int | None] = field(default_factory=dict)
    dynamics: Any = None
    signal: signal.Signals | None = None

    def __post_init__(self) -> None:
        self.network = describe_origin(self.network, self.settings, self.step)

    def __repr__(self) -> str:
        return _display.lines(*describe_run(self))

    def _repr_html_(self) -> str:
        return _display.table(*describe_run(self))

    @property
    def step(self) -> int:
        """Number of steps taken: that of the last record."""
        return int(self.history.step.values[-1]) if self.history.sizes["step"] else 0

    def extend(
        self,
        steps: int | None = None,
        *,
        duration: float | None = None,
        measures: Measures | None = None,
        progress: bool | None = None,
    ) -> Run:
        """Go on for ``steps`` more steps or ``duration`` more time, in place; the bits are those of one long run.

        Parameters
        ----------
        steps : int
            Number of further steps, at least 0.
        duration : float
            In place of steps, as for ``simulate``.
        measures : mapping, optional
            The functions that were recorded, where the run was loaded from disk (functions are not saved).
        progress : bool, optional
            As for ``simulate``.

        Returns
        -------
        Run
            The run itself.

        Raises
        ------
        ValueError
            After a run that diverged or met a singular matrix, or without the measures that the history holds.
        """
        self.extender(self, steps, duration, measures=measures, progress=progress)
        return self

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the run into a new directory, or in place of a run saved there; `zeroloss.load` reads it back.

        The directory is that of an ended run, as ``zeroloss run`` leaves it: ``history.nc`` and ``snapshots.nc``
        (NetCDF), ``data.npz``, ``run.json`` (settings and outcome) and a checkpoint. If saving fails or is interrupted
        at any moment, the earlier run is still there, complete. Files of others in the directory stay as they are.

        Raises
        ------
        FileExistsError
            If the directory holds something that is not a saved run.
        InUseError
            If another process runs in the directory.
        """
        target = RunDirectory(Path(directory).resolve())
        target.check_replaceable()
        new, made = target.is_new(), not target.path.exists()
        try:
            target.mark()
            with target.locked(if_possible=True):
                target.check_replaceable()  # Another process may have been here in the meantime.
                if target.configuration.exists():
                    raise FileExistsError(
                        f"directory: {target.path} holds a run of zeroloss run, which zeroloss resume --extend goes on "
                        "with in place; choose another directory"
                    )
                with target.replaced() as folder:
                    self._write(folder)
        except InUseError:
            raise
        except BaseException:
            if new:
                target.unmark(made)
            raise

    def _write(self, directory: RunDirectory) -> None:
        directory.prepare()
        write_samples(self.data, directory.data)
        step = self.own_steps
        records, last_record = _split(columns_of(self.history), self.settings["record_every"], step)
        snapshots, last_snapshot = _snapshots_split(self.snapshots, self.settings["snapshot_every"], step)
        outcome = self.outcome
        if not outcome.ending.is_final:  # It is the process that goes on, or may do so, not what is saved.
            outcome = Outcome(Ending.STOPPED_BY_THE_USER, f"after {self.step} steps; extend goes on")
        checkpoint = Checkpoint(
            step=step,
            settings=self.settings,
            data=fingerprint(self.data),
            state=self.state,
            network=self.network,
            outcome=outcome,
            records=records,
            snapshots=snapshots,
            last_record=last_record,
            last_snapshot=last_snapshot,
            observers=self.observers,
            descriptions={
                str(name): (v.attrs.get("units", ""), v.attrs.get("description", ""))
                for name, v in self.history.items()
            },
        )
        directory.write_checkpoint(checkpoint, keep=1)
        directory.export(checkpoint, self.history, self.snapshots)


def describe_origin(network: Network, settings: Mapping[str, Any], step: int) -> Network:
    """Return the network of a run at a step, with the settings of its start and of its training."""
    start = {key: value for key, value in settings["network"].items() if key not in {"activation", "dtype"}}
    if step == 0:
        return Network(network.E, network.W, network.activation, start)
    return network.after(start, f"{settings['dynamics']['kind']}, {step} steps")


def _split(columns: Columns, every: Every | None, end: int) -> tuple[int, Columns]:
    """Return the number of rows on a schedule up to step ``end``, and the last row if it is not one of them."""
    if not columns or every is None or not len(columns["step"]):
        return 0, {}
    last, count = int(columns["step"][-1]), len(columns["step"])
    scheduled = last <= end and Schedule("every", every).due(last)
    return (count, {}) if scheduled else (count - 1, {name: values[-1:] for name, values in columns.items()})


def _snapshots_split(snapshots: xr.Dataset | None, every: Every | None, end: int) -> tuple[int, Columns]:
    """Return the same for snapshots, of which only the last is read."""
    if snapshots is None or not snapshots.sizes["step"]:
        return 0, {}
    _, last = _split(columns_of(snapshots.isel(step=slice(-1, None))), every, end)
    return snapshots.sizes["step"] - bool(last), last
