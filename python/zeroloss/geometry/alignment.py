"""Alignment of updates with the norm-minimising direction (Figs. 5 and 7): of one update, and along a simulation."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._checks import ArgumentValueError
from .._choices import ProjectionMethod, Solver
from .._kernels import kernels
from ..datasets import Dataset
from ..networks import Network, check_fits
from .projection import MOMENTUM_STEPS, PROJECTIONS, ProjectionError, bind_at_rest, momentum_descent, retract
from .solver import checked_zero_loss_set, require_float64, resolve_method, singular_error

_TOLERANCE, _MOST_ITERATIONS = 1e-12, 100  # Gauss–Newton: max|F − Y| at its end, and the most iterations
_ACCURACY, _LANCZOS_ITERATIONS = 3e-3, 40  # for the smallest singular value

#: The greatest distance from the network to the zero-loss set, in units of ‖θ‖, at which J at the projection still
#: describes the network: its distance to the origin.
FURTHEST = 1.0

#: The reasons for which a number is NaN, by the code that is recorded.
REASONS = (
    "nothing is NaN",
    "there was no update: the two networks are equal",
    "the direction is zero: θ is normal to the set, to rounding",
    "the projection did not converge",
    "the earlier network was not kept: the run was interrupted",
    "the network is further from the zero-loss set than from the origin",
)


@dataclass(frozen=True)
class Alignment:
    """The alignment of an update Δ = θ − θ_earlier with the norm-minimising direction g = −(I − J⁺J) θ.

    J is taken at the projection of θ onto the zero-loss set. ``float(alignment)`` is the cosine.

    Attributes
    ----------
    cosine : float
        The cosine of Δ with g. NaN if θ is too far from the set, see `alignment`.
    decay_cosine : float
        The cosine of Δ with −θ, the direction of weight decay, for comparison.
    tangent_share : float
        The tangent part of the update, ‖(I − J⁺J) Δ‖ / ‖Δ‖, in [0, 1]. NaN if θ is too far from the set.
    distance : float
        The distance from θ to its projection.
    smallest_singular_value : float
        The smallest singular value of J, from above, within 1 per cent.
    reason : int
        The code of the reason for which a number is NaN, and 0 if none is. ``explanation`` is the reason in words.
    factorisations : int
        The number of factorisations of J Jᵀ.
    """

    cosine: float
    decay_cosine: float
    tangent_share: float
    distance: float
    smallest_singular_value: float
    reason: int
    factorisations: int

    @property
    def explanation(self) -> str:
        """The reason for which a number is NaN, in words."""
        return REASONS[self.reason]

    def __float__(self) -> float:
        return self.cosine


def alignment(
    network: Network,
    earlier: Network,
    data: Dataset,
    projection: ProjectionMethod = "chord",
    *,
    lr: float = 1.0,
    solver: Solver = "auto",
) -> Alignment:
    """Compute the alignment of the update from ``earlier`` to ``network`` with −(I − J⁺J) θ.

    J is taken at the projection of θ, the parameters of ``network``, onto the zero-loss set.

    Parameters
    ----------
    network : Network
        The parameters θ, in float64.
    earlier : Network
        The parameters some steps before, in float64. The paper takes 10 steps.
    data : Dataset
        Its training samples define the set.
    projection : {"chord", "gauss_newton", "momentum"}
        The projection: to max|F − Y| ≤ 1e-12 by Gauss–Newton with chord steps (default) or without them, or the paper's
        100 momentum steps; see `project`.
    lr : float
        Learning rate of the momentum steps, above 0, by default 1.
    solver : {"auto", "dense", "matrix_free"}
        How J Jᵀ z = r is solved, see `memory_needed`.

    Returns
    -------
    Alignment
        The numbers. The cosine is NaN, with the reason, if a vector is zero or the network is too far from the set.

    Raises
    ------
    ProjectionError
        If Gauss–Newton does not converge, with the residuals.
    numpy.linalg.LinAlgError
        If J is singular, with the cause and its smallest singular value.
    ValueError, TypeError
        If a network does not fit the data or the other network, or is not in float64, an argument is out of its range,
        or the problem does not fit in memory.

    Notes
    -----
    The direction belongs to the projection, so it describes θ only if the projection is near. The cosine and the
    tangent share are NaN if the distance to the projection, plus the first-order estimate ‖F − Y‖/σ_min(J) of the
    distance from there to the set, exceeds ‖θ‖: the origin is then nearer than the projection. With the settings of
    figure 5 this is the case up to step 80. The distance is 0.49 to 0.56 ‖θ‖ at step 300 and 0.06 to 0.07 ‖θ‖ at step
    1 000. A tanh network on 200 digits is 1.6 and 1.3 ‖θ‖ away at steps 2 000 and 5 000, although it has memorised.
    Above 0.6 ‖θ‖ the projections of neighbouring steps may be 0.2 to 0.3 ‖θ‖ apart.

    "chord" and "gauss_newton" project onto different points of the set. With the settings of figure 5, from step 300 to
    30 000 and over five seeds, their cosines differ by 0.005 in the median and at most 0.038 with ReLU, and from step
    1 000 on by at most 0.0005 with softplus(5).
    """
    require_float64(earlier, data)
    if earlier.bias != network.bias:
        raise ArgumentValueError("earlier", f"expected biases {network.bias!r}, as network has, got {earlier.bias!r}")
    if earlier.hidden != network.hidden:
        raise ArgumentValueError(
            "earlier", f"expected {network.hidden} hidden units, the number of network, got {earlier.hidden}"
        )
    return _Workspace(network, data, projection, lr, solver).measure(network, earlier)


class AlignmentMeasure:
    """A measure of the alignment along a simulation: ``simulate(measures={"alignment": AlignmentMeasure(data)})``.

    At each record t it measures the update θ_t − θ_{max(0, t − lag)}. The history gets the numbers of `Alignment`, each
    named by the entry, an underscore and the number's name: ``cosine``, ``decay_cosine``, ``tangent_share``,
    ``distance``, ``smallest_singular_value``, ``reason``. If a projection does not converge, the numbers are NaN, with
    the reason. If J is singular, the simulation ends with the outcome "singular".

    Parameters
    ----------
    data : Dataset
        The dataset that the simulation trains on.
    projection : {"chord", "gauss_newton", "momentum"}
        The projection onto the zero-loss set, see `alignment`.
    lag : int
        The number of steps of an update, at least 1, by default 10 as in the paper.
    lr : float
        Learning rate of the momentum steps, above 0, by default 1.
    solver : {"auto", "dense", "matrix_free"}
        How J Jᵀ z = r is solved, see `memory_needed`.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range.
    """

    #: Units and meanings of the numbers that a call returns, for the history.
    descriptions: ClassVar[Mapping[str, tuple[str, str]]] = {
        "cosine": ("1", "cosine of the update over the last steps with −(I − J⁺J) θ, J at the projection of θ"),
        "decay_cosine": ("1", "cosine of the update over the last steps with −θ"),
        "tangent_share": ("1", "‖(I − J⁺J) update‖ / ‖update‖, J at the projection of θ"),
        "distance": ("1", "distance from θ to its projection on the zero-loss set"),
        "smallest_singular_value": ("1", "smallest singular value of J at the projection, within 1 per cent"),
        "reason": ("1", "why a number is NaN: " + "; ".join(f"{code} {text}" for code, text in enumerate(REASONS))),
    }

    def __init__(
        self,
        data: Dataset,
        projection: ProjectionMethod = "chord",
        *,
        lag: int = 10,
        lr: float = 1.0,
        solver: Solver = "auto",
    ) -> None:
        _checks.check_instance("data", data, Dataset)
        self.lag = _checks.integer("lag", lag, 1)
        self._arguments = (_checks.choice("projection", projection, PROJECTIONS), _checks.positive("lr", lr), solver)
        resolve_method(solver, data)
        self._data = data
        self._local = threading.local()  # a workspace for each thread

    def __repr__(self) -> str:
        return f"AlignmentMeasure({self._data!r}, {self._arguments[0]!r}, lag={self.lag})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _measure, (self._data, self.lag, *self._arguments)

    def __call__(self, network: Network, earlier: Network | None) -> Mapping[str, float]:
        """Return the numbers by name. They are NaN if ``earlier`` is None."""
        key = (network.activation, network.hidden, network.bias)
        if getattr(self._local, "key", None) != key:
            self._local.workspace, self._local.key = _Workspace(network, self._data, *self._arguments), key
        try:
            result = self._local.workspace.measure(network, earlier)
        except ProjectionError:
            result = _not_measured(REASONS.index("the projection did not converge"))
        return {name: getattr(result, name) for name in self.descriptions}


def _measure(data: Dataset, lag: int, projection: ProjectionMethod, lr: float, solver: Solver) -> AlignmentMeasure:
    """Make a measure from the arguments of its pickle."""
    return AlignmentMeasure(data, projection, lag=lag, lr=lr, solver=solver)


def _not_measured(reason: int) -> Alignment:
    """Return an alignment of which all numbers are NaN."""
    nan = float("nan")
    return Alignment(nan, nan, nan, nan, nan, reason, 0)


class _Workspace:
    """The kernels for networks of one size and activation, used for any number of measurements."""

    def __init__(
        self, network: Network, data: Dataset, projection: ProjectionMethod, lr: float, solver: Solver
    ) -> None:
        check_fits(network, data)
        self._projection = _checks.choice("projection", projection, PROJECTIONS)
        self._data, self._lr = data, _checks.positive("lr", lr)
        self._set = checked_zero_loss_set(network, data, solver)
        self._descent = momentum_descent(network, data, lr)

    def measure(self, network: Network, earlier: Network | None) -> Alignment:
        if earlier is None:
            return _not_measured(REASONS.index("the earlier network was not kept: the run was interrupted"))
        E, W, factorisations = self._project(network)
        numbers = self._set.alignment(
            *network.layers, *earlier.layers, E, W, factorisations > 0, _ACCURACY, _LANCZOS_ITERATIONS
        )
        if numbers is None:
            raise singular_error(network, self._data)
        cosine, decay_cosine, share, smallest, _, no_update, no_direction = numbers
        theta_E, theta_W = network.layers
        distance = float(np.hypot(np.linalg.norm(E - theta_E), np.linalg.norm(W - theta_W)))
        reason = 1 if no_update else 2 if no_direction else 0
        left = 0.0 if factorisations else float(np.linalg.norm(self._set.residual(E, W))) / smallest
        if not distance + left <= FURTHEST * np.hypot(np.linalg.norm(theta_E), np.linalg.norm(theta_W)):
            cosine = share = float("nan")
            reason = reason or len(REASONS) - 1
        return Alignment(cosine, decay_cosine, share, distance, smallest, reason, max(1, factorisations))

    def _project(self, network: Network) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        E, W = (layer.copy() for layer in network.layers)
        if self._projection != "momentum":
            chord = self._projection == "chord"
            _, factorisations = retract(
                self._set, network, self._data, E, W, tolerance=_TOLERANCE, most=_MOST_ITERATIONS, reuse_factor=chord
            )
            return E, W, factorisations
        if not self._descent.advance(bind_at_rest(self._descent, E, W), kernels.DescentChunk(MOMENTUM_STEPS)).finite:
            raise ProjectionError(f"the momentum descent diverged; use a smaller lr (now {self._lr:g})", [], 0.0)
        return E, W, 0
