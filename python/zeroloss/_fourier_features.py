"""Fourier features of the rows of an embedding, and their planes; `zeroloss.fourier` exports them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _checks
from ._checks import ArgumentValueError
from .datasets import Dataset
from .datasets.cyclic_group import group_rows


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
    return transform(take_rows(E, data, operand))


def circle(
    E: ArrayLike, frequency: int, data: Dataset | None = None, operand: int | None = None
) -> NDArray[np.float64]:
    """Compute the coordinates of the group's elements in the plane of a frequency.

    The plane is spanned by Re F_k and Im F_k. The first axis is along Re F_k, the second along the part of −Im F_k that
    is orthogonal to it. If all vectors Re F_k and Im F_k are equally long and orthogonal, element j lies at the angle
    2πjk/n of a circle with radius 2 ‖Re F_k‖.

    Parameters
    ----------
    E : array_like, (d_in, h)
        The embedding, see `features`.
    frequency : int
        The frequency k, from 1 to ⌊n/2⌋.
    data : Dataset, optional
        The task of the embedding, see `features`.
    operand : int, optional
        The operand whose rows are used, see `features`.

    Returns
    -------
    ndarray, (n, 2)
        The coordinates of the elements in the order of the group, see `group_rows`. A coordinate is 0 if its axis has
        length 0, as the second one at k = n/2.

    Raises
    ------
    ValueError, TypeError
        As for `features`, or if there is no such frequency.

    Examples
    --------
    >>> import numpy as np
    >>> import zeroloss as zl
    >>> angle = 2 * np.pi * 3 * np.arange(11) / 11
    >>> E = np.column_stack([np.cos(angle), np.sin(angle)])
    >>> bool(np.allclose(zl.fourier.circle(E, 3), E))
    True
    """
    rows = take_rows(E, data, operand)
    F = transform(rows)
    k = _checks.integer("frequency", frequency, 1)
    if k > len(F):
        raise ArgumentValueError("frequency", f"expected at most {len(F)}, got {k}")
    first = _unit_vector(F[k - 1].real)
    second = -F[k - 1].imag
    is_real = 2 * k == len(rows)  # e^{−πij} is real, and the imaginary part is a rounding error.
    second = np.zeros_like(first) if is_real else _unit_vector(second - (second @ first) * first)
    return np.column_stack([rows @ first, rows @ second])


def _unit_vector(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    length = np.linalg.norm(vector)
    return vector / length if length > 0 else vector


def take_rows(E: ArrayLike, data: Dataset | None, operand: int | None) -> NDArray[np.float64]:
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


def transform(rows: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Compute the features from the rows of the elements."""
    if len(rows) < 2 or rows.shape[1] < 1:
        raise ArgumentValueError("E", f"expected at least two rows and one column, got shape {rows.shape}")
    return np.fft.fft(rows, axis=0, norm="forward")[1 : len(rows) // 2 + 1]
