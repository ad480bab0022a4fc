"""The cosine of updates of descent with the kink-aware norm-minimising direction, measured along a simulation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ...datasets import Dataset
from ...dynamics import GradientDescent
from ...geometry import norm_direction, sign_changes
from ...networks import Network
from ...simulation import simulate

__all__ = ["KinkAlignment"]


class KinkAlignment:
    """A measure: the cosine of an update over ``lag`` steps with the direction that holds pairs on their kinks.

    It repeats the steps from the earlier network, which gives the same bits for a descent without momentum. Pairs of a
    sample and a unit whose pre-activation changed its sign at least twice meanwhile lie on the kink. J is that of θ
    itself, because the projection moves pre-activations across their kinks. The values are NaN for a record that is not
    ``lag`` steps after the earlier network.
    """

    #: Units and meanings of the values, for the history.
    descriptions: ClassVar[Mapping[str, tuple[str, str]]] = {
        "cosine": ("1", "cosine of the update over the window with the kink-aware direction, J at θ"),
        "short_cosine": ("1", "cosine of the update over the last few steps with the kink-aware direction, J at θ"),
        "share": ("1", "share of the pairs of a sample and a unit that came back to the kink within the window"),
        "speed": ("1", "length of the update over that of the direction times its slow time"),
    }

    def __init__(self, data: Dataset, descent: GradientDescent, lag: int, short: int) -> None:
        self.lag = lag
        self._data, self._descent, self._short = data, descent, short

    def __call__(self, network: Network, earlier: Network | None) -> Mapping[str, float]:
        """Return the values by name."""
        undefined = dict.fromkeys(self.descriptions, float("nan"))
        if earlier is None or np.array_equal(earlier.E, network.E):
            return undefined
        every_step: Any = {"steps": self.lag, "record_every": self.lag, "snapshot_every": 1}
        run = simulate(self._descent, self._data, earlier, **every_step, threads=1, progress=False)
        assert run.snapshots is not None
        E, W = run.snapshots.E.values, run.snapshots.W.values
        if not np.array_equal(E[-1], network.E):
            return undefined
        kinks = sign_changes(E, self._data, at_least=2)
        direction = norm_direction(network, self._data, kinks=kinks)
        g = np.concatenate([direction.gE.ravel(), direction.gW.ravel()])
        cosines, lengths = [], []
        for back in (self.lag, self._short):
            update = np.concatenate([(E[-1] - E[-1 - back]).ravel(), (W[-1] - W[-1 - back]).ravel()])
            lengths.append(np.linalg.norm(update))
            cosines.append(float(g @ update / (direction.norm * lengths[-1])))
        slow_time = self._descent._base_lr * self._descent.weight_decay * self.lag
        share = len(kinks) / (len(self._data.Y_train) * network.hidden)
        speed = float(lengths[0] / (direction.norm * slow_time))
        return {"cosine": cosines[0], "short_cosine": cosines[1], "share": share, "speed": speed}
