"""The public search for end states: checks of arguments, and the choice of the method."""

from __future__ import annotations

import math

from .. import _checks
from .._checks import ArgumentValueError
from .._choices import Loss, Reduction
from .._resources import check_memory
from ..curvature.kernel import check_settings
from ..curvature.metric import check_targets
from ..datasets import Dataset
from ..dynamics.evaluation import loss_and_gradient
from ..geometry.corners import kink_slopes
from ..networks import Network, check_fits
from . import smooth
from .point import StationaryPoint

_SLOW_TIME = 20.0  # of the flow with smooth activations


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
    threads: int | None = None,
) -> StationaryPoint:
    """Search a minimum of Φ = L + (weight_decay/2) ‖θ‖² from a network, and certify it.

    The search first follows the gradient flow of Φ for a slow time s = weight_decay · t, in implicit steps, and then
    minimises Φ by Newton's method in a trust region. It leaves saddles along directions of negative curvature. Both
    parts decrease Φ. The start may be any network. A network that has memorised ends where its own flow leads; for
    another one, the flow first memorises, and large first steps of Newton's method are avoided.

    Parameters
    ----------
    net : Network
        The start. It is converted to float64.
    data : Dataset
        Its training samples determine the loss L.
    weight_decay : float
        The weight decay, above 0.
    loss : {"mse", "cross_entropy"}
        The loss, see `zeroloss.loss_and_gradient`.
    reduction : {"mean", "sum"}
        The reduction of the loss.
    slow_time : float, optional
        The slow time for which the flow is followed, at least 0, by default 20.
    tolerance : float
        The KKT residual ‖∇Φ‖/(weight_decay ‖θ‖) at which the search ends, above 0, by default 1e-9. Rounding limits it
        to about 1e-16/weight_decay.
    most_iterations : int
        The most iterations of Newton's method between two saddles, at least 1, by default 1000.
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
        If the network does not fit the data, its activation has a kink, a name is unknown, a number is out of its range
        (weight_decay = 0 has no minimum of cross-entropy, and a continuum of minima of squared error), the loss
        overflows at the start, or the Gram matrix of (n·d_out)² numbers does not fit in memory.

    Notes
    -----
    Iterations of both parts factor a matrix of n·d_out rows. Newton's method measures steps in the metric weight_decay
    I + Gauss–Newton and uses its inverse as preconditioner. The certificate holds for a strict local minimum; another
    start may lead to another one. A minimum need not have memorised: compare its training accuracy. If the decay is so
    large that θ = 0 is the minimum, the search ends there.

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
    check_fits(net, data)
    weight_decay, tolerance = _checks.positive("weight_decay", weight_decay), _checks.positive("tolerance", tolerance)
    most_iterations = _checks.integer("most_iterations", most_iterations, 1)
    slow_time = _SLOW_TIME if slow_time is None else _checks.not_negative("slow_time", slow_time)
    check_targets(data, loss)
    check_memory(f"the Gram matrix of n·d_out = {data.Y_train.size}", 6 * 8 * data.Y_train.size**2)
    net = net.astype("float64")
    if not math.isfinite(float(loss_and_gradient(net, data, loss, reduction)[0])):
        raise ArgumentValueError("net", "expected a network with a finite loss, but its outputs overflow")
    if kink_slopes(net.activation) is not None:
        raise ArgumentValueError("net", f"expected an activation without kinks, got {net.activation}")
    return smooth.search(net, data, weight_decay, loss, reduction, slow_time, tolerance, most_iterations, threads)
