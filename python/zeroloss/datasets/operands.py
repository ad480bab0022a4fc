"""The operands of algebraic tasks: the samples that are made from them, and the way back."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from .. import _checks
from .._resources import check_memory
from .dataset import Dataset
from .split import Split

PAIRS = ("unordered", "ordered")
_INPUTS = ("sum", "concatenated")

Operands = NDArray[np.intp]


def make_pairs(p: int, pairs: str, what: str) -> Operands:
    """Return all pairs of the numbers below p, (samples, 2), in lexicographic order."""
    _checks.choice("pairs", pairs, PAIRS)
    samples = p * (p + 1) // 2 if pairs == "unordered" else p**2
    check_memory(what, 32 * samples * (p + 2))
    tuples = itertools.combinations_with_replacement(range(p), 2) if pairs == "unordered" else all_tuples(p, 2)
    return to_array(tuples, samples, 2)


def all_tuples(p: int, length: int) -> Iterable[tuple[int, ...]]:
    """Iterate over all tuples of numbers below p."""
    return itertools.product(range(p), repeat=length)


def to_array(tuples: Iterable[tuple[int, ...]], count: int, length: int) -> Operands:
    """Convert tuples to an array (count, length)."""
    numbers = itertools.chain.from_iterable(tuples)
    return np.fromiter(numbers, dtype=np.intp, count=count * length).reshape(count, length)


def make_samples(operands: Operands, p: int, results: Operands, split: Split, about: Mapping[str, Any]) -> Dataset:
    """Make k-hot inputs and one-hot targets from operands (samples, s) below p, and split them."""
    samples, s = operands.shape
    inputs = _checks.choice("inputs", about.get("inputs", "concatenated"), _INPUTS)
    columns, d_in = (operands, p) if inputs == "sum" else (operands + p * np.arange(s), s * p)
    rows = csr_array((np.ones(s * samples), columns.ravel(), np.arange(0, s * samples + 1, s)), (samples, d_in))
    return split.split(rows, np.eye(p)[results], about)


def find_operands(data: Dataset) -> Operands | None:
    """Find the two operands of each sample of a task with m classes.

    Parameters
    ----------
    data : Dataset
        The samples.

    Returns
    -------
    ndarray, (n + n_test, 2), or None
        The operands, numbers below m, of the training and then the test samples. Inputs are e_a + e_b, which gives
        a ≤ b, or (e_a, e_b), with one-hot vectors of length m. None for other inputs.
    """
    m = data.d_out
    if data.classes is None or data.d_in not in {m, 2 * m}:
        return None
    rows = csr_array(vstack([csr_array(data.rows_train), csr_array(data.rows_test)]))
    rows.eliminate_zeros()
    rows.sort_indices()
    if not np.isin(rows.data, (1.0, 2.0)).all() or not (rows.sum(axis=1) == 2).all():
        return None
    columns = np.repeat(rows.indices.astype(np.intp), rows.data.astype(np.intp)).reshape(-1, 2)
    operands = columns if data.d_in == m else columns - np.array([0, m], np.intp)
    return operands if ((operands >= 0) & (operands < m)).all() else None
