"""The problems of the benchmarks: sizes, data, useful arithmetic, and the bound on differences between answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

import zeroloss as zl

#: Hidden units h by modulus p, for the two dynamics. n = ⌊0.7 p (p + 1)/2⌋ except for p = 11.
PREDICTED = {11: 128, 23: 256, 37: 512, 59: 1536, 97: 4096}
DESCENT = {11: 128, 23: 256, 37: 512, 97: 1024}
LR, WEIGHT_DECAY, STEP_SIZE = 1.0, 1e-4, 1e-3


@dataclass(frozen=True)
class Case:
    """One row of the table: a dynamics ("descent" or "predicted") at a size and a precision of 32 or 64 bits."""

    dynamics: str
    p: int
    h: int
    n: int
    bits: int
    activation: str = "relu"

    @property
    def name(self) -> str:
        """The row's name in the table."""
        sigma = "" if self.activation == "relu" else f" {self.activation}"
        return f"{self.dynamics}{sigma} p {self.p}, h {self.h}, n {self.n}"

    @property
    def title(self) -> str:
        """The row's name with its precision."""
        return f"{self.name}, {self.bits} bits"

    @property
    def flops(self) -> float:
        """Useful arithmetic of a step: the operations that the products and the factor need in any program."""
        n, p, h = self.n, self.p, self.h
        return 6.0 * n * p * h if self.dynamics == "descent" else n * n * h + n**3 / 3 + 2 * n * n * p + 4 * n * p * h


def training_count(p: int) -> int:
    """Return n: all but seven samples for p = 11 (the paper's figure 5), else a share of 0.7 (figure 6)."""
    samples = p * (p + 1) // 2
    return samples - 7 if p == 11 else 7 * samples // 10


def list_cases(sizes: set[int] | None = None) -> list[Case]:
    """Return the rows of the table; only for the moduli in ``sizes`` if it is given."""
    rows = [("descent", p, h, "relu") for p, h in DESCENT.items()]
    rows += [("descent", 11, DESCENT[11], activation) for activation in ("tanh", "gelu", "softplus")]
    rows += [("predicted", p, h, "relu") for p, h in PREDICTED.items()]
    return [
        Case(dynamics, p, h, training_count(p), bits, activation)
        for dynamics, p, h, activation in rows
        for bits in (32, 64)
        if sizes is None or p in sizes
    ]


def list_picture_cases() -> list[Case]:
    """Return the points of the picture: p = 37, float64, several n at fixed h and several h at fixed n."""
    points: list[Case] = []
    for dynamics in ("descent", "predicted"):
        base = Case(dynamics, 37, 512, 492, 64)
        points += [replace(base, n=n) for n in (31, 62, 123, 246, 492)]
        points += [replace(base, h=h) for h in (1024, 2048, 4096)]
        if dynamics == "descent":
            points += [replace(base, h=h) for h in (64, 128, 256)]
    return points


class Problem:
    """The data and the start of a case. They are the same in every process."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.data = zl.datasets.modular_addition(case.p, train_count=case.n, seed=0)
        dtype = f"float{case.bits}"
        if case.dynamics == "descent":
            net = zl.networks.uniform_fan_in(self.data, case.h, seed=1, activation=case.activation, dtype=dtype)
            self.dynamics: Any = zl.GradientDescent(lr=LR, weight_decay=WEIGHT_DECAY)
        else:
            spread = case.p**-0.5
            net = zl.networks.normal(self.data, case.h, spread, seed=1, activation=case.activation, dtype=dtype)
            self.dynamics = zl.PredictedGradient(step_size=STEP_SIZE)
        self.net = net

    @cached_property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """X, Y, E and W in the precision of the case, with a dense X."""
        return tuple(
            np.ascontiguousarray(array, self.net.dtype)
            for array in (self.data.X_train, self.data.Y_train, self.net.E, self.net.W)
        )


def bound(case: Case, condition: float | None) -> float:
    """Return the largest relative difference between the movements of the parameters in two correct programs.

    For descent, it bounds the rounding of sums of at most a few hundred terms: 1e3 rounding units. For the predicted
    gradient, it is four times the condition number of K times the rounding unit; Cholesky stays well below. In float32
    this says nothing (the condition number is about 10⁶), so the bound is at most 0.1.
    """
    unit = float(np.finfo(f"float{case.bits}").eps)
    if case.dynamics == "descent" or condition is None:
        return 1e3 * unit
    return min(4 * condition * unit, 0.1)


def movement_error(case: Case, ours: tuple[Any, ...], theirs: tuple[Any, ...], start: tuple[Any, ...]) -> float:
    """Return the largest of ‖ours − theirs‖/‖ours − start‖ over E and, in descent, W."""
    layers = zip(ours, theirs, start, strict=True) if case.dynamics == "descent" else [(ours[0], theirs[0], start[0])]
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(a - s)) for a, b, s in layers)
