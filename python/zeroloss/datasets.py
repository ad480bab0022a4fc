"""Datasets: the rows of X, the targets Y, and their split into training and test samples.

Modular addition (Sec. 7.1 of arXiv 2511.01938): X_i = e_a + e_b, Y_i = e_c with c = (a + b) mod p.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from . import _checks
from ._kernels import kernels
from ._machine import check_memory

__all__ = ["Dataset", "from_arrays", "modular_addition"]

_ROWS = ("auto", "sparse", "dense")
_SPARSE_BELOW = 0.25  # rows="auto": the share of nonzero entries up to which sparse rows are chosen


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test samples; made by the functions of this module.

    Attributes
    ----------
    rows_train, rows_test : csr_array or ndarray, (n, d_in)
        The inputs as the kernels take them: sparse rows, or dense ones.
    Y_train, Y_test : ndarray, (n, d_out)
        The targets, float64, read-only. Without a test set the test arrays have no rows.
    settings : mapping
        What the samples were made from: the task, its numbers and its seed.
    """

    rows_train: csr_array | NDArray[np.float64]
    Y_train: NDArray[np.float64]
    rows_test: csr_array | NDArray[np.float64]
    Y_test: NDArray[np.float64]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def X_train(self) -> NDArray[np.float64]:
        """The training inputs as a dense array, (n, d_in)."""
        return _dense(self.rows_train)

    @property
    def X_test(self) -> NDArray[np.float64]:
        """The test inputs as a dense array, (n_test, d_in)."""
        return _dense(self.rows_test)

    @property
    def d_in(self) -> int:
        """Length of an input."""
        return int(self.rows_train.shape[1])

    @property
    def d_out(self) -> int:
        """Length of a target."""
        return int(self.Y_train.shape[1])

    def __repr__(self) -> str:
        rows = "sparse" if isinstance(self.rows_train, csr_array) else "dense"
        made = ", ".join(f"{key}={value!r}" for key, value in self.settings.items())
        return (
            f"Dataset({len(self.Y_train)} training and {len(self.Y_test)} test samples, "
            f"{self.d_in} inputs in {rows} rows, {self.d_out} outputs; {made})"
        )


def modular_addition(
    p: int,
    *,
    train_fraction: float | None = None,
    train_count: int | None = None,
    test_count: int | None = None,
    pairs: str = "unordered",
    seed: int = 0,
) -> Dataset:
    """Addition modulo p, every pair of numbers a sample.

    Parameters
    ----------
    p : int
        The modulus, at least 2. Inputs and outputs have length p.
    train_fraction, train_count, test_count : float, int, int
        Exactly one of them: ⌊fraction · samples⌋ samples for training, or a count; the others are for testing.
    pairs : {"unordered", "ordered"}
        The p (p + 1) / 2 pairs a ≤ b of the paper, or all p² pairs.
    seed : int
        Of the random split.

    Raises
    ------
    ValueError, TypeError
        For a modulus below 2, a split that leaves no training sample, or an unknown kind of pairs.
    """
    p = _checks.integer("p", p, 2)
    seed = _checks.integer("seed", seed, 0)
    _checks.choice("pairs", pairs, ("unordered", "ordered"))
    check_memory(f"modular addition of p = {p}", 32 * p**3)  # the targets, their split, and room for both
    a, b = np.triu_indices(p) if pairs == "unordered" else (np.repeat(np.arange(p), p), np.tile(np.arange(p), p))
    samples = len(a)
    n = _training_count(samples, train_fraction, train_count, test_count)
    order = np.random.default_rng(seed).permutation(samples)
    ones, numbers = np.ones(2 * samples), np.stack([a, b], axis=1).ravel()
    rows = csr_array((ones, numbers, np.arange(0, 2 * samples + 1, 2)), (samples, p))
    Y = np.eye(p)[(a + b) % p]
    train, test = np.sort(order[:n]), np.sort(order[n:])
    split = {"train_fraction": train_fraction, "train_count": train_count, "test_count": test_count}
    given = {k: float(v) if k == "train_fraction" else int(v) for k, v in split.items() if v is not None}
    settings = {"task": "modular_addition", "p": p, **given}
    settings |= {"pairs": pairs, "seed": seed}
    return read_only(Dataset(rows[train], Y[train], rows[test], Y[test], settings))


def from_arrays(
    X_train: ArrayLike,
    Y_train: ArrayLike,
    X_test: ArrayLike | None = None,
    Y_test: ArrayLike | None = None,
    rows: str = "auto",
) -> Dataset:
    """Take one's own samples, copied.

    Parameters
    ----------
    X_train, X_test : array_like, (n, d_in) and (n_test, d_in)
        Inputs, one sample a row.
    Y_train, Y_test : array_like, (n, d_out) and (n_test, d_out)
        Targets; one-hot rows make accuracies defined.
    rows : {"auto", "sparse", "dense"}
        How the kernels hold the inputs; "auto" takes sparse rows where at most a quarter of the entries are nonzero.

    Raises
    ------
    ValueError, TypeError
        For shapes that do not fit together, no training sample, complex, object, NaN or infinite entries.
    """
    _checks.choice("rows", rows, _ROWS)
    X, Y = _checks.matrix("X_train", X_train, "float64"), _checks.matrix("Y_train", Y_train, "float64")
    if (X_test is None) != (Y_test is None):
        given, missing = ("X_test", "Y_test") if Y_test is None else ("Y_test", "X_test")
        raise ValueError(f"{missing}: expected together with {given}, got None")
    if X_test is None or Y_test is None:
        X_test, Y_test = np.empty((0, X.shape[1])), np.empty((0, Y.shape[1]))
    X_t, Y_t = _checks.matrix("X_test", X_test, "float64"), _checks.matrix("Y_test", Y_test, "float64")
    for name, value in (("X_train", X), ("Y_train", Y)):
        if 0 in value.shape:
            raise ValueError(f"{name}: expected at least one row and one column, got shape {value.shape}")
    if len(X) != len(Y):
        raise ValueError(f"Y_train: expected {len(X)} rows, as X_train has, got {len(Y)}")
    if X_t.shape[1] != X.shape[1]:
        raise ValueError(f"X_test: expected {X.shape[1]} columns, as X_train has, got {X_t.shape[1]}")
    if Y_t.shape != (len(X_t), Y.shape[1]):
        raise ValueError(f"Y_test: expected shape {(len(X_t), Y.shape[1])}, got {Y_t.shape}")
    sparse = rows == "sparse" or (rows == "auto" and np.count_nonzero(X) <= _SPARSE_BELOW * X.size)
    take = csr_array if sparse else np.asarray
    settings = {"task": "arrays", "rows": "sparse" if sparse else "dense"}
    return read_only(Dataset(take(X), Y, take(X_t), Y_t, settings))


def kernel_samples(data: Dataset, part: str, dtype: np.dtype[Any]) -> Any:
    """Return the kernels' form of the ``"train"`` or ``"test"`` samples in a precision."""
    rows, Y = (data.rows_train, data.Y_train) if part == "train" else (data.rows_test, data.Y_test)
    entries = rows.data if isinstance(rows, csr_array) else rows
    if max(np.abs(array).max(initial=0.0) for array in (entries, Y)) > np.finfo(dtype).max:
        raise ValueError(f"data: expected entries within {dtype}, got greater ones; scale them")
    samples = kernels.Samples32 if dtype == np.float32 else kernels.Samples64
    targets = np.ascontiguousarray(Y, dtype)
    if isinstance(rows, csr_array):
        starts, columns = rows.indptr.astype(np.int64), rows.indices.astype(np.int64)
        return samples(starts, columns, rows.data.astype(dtype), data.d_in, targets)
    return samples(np.ascontiguousarray(rows, dtype), targets)


def one_hot(Y: NDArray[np.float64]) -> bool:
    """Whether every row is a unit vector: the case in which an accuracy is defined."""
    return bool(np.all((Y == 0) | (Y == 1)) and np.all(Y.sum(axis=1) == 1))


def _training_count(samples: int, fraction: float | None, train: int | None, test: int | None) -> int:
    """How many samples train, from exactly one of the three ways to say it."""
    ways = {"train_fraction": fraction, "train_count": train, "test_count": test}
    given = [name for name, value in ways.items() if value is not None]
    if len(given) != 1:
        raise ValueError(f"{', '.join(ways)}: expected exactly one of them, got {' and '.join(given) or 'none'}")
    if fraction is not None:
        share = _checks.real("train_fraction", fraction)
        n = math.floor(share * samples * (1 + 1e-12)) if 0 < share <= 1 else 0  # 0.29 of 100 samples are 29
        if n < 1:
            raise ValueError(f"train_fraction: expected in (0, 1] with at least one of {samples} samples, got {share}")
        return n
    name, value = ("train_count", train) if train is not None else ("test_count", test)
    count = _checks.integer(name, value, 0)
    n = count if train is not None else samples - count
    if not 1 <= n <= samples:
        raise ValueError(
            f"{name}: expected to leave 1 to {samples} samples for training, got {count}, which leaves {n}"
        )
    return n


def read_only(data: Dataset) -> Dataset:
    """Return the dataset, its arrays made read-only: a dataset never changes."""
    for array in (data.rows_train, data.Y_train, data.rows_test, data.Y_test):
        for part in (array.data, array.indices, array.indptr) if isinstance(array, csr_array) else (array,):
            part.flags.writeable = False
    return data


def _dense(rows: csr_array | NDArray[np.float64]) -> NDArray[np.float64]:
    return rows.toarray() if isinstance(rows, csr_array) else rows
