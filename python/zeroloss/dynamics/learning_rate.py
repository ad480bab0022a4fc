"""Learning-rate schedules as data: the rate of every step, from θ_t to θ_{t+1}, as a function of t alone.

A descent takes one as its ``lr``: ``GradientDescent(lr=Cosine(1.0, 10_000))``, or by its name, as a
configuration has it: ``lr = { schedule = "cosine", lr = 1.0, steps = 10_000 }``.

The rates are made of sums and products in float64, without a library's cosine or power, so that they have the same bits
on every machine.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._checks import ArgumentTypeError, ArgumentValueError
from .._choices import Positive

__all__ = ["SCHEDULES", "Constant", "Cosine", "LearningRate", "LinearWarmUp", "Step", "from_settings"]

_LAST_STEP = 2**53  # up to which float64 counts


@dataclass(frozen=True)
class LearningRate(ABC):
    """The common part of all schedules.

    Parameters
    ----------
    lr : float
        The rate that the schedule scales, above 0.
    """

    lr: float

    def __post_init__(self) -> None:
        _checks.convert(self, lr=_checks.positive("lr", self.lr))

    def at(self, step: int) -> float:
        """Return the rate of the step from θ_step to θ_{step+1}; step ≥ 0."""
        return float(self.rates(step, 1)[0])

    def rates(self, first: int, count: int) -> NDArray[np.float64]:
        """Return the rates of ``count`` steps from ``first`` on, (count,).

        Raises
        ------
        ValueError, TypeError
            For a negative number, or steps from 2⁵³ on.
        """
        first, count = _checks.integer("first", first, 0), _checks.integer("count", count, 0)
        if first + count > _LAST_STEP:
            raise ArgumentValueError(("first", "count"), f"expected steps up to 2^53, got {first + count}")
        return self._rates(np.arange(first, first + count, dtype=np.int64))

    @abstractmethod
    def _rates(self, t: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the rates of the steps t."""


@dataclass(frozen=True)
class Constant(LearningRate):
    """The rate ``lr`` throughout."""

    schedule: str = field(default="constant", init=False)

    def _rates(self, t: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.full(len(t), self.lr)


@dataclass(frozen=True)
class LinearWarmUp(LearningRate):
    """lr · (start + (1 − start) t/steps) for t < steps, then lr: ``LinearLR(start_factor=start, total_iters=steps)``.

    Parameters
    ----------
    lr : float
        The rate at the end of the warm-up.
    steps : int
        Length of the warm-up, at least 1.
    start : float
        The share of lr at step 0, in [0, 1].
    then : LearningRate or mapping, optional
        The schedule that follows, of the same lr, its steps counted from the end of the warm-up.
    """

    steps: int
    start: float = 0.0
    then: LearningRate | Mapping[str, Any] | None = None
    schedule: str = field(default="linear_warm_up", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.convert(self, steps=_count("steps", self.steps), start=_checks.fraction("start", self.start))
        if self.then is not None:
            then = from_settings("then", self.then)
            if then.lr != self.lr:
                raise ArgumentValueError("then", f"expected a schedule of the same lr, {self.lr}, got {then.lr}")
            _checks.convert(self, then=then)

    def _rates(self, t: NDArray[np.int64]) -> NDArray[np.float64]:
        rates: NDArray[np.float64] = self.lr * (
            self.start + (1 - self.start) * (np.minimum(t, self.steps) / self.steps)
        )
        if isinstance(self.then, LearningRate):
            after = t >= self.steps
            rates[after] = self.then._rates(t[after] - self.steps)
        return rates


@dataclass(frozen=True)
class Step(LearningRate):
    """lr · factor^⌊t/every⌋, as ``StepLR(step_size=every, gamma=factor)``.

    Parameters
    ----------
    lr : float
        The rate at first.
    every : int
        Steps between two changes, at least 1.
    factor : float
        The factor of every change, in [0, 1].
    """

    every: int
    factor: float = 0.1
    schedule: str = field(default="step", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.convert(self, every=_count("every", self.every), factor=_checks.fraction("factor", self.factor))

    def _rates(self, t: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.lr * _power(self.factor, t // self.every)


@dataclass(frozen=True)
class Cosine(LearningRate):
    """lowest + (lr − lowest) (1 + cos(π t/steps))/2 for t ≤ steps, then lowest.

    Up to ``steps`` this is ``CosineAnnealingLR(T_max=steps, eta_min=lowest)``; there the rate rises again, here not.

    Parameters
    ----------
    lr : float
        The rate at first.
    steps : int
        Length of the descent, at least 1.
    lowest : float
        The rate at its end, from 0 to lr.
    """

    steps: int
    lowest: float = 0.0
    schedule: str = field(default="cosine", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        lowest = _checks.not_negative("lowest", self.lowest)
        if lowest > self.lr:
            raise ArgumentValueError("lowest", f"expected a number of at most lr = {self.lr}, got {lowest}")
        _checks.convert(self, steps=_count("steps", self.steps), lowest=lowest)

    def _rates(self, t: NDArray[np.int64]) -> NDArray[np.float64]:
        t = np.minimum(t, self.steps)
        left = self.steps - t
        # (1 + cos πu)/2 = sin²(π(1 − u)/2) = 1 − sin²(πu/2), whichever has the smaller angle: no digits cancel
        sine = _sine_of_quarter_turns(np.minimum(t, left) / self.steps)
        height = np.where(left <= t, sine * sine, 1 - sine * sine)
        return self.lowest + (self.lr - self.lowest) * height


#: The schedules by name.
SCHEDULES: Mapping[str, type[LearningRate]] = MappingProxyType(
    {"constant": Constant, "linear_warm_up": LinearWarmUp, "step": Step, "cosine": Cosine}
)


#: A learning rate as an argument: a number, a schedule, or its settings.
Rate = Positive | LearningRate | Annotated[Mapping[str, Any], f"a table with schedule = one of {', '.join(SCHEDULES)}"]


def from_settings(name: str, settings: object) -> LearningRate:
    """Return a schedule from a mapping of its name, ``schedule``, and its arguments; a schedule as it is.

    Raises
    ------
    ValueError, TypeError
        For an unknown schedule or argument, with ``name`` in front.
    """
    if isinstance(settings, LearningRate):
        return settings
    if not isinstance(settings, Mapping):
        raise ArgumentTypeError(name, f"expected a learning-rate schedule, got {settings!r}")
    arguments = dict(settings)
    kind = arguments.pop("schedule", None)
    if kind not in SCHEDULES:
        raise ArgumentValueError(name, f"expected a schedule among {', '.join(SCHEDULES)}, got {kind!r}")
    made = SCHEDULES[kind]
    known = [one.name for one in fields(made) if one.init]
    if unknown := [key for key in arguments if key not in known]:
        raise ArgumentValueError(
            name, f"expected arguments among {', '.join(known)} for {kind}, got {', '.join(unknown)}"
        )
    required = [one.name for one in fields(made) if one.init and one.default is MISSING]
    if missing := [key for key in required if key not in arguments]:
        raise ArgumentValueError(name, f"expected {', '.join(missing)} for {kind}, got none")
    try:
        return made(**arguments)
    except (ValueError, TypeError) as error:
        raise _checks.part_of(name, error) from None


def _count(name: str, value: object) -> int:
    count = _checks.integer(name, value, 1)
    if count > _LAST_STEP:
        raise ArgumentValueError(name, f"expected an integer of at most 2^53, got {count}")
    return count


def _power(base: float, n: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return baseⁿ by squaring, in pairs of floats whose sum has twice the digits: squaring doubles relative errors."""
    one, zero = np.ones(len(n)), np.zeros(len(n))
    high, low = one, zero
    square, square_low = base * one, zero
    for bit in range(int(n.max(initial=0)).bit_length()):
        factor, factor_low = _product(high, low, square, square_low)
        high, low = (np.where(n >> bit & 1, new, old) for new, old in ((factor, high), (factor_low, low)))
        square, square_low = _product(square, square_low, square, square_low)
    return high


def _product(
    a: NDArray[np.float64], a_low: NDArray[np.float64], b: NDArray[np.float64], b_low: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (a + a_low)(b + b_low) as such a pair, the error of a·b from Dekker's product of halves."""
    product = a * b
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    rest = ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2 + (a * b_low + a_low * b)
    high = product + rest
    return high, rest - (high - product)


def _halves(a: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    shifted = (2.0**27 + 1) * a
    upper = shifted - (shifted - a)
    return upper, a - upper


def _sine_of_quarter_turns(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sin(πx/2) for x in [0, ½], by its power series to the term of degree 17 (the remainder is 10⁻¹⁹)."""
    angle = (math.pi / 2) * x
    square = angle * angle
    series = np.zeros_like(x)
    for k in reversed(range(1, 9)):
        series = (series + (-1) ** k / math.factorial(2 * k + 1)) * square
    return angle + angle * series
