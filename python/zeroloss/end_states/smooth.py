"""End states of networks with smooth activations: the flow of Φ, Newton's method, and departure from saddles."""

from __future__ import annotations

import math

import numpy as np

from .._choices import Loss, Reduction
from ..curvature import SmallestCurvature, smallest
from ..datasets import Dataset
from ..geometry import gram
from ..networks import Network
from .implicit_flow import follow_flow
from .objective import Objective
from .point import Ending, StationaryPoint, find_active_units, rank_of
from .trust_region import leave_saddle, minimise

#: The accuracy of the smallest curvature, beyond the residual of its eigenvector.
CURVATURE_ACCURACY = 1e-7

_MOST_SADDLES = 20


def search(
    net: Network,
    data: Dataset,
    weight_decay: float,
    loss: Loss,
    reduction: Reduction,
    slow_time: float,
    tolerance: float,
    most_iterations: int,
    threads: int | None,
) -> StationaryPoint:
    """Search a minimum of Φ from a network in float64."""
    objective = Objective(net, data, weight_decay, loss, reduction, threads)
    trace, theta = objective.trace, np.concatenate([net.E.ravel(), net.W.ravel()])
    _, gradient = objective.evaluate(theta)
    trace.record(objective.kkt(theta, gradient))
    start = float(np.linalg.norm(theta))
    theta = follow_flow(objective, theta, slow_time, tolerance)
    for saddles in range(_MOST_SADDLES + 1):
        theta, failure = minimise(objective, theta, tolerance, most_iterations, start)
        curvature: SmallestCurvature | None = None
        if not failure:
            try:
                curvature = smallest(objective.network(theta), data, weight_decay, loss, reduction, threads=threads)
            except np.linalg.LinAlgError as error:
                failure = f"the point is stationary, but its curvature is unknown: {error}"
        if curvature is None or not is_negative(curvature.value, curvature.residual) or saddles == _MOST_SADDLES:
            break
        beyond = leave_saddle(objective, theta, curvature.vector)
        if beyond is None:
            break
        theta = beyond
        trace.record(objective.kkt(theta, objective.evaluate(theta)[1]))
    value, gradient = objective.evaluate(theta)
    residual = objective.kkt(theta, gradient)
    outcome = classify(residual <= tolerance, curvature)
    after = objective.network(theta).after(net.settings, f"stationary_point, weight decay {weight_decay:g}")
    return StationaryPoint(
        network=after,
        objective=value,
        kkt=residual,
        smallest_curvature=math.nan if curvature is None else curvature.value,
        is_minimum=outcome == "minimum",
        active_units=int(find_active_units(after).sum()),
        rank=rank_of(gram(after, data)),
        outcome=outcome,
        message=failure or describe(outcome),
        weight_decay=weight_decay,
        residuals=np.array(trace.residuals),
        slow_time=trace.slow_time,
        flow_steps=trace.flow_steps,
        iterations=trace.iterations,
        products=trace.products,
    )


def is_negative(value: float, error: float) -> bool:
    """Return whether a curvature is below 0 beyond its accuracy."""
    return value < -(error + CURVATURE_ACCURACY)


def classify(converged: bool, curvature: SmallestCurvature | None) -> Ending:
    """Return the kind of a point from its smallest curvature."""
    if not converged:
        return "not converged"
    if curvature is None:
        return "flat"
    if is_negative(curvature.value, curvature.residual):
        return "saddle"
    return "minimum" if curvature.value > curvature.residual + CURVATURE_ACCURACY else "flat"


def describe(outcome: Ending) -> str:
    """Return an outcome in words."""
    return {
        "minimum": "the point is a strict local minimum",
        "flat": "the point is stationary, and its smallest curvature is 0 to its accuracy",
        "saddle": "the point is a saddle that the search did not leave",
        "not converged": "the search did not converge",
    }[outcome]
