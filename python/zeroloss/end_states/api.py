"""The public search for end states: checks of arguments, and the choice of the method."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from .. import _checks
from .._checks import ArgumentValueError
from .._choices import Loss, Reduction
from .._resources import check_memory, checked_threads
from ..curvature.kernel import check_settings
from ..curvature.metric import check_targets
from ..datasets import Dataset
from ..dynamics.evaluation import loss_and_gradient
from ..geometry.corners import kink_slopes
from ..networks import Network, fold_biases
from . import kinked, smooth
from .point import StationaryPoint

_SLOW_TIME, _SLOW_TIME_WITH_KINKS = 20.0, 1000.0  # of the flow by default
_ON_THE_SET = 1e-6  # max|F − Y| of a network on the zero-loss set, relative to the largest target


def stationary_point(
    net: Network,
    data: Dataset,
    weight_decay: float,
    loss: Loss = "mse",
    reduction: Reduction = "mean",
    *,
    slow_time: float | None = None,
    tolerance: float = 1e-9,
    most_iterations: int = 1000,
    revive: bool = True,
    threads: int | None = None,
) -> StationaryPoint:
    """Search a minimum of Φ = L + (weight_decay/2) ‖θ‖² from a network, and certify it.

    The search first follows the gradient flow of Φ for a slow time s = weight_decay · t, in implicit steps, and then
    minimises Φ by Newton's method in a trust region. It leaves saddles along directions of negative curvature. The
    start may be any network: one that has not memorised does so along the flow, unless the decay prevents it.

    With ReLU and leaky ReLU, pairs of a sample and a unit are *pinned* at their kinks. The flow slides along kinks, and
    Newton's method pins and releases pairs. It is tried at slow times of 100, 200, 350, 600 and at the end. Parallel
    units are merged, which changes neither outputs nor the norm. A dead unit, with E_u = 0 and W_u = 0, has no
    gradient, but Φ decreases if it grows and ``new_unit_gain`` is positive. Such a point is a saddle. Dead units are
    revived, and the search continues until there is no gain or no dead unit left. Without a gain the point is a global
    minimum: see Notes. Otherwise, the certificate holds among the active units and with their sides.

    Parameters
    ----------
    net : Network
        The start. It is converted to float64.
    data : Dataset
        Its training samples determine the loss L.
    weight_decay : float
        The weight decay, above 0.
    loss : {"mse", "cross_entropy"}
        The loss, see `zeroloss.loss_and_gradient`. ReLU and leaky ReLU need "mse".
    reduction : {"mean", "sum"}
        The reduction of the loss.
    slow_time : float, optional
        The slow time for which the flow is followed at most, at least 0, by default 20. With ReLU and leaky ReLU it is
        1000 by default, and the flow ends as soon as Newton's method converges.
    tolerance : float
        The KKT residual ‖∇Φ‖/(weight_decay ‖θ‖) at which the search ends, above 0, by default 1e-9. Rounding limits it
        to about 1e-16/weight_decay.
    most_iterations : int
        The most iterations of Newton's method between two saddles, at least 1, by default 1000.
    revive : bool
        Whether units of ReLU and leaky ReLU networks that are dead, or die during the search, may become new units, by
        default true. With false they stay dead, as in gradient descent, and the certificate holds among the active
        units.
    threads : int, optional
        The number of threads of a product, at least 1. By default 1 for small networks, and all processors otherwise.

    Returns
    -------
    StationaryPoint
        The point and its certificate. If the search did not converge, its outcome is "not converged", and the message
        and the history of residuals describe the end.

    Raises
    ------
    ValueError, TypeError
        If the network does not fit the data, its activation has a kink and the loss is "cross_entropy", a name is
        unknown, a number is out of its range (with weight_decay = 0, cross-entropy has its minimum at infinity, and
        squared error a whole zero-loss set: see `least_norm_point`), the loss overflows at the start, or the Gram
        matrix of (n·d_out)² numbers, or with kinks matrices of d_in² numbers for all units, do not fit in memory.

    Notes
    -----
    Iterations of both parts factor a matrix of n·d_out rows. Newton's method measures steps in the metric weight_decay
    I + Gauss–Newton and uses its inverse as preconditioner. The minimum is a local one; another start may lead to
    another. A minimum need not have memorised: compare its training accuracy. If the decay is so large that θ = 0 is
    the minimum, the search ends there.

    For ReLU and leaky ReLU, Φ is a convex function of the distribution of units over directions. Therefore a stationary
    point is a global minimum, for networks of any width, if no new unit has a gain (Haeffele and Vidal, Global
    optimality in neural network training, CVPR 2017). The search for the best new unit is a local one from many starts.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    >>> net = zl.networks.uniform_fan_in(data, hidden=24, seed=100, activation="softplus(5)")
    >>> point = zl.stationary_point(net, data, weight_decay=1e-4)
    >>> point.is_minimum, round(point.objective, 12)
    (True, 0.001547693851)
    """
    check_settings(loss, reduction)
    original, (net, data) = net, fold_biases(net, data)
    weight_decay, tolerance = _checks.positive("weight_decay", weight_decay), _checks.positive("tolerance", tolerance)
    most_iterations = _checks.integer("most_iterations", most_iterations, 1)
    _checks.check_instance("revive", revive, bool)
    checked_threads(threads, 0, 1)
    check_targets(data, loss)
    slopes = kink_slopes(net.activation)
    _check_size(net, data, slopes is not None)
    net = net.astype("float64")
    with np.errstate(all="ignore"):
        start = float(loss_and_gradient(net, data, loss, reduction)[0])
    if not math.isfinite(start):
        raise ArgumentValueError("net", "expected a network with a finite loss, but its outputs overflow")
    if slopes is not None:
        if loss != "mse":
            raise ArgumentValueError("loss", f"expected mse with {net.activation}, got {loss}; use a smooth activation")
        slow_time = _SLOW_TIME_WITH_KINKS if slow_time is None else _checks.not_negative("slow_time", slow_time)
        with np.errstate(all="ignore"):
            point = kinked.search(
                net, data, weight_decay, reduction, slopes, slow_time, tolerance, most_iterations, revive, threads
            )
            return _unfold(point, original)
    slow_time = _SLOW_TIME if slow_time is None else _checks.not_negative("slow_time", slow_time)
    with np.errstate(all="ignore"):
        point = smooth.search(net, data, weight_decay, loss, reduction, slow_time, tolerance, most_iterations, threads)
    return _unfold(point, original)


def least_norm_point(
    net: Network,
    data: Dataset,
    *,
    slow_time: float = 1000.0,
    tolerance: float = 1e-9,
    most_iterations: int = 50,
    threads: int | None = None,
) -> StationaryPoint:
    """Search a point of least norm on the zero-loss set of a ReLU network, the limit of end states for no weight decay.

    From a network whose KKT residual is at most 1e-2, as the norm flow reaches it at a large slow time, Newton's method
    is tried at once. Otherwise, and if it does not converge, the proximal norm flow is followed, and Newton's method is
    tried again at slow times of 100, 200, 350, 600 and at the end.

    Parameters
    ----------
    net : Network
        A network on the zero-loss set, with relu or leaky_relu. It is converted to float64.
    data : Dataset
        Its training samples define the set F(θ) = Y.
    slow_time : float
        The slow time for which the norm flow is followed at most, and again from beyond a saddle, at least 0, by
        default 1000.
    tolerance : float
        The KKT residual ‖θ − J_sᵀΛ‖/‖θ‖ at which the search ends, above 0, by default 1e-9.
    most_iterations : int
        The most iterations of Newton's method in an attempt, at least 1, by default 50.
    threads : int, optional
        The number of threads of the flow, at least 1. By default 1 for small networks, and all processors otherwise.

    Returns
    -------
    StationaryPoint
        The point and its certificate, with ‖θ‖²/2 as objective and a weight decay of 0. If the search did not converge,
        its outcome is "not converged", and the message and the history of residuals describe the end.

    Raises
    ------
    ValueError, TypeError
        If the network does not fit the data, is not on the zero-loss set (max|F − Y| above 1e-6 of the largest target),
        or has an activation without a kink, a number is out of its range, or the Gram matrix of (n·d_out)² numbers, or
        matrices of d_in² numbers for all units, do not fit in memory. For smooth activations J loses rank where the
        norm flow leads, and the conditions of a minimum do not hold: use `stationary_point` with a small weight decay.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    >>> net = zl.geometry.project(zl.networks.uniform_fan_in(data, hidden=24, seed=100), data).network
    >>> point = zl.end_states.least_norm_point(net, data)
    >>> point.kkt <= 1e-9
    True
    """
    original, (net, data) = net, fold_biases(net, data)
    slow_time, tolerance = _checks.not_negative("slow_time", slow_time), _checks.positive("tolerance", tolerance)
    most_iterations = _checks.integer("most_iterations", most_iterations, 1)
    checked_threads(threads, 0, 1)
    slopes = kink_slopes(net.activation)
    if slopes is None:
        raise ArgumentValueError(
            "net", f"expected relu or leaky_relu, got {net.activation}; use stationary_point with a small weight_decay"
        )
    _check_size(net, data, kinks=True)
    net = net.astype("float64")
    distance = float(np.abs(net.outputs(data.rows_train) - data.Y_train).max())
    if not distance <= _ON_THE_SET * float(np.abs(data.Y_train).max()):
        raise ArgumentValueError(
            "net", f"expected a network on the zero-loss set, got max|F − Y| = {distance:.1e}; use zl.geometry.project"
        )
    with np.errstate(all="ignore"):
        point = kinked.search_least_norm(net, data, slopes, slow_time, tolerance, most_iterations, threads)
    return _unfold(point, original)


def _check_size(net: Network, data: Dataset, kinks: bool) -> None:
    """Raise ValueError if a search does not fit in memory. Each unit may have its own pinned pairs at the end."""
    check_memory(f"the Gram matrix of n·d_out = {data.Y_train.size}", 6 * 8 * data.Y_train.size**2)
    if kinks:
        what = f"the directions in which {net.hidden} units can move along their kinks, {data.d_in} inputs each"
        check_memory(what, 3 * 8 * net.hidden * data.d_in**2)


def _unfold(point: StationaryPoint, like: Network) -> StationaryPoint:
    """Return a point whose network has biases again, if ``like`` has them."""
    if like.bias == "none":
        return point
    net = like.with_layers(point.network.E, point.network.W)
    return dataclasses.replace(point, network=dataclasses.replace(net, settings=point.network.settings))
