"""Steppers along a flow dy/dt = f(y), in steps of a fixed size or of a size that meets tolerances."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np

from .. import _checks
from .._checks import ArgumentValueError
from ..geometry import ProjectionError
from ..networks import Network
from ..results import Ending, Outcome
from .runge_kutta import StepSizeTooSmallError, Tolerances, Vector, adaptive_step, bogacki_shampine, first_size
from .stepper import Chunk, ChunkStepper, copy_network

_NUMBERS = ("steps", "time", "next_size", "step_size", "evaluations", "rejected_steps")


class DurationTooLongError(StepSizeTooSmallError):
    """The steps of a flow are too small, relative to its duration, to change the time."""


class ProximalError(ArithmeticError):
    """An implicit step whose equations were not solved.

    ``ending`` is the kernel's word for how the solver ended, ``residual`` is max|F − Y| at its end, and ``pinned`` is
    the number of pinned pairs.
    """

    def __init__(self, ending: str, size: float, residual: float, pinned: int) -> None:
        super().__init__(
            f"the implicit step of {size:.1e} was not solved ({ending}): max|F − Y| = {residual:.1e}, "
            f"{pinned} pinned pairs"
        )
        self.ending, self.residual, self.pinned = ending, residual, pinned


class FlowStepper(ChunkStepper):
    """A stepper along a flow of E and W, with a fixed step size or with tolerances. A subclass takes one step.

    The state holds E and W, and these numbers: ``steps`` and ``time`` so far, ``next_size`` (the size that the next
    adaptive step tries), ``step_size`` (the last accepted size), ``evaluations`` (of the slope, or solutions of
    implicit steps) and ``rejected_steps``.
    """

    def __init__(self, network: Network, step: float | Tolerances) -> None:
        self._step, self._like = step, network
        E, W = network.layers
        self.state = {
            "E": E.copy(),
            "W": W.copy(),
            **{name: np.zeros(()) for name in _NUMBERS},
        }

    @abstractmethod
    def _first_size(self) -> float:
        """Return the size that the first adaptive step tries."""

    @abstractmethod
    def _take_step(self, room: float) -> None:
        """Take one step of a size of at most ``room``, and count it.

        Raises
        ------
        ArithmeticError, numpy.linalg.LinAlgError
            If the step cannot be taken.
        """

    def advance(self, steps: int, losses: bool = False, record_at: Sequence[int] = ()) -> Chunk:
        """Take steps; see `ChunkStepper.advance`. Losses and records within the chunk are not available."""
        try:
            for _ in range(steps):
                self._take_step(np.inf)
                if not all(np.isfinite(self.state[layer]).all() for layer in ("E", "W") if layer in self.state):
                    return Chunk(finite=False)
        except (ArithmeticError, np.linalg.LinAlgError) as error:
            return Chunk(finite=False, error=error)
        return Chunk(finite=True)

    def reaches(self, time: float) -> bool:
        """Whether the next step may reach ``time``: with the size that it tries, or because no size can be found."""
        try:
            size = self._next_size()
            return float(self.state["time"] + size) >= time or time + size == time
        except (ArithmeticError, np.linalg.LinAlgError):
            return True  # `copy_at` raises the error.

    def copy_at(self, time: float) -> Self:
        """Return a copy of this stepper that has continued to exactly ``time``. This stepper stays at its step."""
        ahead = copy.copy(self)
        ahead.restore(self.state)
        if ahead.state["time"] + (size := ahead._next_size()) < time:
            raise DurationTooLongError(f"a step of {size:.1e} is too small to reach the time {time:g}")
        while ahead.state["time"] < time:
            ahead._take_step(time - float(ahead.state["time"]))
        ahead.state["time"] = np.array(time)
        return ahead

    def _next_size(self) -> float:
        if isinstance(self._step, float):
            return self._step
        if self.state["next_size"] == 0:
            self.state["next_size"] = np.array(self._first_size())
        return float(self.state["next_size"])

    def _count_step(self, taken: float) -> None:
        """Count a step of size ``taken``.

        Raises
        ------
        StepSizeTooSmallError
            If an adaptive step is too small to change the time.
        """
        if isinstance(self._step, Tolerances) and self.state["time"] + taken == self.state["time"]:
            raise StepSizeTooSmallError(f"a step of {taken:.1e} is too small to change the time {self.state['time']:g}")
        self.state["step_size"] = np.array(taken)
        self.state["time"] = self.state["time"] + taken
        self.state["steps"] = self.state["steps"] + 1

    def step_record(self) -> dict[str, float]:
        """Return the values of a record that describe the steps."""
        return {name: float(self.state[name]) for name in ("time", "step_size", "evaluations", "rejected_steps")}

    def network(self) -> Network:
        """Return a copy of the parameters."""
        return copy_network(self._like, self.state)

    def failure(self, step: int, error: Exception | None) -> Outcome:
        """Return the outcome of a step that failed."""
        return flow_outcome(error, f"at step {step}", self.adaptive_only)


class ExplicitStepper(FlowStepper):
    """Explicit Runge–Kutta steps. A subclass defines y, its slope f(y), and a correction of y after a step.

    If there is no correction (``corrects`` is false), the last slope of a step is the first one of the next step, and
    is not counted again.
    """

    corrects = True

    def __init__(self, network: Network, step: float | Tolerances, method: str) -> None:
        super().__init__(network, step)
        self._method = method

    @abstractmethod
    def position(self) -> Vector:
        """Return y."""

    @abstractmethod
    def move(self, y: Vector) -> None:
        """Set E and W from y, with a correction. Raises LinAlgError if the correction fails."""

    @abstractmethod
    def slope(self, y: Vector) -> Vector:
        """Return f(y). Raises LinAlgError if it is not defined at y."""

    def _first_size(self) -> float:
        assert isinstance(self._step, Tolerances)
        y = self.position()
        return first_size(y, self._evaluate_slope(y), self._step)

    def _take_step(self, room: float) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # `_evaluate_slope` detects numbers that are not finite.
            self._step_within(room)

    def _step_within(self, room: float) -> None:
        size, y = self._next_size(), self.position()
        is_known = not self.corrects and self.state["steps"] > 0
        slope = self.slope(y) if is_known else self._evaluate_slope(y)
        if isinstance(self._step, Tolerances):
            accepted = adaptive_step(self._evaluate_slope, y, slope, size, self._step, room)
            after, taken = accepted.y, accepted.size
            self.state["next_size"] = np.array(accepted.next_size)
            self.state["rejected_steps"] = self.state["rejected_steps"] + accepted.rejected
        else:
            taken = min(size, room)
            if self._method == "euler":
                after = y + taken * slope
            else:
                after, _ = bogacki_shampine(self._evaluate_slope, y, slope, taken)
        self.move(after)
        self._count_step(taken)

    def _evaluate_slope(self, y: Vector) -> Vector:
        """Return f(y), and count the evaluation. Raises FloatingPointError if y is not finite."""
        self.state["evaluations"] = self.state["evaluations"] + 1
        if not np.isfinite(y).all():
            raise FloatingPointError("a parameter is not finite")
        return self.slope(y)


def flow_outcome(error: Exception | None, where: str, adaptive_only: bool = False) -> Outcome:
    """Return the outcome of a flow that ended with an error.

    ``where`` is the beginning of its message. ``adaptive_only`` states that the flow has no fixed step_size.
    """
    if isinstance(error, DurationTooLongError):
        return Outcome(Ending.STIFF, f"{where} {error}; lower the duration")
    if isinstance(error, StepSizeTooSmallError):
        return Outcome(
            Ending.STIFF, f"{where} {error}; raise rtol{'' if adaptive_only else ' or use a fixed step_size'}"
        )
    if isinstance(error, ProximalError):
        advice = "use the method chebyshev" if adaptive_only else "lower step_size, or use rtol instead"
        return Outcome(Ending.NOT_CONVERGED, f"{where} {error}; {advice}")
    if isinstance(error, ProjectionError):
        return Outcome(Ending.NOT_CONVERGED, f"{where} {error}; lower the step size or raise the tolerances")
    if isinstance(error, np.linalg.LinAlgError):
        return Outcome(Ending.SINGULAR, f"{where} {error}")
    what = error if isinstance(error, FloatingPointError) else "a parameter is not finite"
    return Outcome(Ending.DIVERGED, f"{where} {what}; lower {'rtol' if adaptive_only else 'the step size'}")


def checked_step(step_size: float | None, rtol: float | None, atol: float | None) -> float | Tolerances:
    """Return the fixed step size or the tolerances, of which exactly one must be given. atol is rtol/10 by default."""
    if (step_size is None) == (rtol is None):
        got = "neither" if rtol is None else f"both, {step_size} and {rtol}"
        raise ArgumentValueError(
            ("step_size", "rtol"), f"give either step_size (fixed) or rtol (adaptive steps), got {got}"
        )
    if rtol is not None:
        relative = _checks.positive("rtol", rtol)
        return Tolerances(relative, relative / 10 if atol is None else _checks.positive("atol", atol))
    if atol is not None:
        raise ArgumentValueError("atol", f"can only be given together with rtol, got {atol} with a fixed step_size")
    return _checks.positive("step_size", step_size)


def convert_step_settings(step_size: float | None, rtol: float | None, atol: float | None) -> dict[str, float | None]:
    """Return the arguments that are given, checked together, as plain numbers by name."""
    step = checked_step(step_size, rtol, atol)
    if isinstance(step, Tolerances):
        return {"rtol": step.rtol, "atol": step.atol}
    return {"step_size": step}
