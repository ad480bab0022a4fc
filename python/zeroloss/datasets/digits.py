"""Handwritten digits from scikit-learn."""

from __future__ import annotations

import numpy as np

from .. import _checks
from .._choices import AtLeastOne, Count, DigitTargets, Fraction, Share
from .dataset import Dataset
from .split import Split


def digits(
    *,
    train_fraction: Share | None = None,
    train_count: AtLeastOne | None = None,
    test_count: Count | None = None,
    targets: DigitTargets = "one_hot",
    label_noise: Fraction = 0.0,
    seed: Count = 0,
) -> Dataset:
    """Load 1797 handwritten digits of 8 × 8 pixels from scikit-learn.

    The inputs are the 64 pixels row by row, in sixteenths from 0 (white) to 1, in dense rows.

    Parameters
    ----------
    train_fraction : float, optional
        The share of the samples for training. In (0, 1], rounded down to whole samples. Exactly one of
        ``train_fraction``, ``train_count`` and ``test_count`` is needed.
    train_count : int, optional
        The number of training samples. At least 1; the other samples are for testing.
    test_count : int, optional
        The number of test samples. At least 0; the other samples are for training.
    targets : {"one_hot", "value"}
        Ten columns of 0 and 1, ten classes; or one column with the value of the digit, 0 to 9, without
        accuracies.
    label_noise : float
        The share of training labels that are made wrong. In [0, 1], by default 0; see `with_label_noise`. For one-hot
        targets only.
    seed : int
        The seed of the random split and of the label noise. At least 0, by default 0.

    Returns
    -------
    Dataset
        The samples.

    Raises
    ------
    ImportError
        If scikit-learn is not installed. The extra ``data`` installs it.
    ValueError, TypeError
        If the split leaves no training sample, or an argument is out of its range.
    """
    _checks.choice("targets", targets, ("one_hot", "value"))
    split = Split(train_fraction, train_count, test_count, label_noise, seed)
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415 — an extra, and slow to import
    except ImportError:
        raise _checks.missing_library("digits", "scikit-learn", "data") from None
    pixels, labels = load_digits(return_X_y=True)
    Y = np.eye(10)[labels] if targets == "one_hot" else labels[:, None].astype(np.float64)
    return split.split(np.asarray(pixels, np.float64) / 16, Y, {"task": "digits", "targets": targets})
