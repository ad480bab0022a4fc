"""Handwritten digits: real data, as scikit-learn ships them."""

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
    """1797 handwritten digits of 8 × 8 pixels, a regression by squared error, from scikit-learn.

    The inputs are the 64 pixels row by row, in sixteenths from 0 (white) to 1, in dense rows.

    Parameters
    ----------
    train_fraction, train_count, test_count
        As for `modular_addition`.
    targets : {"one_hot", "value"}
        Ten columns of 0 and 1, ten classes; or the digit's value 0 … 9 in one column, without accuracies.
    label_noise : float
        The share of training labels that are wrong, see `with_label_noise`; one-hot targets only.
    seed : int
        Of the random split, and of the noise.

    Raises
    ------
    ImportError
        Without scikit-learn, which the extra ``data`` brings.
    ValueError, TypeError
        As for `modular_addition`, or for unknown targets.
    """
    _checks.choice("targets", targets, ("one_hot", "value"))
    split = Split(train_fraction, train_count, test_count, label_noise, seed)
    try:
        from sklearn.datasets import load_digits  # noqa: PLC0415 — an extra, and slow to import
    except ImportError:
        raise _checks.missing("digits", "scikit-learn", "data") from None
    pixels, labels = load_digits(return_X_y=True)
    Y = np.eye(10)[labels] if targets == "one_hot" else labels[:, None].astype(np.float64)
    return split.of(np.asarray(pixels, np.float64) / 16, Y, {"task": "digits", "targets": targets})
