"""Fourier features of an embedding over a cyclic group (Sec. 7.3.2, Fig. 6 of arXiv 2511.01938).

For sums and differences modulo p, the group has the numbers 0 … p − 1. For products and quotients modulo a prime, it
has the p − 1 numbers other than 0, in the order of the powers of a primitive root. If a task concatenates its operands,
each operand has separate rows of E and separate features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _checks, _display
from ._checks import ArgumentValueError
from .datasets import Dataset

__all__ = ["FourierSummary", "features", "group_rows", "inverse_participation_ratio", "summary", "unit_shares"]

_SUMS = ("modular_addition", "modular_subtraction")
_PRODUCTS = ("modular_multiplication", "modular_division")


@dataclass(frozen=True, eq=False)
class FourierSummary:
    """The quantities of figure 6, computed from the features F_k (m = ⌊n/2⌋ frequencies of a group of n elements).

    The v = 2m vectors are Re F_1, Im F_1, Re F_2, …. For even n the last frequency has no imaginary part, and v = 2m −
    1.

    Attributes
    ----------
    frequency : ndarray, (v,)
        The frequency of each vector.
    norms : ndarray, (v,)
        The norm of each vector.
    cosines : ndarray, (v, v)
        The cosines between the vectors. For circles all entries off the diagonal are 0. NaN for a zero vector.
    absolute_cosines : ndarray, (v, v)
        The cosines between the absolute values of the vectors: large within a frequency and small between frequencies,
        if units prefer single frequencies.
    spread : float
        The coefficient of variation of the norms.
    largest_cosine : float
        The largest absolute cosine between two different vectors.
    within : float
        The mean cosine of absolute values between Re and Im of one frequency.
    across : float
        The mean cosine of absolute values between two frequencies.
    strongest_share : float
        The share of a unit's power in its strongest frequency, ``max_k |F_k|² / Σ_k |F_k|²``: the mean over the units,
        weighted by their power.
    frequencies_used : int
        The number of frequencies that are the strongest one of a unit. Units with at most 1 % of the greatest unit's
        power do not count.
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
        """Return the scalars by name.

        Returns
        -------
        dict of str to float
            The attributes from ``spread`` to ``frequencies_used``.
        """
        names = ("spread", "largest_cosine", "within", "across", "strongest_share", "frequencies_used")
        return {name: float(getattr(self, name)) for name in names}

    def __repr__(self) -> str:
        return _display.format_lines(self._title(), self.numbers())

    def _repr_html_(self) -> str:
        return _display.format_html(self._title(), self.numbers())

    def _title(self) -> str:
        return f"Fourier features of {len(np.unique(self.frequency))} frequencies"


def group_rows(data: Dataset) -> tuple[NDArray[np.intp], ...]:
    """Find the rows of E that belong to the elements of a task's cyclic group.

    Parameters
    ----------
    data : Dataset
        A dataset of `modular_addition` or `modular_subtraction`, or, modulo a prime above 2, of
        `modular_multiplication` or `modular_division`.

    Returns
    -------
    tuple of ndarray
        The rows in the order of the group. One array if the inputs are sums of one-hot vectors, otherwise one for each
        operand. For sums and differences the order is 0 … p − 1. For products and quotients it is gᵏ mod p,
        k = 0 … p − 2, with the least primitive root g.

    Raises
    ------
    ValueError, TypeError
        If the data are of another task.
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
    """Compute F_k = (1/n) Σ_j exp(−2πi jk/n) E_j for k = 1 … ⌊n/2⌋.

    Parameters
    ----------
    E : array_like, (d_in, h)
        The embedding. Without ``data``, row j belongs to the number j of the n = d_in numbers modulo n.
    data : Dataset, optional
        The task of the embedding. E_j is then the row of element j of its group of n elements, see `group_rows`.
    operand : int, optional
        The operand whose rows are used, from 0 on. Required if the inputs are concatenated.

    Returns
    -------
    ndarray of complex, (⌊n/2⌋, h)
        The features; row k − 1 is F_k.

    Raises
    ------
    ValueError, TypeError
        If the task has no cyclic group, the embedding does not fit it or has fewer than two rows, or the operand is
        missing or does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> import zeroloss as zl
    >>> angle = 2 * np.pi * 3 * np.arange(11) / 11
    >>> F = zl.fourier.features(np.column_stack([np.cos(angle), np.sin(angle)]))
    >>> int(np.abs(F).sum(axis=1).argmax()) + 1
    3
    """
    return _transform(_element_rows(E, data, operand))


def unit_shares(E: ArrayLike, data: Dataset | None = None, operand: int | None = None) -> NDArray[np.float64]:
    """Compute the share of each frequency in the power of each unit, ``|F_k|² / Σ_k |F_k|²``.

    Parameters
    ----------
    E : array_like, (d_in, h)
        The embedding, see `features`.
    data : Dataset, optional
        The task of the embedding, see `features`.
    operand : int, optional
        The operand whose rows are used, see `features`.

    Returns
    -------
    ndarray, (⌊n/2⌋, h)
        The shares. NaN for a unit without power.

    Raises
    ------
    ValueError, TypeError
        As for `features`.
    """
    power = np.abs(features(E, data, operand)) ** 2
    total = power.sum(axis=0)
    return np.asarray(power / np.where(total > 0, total, np.nan))


def inverse_participation_ratio(
    E: ArrayLike, data: Dataset | None = None, operand: int | None = None
) -> NDArray[np.float64]:
    """Compute the inverse participation ratio of the Fourier power of each unit, Σ_k s_k² with s_k = |F_k|² / Σ |F|².

    It is 1 if a unit has a single frequency, and one over the number of frequencies if all have the same power.
    Frequencies are those of `features`, k = 1 … ⌊n/2⌋; the mean over the group, k = 0, does not count.

    Parameters
    ----------
    E : array_like, (d_in, h)
        The embedding, see `features`.
    data : Dataset, optional
        The task of the embedding, see `features`.
    operand : int, optional
        The operand whose rows are used, see `features`.

    Returns
    -------
    ndarray, (h,)
        The ratios. NaN for a unit without power.

    Raises
    ------
    ValueError, TypeError
        As for `features`.

    Examples
    --------
    >>> import numpy as np
    >>> import zeroloss as zl
    >>> angle = 2 * np.pi * np.arange(11) / 11
    >>> zl.fourier.inverse_participation_ratio(np.column_stack([np.cos(angle)])).round(6)
    array([1.])
    """
    return np.asarray((unit_shares(E, data, operand) ** 2).sum(axis=0))


def summary(E: ArrayLike, data: Dataset | None = None, operand: int | None = None) -> FourierSummary:
    """Compute the quantities of figure 6 for an embedding.

    Parameters
    ----------
    E : array_like, (d_in, h)
        The embedding, see `features`.
    data : Dataset, optional
        The task of the embedding, see `features`.
    operand : int, optional
        The operand whose rows are used, see `features`.

    Returns
    -------
    FourierSummary
        The norms and cosines of the features, and numbers that summarise them.

    Raises
    ------
    ValueError, TypeError
        As for `features`.
    """
    rows = _element_rows(E, data, operand)
    F = _transform(rows)
    frequency = np.repeat(np.arange(1, len(F) + 1), 2)
    vectors = np.stack([F.real, F.imag], axis=1).reshape(2 * len(F), -1)
    if len(rows) % 2 == 0:  # the last frequency is n/2, and e^{−πij} is real
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
            "E", f"expected {data.d_in} rows, the number of inputs of the data, got shape {embedding.shape}"
        )
    if operand is None and len(blocks) > 1:
        raise ArgumentValueError(
            "operand", f"expected 0 to {len(blocks) - 1}, because the operands are concatenated, got none"
        )
    place = 0 if operand is None else _checks.integer("operand", operand, 0)
    if place >= len(blocks):
        raise ArgumentValueError("operand", f"expected below {len(blocks)}, the number of blocks of rows, got {place}")
    return embedding[blocks[place]]


def _transform(rows: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Compute the features from the rows of the elements."""
    if len(rows) < 2 or rows.shape[1] < 1:
        raise ArgumentValueError("E", f"expected at least two rows and one column, got shape {rows.shape}")
    return np.fft.fft(rows, axis=0, norm="forward")[1 : len(rows) // 2 + 1]


def _powers_of_a_primitive_root(p: int) -> NDArray[np.intp]:
    """Return gᵏ mod p, k = 0 … p − 2, for a prime p and its least primitive root g."""
    for g in range(2, p):
        powers = [1]
        while (following := powers[-1] * g % p) != 1:
            powers.append(following)
        if len(powers) == p - 1:
            return np.array(powers)
    raise AssertionError("every prime has a primitive root")


def _cosines(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the cosines between the rows. NaN for a zero row."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = vectors / np.where(norms > 0, norms, np.nan)
    return np.asarray(directions @ directions.T)


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b > 0 else float("nan")


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")
