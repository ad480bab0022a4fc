"""The kinks at which a network is: pairs of a sample and a unit with pre-activation 0, and the slopes of these pairs.

The activation is σ(z) = a z + b max(z, 0). A pair (i, u) is *on* (z_iu > 0), *off* (z_iu < 0) or *pinned* (z_iu = 0 to
rounding). Its slope is a + b τ_iu. The side τ is 1 if it is on, 0 if it is off, and in [0, 1] if it is pinned.
Shapes: X n × d_in, E d_in × h, W h × d_out, Z = X E and τ n × h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from .._resources import check_memory
from ..datasets import Dataset
from ..networks import Network, from_arrays

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]

_RANK = 1e-10  # the ratio of singular values below which inputs are dependent
_WITHIN = 1e-9  # the distance to [0, 1] that is rounding of a side


@dataclass(frozen=True, eq=False)
class Corner:
    """The pairs of a network that are on, and the pairs that are pinned.

    Attributes
    ----------
    X : ndarray, (n, d_in)
        The inputs of the training samples.
    a, b : float
        The activation is a z + b max(z, 0).
    on, pinned : ndarray of bool, (n, h)
        The masks of pairs. No pair is in both.
    """

    X: Matrix
    a: float
    b: float
    on: Mask
    pinned: Mask

    def slopes(self, sides: Matrix) -> Matrix:
        """Return a + b τ for each pair, (n, h)."""
        return self.a + self.b * sides

    def middle_sides(self) -> Matrix:
        """Return τ with ½ for pinned pairs, (n, h)."""
        return np.where(self.pinned, 0.5, self.on.astype(np.float64))


def kink_slopes(activation: str) -> tuple[float, float] | None:
    """Return a and b of an activation a z + b max(z, 0), or None for an activation without a kink."""
    if not activation.startswith(("relu", "leaky_relu")):
        return None
    unit = from_arrays(np.ones((1, 1)), np.ones((1, 1)), activation=activation)
    below, above = unit.outputs(np.array([[-1.0], [1.0]])).ravel()
    a, b = -float(below), float(above + below)
    return (a, b) if b != 0 else None


def find_corner(net: Network, data: Dataset, tolerance: float) -> Corner | None:
    """Find the pairs with abs(z_iu) ≤ tolerance · max abs(z). Returns None if the activation has no kink."""
    slopes = kink_slopes(net.activation)
    if slopes is None:
        return None
    Z: Matrix = np.asarray(data.rows_train @ net.E)
    pinned = np.abs(Z) <= tolerance * np.abs(Z).max()
    return Corner(data.X_train, *slopes, (Z > 0) & ~pinned, pinned)


def null_spaces(X: Matrix, pinned: Mask) -> list[Matrix]:
    """Return, for each unit, an orthonormal basis of the directions that keep its pinned pairs pinned, (d_in, r).

    Units with the same pinned pairs have the same array.
    """
    d_in, keys = X.shape[1], [column.tobytes() for column in pinned.T]
    bases = {bytes(len(X)): np.eye(d_in)}
    if (count := len(bases.keys() | set(keys))) > 1:
        check_memory(f"the directions of {count} sets of pinned pairs", 8 * count * d_in**2)
    for key, column in zip(keys, pinned.T, strict=True):
        if key not in bases:
            _, values, vectors = np.linalg.svd(X[column])
            rank = int(np.sum(values > _RANK * values[0])) if values[0] > 0 else 0
            bases[key] = vectors[rank:].T
    return [bases[key] for key in keys]


def solve_sides(corner: Corner, E: Matrix, g: Matrix) -> Matrix:
    """Minimise ‖E_u − Σ_i (a + b τ_iu) g_iu x_i‖ over the sides τ of the pinned pairs, for each unit.

    Parameters
    ----------
    corner : Corner
        The pairs.
    E : ndarray, (d_in, h)
        The first layer.
    g : ndarray, (n, h)
        The forces g_iu = W_u · Λ_i of a multiplier Λ.

    Returns
    -------
    ndarray, (n, h)
        The sides in [0, 1]. If several are best, they are nearest to ½, unless a bound is active.
    """
    sides = corner.middle_sides()
    rest = E - corner.X.T @ (corner.slopes(sides) * g)
    for u in np.flatnonzero((corner.pinned & (g != 0)).any(axis=0)):
        rows = np.flatnonzero(corner.pinned[:, u] & (g[:, u] != 0))
        A = corner.X[rows].T * (corner.b * g[rows, u])
        scale = np.abs(A).max()
        if scale == 0:
            continue
        A, target = A / scale, rest[:, u] / scale
        change = np.linalg.lstsq(A, target, rcond=_RANK)[0]
        if np.abs(change).max() > 0.5 + _WITHIN:
            change = scipy.optimize.lsq_linear(A, target, (-0.5, 0.5), method="bvls").x
        sides[rows, u] = np.clip(0.5 + change, 0, 1)
    return sides


def at_bounds(corner: Corner, sides: Matrix) -> Mask:
    """Return the pinned pairs whose sides are 0 or 1 to rounding, (n, h)."""
    return corner.pinned & ((sides <= _WITHIN) | (sides >= 1 - _WITHIN))
