"""Fourier features of an embedding over the numbers 0 … p − 1 (Sec. 7.3.2, Fig. 6 of arXiv 2511.01938)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _checks

__all__ = ["FourierSummary", "features", "summary"]


@dataclass(frozen=True, eq=False)
class FourierSummary:
    """What figure 6 reads from the features F_k (m = ⌊p/2⌋ frequencies).

    The vectors are those of the frequencies in turn, Re F_k then Im F_k; for even p the last frequency has no
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
        Largest |cosine| between two different vectors.
    within, across : float
        Mean cosine of absolute values between Re and Im of a frequency, and between two frequencies.
    strongest_share : float
        Share of a unit's power in its strongest frequency, max_k |F_k|² / Σ_k |F_k|², the mean over units weighted
        by their power.
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


def features(E: ArrayLike) -> NDArray[np.complex128]:
    """Return F_k = (1/p) Σ_j exp(−2πi jk/p) E_j for k = 1 … ⌊p/2⌋, (⌊p/2⌋, h).

    Parameters
    ----------
    E : array_like, (p, h)
        An embedding whose row j belongs to the number j; p ≥ 2.
    """
    embedding = _checks.matrix("E", E, "float64")
    p = len(embedding)
    if p < 2 or embedding.shape[1] < 1:
        raise ValueError(f"E: expected at least two rows and one column, got shape {embedding.shape}")
    return np.fft.fft(embedding, axis=0, norm="forward")[1 : p // 2 + 1]


def summary(E: ArrayLike) -> FourierSummary:
    """Return the summaries of figure 6 for an embedding E (p, h), see `FourierSummary`."""
    F = features(E)
    frequency = np.repeat(np.arange(1, len(F) + 1), 2)
    vectors = np.stack([F.real, F.imag], axis=1).reshape(2 * len(F), -1)
    if np.shape(E)[0] % 2 == 0:  # the last frequency is p/2: e^{−πij} is real
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


def _cosines(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cosines among the rows; NaN for a zero row."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = vectors / np.where(norms > 0, norms, np.nan)
    return np.asarray(directions @ directions.T)


def _ratio(a: float, b: float) -> float:
    return float(a / b) if b > 0 else float("nan")


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")
