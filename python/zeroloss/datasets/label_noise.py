"""Label noise: training labels that are wrong on purpose."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._checks import ArgumentValueError
from .dataset import Dataset, one_hot, read_only


def with_label_noise(data: Dataset, fraction: float, seed: int = 0) -> Dataset:
    """Return the dataset with a share of its training labels made wrong; the test labels stay.

    ⌊fraction · n⌋ training samples, drawn without repetition, get one of the other classes, each equally likely; a
    target of one column of ±1 gets the other sign. The keyword ``label_noise`` of a task does the same, from the task's
    own seed.

    Parameters
    ----------
    data : Dataset
        With one-hot targets of at least two classes, or one column of ±1, and without label noise so far.
    fraction : float
        In [0, 1].
    seed : int
        Of the draw.

    Raises
    ------
    ValueError, TypeError
        For a fraction outside [0, 1], a negative seed, targets that are no labels, or noise upon noise.
    """
    _checks.instance("data", data, Dataset)
    fraction, seed = _checks.fraction("fraction", fraction), _checks.integer("seed", seed, 0)
    if before := data.settings.get("label_noise"):
        raise ArgumentValueError("data", f"expected labels without noise, got label_noise={before}")
    settings = {**data.settings, "label_noise": fraction, "label_noise_seed": seed}
    Y_train = noisy_targets(data.Y_train, fraction, seed)
    return read_only(Dataset(data.rows_train, Y_train, data.rows_test, data.Y_test, settings))


def noisy_targets(Y: NDArray[np.float64], fraction: float, seed: int) -> NDArray[np.float64]:
    """Return the targets (n, d_out) with ⌊fraction · n⌋ wrong labels."""
    if fraction == 0:
        return Y
    n, d_out = Y.shape
    random = np.random.default_rng(seed).spawn(1)[0]  # independent of what the seed itself draws, as a split
    wrong = random.permutation(n)[: math.floor(fraction * n * (1 + 1e-12))]  # 0.29 of 100 labels are 29
    noisy = Y.copy()
    if d_out == 1 and np.all(np.abs(Y) == 1):
        noisy[wrong] *= -1
    elif d_out > 1 and one_hot(Y):
        further = random.integers(1, d_out, len(wrong))
        noisy[wrong] = np.eye(d_out)[(Y[wrong].argmax(axis=1) + further) % d_out]
    else:
        raise ArgumentValueError(
            "targets", "expected one-hot ones of at least two classes, or one column of ±1, for label noise"
        )
    return noisy
