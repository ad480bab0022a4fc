"""The result of a search for an end state: a stationary point with its certificate."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .. import _display
from ..networks import Network

#: How a search ended.
Ending = Literal["minimum", "flat", "saddle", "not converged"]

_ACTIVE = 0.05  # ‖E_u‖ ‖W_u‖ of an active unit, relative to the largest
_RANK = 1e-5  # a singular value of J that counts, relative to the largest


@dataclass(frozen=True, eq=False)
class StationaryPoint:
    """A stationary point of Φ = L + (weight_decay/2) ‖θ‖², or of the norm on the zero-loss set, with its certificate.

    Attributes
    ----------
    network : Network
        The network at the point, or where the search ended.
    objective : float
        Φ there. For the norm on the zero-loss set, ‖θ‖²/2.
    kkt : float
        The residual of `zeroloss.geometry.kkt_residual`: ‖∇Φ‖/(weight_decay ‖θ‖) with the best sides of kinks.
    smallest_curvature : float
        The smallest μ of H v = μ M v (`zeroloss.curvature.smallest`). With kinks, among the directions that keep pinned
        pairs pinned, for the active units. On the zero-loss set, among tangent directions with M = I. NaN if it was not
        computed.
    is_minimum : bool
        Whether the point is certified to be a strict local minimum: ``kkt`` is at most the tolerance, and the smallest
        curvature is positive beyond its accuracy of 1e-7. With kinks this holds for the active units and their sides.
        If `zeroloss.stationary_point` may revive units, it is false if a dead unit has a gain: see ``new_unit_gain``.
    active_units : int
        The number of units with ‖E_u‖ ‖W_u‖ above 5 % of the largest.
    rank : int
        The number of singular values of J above 1e-5 of the largest. With kinks, of J on the directions that keep
        pinned pairs pinned.
    outcome : {"minimum", "flat", "saddle", "not converged"}
        How the search ended. The point is stationary unless it is "not converged". "flat": the smallest curvature is 0
        to its accuracy, or unknown, so the point is not known to be a strict minimum.
    message : str
        The outcome in words.
    weight_decay : float
        The weight decay; 0 for the norm on the zero-loss set.
    residuals : ndarray
        The KKT residual at the start and after each step of the flow and of Newton's method. During the flow of a
        network with kinks, it is measured at the end of each part of the flow only.
    slow_time : float
        The slow time for which the flow was followed.
    flow_steps, iterations, products : int
        The steps of the flow, the iterations of Newton's method, and its products with the Hessian.
    sides : ndarray, (n, h), or None
        With kinks, the side τ_iu of each pair: 1 on, 0 off, between 0 and 1 for a pinned pair. None without kinks.
    pinned_pairs : int
        The number of pinned pairs of active units.
    new_unit_gain : float
        With kinks, max_e ‖Λᵀσ(X e)‖ − 1 over unit vectors e, from local searches. If it is above 0, a new unit of
        infinitesimal size ε would change Φ by about −weight_decay ε times it, so the point is a minimum only among the
        units that are active. If it is 0 to rounding (at most 1e-6), the point is a global minimum. At θ = 0 no unit is
        active, and the point is a minimum only if it is below 0. NaN without kinks.
    """

    network: Network = field(repr=False)
    objective: float
    kkt: float
    smallest_curvature: float
    is_minimum: bool
    active_units: int
    rank: int
    outcome: Ending
    message: str
    weight_decay: float
    residuals: NDArray[np.float64] = field(repr=False)
    slow_time: float = 0.0
    flow_steps: int = 0
    iterations: int = 0
    products: int = 0
    sides: NDArray[np.float64] | None = field(default=None, repr=False)
    pinned_pairs: int = 0
    new_unit_gain: float = float("nan")

    def __repr__(self) -> str:
        return (
            f"StationaryPoint({self.outcome}: objective {self.objective:.12g}, KKT {self.kkt:.1e}, smallest curvature "
            f"{self.smallest_curvature:.3g}, {self.active_units} of {self.network.hidden} units active, "
            f"rank {self.rank})"
        )

    def _repr_html_(self) -> str:
        rows = {
            "objective": f"{self.objective:.12g}",
            "KKT residual": f"{self.kkt:.1e}",
            "smallest curvature": self.smallest_curvature,
            "active units": f"{self.active_units} of {self.network.hidden}",
            "rank of J": self.rank,
            "outcome": self.message,
        }
        return _display.format_html(f"Stationary point, {self.outcome}", rows)


def find_active_units(net: Network) -> NDArray[np.bool_]:
    """Find the units with ‖E_u‖ ‖W_u‖ above 5 % of the largest, (h,)."""
    sizes = np.linalg.norm(net.E, axis=0) * np.linalg.norm(net.W[: net.hidden], axis=1)
    return np.asarray(sizes > _ACTIVE * sizes.max())


def rank_of(K: NDArray[np.float64]) -> int:
    """Return the rank of J from J Jᵀ, and 0 if that overflows."""
    if not np.isfinite(K).all():
        return 0
    values = np.linalg.eigvalsh(K)
    return int(np.sum(values > _RANK**2 * values[-1])) if values[-1] > 0 else 0
