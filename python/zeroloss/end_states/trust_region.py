"""A trust-region Newton method for Φ = L + (weight_decay/2) ‖θ‖², with conjugate gradients of Steihaug and Toint.

The radius is measured in the metric M = weight_decay I + Gauss–Newton, and M⁻¹ preconditions the conjugate gradients.
In this metric a step moves a long way along the zero-loss set, but not across it. A direction of negative curvature is
followed to the boundary of the region. The zero-loss set is curved, so a long step along it leaves it. If a step
decreases Φ by less than predicted, a correction M⁻¹Jᵀ(G(θ + p) − G(θ) − A J p) with G = ∂L/∂F returns to the set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..curvature.metric import Metric
from .objective import Objective, Vector

_FIRST_RADIUS, _GREATEST_RADIUS = 0.1, 0.3  # in units of √weight_decay ‖θ‖
_ACCEPTED, _POOR, _GOOD, _CLOSE = 1e-4, 0.25, 0.75, 0.9  # ratios of the decrease to its prediction
_SHRINK, _GROW = 1 / 3, 2.0
_MOST_PRODUCTS = 200  # of one step
_LEAST_FORCING = 1e-4  # the least relative accuracy of a step
_ROUNDING = 1e-12  # a predicted decrease relative to Φ that rounding hides
_FLAT = 1e-8  # the curvature of a direction, relative to the metric, that is rounding
_LAST_DIGIT = 4e-16  # of Φ
_VANISHED = 1e-3  # ‖θ‖ relative to the start of the search from which θ = 0 is tried


@dataclass
class Step:
    """A step p, ∇²Φ p, and whether it ends at the boundary."""

    p: Vector
    image: Vector
    at_boundary: bool


def minimise(
    objective: Objective, theta: Vector, tolerance: float, most_iterations: int, start: float
) -> tuple[Vector, str]:
    """Minimise Φ from θ until the KKT residual is at most ``tolerance``.

    Returns the last point, and an empty string or the reason for which the tolerance was not reached. The trace of the
    objective records the residual after each iteration. ``start`` is ‖θ‖ at the start of the whole search: if little of
    it is left, or rounding hides progress, θ = 0 is tried.
    """
    trace, scale = objective.trace, math.sqrt(objective.weight_decay)
    value, gradient = objective.evaluate(theta)
    radius = _FIRST_RADIUS * scale * float(np.linalg.norm(theta))
    metric: Metric | None = None
    for iteration in range(most_iterations + 1):
        residual = objective.kkt(theta, gradient)
        if residual <= tolerance:
            return theta, ""
        vanished = float(np.linalg.norm(theta)) <= _VANISHED * start
        if vanished and _zero_is_better(objective, value):
            trace.record(0.0)
            return np.zeros_like(theta), ""
        if iteration == most_iterations:
            break
        if metric is None:
            try:
                metric = objective.metric(theta, objective.weight_decay)
            except np.linalg.LinAlgError as error:
                return theta, str(error)
        step = solve_step(objective, metric, gradient, radius, max(_LEAST_FORCING, min(0.1, math.sqrt(residual))))
        predicted = -float(gradient @ step.p + step.p @ step.image / 2)
        hidden = predicted <= _ROUNDING * abs(value)
        point, new_value, new_gradient = _take(objective, metric, theta, step.p, value - _CLOSE * predicted, hidden)
        trace.iterations += 1
        if hidden:  # only the gradient shows progress
            if not objective.kkt(point, new_gradient) < residual:
                if _zero_is_better(objective, value):
                    trace.record(0.0)
                    return np.zeros_like(theta), ""
                return theta, f"rounding hides further progress at a KKT residual of {residual:.1e}"
            accepted = True
        else:
            ratio = (value - new_value) / predicted
            accepted = ratio > _ACCEPTED
            radius = _adapt(radius, ratio, step, metric)
        if accepted:
            theta, value, gradient, metric = point, new_value, new_gradient, None
        radius = min(radius, _GREATEST_RADIUS * scale * float(np.linalg.norm(theta)))
        trace.record(objective.kkt(theta, gradient))
    return theta, f"the KKT residual is {residual:.1e} after {trace.iterations} iterations of Newton's method"


def _zero_is_better(objective: Objective, value: float) -> bool:
    """Return whether θ = 0 is stationary, with Φ of at most a value."""
    theta = np.zeros(objective.size)
    at_zero, gradient = objective.evaluate(theta)
    return at_zero <= value * (1 + _LAST_DIGIT) and not gradient.any()


def _take(
    objective: Objective, metric: Metric, theta: Vector, p: Vector, expected: float, hidden: bool
) -> tuple[Vector, float, Vector]:
    """Return θ + p, Φ and ∇Φ there. If Φ is above ``expected``, a correction is tried, unless rounding hides Φ."""
    point = theta + p
    value, gradient = objective.evaluate(point)
    if hidden or value <= expected:
        return point, value, gradient
    corrected = point - metric.solve(objective.curved_part(theta, p, metric))
    corrected_value, corrected_gradient = objective.evaluate(corrected)
    return (corrected, corrected_value, corrected_gradient) if corrected_value < value else (point, value, gradient)


def _adapt(radius: float, ratio: float, step: Step, metric: Metric) -> float:
    """Return the next radius."""
    if not ratio >= _POOR:
        return _SHRINK * min(radius, math.sqrt(max(float(step.p @ metric.multiply(step.p)), 0.0)))
    return _GROW * radius if ratio > _GOOD and step.at_boundary else radius


def leave_saddle(objective: Objective, theta: Vector, direction: Vector) -> Vector | None:
    """Return a point with a smaller Φ along a direction of negative curvature or against it, or None.

    ``direction`` has length 1 in the metric, as the vector of `zeroloss.curvature.smallest`.
    """
    value, _ = objective.evaluate(theta)
    size = _GREATEST_RADIUS * math.sqrt(2 * value)  # at least _GREATEST_RADIUS √weight_decay ‖θ‖
    for _ in range(40):
        points = [theta + sign * size * direction for sign in (1, -1)]
        values = [objective.evaluate(point)[0] for point in points]
        best = int(np.argmin(values))
        if values[best] < value:
            return points[best]
        size /= 2
    return None


class Hessian(Protocol):
    """A Hessian, as products with flat vectors."""

    def multiply(self, v: Vector) -> Vector:
        """Compute the product with v."""


class Inverse(Protocol):
    """The inverse of a metric, as products with flat vectors."""

    def solve(self, v: Vector) -> Vector:
        """Compute M⁻¹ v."""


def solve_step(objective: Hessian, metric: Inverse, gradient: Vector, radius: float, forcing: float) -> Step:
    """Minimise gᵀp + pᵀ∇²Φp/2 over ‖p‖_M ≤ radius by preconditioned conjugate gradients."""
    p, image = np.zeros_like(gradient), np.zeros_like(gradient)
    rest = gradient
    solved = metric.solve(rest)
    direction = -solved
    size = first = float(rest @ solved)  # ‖rest‖² in the norm of M⁻¹
    pp = pd = 0.0  # ‖p‖², ⟨p, direction⟩ and ‖direction‖² in the metric follow from recursions
    dd = size
    for _ in range(_MOST_PRODUCTS):
        if not dd > 0:
            break
        product = objective.multiply(direction)
        bend = float(direction @ product)
        if abs(bend) <= _FLAT * dd and p.any():
            break
        step = size / bend if bend > 0 else math.inf
        if bend <= 0 or pp + 2 * step * pd + step**2 * dd >= radius**2:
            step = (-pd + math.sqrt(max(pd**2 + dd * (radius**2 - pp), 0.0))) / dd
            return Step(p + step * direction, image + step * product, at_boundary=True)
        p, image = p + step * direction, image + step * product
        pp += 2 * step * pd + step**2 * dd
        rest = rest + step * product
        solved = metric.solve(rest)
        before, size = size, float(rest @ solved)
        if size <= forcing**2 * first:
            break
        beta = size / before
        pd = beta * (pd + step * dd)
        dd = size + beta**2 * dd
        direction = beta * direction - solved
    return Step(p, image, at_boundary=False)
