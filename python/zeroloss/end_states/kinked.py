"""End states of ReLU and leaky ReLU networks: a proximal flow, an active-set Newton method, and the certificate.

The search for a stationary point of Φ follows the flow at finite weight decay. The search for a point of least norm on
the zero-loss set follows the norm flow. Newton's method is tried at several slow times. If it does not converge, the
flow continues.
"""

from __future__ import annotations

import math

import numpy as np

from .._choices import Reduction
from ..curvature import SmallestCurvature
from ..datasets import Dataset
from ..dynamics import GradientFlow, NormFlow
from ..geometry.corners import find_corner, null_spaces
from ..geometry.kkt import gram_of_slopes, kkt_residual
from ..networks import Network
from ..results.outcome import Ending as RunEnding
from ..simulation import simulate
from .corner_model import Problem, State
from .departures import return_outputs
from .new_unit import GAIN, find_dead_units, search_units, start_unit
from .objective import Trace
from .point import Ending, StationaryPoint, find_active_units, rank_of
from .polish import Polished, polish
from .smooth import classify, describe

#: Slow times after which Newton's method is tried.
_ATTEMPTS = (100.0, 200.0, 350.0, 600.0)
_RTOL = 1e-2  # of the flow
_PINNED = 1e-7  # abs(z) relative to the largest, of a pair that the flow has pinned
_MOST_RESTARTS = 10  # of the norm flow, beyond points that are no minima
_MOST_ITERATIONS = 150  # of an attempt that is not the last
_NEAR = 1e-2  # the residual of the norm from which Newton's method is tried without a flow
_VANISHED = 1e-3  # ‖θ‖ relative to its start from which θ = 0 is tried
_HIDDEN = 1e-12  # ‖θ‖² relative to φ at θ = 0 from which it is tried as well
_ROUNDING = 1e-12  # of forces, relative to their bound
_LAST_DIGIT = 4e-16  # of φ


def search(
    net: Network,
    data: Dataset,
    weight_decay: float,
    reduction: Reduction,
    slopes: tuple[float, float],
    slow_time: float,
    tolerance: float,
    most_iterations: int,
    revive: bool,
    threads: int | None,
) -> StationaryPoint:
    """Search a minimum of Φ from a network in float64, for squared error."""
    scale = 1.0 if reduction == "sum" else 1 / data.Y_train.size
    problem = Problem(data, *slopes, weight_decay / (2 * scale), Trace())
    trace, flow = problem.trace, GradientFlow(weight_decay, rtol=_RTOL, method="proximal", reduction=reduction)
    state = _enter(problem, net)
    trace.record(state.residual())
    start = state.length_of_units
    decays = _is_left_to_decay(problem, state)
    state = _start_again(problem, state, revive) if decays else state
    for until in [*[0.0] * decays, *_plan_attempts(slow_time)]:
        if until > trace.slow_time:
            after = _follow(flow, problem, state, net, (until - trace.slow_time) / weight_decay, threads)
            state = after if after.value < state.value else state
            trace.record(state.residual())
        if _has_vanished(problem, state, start):
            state = _start_again(problem, state, revive)
        most = most_iterations if until == slow_time else min(most_iterations, _MOST_ITERATIONS)
        polished = polish(problem, state, tolerance, most, revive=revive)
        state = polished.state
        if polished.failure and _has_vanished(problem, state, start):
            state = _start_again(problem, state, revive)
            polished = polish(problem, state, tolerance, most, revive=revive)
            state = polished.state
        if not polished.failure:
            break
    polished = polished.fallback or polished
    after_search = net.after(net.settings, f"stationary_point, weight decay {weight_decay:g}")
    return _certify(problem, polished, tolerance, weight_decay, after_search, revive)


def search_least_norm(
    net: Network,
    data: Dataset,
    slopes: tuple[float, float],
    slow_time: float,
    tolerance: float,
    most_iterations: int,
    threads: int | None,
) -> StationaryPoint:
    """Search a point of least norm from a network in float64 on the zero-loss set."""
    problem = Problem(data, *slopes, 0.0, Trace())
    trace, flow, state = problem.trace, NormFlow(rtol=_RTOL, method="proximal"), _enter(problem, net)
    after = net.after(net.settings, "least_norm_point")
    if not data.Y_train.any():  # the set contains all multiples of its points, so only θ = 0 is stationary
        state = _at_zero(problem, state)
        trace.record(state.residual())
        return _certify(problem, Polished(state, "", SmallestCurvature(1.0, np.zeros(0), 0.0)), tolerance, 0.0, after)
    near = kkt_residual(net, data) <= _NEAR
    attempts, fallback = [*[0.0] * near, *_plan_attempts(slow_time)], None
    for _ in range(_MOST_RESTARTS):
        begin = trace.slow_time
        for until in attempts:
            if begin + until > trace.slow_time:
                state = _follow(flow, problem, state, net, begin + until - trace.slow_time, threads)
            polished = polish(problem, state, tolerance, most_iterations)
            if not polished.failure or polished.departure is not None:
                break
        fallback, beyond = polished.fallback or fallback, polished.departure
        if not polished.failure or beyond is None or not slow_time > 0:
            break
        on_set = return_outputs(problem, beyond, np.zeros_like(beyond.R))
        if on_set is None:
            break
        state, attempts = on_set, _plan_attempts(slow_time)
    return _certify(problem, fallback if polished.failure and fallback else polished, tolerance, 0.0, after)


def _plan_attempts(slow_time: float) -> list[float]:
    """Return the slow times after which Newton's method is tried."""
    return [*(s for s in _ATTEMPTS if s < slow_time), slow_time]


def _enter(problem: Problem, net: Network) -> State:
    """Return the state of a network, with the pairs pinned that are at their kinks."""
    corner = find_corner(net, problem.data, _PINNED)
    assert corner is not None
    return problem.pin(net.E, net.W, corner.pinned)


def _has_vanished(problem: Problem, state: State, start: float) -> bool:
    """Return whether little is left of the units, and φ is not smaller without them, or whether only the decay is left.

    Without units, θ is 0 or consists of the best biases of the outputs.
    """
    at_zero = _at_zero(problem, state).value
    little = state.length_of_units <= max(_VANISHED * start, math.sqrt(_HIDDEN * at_zero))
    not_smaller = math.isfinite(at_zero) and at_zero <= state.value * (1 + _LAST_DIGIT)
    return (little and not_smaller) or _is_left_to_decay(problem, state)


def _is_left_to_decay(problem: Problem, state: State) -> bool:
    """Return whether the samples exert no force on the units, so that they decay, and φ is not smaller without them."""
    rE, rW, _ = state.rest(state.multiplier)
    rest_of_W = rW[: state.E.shape[1]] - state.W_of_units
    force = math.hypot(np.linalg.norm(rE - state.E), np.linalg.norm(rest_of_W))
    most = float(np.linalg.norm(problem.data.X_train) * np.linalg.norm(state.multiplier)) * state.length_of_units
    return force <= _ROUNDING * most and _at_zero(problem, state).value <= state.value < math.inf


def _at_zero(problem: Problem, like: State) -> State:
    """Return the state without units. Its biases of the outputs, if there are any, are the best ones, ΣY_i/(n + δ)."""
    Y, W = problem.data.Y_train, np.zeros_like(like.W)
    W[like.E.shape[1] :] = Y.sum(axis=0) / (len(Y) + problem.delta)
    return problem.pin(np.zeros_like(like.E), W, np.ones_like(like.corner.pinned))


def _start_again(problem: Problem, state: State, revive: bool) -> State:
    """Return the state without units, or with a single new one if units may be revived and that decreases φ."""
    state = _at_zero(problem, state)
    state = (start_unit(problem, state) if revive else None) or state
    problem.trace.record(state.residual())
    return state


def _follow(
    flow: GradientFlow | NormFlow, problem: Problem, state: State, like: Network, duration: float, threads: int | None
) -> State:
    """Follow a flow for a duration, or as far as it goes, and return the state there."""
    trace, biases = problem.trace, state.W[state.E.shape[1] :]
    net = Network(state.E, state.W_of_units, like.activation, bias_output=biases[0] if len(biases) else None)
    run = simulate(flow, problem.data, net, duration=duration, record_every=10**6, progress=False, threads=threads)
    if run.outcome.ending == RunEnding.STOPPED_BY_THE_USER:
        raise KeyboardInterrupt
    trace.flow_steps += int(run.history.step[-1])
    trace.slow_time += float(run.history.slow_time[-1])
    return _enter(problem, Network(*run.network.layers, like.activation))


def _certify(
    problem: Problem,
    polished: Polished,
    tolerance: float,
    weight_decay: float,
    after: Network,
    revive: bool = False,
) -> StationaryPoint:
    """Return the result of a search."""
    state, curvature = polished.state, polished.curvature
    net = Network(state.E, state.W, after.activation, after.settings)
    _, _, sides = state.rest(state.multiplier)
    residual, active = state.residual(), find_active_units(net)
    bases = null_spaces(state.corner.X, state.corner.pinned)
    gain, _ = search_units(problem, state)
    outcome, message = _judge(polished, residual <= tolerance, gain, revive)
    trace = problem.trace
    return StationaryPoint(
        network=net,
        objective=state.value * (weight_decay or 1.0),
        kkt=residual,
        smallest_curvature=math.nan if curvature is None else curvature.value,
        is_minimum=outcome == "minimum",
        active_units=int(active.sum()),
        rank=rank_of(gram_of_slopes(problem.data, state.W_of_units, state.H, state.S, bases)),
        outcome=outcome,
        message=message,
        weight_decay=weight_decay,
        residuals=np.array(trace.residuals),
        slow_time=trace.slow_time,
        flow_steps=trace.flow_steps,
        iterations=trace.iterations,
        products=trace.products,
        sides=sides,
        pinned_pairs=int(state.corner.pinned[:, active].sum()),
        new_unit_gain=gain,
    )


def _judge(polished: Polished, converged: bool, gain: float, revive: bool) -> tuple[Ending, str]:
    """Return the kind of the end of a search, and a message."""
    state, outcome = polished.state, classify(converged, polished.curvature)
    if outcome == "not converged" or polished.failure:
        return outcome, polished.failure or describe(outcome)
    if polished.can_leave_corner:
        return "saddle", "the point is stationary, but a unit could leave its corner"
    if state.length_of_units == 0 and gain > -GAIN:  # nothing else decides
        outcome = "saddle" if gain > GAIN else "flat"
        return outcome, "no unit is active, and a new unit would decrease Φ" if gain > GAIN else describe(outcome)
    if revive and gain > GAIN and outcome != "saddle" and find_dead_units(state).any():
        return "saddle", "the point is stationary, but a dead unit could grow and decrease Φ"
    if outcome != "saddle" and gain <= GAIN:
        return outcome, describe(outcome) + "; no new unit with a gain was found, so it is probably a global minimum"
    return outcome, describe(outcome) + ", among the active units and with their sides" * (outcome == "minimum")
