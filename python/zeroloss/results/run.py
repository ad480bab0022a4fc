"""The result of a simulation: history, snapshots, final network and outcome, and how to save them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from .. import _checks, _display, plots
from .._choices import Abscissa, Every, TimeScale
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
    from matplotlib.figure import Figure

#: Functions of a user, by the name of the recorded variable. Their argument is the network; with a ``lag`` also an
#: earlier network.
Measures = Mapping[str, Callable[..., Any]]


@dataclass(eq=False)
class Run:
    """The result of a simulation.

    `zeroloss.simulate`, `zeroloss.load` and `zeroloss.runs.run` return runs.

    Attributes
    ----------
    history : xarray.Dataset over "step"
        The records. The record at step t describes the parameters θ_t, before step t + 1. The attributes of a variable
        give its unit and meaning.
    network : Network
        The parameters at the last step.
    snapshots : xarray.Dataset over "step" or None
        E of shape (step, d_in, h) and W of shape (step, h, d_out), with the time coordinates of the history. None
        without ``snapshot_every``.
    outcome : Outcome
        The kind of ending, with a message.
    settings : mapping
        The settings that determine the run: dynamics, data, network and records; and the build that computed it.
    data : Dataset
        The samples.
    state : mapping of arrays
        The complete state of the dynamics at the last step, from which ``extend`` continues.
    extender : function
        The function that `extend` calls.
    measures : mapping of str to function
        The functions of the user whose values are recorded.
    own_steps : int
        The number of steps that led to ``state``. If a flow ended at a time between two steps, its last record is one
        shortened step later.
    observers : mapping of name to mapping
        The states from which observers of the simulation, such as events, continue.
    events : mapping of condition to step
        The first step at which each event holds; None if it has not occurred.
    dynamics : Dynamics or None
        The dynamics. None after loading, until the run is extended.
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
        return _display.format_lines(*describe_run(self))

    def _repr_html_(self) -> str:
        return _display.format_html(*describe_run(self))

    @property
    def step(self) -> int:
        """The number of steps at the last record."""
        return int(self.history.step.values[-1]) if self.history.sizes["step"] else 0

    def extend(
        self,
        steps: int | None = None,
        *,
        duration: float | None = None,
        measures: Measures | None = None,
        progress: bool | None = None,
    ) -> Run:
        """Continue the run for ``steps`` more steps or ``duration`` more time, in place.

        The result has the same bits as one long run.

        Parameters
        ----------
        steps : int, optional
            The number of further steps, at least 0. Give either this or ``duration``.
        duration : float, optional
            The further time of the dynamics, as for ``simulate``.
        measures : mapping, optional
            The functions that were recorded, by name, if the run was loaded from disk (functions are not saved).
        progress : bool, optional
            As for ``simulate``.

        Returns
        -------
        Run
            The run.

        Raises
        ------
        ValueError
            If the run failed (for example, it diverged), or the measures of the history are not given.

        Examples
        --------
        >>> import zeroloss as zl
        >>> data = zl.datasets.modular_addition(5, train_count=9)
        >>> net = zl.networks.uniform_fan_in(data, hidden=8, seed=1)
        >>> run = zl.simulate(zl.GradientDescent(lr=0.1), data, net, steps=20)
        >>> run.extend(steps=10).step
        30
        """
        self.extender(self, steps, duration, measures=measures, progress=progress)
        return self

    def plot(
        self,
        *others: Run,
        against: Abscissa = "step",
        scale: TimeScale = "log",
        names: Sequence[str] | None = None,
        also: Sequence[str] = (),
    ) -> Figure:
        """Plot loss, accuracy and norms of the run, or of several runs over each other, with marks at events.

        Parameters
        ----------
        *others : Run
            Further runs.
        against : {"step", "time", "slow_time"}
            The abscissa. The histories of all runs need it.
        scale : {"log", "linear"}
            The scale of the abscissa. "log" is linear up to the first record after 0, and logarithmic from there on.
        names : sequence of str, optional
            The name of each run in the legend. By default, the settings in which the runs differ.
        also : sequence of str
            Further variables of the histories over "step", such as measures, each with a panel of its own.

        Returns
        -------
        Figure
            The figure. ``figure.savefig("run.svg")`` or ``"run.pdf"`` writes it. A notebook shows it.

        Raises
        ------
        ValueError, TypeError
            If a history does not have the abscissa or a variable of ``also``, or there are not as many names as runs.

        See Also
        --------
        zeroloss.plots.plot_history : The same for histories.
        """
        runs = (self, *others)
        for run in runs:
            _checks.check_instance("others", run, Run)
        return plots.plot_history(
            [run.history for run in runs],
            [run.events for run in runs],
            against=against,
            scale=scale,
            names=names,
            also=also,
        )

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the run into a directory, from which `zeroloss.load` reads it.

        The files are the same as after ``zeroloss run``: ``history.nc`` and ``snapshots.nc`` (NetCDF), ``data.npz``,
        ``run.json`` (settings and outcome) and a checkpoint. A run that was saved in the directory is replaced; if
        saving fails or is interrupted, the earlier run is unchanged. Other files in the directory stay as they are.

        Parameters
        ----------
        directory : path
            A new directory, or one with a saved run.

        Raises
        ------
        FileExistsError
            If the directory has other files but no saved run, or is the directory of a ``zeroloss run``.
        InUseError
            If another process runs in the directory.
        """
        target = RunDirectory(Path(directory).resolve())
        target.check_replaceable()
        is_new, is_missing = target.is_new(), not target.path.exists()
        try:
            target.mark()
            with target.lock(if_possible=True):
                target.check_replaceable()  # Another process may have written into it since the first check.
                if target.configuration.exists():
                    raise FileExistsError(
                        f"directory: {target.path} is the directory of a zeroloss run, which zeroloss resume --extend "
                        "continues; choose another directory"
                    )
                with target.replacement() as folder:
                    self._write(folder)
        except InUseError:
            raise
        except BaseException:
            if is_new:
                target.unmark(is_missing)
            raise

    def view(self, path: str | os.PathLike[str] | None = None, *, open_page: bool = True) -> Path:
        """Write a page that shows the run, and open it in the browser.

        The page is one HTML file that needs no other files and no access to the network. ``zeroloss view DIR`` writes
        the same page for a run in a directory.

        Parameters
        ----------
        path : path, optional
            The file, whose name ends in ``.html``. By default it is a new file in the directory for temporary files.
        open_page : bool
            Whether to open the page in the browser, by default True.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        FileExistsError
            If ``path`` is a file that this package did not write, or a page that was edited.
        ValueError
            If the name of ``path`` does not end in ``.html``.
        ImportError
            If Bokeh is not installed. The extra ``view`` installs it.
        """
        # Pages are a later layer, which this layer does not import.
        written: Path = import_module("..view", __package__).view_run(self, path, open_page)
        return written

    def _write(self, directory: RunDirectory) -> None:
        directory.prepare()
        write_samples(self.data, directory.data)
        step = self.own_steps
        records, last_record = _split(columns_of(self.history), self.settings["record_every"], step)
        snapshots, last_snapshot = _split_snapshots(self.snapshots, self.settings["snapshot_every"], step)
        outcome = self.outcome
        if not outcome.ending.is_final:  # The saved run is not in progress, whatever happens to this process.
            outcome = Outcome(Ending.STOPPED_BY_THE_USER, f"after {self.step} steps; extend continues it")
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
    """Return the network of a run with a description of its origin: the settings of its start, and its training.

    Parameters
    ----------
    network : Network
        The network at a step of the run.
    settings : mapping
        The settings of the run.
    step : int
        The step.

    Returns
    -------
    Network
        The same parameters, with settings that describe where they come from.
    """
    start = {key: value for key, value in settings["network"].items() if key not in {"activation", "dtype"}}
    if step == 0:
        return replace(network, settings=start)
    return network.after(start, f"{settings['dynamics']['kind']}, {step} steps")


def _split(columns: Columns, every: Every | None, end: int) -> tuple[int, Columns]:
    """Return the number of scheduled rows up to step ``end``, and the last row if it is not scheduled."""
    if not columns or every is None or not len(columns["step"]):
        return 0, {}
    last, count = int(columns["step"][-1]), len(columns["step"])
    is_scheduled = last <= end and Schedule("every", every).due(last)
    return (count, {}) if is_scheduled else (count - 1, {name: values[-1:] for name, values in columns.items()})


def _split_snapshots(snapshots: xr.Dataset | None, every: Every | None, end: int) -> tuple[int, Columns]:
    """Return the result of `_split` for snapshots, of which only the last one is read."""
    if snapshots is None or not snapshots.sizes["step"]:
        return 0, {}
    _, last = _split(columns_of(snapshots.isel(step=slice(-1, None))), every, end)
    return snapshots.sizes["step"] - bool(last), last
