"""Steps along an autonomous flow dy/dt = f(y) with Bogacki and Shampine's embedded pair of orders 3 and 2.

Bogacki and Shampine, "A 3(2) pair of Runge–Kutta formulas", Appl. Math. Lett. 2 (1989) 321–325. SciPy's integrators
hide their state. Here a flow along a manifold is retracted after each step, and resumed with the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import _checks

Vector = NDArray[np.float64]

#: The safety factor of a new step size, and the smallest and greatest factor of its change.
_SAFETY, _LEAST, _MOST = 0.9, 0.2, 5.0
#: A flow ends if it needs a step below this size.
_SMALLEST = 1e-14
#: The greatest step size. A flow at rest would increase it without end.
GREATEST = 1e100


class StepSizeTooSmallError(ArithmeticError):
    """No step meets the tolerances, because the flow is too stiff or not smooth."""


@dataclass(frozen=True)
class Tolerances:
    """The tolerances of a step: the root mean square over entries of error / (atol + rtol |y|) is at most 1."""

    rtol: float
    atol: float

    def __post_init__(self) -> None:
        _checks.positive("rtol", self.rtol)
        _checks.positive("atol", self.atol)

    def ratio(self, error: Vector, before: Vector, after: Vector) -> float:
        """Return the error of a step in units of the tolerance."""
        allowed = self.atol + self.rtol * np.maximum(np.abs(before), np.abs(after))
        with np.errstate(over="ignore"):  # An infinite ratio rejects the step.
            return float(np.sqrt(np.mean((error / allowed) ** 2)))


@dataclass(frozen=True)
class AcceptedStep:
    """A step that met the tolerances."""

    y: Vector
    size: float
    next_size: float
    rejected: int


def bogacki_shampine(f: Callable[[Vector], Vector], y: Vector, slope: Vector, size: float) -> tuple[Vector, Vector]:
    """Return y after a step of third order, and its difference from the embedded step of second order."""
    k1 = slope
    k2 = f(y + size / 2 * k1)
    k3 = f(y + 3 * size / 4 * k2)
    after = y + size * (2 / 9 * k1 + 1 / 3 * k2 + 4 / 9 * k3)
    k4 = f(after)
    return after, size * (-5 / 72 * k1 + 1 / 12 * k2 + 1 / 9 * k3 - 1 / 8 * k4)


def adaptive_step(
    f: Callable[[Vector], Vector], y: Vector, slope: Vector, size: float, tolerances: Tolerances, room: float = np.inf
) -> AcceptedStep:
    """Return the first step of at most ``room`` that meets the tolerances, trying ``size`` first.

    Raises
    ------
    StepSizeTooSmallError
        If no step does.
    """
    rejected = 0
    while True:
        taken = min(size, room)
        after, error = bogacki_shampine(f, y, slope, taken)
        ratio = tolerances.ratio(error, y, after)
        change = _MOST if ratio == 0 else min(_MOST, max(_LEAST, _SAFETY * ratio ** (-1 / 3)))
        if ratio <= 1:
            return AcceptedStep(after, taken, size if taken < size else min(taken * change, GREATEST), rejected)
        size = taken * (change if np.isfinite(ratio) else _LEAST)
        rejected += 1
        if size < _SMALLEST:
            raise StepSizeTooSmallError(f"no step above {_SMALLEST:g} meets rtol = {tolerances.rtol:g}")


def first_size(y: Vector, slope: Vector, tolerances: Tolerances) -> float:
    """Return a cautious first step size, which changes y by about a hundredth of its own size."""
    scale = tolerances.atol + tolerances.rtol * np.abs(y)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        size_y, size_slope = np.sqrt(np.mean((y / scale) ** 2)), np.sqrt(np.mean((slope / scale) ** 2))
        size = float(0.01 * size_y / size_slope)
    return size if 0 < size < GREATEST else 1e-3
