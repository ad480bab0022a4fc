"""Softened implicit steps of the norm flow, which continue where J loses rank (smooth activations).

A step solves the equation of an implicit step (`zeroloss.dynamics.implicit`) with a penalty instead of the constraint,

    θ⁺ = argmin ½‖θ − c‖² + ‖F − Y‖²/(2δ),   δ = δ_flow q/h,

by iterations of Gauss–Newton from the linear extrapolation of the last step (csrc/core/geometry/softened_step.hpp). At
the solution F − Y = −δ_flow λ, with the multiplier λ of dθ/ds = −θ + Jᵀλ. This is an implicit step of gradient flow
with the weight decay 2 δ_flow/(n d_out), which follows the norm flow as the decay vanishes. J may have any rank,
because J Jᵀ + δI has an inverse. Nothing is retracted.

δ_flow is chosen anew for every step, so that max|F − Y| = δ_flow max|λ| is about `_SHARE` of the flow's tolerance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .._choices import Layers
from .._kernels import kernels
from .implicit import backward_difference, extrapolation_error
from .runge_kutta import GREATEST, Tolerances
from .stepper import State

#: max|F − Y| after a step relative to the tolerance, if the multiplier stays the same. It may grow by 1/0.4.
_SHARE = 0.4
#: The last change of θ in the iterations, relative to ‖θ‖: of fixed steps, and of adaptive ones relative to rtol.
_ACCURACY, _ACCURACY_OF_RTOL = 1e-7, 1e-3
#: The most iterations of a step, and the contraction at which the next step aims. Its size is proportional to it.
_ITERATIONS, _CONTRACTION = 15, 0.3
#: The safety factor of a new step size, the smallest and greatest factor of its change, and that after a failure.
_SAFETY, _LEAST, _MOST, _HALF = 0.9, 0.2, 1.5, 0.5
#: The first step without an earlier one, divided by √rtol or by the size of fixed steps.
_FIRST = 0.03
#: A flow ends if it needs a step below this size.
_SMALLEST = 1e-9
#: Subtracted from the number of parts before it is rounded up.
_SURPLUS = 1e-9
#: J nearly loses rank if σ_min is below this share of σ_max. A step with a second-order error e in F then moves θ by up
#: to e/σ_min when it is retracted, so that ‖θ‖ may rise.
_NEARLY = 1e-3
_LANCZOS_ACCURACY, _LANCZOS_ITERATIONS = 1e-2, 100


class SofteningError(np.linalg.LinAlgError):
    """A softened step whose equation was not solved."""


@dataclass(frozen=True)
class _Solution:
    """The end of the iterations of a step: the changed part of the state, and numbers from the kernel."""

    after: State
    ending: str
    residual: float
    contraction: float
    iterations: int


class SoftenedSteps:
    """Softened steps of the norm flow.

    Their part of a state is θ before the last step (``earlier_E``, ``earlier_W``) and the size of that step,
    ``earlier_size``, or 0 if there is none; the ``multiplier`` λ of the flow (n, d_out); and ``softening``, the δ_flow
    of the last step. They also use ``next_size``.

    Parameters
    ----------
    step : float or Tolerances
        The fixed size of steps, or the tolerances of adaptive ones. A fixed step is divided if the iterations need it.
    tolerance : float
        The bound on max|F − Y|.
    outputs : tuple
        The shape of F, (n, d_out).
    make_set : function
        Returns the kernel object of the zero-loss set, with a dense solver. It is called when it is needed first.
    train_layers : {"both", "E", "W"}
        The layers that move.
    """

    def __init__(
        self,
        step: float | Tolerances,
        tolerance: float,
        outputs: tuple[int, ...],
        make_set: Callable[[], kernels.ZeroLossSet],
        train_layers: Layers = "both",
    ) -> None:
        self._step, self._tolerance, self._outputs, self._make_set = step, tolerance, outputs, make_set
        self._moves = train_layers != "W", train_layers != "E"
        self._made: kernels.ZeroLossSet | None = None
        self._accuracy, self.first_size = _ACCURACY, _FIRST
        if isinstance(step, Tolerances):
            self._accuracy = min(_ACCURACY, _ACCURACY_OF_RTOL * step.rtol)
            self.first_size *= math.sqrt(step.rtol)
        else:
            self.first_size *= step

    def complete(self, state: State) -> State:
        """Return a state together with its part for softened steps, if it has none yet, before any of them."""
        part = {
            "earlier_E": state["E"].copy(),
            "earlier_W": state["W"].copy(),
            "earlier_size": state["step_size"] if "earlier_E" in state else np.zeros(()),
            "multiplier": np.zeros(self._outputs),
            "softening": np.zeros(()),
        }
        return {**part, **state}

    def nearly_loses_rank(self, state: State) -> bool:
        """Whether J has lost rank at a state, or is close to it."""
        extremes = self._set().extremes(state["E"], state["W"], _LANCZOS_ACCURACY, _LANCZOS_ITERATIONS)
        return extremes is None or extremes[1] < _NEARLY * extremes[0]

    def begin(self, state: State) -> State:
        """Return λ and δ_flow before the first softened step: λ = (J Jᵀ + εI)⁻¹ (Jθ − F + Y), one iteration for c = 0.

        Steps use this λ for the choice of δ_flow only.
        """
        E, W, multiplier = state["E"].copy(), state["W"].copy(), np.empty_like(state["multiplier"])
        c = np.zeros_like(E), np.zeros_like(W)
        ending, *_ = self._set().solve_softened(*c, E, W, multiplier, self._tolerance, self._tolerance, 1.0, 1)
        if ending == "singular":
            raise SofteningError("J has lost rank, and J Jᵀ is too inaccurate; raise retraction_tolerance")
        return {"multiplier": multiplier, "softening": np.array(self._softening(multiplier))}

    def advance(self, state: State, room: float) -> State:
        """Take a step of at most ``room``. A fixed step takes all of it, in as many parts as the iterations need.

        Parameters
        ----------
        state : State
            The state before the step. It is not changed.
        room : float
            The greatest size, or the size of a fixed step.

        Returns
        -------
        State
            The changed part of the state.

        Raises
        ------
        SofteningError
            If the equation of no step is solved.
        """
        if isinstance(self._step, Tolerances):
            return self._take_part(state, room, self._step)
        after, remaining = {"next_size": state["next_size"] if state["next_size"] > 0 else np.array(self._step)}, room
        while remaining > 0:
            here = {**state, **after}
            parts = math.ceil(remaining / float(here["next_size"]) - _SURPLUS)
            after |= self._take_part(here, remaining / max(parts, 1), None)
            taken = float(after["earlier_size"])
            remaining = remaining - taken if taken < remaining else 0.0
        return after

    def _take_part(self, state: State, room: float, tolerances: Tolerances | None) -> State:
        """Take a step of at most ``room``, trying ``next_size`` first. Its size is the new ``earlier_size``."""
        size, before = float(state["next_size"]), float(state["earlier_size"])
        if before == 0:
            size = min(size, self.first_size)
        evaluations, rejected = state["evaluations"], state["rejected_steps"]
        while True:
            taken = min(size, room)
            solution = self._solve(state, before, taken)
            evaluations = evaluations + solution.iterations
            change = _HALF
            if solution.ending == "converged":
                ratio = 0.0
                if tolerances is not None and before > 0:
                    ratio = extrapolation_error(state, solution.after, before, taken, tolerances)
                change = min(_MOST, max(_LEAST, _SAFETY / math.sqrt(ratio))) if ratio > 0 else _MOST
                if ratio <= 1:
                    break
            size, rejected = taken * change, rejected + 1
            if size < _SMALLEST:
                raise SofteningError(
                    f"J has lost rank, and no softened step above {_SMALLEST:g} was solved ({solution.ending}): "
                    f"max|F − Y| = {solution.residual:.1e}; raise retraction_tolerance"
                )
        if solution.contraction > 0:
            change = min(change, _CONTRACTION / solution.contraction)
        following = taken * change if taken == size else max(size, taken * change)
        return {
            **solution.after,
            "earlier_E": state["E"],
            "earlier_W": state["W"],
            "earlier_size": np.array(taken),
            "next_size": np.array(min(following, GREATEST)),
            "evaluations": evaluations,
            "rejected_steps": rejected,
        }

    def _solve(self, state: State, before: float, size: float) -> _Solution:
        """Solve the equation of a step of a size."""
        equation, softening = backward_difference(state, before, size, 1.0), self._softening(state["multiplier"])
        r = size / before if before > 0 else 0.0
        E, W = (state[layer] + r * (state[layer] - state[f"earlier_{layer}"]) for layer in ("E", "W"))
        c_E, c_W = (
            c if moves else state[layer]
            for layer, c, moves in zip("EW", (equation.c_E, equation.c_W), self._moves, strict=True)
        )
        multiplier = np.empty_like(state["multiplier"])
        ending, residual, contraction, iterations = self._set().solve_softened(
            c_E,
            c_W,
            E,
            W,
            multiplier,
            softening * equation.q / size,
            self._tolerance,
            self._accuracy,
            _ITERATIONS,
        )
        after = {"E": E, "W": W, "multiplier": multiplier * (equation.q / size), "softening": np.array(softening)}
        if ending == "converged" and norm_rises(state, after):
            if self._rests(state, after):
                after |= {name: state[name] for name in ("E", "W", "multiplier")}
            else:
                ending = "its norm increases"
        return _Solution(after, ending, residual, contraction, iterations)

    def _rests(self, state: State, after: State) -> bool:
        """Whether a step moves θ by less than the accuracy of its equation. θ then stays, so that ‖θ‖ cannot rise."""
        moved = math.hypot(*(np.linalg.norm(after[layer] - state[layer]) for layer in ("E", "W")))
        return moved <= self._accuracy * math.hypot(*(np.linalg.norm(state[layer]) for layer in ("E", "W")))

    def _softening(self, multiplier: NDArray[np.float64]) -> float:
        """Return δ_flow for a multiplier, which is near that of the step."""
        largest = float(np.abs(multiplier).max())
        return _SHARE * self._tolerance / largest if largest > 0 else _SHARE * self._tolerance

    def _set(self) -> kernels.ZeroLossSet:
        """Return the zero-loss set. Raises SofteningError if it does not fit in memory."""
        if self._made is None:
            try:
                self._made = self._make_set()
            except ValueError as error:
                raise SofteningError(f"J has lost rank, and softened steps need more memory: {error}") from None
        return self._made


def norm_rises(before: State, after: State) -> bool:
    """Whether ‖θ‖ increases. It never does along the flow."""
    squares = [sum(float(np.vdot(state[layer], state[layer])) for layer in ("E", "W")) for state in (before, after)]
    return squares[1] > squares[0]
