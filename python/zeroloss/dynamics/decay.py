"""Weight decay near the rounding unit: the decay after rounding, and a warning if it is not the one asked for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._checks import ZerolossWarning

#: Rounding units per step above which rounding cannot change the mean decay by a per cent.
_WATCHED_BELOW = 256
_TOLERANCE = 0.01


class DecayWatch:
    """Watches the decay lr · weight_decay of θ if it is so small that rounding may change it.

    A decay below half a rounding unit (3·10⁻⁸ in float32) vanishes, one not far above is rounded. ``rates`` are those
    of E and W, ``decay(A, rate)`` is how the optimizer lets A decay, in the precision of A.
    """

    def __init__(
        self,
        rates: Sequence[float],
        dtype: np.dtype[Any],
        decay: Callable[[NDArray[Any], float], NDArray[Any]],
        remedy: str,
    ) -> None:
        unit = float(np.finfo(dtype).eps) / 2
        self.is_needed = any(0 < rate < _WATCHED_BELOW * unit for rate in rates)
        self._rates, self._decay, self._remedy, self._warned = rates, decay, remedy, False

    def remaining_ratio(self, parameters: Sequence[NDArray[Any]]) -> float:
        """Return the decay that is left after rounding, over the one asked for, weighted by squares of parameters."""
        left = wanted = 0.0
        for A, rate in zip(parameters, self._rates, strict=True):
            exact = A.astype(np.float64)
            left += float(((exact - self._decay(A, rate)) * exact).sum())
            wanted += rate * float((exact * exact).sum())
        return left / wanted if wanted > 0 else 1.0

    def record(self, parameters: Sequence[NDArray[Any]]) -> dict[str, float]:
        """Return the decay for a record, and warn the first time that it is off by more than a per cent."""
        if not self.is_needed:
            return {}
        share = self.remaining_ratio(parameters)
        if abs(share - 1) > _TOLERANCE and not self._warned:
            self._warned = True
            asked = max(self._rates)
            warnings.warn(
                f"weight_decay: expected a decay of {asked:.3g} a step, {parameters[0].dtype} rounds it to "
                f"{share * asked:.3g}; {self._remedy}",
                ZerolossWarning,
                stacklevel=2,
            )
        return {"effective_decay": share}


def decay_by_difference(A: NDArray[Any], rate: float) -> NDArray[Any]:
    """Return A − rate · A as gradient descent rounds it."""
    return np.asarray(A - A.dtype.type(rate) * A)


def decay_by_factor(A: NDArray[Any], rate: float) -> NDArray[Any]:
    """Return (1 − rate) · A as AdamW rounds it."""
    return np.asarray((1 - A.dtype.type(rate)) * A)
