"""The progress of a run: a progress bar, and functions of the caller that get numbers of steps and records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from .observer import Observer, View

#: Whether to show a bar (None for the default of `simulate`), or a function that gets numbers of steps as they are
#: taken.
ShowProgress = bool | Callable[[int], None] | None

#: A function that gets the step and the values of every record.
OnRecord = Callable[[int, Mapping[str, Any]], None]


class Progress(Observer):
    """The observer that updates the progress bar, and calls the functions of the caller.

    Parameters
    ----------
    bar : tqdm
        The bar, next to which the newest record is shown.
    count : function
        Called with numbers of steps as they are taken, or with parts of the time.
    on_record : function, optional
        Called once for each record.
    done : int, optional
        The last step of an earlier part of the run, which has reported the records up to it.
    parts_of_time : function, optional
        For a run of unknown length that ends at a time: returns the parts of the run that a time completes. They are
        counted at records, instead of steps.
    """

    def __init__(
        self,
        bar: tqdm[None],
        count: Callable[[Any], Any],
        on_record: OnRecord | None = None,
        done: int | None = None,
        parts_of_time: Callable[[float], float] | None = None,
    ) -> None:
        self._bar, self._count, self._on_record = bar, count, on_record
        self._last_step = -1 if done is None else done
        self._parts_of_time, self._parts = parts_of_time, 0.0

    def observe(self, view: View) -> None:
        """Report the steps and the records of a chunk."""
        if view.is_interrupted:
            return
        if self._parts_of_time is not None and view.values is not None:
            parts = self._parts_of_time(view.values["time"])
            self._count(parts - self._parts)
            self._parts = parts
        if not view.is_start and not view.ahead:
            if self._parts_of_time is None:
                self._count(view.step - view.begin)
            if not self._bar.disable and view.values is not None:
                self._bar.set_postfix_str(_summarise(view.values), refresh=False)
        if self._on_record is None:
            return
        for step, values in [*view.inner_records, (view.step, view.values)]:
            if values is not None and step > self._last_step:
                self._last_step = step
                self._on_record(step, values)


def _summarise(record: Mapping[str, Any]) -> str:
    norm = np.hypot(record["norm_E"], record["norm_W"])
    accuracies = f"accuracy {record['train_accuracy']:.3f} train, {record['test_accuracy']:.3f} test"
    return f"loss {record['train_loss']:.2e}, {accuracies}, norm {norm:.4g}"
