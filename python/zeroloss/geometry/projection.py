"""Projection onto the zero-loss set: Gauss–Newton, with or without chord steps, and the paper's momentum steps."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._choices import ProjectionMethod, Solver
from .._kernels import kernels
from ..datasets import Dataset, kernel_samples
from ..networks import Network, from_arrays, kernel_activation
from .solver import checked_zero_loss_set, singular_error

PROJECTIONS = ("gauss_newton", "chord", "momentum")

#: The paper's projection (Sec. 7.1): descent steps without weight decay.
MOMENTUM_STEPS, MOMENTUM = 100, 0.9

_ACCURACY = 1e-3  # of the smallest singular value in an estimate
_LANCZOS_ITERATIONS = 100


class ProjectionError(np.linalg.LinAlgError):
    """Gauss–Newton did not reach the zero-loss set.

    Attributes
    ----------
    residuals : ndarray
        max|F − Y| by iteration.
    """

    def __init__(self, ending: str, residuals: list[float], tolerance: float) -> None:
        self.residuals = np.array(residuals)
        history = ", ".join(f"{value:.1e}" for value in residuals)
        super().__init__(
            f"the projection did not reach max|F − Y| ≤ {tolerance:g} ({ending}); the residuals were {history}"
        )


@dataclass(frozen=True, eq=False)
class Projection:
    """A point of the zero-loss set near a network.

    Attributes
    ----------
    network : Network
        The point θ′.
    residuals : ndarray
        max|F − Y| before each iteration and after the last. Gauss–Newton lets the norm ‖F − Y‖ fall in each iteration;
        the greatest entry may rise on the way.
    distance : float
        ‖θ′ − θ‖, how far the projection moved.
    distance_estimate : float
        A first-order estimate of the distance to the set from above, ‖F − Y‖_F / σ_min(J), both at θ.
    factorisations : int
        How often J Jᵀ was factored on the way.
    """

    network: Network
    residuals: NDArray[np.float64] = field(repr=False)
    distance: float
    distance_estimate: float
    factorisations: int


def project(
    net: Network,
    data: Dataset,
    method: ProjectionMethod = "gauss_newton",
    *,
    tolerance: float = 1e-12,
    max_iterations: int = 100,
    lr: float = 1.0,
    solver: Solver = "auto",
) -> Projection:
    """Move a network onto the zero-loss set.

    Parameters
    ----------
    net : Network
        In float64.
    data : Dataset
        Its training samples are used.
    method : {"gauss_newton", "chord", "momentum"}
        - ``"gauss_newton"``: θ ← θ − t Jᵀ(J Jᵀ)⁻¹(F − Y) with a new factor of J Jᵀ in each step, and t halved from 1
          until ‖F − Y‖ falls. It converges quadratically.
        - ``"chord"``: the same, but steps far from the set are solved for roughly, by conjugate gradients, and near it
          the factor is kept while the residual contracts fast enough to spare a new one. It is the quickest, converges
          linearly in the end, and arrives at another point of the set: see `alignment`.
        - ``"momentum"``: the paper's 100 steps of descent on the mean squared error with momentum 0.9, without weight
          decay.
    tolerance : float
        Gauss–Newton ends at max|F − Y| ≤ tolerance.
    max_iterations : int
        Of Gauss–Newton.
    lr : float
        Learning rate of the momentum descent.
    solver : {"auto", "dense", "matrix_free"}
        See `memory_needed`.

    Returns
    -------
    Projection
        For "momentum" wherever its steps lead; its last residual says how far from the set that is.

    Raises
    ------
    ProjectionError
        Where Gauss–Newton does not converge, with the residuals.
    numpy.linalg.LinAlgError
        Where J is singular at the start or on the way, with the cause and its smallest singular value.
    ValueError, TypeError
        For a network that does not fit the data or is not float64, arguments out of their range, and a problem that
        does not fit in memory.
    """
    _checks.choice("method", method, PROJECTIONS)
    tolerance, lr = _checks.positive("tolerance", tolerance), _checks.positive("lr", lr)
    max_iterations = _checks.integer("max_iterations", max_iterations, 1)
    zero_loss = checked_zero_loss_set(net, data, solver)
    extremes = zero_loss.extremes(net.E, net.W, _ACCURACY, _LANCZOS_ITERATIONS)
    if extremes is None:
        raise singular_error(net, data)
    estimate = float(np.linalg.norm(zero_loss.residual(net.E, net.W))) / extremes[1]
    E, W = net.E.copy(), net.W.copy()
    if method == "momentum":
        residuals, factorisations = _descend(zero_loss, net, data, E, W, lr), 0
    else:
        residuals, factorisations = retract(
            zero_loss, net, data, E, W, tolerance=tolerance, most=max_iterations, reuse_factor=method == "chord"
        )
    point = from_arrays(E, W, net.activation).after(net.settings, f"{method} projection")
    return Projection(point, np.array(residuals), distance(point, net), estimate, factorisations)


def retract(
    zero_loss: kernels.ZeroLossSet,
    net: Network,
    data: Dataset,
    E: NDArray[np.float64],
    W: NDArray[np.float64],
    *,
    tolerance: float,
    most: int,
    reuse_factor: bool,
) -> tuple[list[float], int]:
    """Move E and W by Gauss–Newton, in place; return the residuals and the number of factorisations."""
    ending, residuals, factorisations = zero_loss.retract(E, W, tolerance, most, reuse_factor)
    if ending == "singular":
        raise singular_error(from_arrays(E, W, net.activation), data)
    if ending != "converged":
        raise ProjectionError(ending, residuals, tolerance)
    return residuals, factorisations


def momentum_descent(net: Network, data: Dataset, lr: float) -> kernels.Descent64:
    """Return the paper's descent towards the set: mean squared error, momentum 0.9, no weight decay."""
    train, test = (kernel_samples(data, part, np.dtype("float64")) for part in ("train", "test"))
    return kernels.Descent64(
        train,
        test,
        kernel_activation(net),
        kernels.Loss("mse", "mean"),
        kernels.Optimizer("sgd", lr=lr, weight_decay_E=0.0, weight_decay_W=0.0, momentum=MOMENTUM),
        hidden=net.hidden,
        threads=1,
    )


def at_rest(descent: kernels.Descent64, E: NDArray[np.float64], W: NDArray[np.float64]) -> kernels.DescentState64:
    """Return the state of a descent at E and W, which its steps change, without velocity."""
    steps = np.zeros((), np.int64)
    return descent.bind(E, W, steps=steps, velocity_E=np.zeros_like(E), velocity_W=np.zeros_like(W))


def distance(a: Network, b: Network) -> float:
    """Return ‖θ_a − θ_b‖."""
    return float(np.hypot(np.linalg.norm(a.E - b.E), np.linalg.norm(a.W - b.W)))


def _descend(
    zero_loss: kernels.ZeroLossSet,
    net: Network,
    data: Dataset,
    E: NDArray[np.float64],
    W: NDArray[np.float64],
    lr: float,
) -> list[float]:
    descent, step = momentum_descent(net, data, lr), kernels.DescentChunk(1)
    state = at_rest(descent, E, W)
    residuals = [float(np.abs(zero_loss.residual(E, W)).max())]
    for _ in range(MOMENTUM_STEPS):
        descent.advance(state, step)
        residuals.append(float(np.abs(zero_loss.residual(E, W)).max()))
    if not np.isfinite(residuals[-1]):
        raise ProjectionError(f"the momentum descent diverged, lower lr (now {lr:g})", residuals, 0.0)
    return residuals
