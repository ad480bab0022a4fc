"""Fourier features of an embedding over a cyclic group (Sec. 7.3.2, Fig. 6 of arXiv 2511.01938).

For sums modulo p that is the group of the numbers 0 … p − 1. For products and quotients modulo a prime it is that of
the p − 1 other numbers than 0, in the order of the powers of a primitive root. If a task concatenates its operands,
each has rows of E, and features, of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _checks, _display
from ._checks import ArgumentValueError
from .datasets import Dataset

__all__ = ["FourierSummary", "features", "group_rows", "summary", "unit_shares"]

_SUMS = ("modular_addition", "modular_subtraction")
_PRODUCTS = ("modular_multiplication", "modular_division")


@dataclass(frozen=True, eq=False)
class FourierSummary:
    """What figure 6 reads from the features F_k (m = ⌊n/2⌋ frequencies of a group of n).

    The vectors are those of the frequencies in turn, Re F_k then Im F_k; for even n the last frequency has no
    imaginary part, and its vector is left out.

    Attributes
    ----------
    frequency : ndarray
        The frequency of each vector.
    norms : ndarray
        The norm of each vector.
    cosines : ndarray
        The cosines among all vectors; circles make all but the diagonal 0. NaN where a vector is zero.
    absolute_cosines : ndarray
        The cosines among the vectors' absolute values; alike within a frequency, unlike across.
    spread : float
        Coefficient of variation of the norms.
    largest_cosine : float
        Largest absolute value of a cosine between two different vectors.
    within, across : float
        Mean cosine of absolute values between Re and Im of a frequency, and between two frequencies.
    strongest_share : float
        Share of a unit's power in its strongest frequency, ``max_k |F_k|² / Σ_k |F_k|²``: the mean over units,
        weighted by their power.
    frequencies_used : int
        Frequencies that are the strongest of at least one unit with 1 % of the greatest unit's power.
    """

    frequency: NDArray[np.intp]
    norms: NDArray[np.float64]
    cosines: NDArray[np.float64]
    absolute_cosines: NDArray[np.float64]
    spread: float
    largest_cosine: float
    within: float
    across: float
    strongest_share: float
    frequencies_used: int

    def numbers(self) -> dict[str, float]:
        """Return the scalars by name."""
        names = ("spread", "largest_cosine", "within", "across", "strongest_share", "frequencies_used")
        return {name: float(getattr(self, name)) for name in names}

    def __repr__(self) -> str:
        return _display.format_lines(self._title(), self.numbers())

    def _repr_html_(self) -> str:
        return _display.format_html(self._title(), self.numbers())

    def _title(self) -> str:
        return f"Fourier features of {len(np.unique(self.frequency))} frequencies"


def group_rows(data: Dataset) -> tuple[NDArray[np.intp], ...]:
    """Return which rows of E belong to the elements of a task's cyclic group, in the group's order, for each operand.

    Parameters
    ----------
    data : Dataset
        Of `modular_addition` or `modular_subtraction`, or, modulo a prime, of `modular_multiplication` or
        `modular_division`.

    Returns
    -------
    tuple of ndarray
        One array if the inputs are sums of one-hot vectors, else one for each operand. For sums the order is 0 … p − 1;
        for products and quotients gᵏ mod p, k = 0 … p − 2, with the least primitive root g.

    Raises
    ------
    ValueError, TypeError
        For data of another task.
    """
    _checks.check_instance("data", data, Dataset)
    task, p = data.settings.get("task"), data.settings.get("p", 0)
    if task in _SUMS:
        order = np.arange(p)
    elif task in _PRODUCTS and p > 2 and all(p % factor for factor in range(2, math.isqrt(p) + 1)):
        order = _powers_of_a_primitive_root(p)
    else:
        what = f"{task} modulo {p}" if p else str(task)
        raise ArgumentValueError(
            "data",
            "expected a task with a cyclic group (sums or differences modulo p, products or quotients modulo a "
            f"prime above 2), got {what}",
        )
    return tuple(order + first for first in range(0, data.d_in, p))


def features(E: ArrayLike, data: Dataset | None = None, operand: int | None = None) -> NDArray[np.complex128]:
    """Return F_k = (1/n) Σ_j exp(−2πi jk/n) E_j for k = 1 … ⌊n/2⌋, (⌊n/2⌋, h).

    Parameters
    ----------
    E : array_like, (d_in, h)
        An embedding. Without ``data`` its row j belongs to the number j of all n = d_in numbers modulo n.
    data : Dataset, optional
        The task of the embedding; then E_j is the row of the j-th element of its group of n, see `group_rows`.
    operand : int, optional
        Which operand's rows to take, from 0 on; needed if the inputs are concatenated.

    Raises
    ------
    ValueError, TypeError
        For a task without a cyclic group, an embedding that does not fit it, fewer than two rows, and an operand that
        is missing or does not exist.
    """
    return _transform(_element_rows(E, data, operand))


def unit_shares(E: ArrayLike, data: Dataset | None = None, operand: int | None = None) -> NDArray[np.float64]:
    """Return the share of each frequency in the power of each unit, ``|F_k|² / Σ_k |F_k|²``, (⌊n/2⌋, h).

    Arguments and errors are those of `features`. A unit without power has NaN.
    """
    power = np.abs(features(E, data, operand)) ** 2
    total = power.sum(axis=0)
    return np.asarray(power / np.where(total > 0, total, np.nan))


def summary(E: ArrayLike, data: Dataset | None = None, operand: int | None = None) -> FourierSummary:
    """Return the summaries of figure 6 for an embedding; arguments and errors as for `features`."""
    rows = _element_rows(E, data, operand)
    F = _transform(rows)
    frequency = np.repeat(np.arange(1, len(F) + 1), 2)
    vectors = np.stack([F.real, F.imag], axis=1).reshape(2 * len(F), -1)
    if len(rows) % 2 == 0:  # the last frequency is n/2: e^{−πij} is real
        frequency, vectors = frequency[:-1], vectors[:-1]
    norms = np.linalg.norm(vectors, axis=1)
    cosines, absolute_cosines = _cosines(vectors), _cosines(np.abs(vectors))
    same = frequency[:, None] == frequency
    other = ~np.eye(len(vectors), dtype=bool)
    power = np.abs(F) ** 2
    unit_power = power.sum(axis=0)
    strong = unit_power > 0.01 * unit_power.max()
    return FourierSummary(
        frequency=frequency,
        norms=norms,
        cosines=cosines,
        absolute_cosines=absolute_cosines,
        spread=_ratio(norms.std(), norms.mean()),
        largest_cosine=float(np.abs(cosines[other]).max(initial=0.0)),
        within=_mean(absolute_cosines[same & other]),
        across=_mean(absolute_cosines[~same]),
        strongest_share=_ratio(power.max(axis=0).sum(), unit_power.sum()),
        frequencies_used=len(np.unique(power[:, strong].argmax(axis=0))) if strong.any() else 0,
    )


def _element_rows(E: ArrayLike, data: Dataset | None, operand: int | None) -> NDArray[np.float64]:
    """Return the rows of the elements of the group, in order."""
    embedding = _checks.matrix("E", E, "float64")
    if data is None:
        if operand is not None:
            raise ArgumentValueError("operand", f"expected together with data, got {operand!r}")
        return embedding
    blocks = group_rows(data)
    if len(embedding) != data.d_in:
        raise ArgumentValueError(
            "E", f"expected {data.d_in} rows, as the data have inputs, got shape {embedding.shape}"
        )
    if operand is None and len(blocks) > 1:
        raise ArgumentValueError(
            "operand", f"expected 0 to {len(blocks) - 1}, as the operands are concatenated, got none"
        )
    place = 0 if operand is None else _checks.integer("operand", operand, 0)
    if place >= len(blocks):
        raise ArgumentValueError("operand", f"expected below {len(blocks)}, the number of blocks of rows, got {place}")
    return embedding[blocks[place]]


def _transform(rows: NDArray[np.float64]) -> NDArray[np.complex128]:
    if len(rows) < 2 or rows.shape[1] < 1:
        raise ArgumentValueError("E", f"expected at least two rows and one column, got shape {rows.shape}")
    return np.fft.fft(rows, axis=0, norm="forward")[1 : len(rows) // 2 + 1]


def _powers_of_a_primitive_root(p: int) -> NDArray[np.intp]:
    """Return gᵏ mod p, k = 0 … p − 2, for the least g whose powers are all numbers from 1 to p − 1; p is a prime."""
    for g in range(2, p):
        powers = [1]
        while (following := powers[-1] * g % p) != 1:
            powers.append(following)
        if len(powers) == p - 1:
            return np.array(powers)
    raise AssertionError("every prime has a primitive root")


def _cosines(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosines among the rows; NaN for a zero row."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = vectors / np.where(norms > 0, norms, np.nan)
    return np.asarray(directions @ directions.T)


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b > 0 else float("nan")


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")
