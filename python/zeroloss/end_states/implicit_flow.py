"""The gradient flow of Φ = L + (weight_decay/2) ‖θ‖² by implicit steps, in slow time s = weight_decay · t.

A step of size η from θ_n solves the second-order backward difference formula

    ∇Φ(θ) + (weight_decay/η) (α θ − b) = 0,   α = (1 + 2r)/(1 + r),   b = (1 + r) θ_n − r²/(1 + r) θ_{n−1},

with r = η/η_prev, from linear extrapolation. Its iterations have the exact residual and the metric
weight_decay (1 + α/η) I + Gauss–Newton. The distance of the solution from the extrapolation determines the next step.
The first step is a step of the backward Euler method, small enough to stay on the path of the flow.
"""

from __future__ import annotations

import math

import numpy as np

from .objective import Objective, Vector

_RTOL = 1e-2  # the tolerance of a step, relative to ‖θ‖
_STRICTNESS = 3.5  # a factor of the error estimate, as in the proximal norm flow
_SAFETY, _LEAST, _MOST, _MOST_AT_FIRST = 0.9, 0.2, 1.5, 3.0  # of a change of the step size
_GROWING_STEPS = 20  # after which the step size grows by _MOST at most
_FIRST = 0.1  # the first step in units of 1/λ_max
_SMALLEST = 1e-12  # the size of a step below which the flow ends
_MOST_STEPS = 1000
_MOST_ITERATIONS = 8  # of one step
_SOLVED = 0.02  # the last correction of a step, in units of its tolerance


def follow_flow(objective: Objective, theta: Vector, slow_time: float, tolerance: float) -> Vector:
    """Follow the flow from θ for a slow time, or until the KKT residual is at most ``tolerance``.

    It ends early if no step above 10⁻¹² can be solved, or after 1 000 steps. The trace of the objective records the
    residual after each step.
    """
    trace, decay = objective.trace, objective.weight_decay
    _, gradient = objective.evaluate(theta)
    size, before, earlier = decay * _FIRST / objective.sharpness(theta), 0.0, theta
    for _ in range(_MOST_STEPS):
        room = slow_time - trace.slow_time
        if room <= 1e-9 * slow_time or objective.kkt(theta, gradient) <= tolerance or not size > _SMALLEST * decay:
            break
        size = min(size, room)
        if before == 0:
            alpha, b, start = 1.0, theta, theta - size / decay * gradient
        else:
            r = size / before
            alpha, b = (1 + 2 * r) / (1 + r), (1 + r) * theta - r**2 / (1 + r) * earlier
            start = theta + r * (theta - earlier)
        after = _solve_step(objective, start, decay / size, alpha, b)
        if after is None:
            size *= _LEAST
            continue
        ratio = _STRICTNESS * float(np.linalg.norm(after - start)) / (_RTOL * float(np.linalg.norm(after)))
        most = _MOST if trace.flow_steps > _GROWING_STEPS else _MOST_AT_FIRST
        change = most if ratio == 0 else min(most, max(_LEAST, _SAFETY / math.sqrt(ratio)))
        if ratio > 1:
            size *= min(change, _SAFETY)
            continue
        earlier, theta, before = theta, after, size
        trace.flow_steps += 1
        trace.slow_time += size
        size *= change
        _, gradient = objective.evaluate(theta)
        trace.record(objective.kkt(theta, gradient))
    return theta


def _solve_step(objective: Objective, theta: Vector, rate: float, alpha: float, b: Vector) -> Vector | None:
    """Solve ∇Φ(θ) + rate (α θ − b) = 0 from θ. Returns None if the iteration does not converge."""
    decay, last, metric = objective.weight_decay, math.inf, None
    for _ in range(_MOST_ITERATIONS):
        value, gradient = objective.evaluate(theta)
        if not math.isfinite(value):
            return None
        if metric is None:
            try:
                metric = objective.metric(theta, decay + rate * alpha)
            except np.linalg.LinAlgError:
                return None
        correction = metric.solve(gradient + rate * (alpha * theta - b))
        theta = theta - correction
        length = float(np.linalg.norm(theta))
        change = float(np.linalg.norm(correction)) / length if length > 0 else math.inf
        if change <= _SOLVED * _RTOL:
            return theta
        if not change <= min(1.0, last / 2):
            return None
        last = change
    return None
