"""Learning-rate schedules: the rate of the step from θ_t to θ_{t+1} as a function of t.

A schedule is the ``lr`` of a descent: ``GradientDescent(lr=Cosine(1.0, 10_000))``. In a configuration it has a name:
``lr = { schedule = "cosine", lr = 1.0, steps = 10_000 }``.

Rates are computed from sums and products in float64, without a library's cosine or power. They have the same bits on
every machine.
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

_LAST_STEP = 2**53  # Float64 represents all integers up to this one.


@dataclass(frozen=True)
class LearningRate(ABC):
    """A learning-rate schedule. All schedules have these methods.

    Parameters
    ----------
    lr : float
        The rate that the schedule scales, above 0.
    """

    lr: float

    def __post_init__(self) -> None:
        _checks.set_fields(self, lr=_checks.positive("lr", self.lr))

    def at(self, step: int) -> float:
        """Return the rate of one step.

        Parameters
        ----------
        step : int
            The number of steps before it, at least 0.

        Returns
        -------
        float
            The rate of the step from θ_step to θ_{step+1}.
        """
        return float(self.rates(step, 1)[0])

    def rates(self, first: int, count: int) -> NDArray[np.float64]:
        """Return the rates of consecutive steps.

        Parameters
        ----------
        first : int
            The number of steps before the first of them, at least 0.
        count : int
            The number of steps, at least 0.

        Returns
        -------
        ndarray, (count,)
            The rates in float64.

        Raises
        ------
        ValueError, TypeError
            If a number is negative or not an integer, or if first + count is above 2⁵³.
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
    """A constant rate.

    Parameters
    ----------
    lr : float
        The rate of every step, above 0.
    """

    schedule: str = field(default="constant", init=False)

    def _rates(self, t: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.full(len(t), self.lr)


@dataclass(frozen=True)
class LinearWarmUp(LearningRate):
    """A linear warm-up: lr · (start + (1 − start) t/steps) for t < steps, then lr or another schedule.

    In PyTorch this is ``LinearLR(start_factor=start, total_iters=steps)``.

    Parameters
    ----------
    lr : float
        The rate at the end of the warm-up, above 0.
    steps : int
        The length of the warm-up, at least 1.
    start : float
        The rate at step 0 divided by lr, in [0, 1].
    then : LearningRate or mapping, optional
        The schedule after the warm-up, with the same lr. Its step 0 is the end of the warm-up.

    Examples
    --------
    >>> from zeroloss.learning_rate import Cosine, LinearWarmUp
    >>> schedule = LinearWarmUp(1.0, steps=10, then=Cosine(1.0, steps=100))
    >>> schedule.at(0), schedule.at(5), schedule.at(10)
    (0.0, 0.5, 1.0)
    """

    steps: int
    start: float = 0.0
    then: LearningRate | Mapping[str, Any] | None = None
    schedule: str = field(default="linear_warm_up", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.set_fields(self, steps=_count("steps", self.steps), start=_checks.fraction("start", self.start))
        if self.then is not None:
            then = from_settings("then", self.then)
            if then.lr != self.lr:
                raise ArgumentValueError("then", f"expected a schedule of the same lr, {self.lr}, got {then.lr}")
            _checks.set_fields(self, then=then)

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
    """A rate that changes by a factor at regular steps: lr · factor^⌊t/every⌋.

    In PyTorch this is ``StepLR(step_size=every, gamma=factor)``.

    Parameters
    ----------
    lr : float
        The rate at step 0, above 0.
    every : int
        The number of steps between two changes, at least 1.
    factor : float
        The factor of every change, in [0, 1].
    """

    every: int
    factor: float = 0.1
    schedule: str = field(default="step", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.set_fields(self, every=_count("every", self.every), factor=_checks.fraction("factor", self.factor))

    def _rates(self, t: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.lr * _power(self.factor, t // self.every)


@dataclass(frozen=True)
class Cosine(LearningRate):
    """A cosine decay: lowest + (lr − lowest) (1 + cos(π t/steps))/2 for t ≤ steps, then lowest.

    Up to t = steps this is PyTorch's ``CosineAnnealingLR(T_max=steps, eta_min=lowest)``. Later PyTorch's rate rises
    again, and this rate does not.

    Parameters
    ----------
    lr : float
        The rate at step 0, above 0.
    steps : int
        The number of steps of the decay, at least 1.
    lowest : float
        The rate from t = steps on, from 0 to lr.
    """

    steps: int
    lowest: float = 0.0
    schedule: str = field(default="cosine", init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        lowest = _checks.not_negative("lowest", self.lowest)
        if lowest > self.lr:
            raise ArgumentValueError("lowest", f"expected a number of at most lr = {self.lr}, got {lowest}")
        _checks.set_fields(self, steps=_count("steps", self.steps), lowest=lowest)

    def _rates(self, t: NDArray[np.int64]) -> NDArray[np.float64]:
        t = np.minimum(t, self.steps)
        remaining = self.steps - t
        # (1 + cos πu)/2 = sin²(π(1 − u)/2) = 1 − sin²(πu/2). The form with the smaller angle loses no digits.
        sine = _sine_of_quarter_turns(np.minimum(t, remaining) / self.steps)
        height = np.where(remaining <= t, sine * sine, 1 - sine * sine)
        return self.lowest + (self.lr - self.lowest) * height


#: The schedules by name.
SCHEDULES: Mapping[str, type[LearningRate]] = MappingProxyType(
    {"constant": Constant, "linear_warm_up": LinearWarmUp, "step": Step, "cosine": Cosine}
)


#: The type of the argument ``lr``: a number, a schedule, or the settings of a schedule.
Rate = Positive | LearningRate | Annotated[Mapping[str, Any], f"a table with schedule = one of {', '.join(SCHEDULES)}"]


def from_settings(name: str, settings: object) -> LearningRate:
    """Return the schedule that a mapping describes.

    Parameters
    ----------
    name : str
        The name of the argument, for error messages.
    settings : mapping or LearningRate
        The key ``schedule`` is a name in `SCHEDULES`; the other keys are the arguments of that class. A `LearningRate`
        is returned unchanged.

    Returns
    -------
    LearningRate
        The schedule.

    Raises
    ------
    ValueError, TypeError
        If the schedule or an argument is unknown, missing or out of range.

    Examples
    --------
    >>> from zeroloss import learning_rate
    >>> learning_rate.from_settings("lr", {"schedule": "step", "lr": 1.0, "every": 100})
    Step(lr=1.0, every=100, factor=0.1, schedule='step')
    """
    if isinstance(settings, LearningRate):
        return settings
    if not isinstance(settings, Mapping):
        raise ArgumentTypeError(name, f"expected a learning-rate schedule, got {settings!r}")
    arguments = dict(settings)
    schedule = arguments.pop("schedule", None)
    if schedule not in SCHEDULES:
        raise ArgumentValueError(name, f"expected a schedule, one of {', '.join(SCHEDULES)}, got {schedule!r}")
    kind = SCHEDULES[schedule]
    known = [argument.name for argument in fields(kind) if argument.init]
    if unknown := [key for key in arguments if key not in known]:
        raise ArgumentValueError(
            name, f"the schedule {schedule} has the arguments {', '.join(known)}, got {', '.join(unknown)}"
        )
    required = [argument.name for argument in fields(kind) if argument.init and argument.default is MISSING]
    if missing := [key for key in required if key not in arguments]:
        raise ArgumentValueError(name, f"the schedule {schedule} needs {', '.join(missing)}")
    try:
        return kind(**arguments)
    except (ValueError, TypeError) as error:
        raise _checks.error_of_part(name, error) from None


def _count(name: str, value: object) -> int:
    count = _checks.integer(name, value, 1)
    if count > _LAST_STEP:
        raise ArgumentValueError(name, f"expected an integer of at most 2^53, got {count}")
    return count


def _power(base: float, n: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return baseⁿ by repeated squaring, with pairs of floats.

    The sum of a pair has twice the digits of a float, because squaring doubles the relative error.
    """
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
    """Return (a + a_low)(b + b_low) as a pair. The error of a·b comes from Dekker's product of halves."""
    product = a * b
    (a1, a2), (b1, b2) = _halves(a), _halves(b)
    rest = ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2 + (a * b_low + a_low * b)
    high = product + rest
    return high, rest - (high - product)


def _halves(a: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the upper and lower halves of the digits of a, whose sum is a."""
    shifted = (2.0**27 + 1) * a
    upper = shifted - (shifted - a)
    return upper, a - upper


def _sine_of_quarter_turns(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sin(πx/2) for x in [0, ½], from its power series up to degree 17. The remainder is about 10⁻¹⁹."""
    angle = (math.pi / 2) * x
    square = angle * angle
    series = np.zeros_like(x)
    for k in reversed(range(1, 9)):
        series = (series + (-1) ** k / math.factorial(2 * k + 1)) * square
    return angle + angle * series
