"""How updates of descent align with the norm-minimising direction that knows of the kinks, along a simulation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from ...datasets import Dataset
from ...dynamics import GradientDescent
from ...geometry import norm_direction, sign_changes
from ...networks import Network
from ...simulation import simulate

__all__ = ["KinkAlignment"]


class KinkAlignment:
    """A measure: the cosine of an update over ``lag`` steps with g where the pairs that came back to a kink are held.

    The steps are taken again from the earlier network, of a descent without momentum, whose bits they have; pairs whose
    pre-activation changed its sign at least twice meanwhile lie on the kink. J is that of θ itself: the projection
    moves pre-activations across their kinks. NaN for a record that is not ``lag`` steps after the earlier network.
    """

    #: Units and meaning of what a call returns, for the history.
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
        """Return the numbers by name."""
        nothing = dict.fromkeys(self.descriptions, float("nan"))
        if earlier is None or np.array_equal(earlier.E, network.E):
            return nothing
        path = simulate(
            self._descent,
            self._data,
            earlier,
            steps=self.lag,
            record_every=self.lag,
            snapshot_every=1,
            threads=1,
            progress=False,
        ).snapshots
        assert path is not None
        E, W = path.E.values, path.W.values
        if not np.array_equal(E[-1], network.E):
            return nothing
        kinks = sign_changes(E, self._data, at_least=2)
        found = norm_direction(network, self._data, kinks=kinks)
        g = np.concatenate([found.gE.ravel(), found.gW.ravel()])
        cosines, lengths = [], []
        for back in (self.lag, self._short):
            update = np.concatenate([(E[-1] - E[-1 - back]).ravel(), (W[-1] - W[-1 - back]).ravel()])
            lengths.append(np.linalg.norm(update))
            cosines.append(float(g @ update / (found.norm * lengths[-1])))
        slow_time = self._descent._base_lr * self._descent.weight_decay * self.lag
        share = len(kinks) / (len(self._data.Y_train) * network.hidden)
        speed = float(lengths[0] / (found.norm * slow_time))
        return {"cosine": cosines[0], "short_cosine": cosines[1], "share": share, "speed": speed}
