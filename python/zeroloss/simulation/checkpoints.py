"""Checkpoints of a run in a directory: the stepper's state, each observer's, and the rows made so far."""

from __future__ import annotations

import time
from collections.abc import Mapping

from .._run_settings import RunSettings
from ..results import Checkpoint, Outcome, RunDirectory
from .history import History
from .observer import NEVER, Observer, View
from .snapshots import Snapshots

_MOST_PENDING = 32 * 2**20  # bytes of records and snapshots between two checkpoints


class Checkpoints(Observer):
    """The last observer: it stores what the others have, at the begin, on its schedules, and on a signal.

    Parameters
    ----------
    directory : RunDirectory
        Where checkpoints and rows are written.
    run : RunSettings
        How often, and how many are kept.
    about : Checkpoint
        Settings, fingerprint of the samples and end of the run; on resumption the checkpoint from which it goes on.
    is_new : bool
        Whether the run begins, so that its first state is stored before a step is taken.
    history, snapshots : History, Snapshots or None
        The observers with rows.
    others : mapping of name to Observer
        Further observers whose state is stored.
    """

    def __init__(
        self,
        directory: RunDirectory,
        run: RunSettings,
        about: Checkpoint,
        is_new: bool,
        history: History,
        snapshots: Snapshots | None,
        others: Mapping[str, Observer],
    ) -> None:
        self._directory, self._run, self._about = directory, run, about
        self._is_new = is_new
        self._history, self._snapshots = history, snapshots
        self._others = others
        self._records, self._pictures = about.records, about.snapshots
        self._began = self._last = time.monotonic()

    def next_step(self, step: int) -> int:
        """Return the next step with a checkpoint."""
        every = self._run.checkpoint_every
        return NEVER if every is None else (step // every + 1) * every

    def observe(self, view: View) -> None:
        """Write a checkpoint if one is due, unless the run has diverged: it then ends at an earlier step."""
        if view.interrupted or self._is_new:
            due = True
        else:  # at the end comes the last one, with the last record
            due = view.ended is None and not view.is_final and not view.is_begin and self._is_due(view.step)
        if due and view.record is not None:
            self._is_new = False
            self.write(view)

    def write(
        self, view: View, outcome: Outcome | None = None, last: View | None = None, out_of_time: bool = False
    ) -> Checkpoint:
        """Write the rows made since the last checkpoint, and then a checkpoint that counts them.

        A run that has ended has an outcome, and a ``last`` state that may be ahead of the stepper's own steps.
        """
        step = view.step
        if records := self._history.take_scheduled(step):
            self._directory.history.append(self._records, records)
            self._records += len(records["step"])
        snapshots = self._snapshots
        if snapshots and (rows := snapshots.take_scheduled(step)):
            self._directory.snapshots.append(self._pictures, rows)
            self._pictures += len(rows["step"])
        written = Checkpoint(
            step=step,
            settings=self._about.settings,
            data=self._about.data,
            state=view.state,
            network=(last or view).network,
            outcome=outcome,
            records=self._records,
            snapshots=self._pictures,
            last_record=self._history.unscheduled(step) if outcome else {},
            last_snapshot=snapshots.unscheduled(step) if snapshots and outcome else {},
            observers={name: one.state_dict() for name, one in {"history": self._history, **self._others}.items()},
            end=self._about.end,
            out_of_time=out_of_time,
            seconds=self._about.seconds + time.monotonic() - self._began,
            descriptions=self._history.measures.descriptions(),
        )
        self._directory.write_checkpoint(written, self._run.keep_checkpoints)
        self._last = time.monotonic()
        return written

    def _is_due(self, step: int) -> bool:
        every, minutes = self._run.checkpoint_every, self._run.checkpoint_minutes
        by_steps = every is not None and step % every == 0
        by_time = minutes is not None and time.monotonic() - self._last >= 60 * minutes
        pending = self._history.pending() + (self._snapshots.pending() if self._snapshots else 0)
        return by_steps or by_time or pending > _MOST_PENDING
