"""Weight decay near the rounding unit: the decay that remains after rounding, and a warning if it is off."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._checks import ZerolossWarning

#: From this number of rounding units per step on, rounding cannot change the mean decay by a per cent.
_SAFE_UNITS = 256
_TOLERANCE = 0.01


class DecayWatch:
    """A check of the decay lr · weight_decay of θ, for decays so small that rounding may change them.

    A decay below half a rounding unit (3·10⁻⁸ in float32) vanishes. A decay not far above it is rounded.

    Parameters
    ----------
    rates : sequence of two floats
        The decays lr · weight_decay of E and of W in one step.
    dtype : dtype
        The precision of θ.
    decay : function of (A, rate)
        Returns a layer A after its decay, rounded as the optimizer rounds it.
    remedy : str
        The advice in the warning.
    """

    def __init__(
        self,
        rates: Sequence[float],
        dtype: np.dtype[Any],
        decay: Callable[[NDArray[Any], float], NDArray[Any]],
        remedy: str,
    ) -> None:
        unit = float(np.finfo(dtype).eps) / 2
        self.is_needed = any(0 < rate < _SAFE_UNITS * unit for rate in rates)
        self._rates, self._decay, self._remedy, self._warned = rates, decay, remedy, False

    def remaining_ratio(self, parameters: Sequence[NDArray[Any]]) -> float:
        """Return the decay after rounding divided by the exact decay, weighted by squares of parameters."""
        rounded = exact = 0.0
        for A, rate in zip(parameters, self._rates, strict=True):
            A64 = A.astype(np.float64)
            rounded += float(((A64 - self._decay(A, rate)) * A64).sum())
            exact += rate * float((A64 * A64).sum())
        return rounded / exact if exact > 0 else 1.0

    def record(self, parameters: Sequence[NDArray[Any]]) -> dict[str, float]:
        """Return the value ``effective_decay`` for a record. Warn the first time it is off by more than a per cent."""
        if not self.is_needed:
            return {}
        share = self.remaining_ratio(parameters)
        if abs(share - 1) > _TOLERANCE and not self._warned:
            self._warned = True
            exact = max(self._rates)
            warnings.warn(
                f"weight_decay: {parameters[0].dtype} rounds the decay of {exact:.3g} per step to {share * exact:.3g}; "
                f"{self._remedy}",
                ZerolossWarning,
                stacklevel=2,
            )
        return {"effective_decay": share}


def decay_by_difference(A: NDArray[Any], rate: float) -> NDArray[Any]:
    """Return A − rate · A, rounded as gradient descent rounds it."""
    return np.asarray(A - A.dtype.type(rate) * A)


def decay_by_factor(A: NDArray[Any], rate: float) -> NDArray[Any]:
    """Return (1 − rate) · A, rounded as AdamW rounds it."""
    return np.asarray((1 - A.dtype.type(rate)) * A)
