"""Label noise: training labels that are made wrong on purpose."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._checks import ArgumentValueError
from .dataset import Dataset, is_one_hot, make_read_only


def with_label_noise(data: Dataset, fraction: float, seed: int = 0) -> Dataset:
    """Return a dataset in which a share of the training labels is wrong. The test labels do not change.

    ⌊fraction · n⌋ training samples are drawn without repetition. Each gets one of the other classes, with equal
    probability. If the targets are one column of ±1, each gets the other sign. The argument ``label_noise`` of a task
    does the same with the seed of the task.

    Parameters
    ----------
    data : Dataset
        A dataset without label noise, with one-hot targets of at least two classes or one column of ±1.
    fraction : float
        The share of wrong labels. In [0, 1].
    seed : int
        The seed of the draw. At least 0, by default 0.

    Returns
    -------
    Dataset
        The samples with the wrong labels.

    Raises
    ------
    ValueError, TypeError
        If the fraction is outside [0, 1], the seed is negative, the targets are not labels, or the labels already have
        noise.
    """
    _checks.check_instance("data", data, Dataset)
    fraction, seed = _checks.fraction("fraction", fraction), _checks.integer("seed", seed, 0)
    if before := data.settings.get("label_noise"):
        raise ArgumentValueError("data", f"expected labels without noise, got label_noise={before}")
    settings = {**data.settings, "label_noise": fraction, "label_noise_seed": seed}
    Y_train = add_label_noise(data.Y_train, fraction, seed)
    return make_read_only(Dataset(data.rows_train, Y_train, data.rows_test, data.Y_test, settings))


def add_label_noise(Y: NDArray[np.float64], fraction: float, seed: int) -> NDArray[np.float64]:
    """Return targets (n, d_out) of which ⌊fraction · n⌋ labels are wrong."""
    if fraction == 0:
        return Y
    n, d_out = Y.shape
    random = np.random.default_rng(seed).spawn(1)[0]  # independent of the split, which the seed itself draws
    wrong = random.permutation(n)[: math.floor(fraction * n * (1 + 1e-12))]  # 0.29 of 100 labels are 29
    noisy = Y.copy()
    if d_out == 1 and np.all(np.abs(Y) == 1):
        noisy[wrong] *= -1
    elif d_out > 1 and is_one_hot(Y):
        further = random.integers(1, d_out, len(wrong))
        noisy[wrong] = np.eye(d_out)[(Y[wrong].argmax(axis=1) + further) % d_out]
    else:
        raise ArgumentValueError(
            "targets", "expected one-hot rows of at least two classes, or one column of ±1, for label noise"
        )
    return noisy
