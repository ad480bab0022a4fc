"""Checkpoints of a run in a directory: the states of the stepper and of the observers, and all rows so far."""

from __future__ import annotations

import time

from .._run_settings import RunSettings
from ..results import Checkpoint, Outcome, RunDirectory
from .observer import NEVER, Observer, View
from .simulation import Simulation

#: A checkpoint is written when the records and snapshots in memory take more bytes.
_MOST_PENDING = 32 * 2**20


class Checkpoints(Observer):
    """The observer that writes checkpoints: at the beginning of a run, on its schedules, and after a signal.

    Parameters
    ----------
    directory : RunDirectory
        The directory.
    run : RunSettings
        How often checkpoints are written, and how many are kept.
    about : Checkpoint
        A checkpoint with the settings, the fingerprint of the samples and the end of the run. For a resumed run it is
        the last checkpoint.
    simulation : Simulation
        The simulation whose states are written.
    """

    def __init__(self, directory: RunDirectory, run: RunSettings, about: Checkpoint, simulation: Simulation) -> None:
        self._directory, self._run, self._about, self._simulation = directory, run, about, simulation
        self._is_new = simulation.earlier_step is None
        self._records, self._snapshots = about.records, about.snapshots
        self._began = self._last = time.monotonic()

    def next_step(self, step: int) -> int:
        """Return the next step with a checkpoint."""
        every = self._run.checkpoint_every
        return NEVER if every is None else (step // every + 1) * every

    def observe(self, view: View) -> None:
        """Write a checkpoint if one is due. At the end of a run, `write` is called later, with the outcome."""
        is_running = view.outcome is None and not view.is_final and not view.is_start
        is_due = view.is_interrupted or self._is_new or (is_running and self._is_due(view.step))
        if is_due and view.record is not None:
            self._is_new = False
            self.write(view)

    def write(
        self, view: View, outcome: Outcome | None = None, last: View | None = None, out_of_time: bool = False
    ) -> Checkpoint:
        """Write the rows since the last checkpoint, and then a checkpoint that counts them.

        Parameters
        ----------
        view : View
            The state that the checkpoint stores.
        outcome : Outcome, optional
            The outcome of a run that has ended.
        last : View, optional
            The end of a flow that ends at a time, which may be after the last own step.
        out_of_time : bool
            Whether the run ended because of ``stop_minutes``.

        Returns
        -------
        Checkpoint
            The checkpoint.
        """
        step, simulation, about = view.step, self._simulation, self._about
        history, snapshots = simulation.history, simulation.snapshots
        if records := history.take_scheduled(step):
            self._directory.history.append(self._records, records)
            self._records += len(records["step"])
        if snapshots and (rows := snapshots.take_scheduled(step)):
            self._directory.snapshots.append(self._snapshots, rows)
            self._snapshots += len(rows["step"])
        checkpoint = Checkpoint(
            step=step,
            settings=about.settings,
            data=about.data,
            state=view.state,
            network=(last or view).network,
            outcome=outcome,
            records=self._records,
            snapshots=self._snapshots,
            last_record=history.unscheduled_columns(step) if outcome else {},
            last_snapshot=snapshots.unscheduled_columns(step) if snapshots and outcome else {},
            observers=simulation.state_dict(),
            end=about.end,
            out_of_time=out_of_time,
            seconds=about.seconds + time.monotonic() - self._began,
            descriptions=history.measures.descriptions(),
        )
        self._directory.write_checkpoint(checkpoint, self._run.keep_checkpoints)
        self._last = time.monotonic()
        return checkpoint

    def _is_due(self, step: int) -> bool:
        every, minutes = self._run.checkpoint_every, self._run.checkpoint_minutes
        history, snapshots = self._simulation.history, self._simulation.snapshots
        by_steps = every is not None and step % every == 0
        by_time = minutes is not None and time.monotonic() - self._last >= 60 * minutes
        return (
            by_steps
            or by_time
            or history.pending_bytes() + (snapshots.pending_bytes() if snapshots else 0) > _MOST_PENDING
        )
