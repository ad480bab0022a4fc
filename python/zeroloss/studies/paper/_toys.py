"""The toy models of figures 1, 2 and 3c: one unit on one sample, which is no two-layer network; and what shows them.

NumPy and closed forms; two-layer networks go through the dynamics and their kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Unit", "slow_steps"]


@dataclass(frozen=True)
class Unit:
    """A unit ŷ = σ(x·w) without bias and its one sample x → y, with the loss (ŷ − y)².

    Attributes
    ----------
    x : sequence of float, (d,)
        The input.
    y : float
        The target.
    negative_slope : float
        σ(z) is z above 0, and this multiple of z below: 1 for a linear unit, else leaky ReLU (σ'(0) is the slope).
    """

    x: Sequence[float]
    y: float
    negative_slope: float = 1.0

    def loss(self, weights: ArrayLike) -> NDArray[Any]:
        """Return the loss (…) at weights (…, d)."""
        z = np.asarray(weights) @ np.asarray(self.x)
        return np.asarray((np.where(z > 0, z, self.negative_slope * z) - self.y) ** 2)

    def gradient(self, weights: ArrayLike) -> NDArray[Any]:
        """Return the gradient of the loss (…, d) at weights (…, d)."""
        x = np.asarray(self.x)
        z = np.asarray(weights) @ x
        slope = np.where(z > 0, 1.0, self.negative_slope)
        return np.asarray((2 * (slope * z - self.y) * slope)[..., None] * x)

    def descend(self, starts: ArrayLike, lr: float, weight_decay: ArrayLike, steps: int) -> NDArray[np.float64]:
        """Follow w ← w − lr (∇loss + weight_decay · w) from several starts.

        Parameters
        ----------
        starts : array_like, (m, d)
            The weights at step 0.
        lr : float
            Learning rate.
        weight_decay : array_like, () or (m,)
            The coefficient that multiplies w, for all starts or for each.
        steps : int
            Number of steps.

        Returns
        -------
        ndarray, (m, steps + 1, d)
            The weights at every step.
        """
        w = np.array(starts, dtype=np.float64)
        decay = np.broadcast_to(weight_decay, w.shape[:1])[:, None]
        path = np.empty((len(w), steps + 1, w.shape[1]))
        path[:, 0] = w
        for step in range(1, steps + 1):
            w = w - lr * (self.gradient(w) + decay * w)
            path[:, step] = w
        return path

    def norm_flow(self, starts: ArrayLike, slow_time: ArrayLike) -> NDArray[np.float64]:
        """Return the norm-minimising flow on {w : x·w = y} from where descent without decay lands (y > 0).

        w(s) = y x / |x|² + e^{−s} (I − P) w₀, P = x xᵀ / |x|²: descent moves along x, and the flow shortens the rest.

        Parameters
        ----------
        starts : array_like, (m, d)
            The weights w₀ at step 0, on the set or off it.
        slow_time : array_like, (k,)
            Slow time s.

        Returns
        -------
        ndarray, (m, k, d)
        """
        x, start = np.asarray(self.x, dtype=np.float64), np.asarray(starts, dtype=np.float64)
        tangent = start - np.outer(start @ x, x) / (x @ x)
        return np.asarray(self.y * x / (x @ x) + np.exp(-np.asarray(slow_time))[:, None] * tangent[:, None, :])


def slow_steps(slow_time: ArrayLike, lr: float, weight_decay: float) -> NDArray[np.int64]:
    """Return the steps at which descent has the slow times s = weight_decay · lr · steps."""
    return np.rint(np.asarray(slow_time) / (lr * weight_decay)).astype(np.int64)
