"""What tells a person how far a run is: a progress bar, or a function that is told of steps and records."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tqdm import tqdm

from .observer import Observer, View

#: Whether to show a bar (None: the default of `simulate`), or a function that is called with numbers of steps taken.
ShowProgress = bool | Callable[[int], None] | None


class Progress(Observer):
    """The observer that moves a progress bar, with the newest record beside it, or tells a function of steps."""

    def __init__(self, bar: tqdm[None], tell: Callable[[int], None] | None = None) -> None:
        self._bar, self._tell = bar, tell or bar.update

    def observe(self, view: View) -> None:
        """Count the steps of a chunk."""
        if view.is_begin or view.interrupted or view.ahead:
            return
        self._tell(view.step - view.begin)
        if not self._bar.disable and view.values is not None:
            self._bar.set_postfix_str(_summary(view.values), refresh=False)


def _summary(record: Mapping[str, Any]) -> str:
    norm = np.hypot(record["norm_E"], record["norm_W"])
    accuracies = f"accuracy {record['train_accuracy']:.3f} train, {record['test_accuracy']:.3f} test"
    return f"loss {record['train_loss']:.2e}, {accuracies}, norm {norm:.4g}"
