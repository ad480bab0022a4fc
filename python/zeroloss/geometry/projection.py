"""Projection onto the zero-loss set: Gauss–Newton, with or without chord steps, and the paper's momentum steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._choices import ProjectionMethod, Solver
from .._kernels import kernels
from ..datasets import Dataset, kernel_samples
from ..networks import Network, kernel_activation
from .solver import LostRankError, checked_zero_loss_set, singular_error

PROJECTIONS = ("gauss_newton", "chord", "momentum")

#: The paper's projection (Sec. 7.1): descent steps without weight decay.
MOMENTUM_STEPS, MOMENTUM = 100, 0.9

_ACCURACY = 1e-3  # the relative accuracy of the smallest singular value in the estimate of the distance
_LANCZOS_ITERATIONS = 100


class ProjectionError(np.linalg.LinAlgError):
    """An error for a projection that does not reach the zero-loss set.

    Attributes
    ----------
    residuals : ndarray, (iterations + 1,)
        The residual max|F − Y| before each iteration and after the last. Empty if it was not recorded.
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
    residuals : ndarray, (iterations + 1,)
        The residual max|F − Y| before each iteration and after the last. Gauss–Newton decreases the norm ‖F − Y‖ in
        each iteration, but the greatest entry may rise.
    distance : float
        The distance ‖θ′ − θ‖ between the point and the network.
    distance_estimate : float
        A first-order upper estimate of the distance to the set, ‖F − Y‖_F / σ_min(J), both at θ.
    factorisations : int
        The number of factorisations of J Jᵀ.
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
        The network θ, in float64.
    data : Dataset
        Its training samples define the set.
    method : {"gauss_newton", "chord", "momentum"}
        - ``"gauss_newton"``, the default: θ ← θ − t Jᵀ(J Jᵀ)⁻¹(F − Y), with a new factor of J Jᵀ in each step. The step
          length t is halved from 1 until ‖F − Y‖ decreases. The convergence is quadratic.
        - ``"chord"``: the same, except that steps far from the set are solved for roughly, by conjugate gradients. Near
          the set, a factor is reused while the residual contracts fast enough. This is the fastest method. Its final
          convergence is linear, and it arrives at another point of the set; see `alignment`.
        - ``"momentum"``: the paper's 100 steps of descent on the mean squared error, with momentum 0.9 and without
          weight decay (Sec. 7.1).
    tolerance : float
        Gauss–Newton ends at max|F − Y| ≤ tolerance. Above 0, by default 1e-12.
    max_iterations : int
        The most iterations of Gauss–Newton, at least 1, by default 100.
    lr : float
        Learning rate of the momentum descent, above 0, by default 1.
    solver : {"auto", "dense", "matrix_free"}
        How J Jᵀ z = r is solved, see `memory_needed`.

    Returns
    -------
    Projection
        The point, its distance and the residuals. With ``"momentum"`` the point is wherever the steps lead; its last
        residual shows how far from the set it is.

    Raises
    ------
    ProjectionError
        If Gauss–Newton does not converge or the momentum descent diverges, with the residuals.
    numpy.linalg.LinAlgError
        If J is singular at the start or on the way, with the cause and its smallest singular value.
    ValueError, TypeError
        If the network does not fit the data or is not in float64, an argument is out of its range, or the problem does
        not fit in memory.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(11, test_count=7, seed=0)
    >>> net = zl.networks.uniform_fan_in(data, hidden=128, seed=1, dtype="float64")
    >>> point = zl.geometry.project(net, data).network
    >>> bool(abs(point(data.X_train) - data.Y_train).max() <= 1e-12)
    True
    """
    _checks.choice("method", method, PROJECTIONS)
    tolerance, lr = _checks.positive("tolerance", tolerance), _checks.positive("lr", lr)
    max_iterations = _checks.integer("max_iterations", max_iterations, 1)
    zero_loss = checked_zero_loss_set(net, data, solver)
    extremes = zero_loss.extremes(*net.layers, _ACCURACY, _LANCZOS_ITERATIONS)
    if extremes is None:
        raise singular_error(net, data)
    estimate = float(np.linalg.norm(zero_loss.residual(*net.layers))) / extremes[1]
    E, W = (layer.copy() for layer in net.layers)
    if method == "momentum":
        residuals, factorisations = _descend(zero_loss, net, data, E, W, lr), 0
    else:
        residuals, factorisations = retract(
            zero_loss, net, data, E, W, tolerance=tolerance, most=max_iterations, reuse_factor=method == "chord"
        )
    point = net.with_layers(E, W).after(net.settings, f"{method} projection")
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
    explain: bool = True,
) -> tuple[list[float], int]:
    """Move E and W onto the set by Gauss–Newton, in place.

    Returns the residuals and the number of factorisations, or raises ProjectionError or LinAlgError. If J is singular,
    that is LostRankError, or with ``explain`` an error that names the cause.
    """
    ending, residuals, factorisations = zero_loss.retract(E, W, tolerance, most, reuse_factor)
    if ending == "singular":
        if not explain:
            raise LostRankError
        raise singular_error(net.with_layers(E, W), data)
    if ending != "converged":
        raise ProjectionError(ending, residuals, tolerance)
    return residuals, factorisations


def momentum_descent(net: Network, data: Dataset, lr: float) -> kernels.Descent64:
    """Make the paper's descent towards the set: mean squared error, momentum 0.9, no weight decay."""
    has_constant = net.bias_hidden is not None
    train, test = (kernel_samples(data, part, np.dtype("float64"), has_constant) for part in ("train", "test"))
    return kernels.Descent64(
        train,
        test,
        kernel_activation(net),
        kernels.Loss("mse", "mean"),
        kernels.Optimizer("sgd", lr=lr, weight_decay_E=0.0, weight_decay_W=0.0, momentum=MOMENTUM),
        hidden=net.hidden,
        threads=1,
        output_biases=net.bias_output is not None,
    )


def bind_at_rest(descent: kernels.Descent64, E: NDArray[np.float64], W: NDArray[np.float64]) -> kernels.DescentState64:
    """Bind the state of a descent to E and W, without velocity. Its steps change E and W."""
    steps = np.zeros((), np.int64)
    return descent.bind(E, W, steps=steps, velocity_E=np.zeros_like(E), velocity_W=np.zeros_like(W))


def distance(a: Network, b: Network) -> float:
    """Compute ‖θ_a − θ_b‖."""
    differences = (A - B for A, B in zip(a.layers, b.layers, strict=True))
    return math.hypot(*(np.linalg.norm(difference) for difference in differences))


def _descend(
    zero_loss: kernels.ZeroLossSet,
    net: Network,
    data: Dataset,
    E: NDArray[np.float64],
    W: NDArray[np.float64],
    lr: float,
) -> list[float]:
    """Take the momentum steps in place, and return the residual before the first and after each."""
    descent, step = momentum_descent(net, data, lr), kernels.DescentChunk(1)
    state = bind_at_rest(descent, E, W)
    residuals = [float(np.abs(zero_loss.residual(E, W)).max())]
    for _ in range(MOMENTUM_STEPS):
        descent.advance(state, step)
        residuals.append(float(np.abs(zero_loss.residual(E, W)).max()))
    if not np.isfinite(residuals[-1]):
        raise ProjectionError(f"the momentum descent diverged; use a smaller lr (now {lr:g})", residuals, 0.0)
    return residuals
