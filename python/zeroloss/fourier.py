"""Fourier features of an embedding over a cyclic group (Sec. 7.3.2, Fig. 6 of arXiv 2511.01938).

For sums and differences modulo p, the group has the numbers 0 … p − 1. For products and quotients modulo a prime, it
has the p − 1 numbers other than 0, in the order of the powers of a primitive root. If a task concatenates its operands,
each operand has separate rows of E and separate features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _checks, _display
from ._checks import ArgumentValueError
from ._fourier_features import circle, features, take_rows, transform
from ._resources import check_memory
from .datasets import Dataset
from .datasets.cyclic_group import group_rows
from .networks import Network

__all__ = [
    "FourierSummary",
    "UnitPhases",
    "circle",
    "features",
    "group_rows",
    "inverse_participation_ratio",
    "summary",
    "unit_phases",
    "unit_shares",
]

_DIFFERENCES = ("modular_subtraction", "modular_division")  # of numbers, or of the exponents of a primitive root


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


@dataclass(frozen=True, eq=False, repr=False)
class UnitPhases:
    """The phases of h units, each at its strongest frequency k.

    Over the n elements of the group, a unit reads A cos(2πkj/n + φ) from element j of an operand, and adds
    B cos(2πkc/n + ψ) to output c. Products of cosines give the right output if ψ is the sum of the φ of all operands,
    or, for differences and quotients, the difference.

    Attributes
    ----------
    frequency : ndarray, (h,)
        The frequency k with the greatest power, summed over the operands.
    share : ndarray, (h,)
        The share of that frequency in the power of the unit. NaN for a unit without power.
    power : ndarray, (h,)
        The power ``Σ_k |F_k|²`` of each unit, summed over the operands.
    inputs : ndarray, (operands, h)
        The phase φ of each operand, from −π to π. One row if all operands share the rows of E.
    combined : ndarray, (h,)
        The phase ψ that products of cosines give, from −π to π.
    output : ndarray, (h,)
        The phase ψ of the outputs, from −π to π.
    """

    frequency: NDArray[np.intp]
    share: NDArray[np.float64]
    power: NDArray[np.float64]
    inputs: NDArray[np.float64]
    combined: NDArray[np.float64]
    output: NDArray[np.float64]


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
    """Compute the inverse participation ratio of each unit's Fourier power, Σ_k s_k² with the shares of `unit_shares`.

    It is 1 if a unit has a single frequency, and one over the number of frequencies if all have the same power.
    Frequencies are k = 1 … ⌊n/2⌋, as in `features`; the mean over the group, k = 0, does not count.

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
        As for `features`, or if the cosines do not fit in memory.
    """
    rows = take_rows(E, data, operand)
    check_memory(f"E: the cosines of {len(rows)} vectors", 5 * 8 * len(rows) ** 2)
    F = transform(rows)
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


def unit_phases(net: Network, data: Dataset) -> UnitPhases:
    """Compute the phases of all units, each at its strongest frequency.

    Parameters
    ----------
    net : Network
        The network.
    data : Dataset
        A task with a cyclic group, see `group_rows`.

    Returns
    -------
    UnitPhases
        The frequencies, shares and phases.

    Raises
    ------
    ValueError, TypeError
        If the task has no cyclic group, or the network does not fit the data.
    """
    _checks.check_instance("net", net, Network)
    blocks = group_rows(data)
    if net.W.shape[1] != data.d_out:
        raise ArgumentValueError("net", f"expected {data.d_out} outputs, as the data have, got {net.W.shape[1]}")
    F = np.stack([features(net.E, data, operand) for operand in range(len(blocks))])
    power = (np.abs(F) ** 2).sum(axis=0)
    total, strongest, units = power.sum(axis=0), power.argmax(axis=0), np.arange(net.hidden)
    inputs = np.angle(F[:, strongest, units])
    signs = np.where((np.arange(len(blocks)) > 0) & (data.settings["task"] in _DIFFERENCES), -1, 1)
    combined = signs @ inputs if len(blocks) > 1 else data.settings.get("summands", 2) * inputs[0]
    of_outputs = features(net.W.T[blocks[0]])  # Classes have the order of the first operand.
    return UnitPhases(
        frequency=strongest + 1,
        share=power[strongest, units] / np.where(total > 0, total, np.nan),
        power=total,
        inputs=inputs,
        combined=np.angle(np.exp(1j * combined)),
        output=np.angle(of_outputs[strongest, units]),
    )


def _cosines(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the cosines between the rows. NaN for a zero row."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = vectors / np.where(norms > 0, norms, np.nan)
    return np.asarray(directions @ directions.T)


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b > 0 else float("nan")


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")
