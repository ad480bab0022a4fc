"""The toy model of figures 1, 2 and 3c: one unit on one sample. It has one layer, so NumPy simulates it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..._checks import ArgumentValueError

__all__ = ["Unit", "count_slow_steps"]


@dataclass(frozen=True)
class Unit:
    """A unit ŷ = σ(x·w) without bias and its one sample x → y, with the loss (ŷ − y)².

    σ(z) is z above 0 and ``negative_slope`` · z below: 1 for a linear unit, less for leaky ReLU. σ'(0) is that slope.
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
        """Take steps w ← w − lr (∇loss + weight_decay · w) from starts (m, d), and return the path (m, steps + 1, d).

        ``weight_decay`` is one number, or one for each start (m,).

        Raises
        ------
        FloatingPointError
            If a weight is not finite.
        """
        w = np.array(starts, dtype=np.float64)
        decay = np.broadcast_to(weight_decay, w.shape[:1])[:, None]
        path = np.empty((len(w), steps + 1, w.shape[1]))
        path[:, 0] = w
        with np.errstate(over="ignore", invalid="ignore"):
            for step in range(1, steps + 1):
                w = w - lr * (self.gradient(w) + decay * w)
                path[:, step] = w
        if not np.isfinite(w).all():
            step = int(np.isfinite(path).all(axis=(0, 2)).argmin())
            raise FloatingPointError(f"a weight is not finite at step {step}; lower lr (now {lr:g})")
        return path

    def norm_flow(self, starts: ArrayLike, slow_time: ArrayLike) -> NDArray[np.float64]:
        """Return the norm flow on {w : x·w = y} (m, k, d) at slow times (k,), for y > 0.

        It starts where gradient descent without decay from w₀ (m, d) reaches the set. Descent moves along x, and the
        flow shortens the rest: w(s) = y x / |x|² + e^{−s} (I − P) w₀, with P = x xᵀ / |x|².
        """
        x, start = np.asarray(self.x, dtype=np.float64), np.asarray(starts, dtype=np.float64)
        tangent = start - np.outer(start @ x, x) / (x @ x)
        return np.asarray(self.y * x / (x @ x) + np.exp(-np.asarray(slow_time))[:, None] * tangent[:, None, :])


def count_slow_steps(slow_time: ArrayLike, lr: float, weight_decay: float) -> NDArray[np.int64]:
    """Return the steps at which descent has the slow times s = weight_decay · lr · steps.

    Raises
    ------
    ValueError
        If a slow time above 0 is shorter than half a step.
    """
    shortest = min((s for s in np.ravel(slow_time).tolist() if s > 0), default=math.inf)
    if shortest < lr * weight_decay / 2:
        raise ArgumentValueError("lr", f"a step covers the slow time {lr * weight_decay:g}, longer than {shortest:g}")
    return np.rint(np.asarray(slow_time) / (lr * weight_decay)).astype(np.int64)
