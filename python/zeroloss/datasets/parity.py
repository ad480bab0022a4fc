"""Sparse parity: the product of a few of many signs."""

from __future__ import annotations

import numpy as np

from .. import _checks
from .._checks import ArgumentValueError
from .._choices import AtLeastOne, Count, Fraction, ParityTargets
from .._resources import check_memory
from .dataset import Dataset, make_read_only
from .label_noise import add_label_noise

_CODE_BITS = 62  # the bits of the integers that make the samples different


def sparse_parity(
    bits: AtLeastOne,
    relevant: AtLeastOne,
    *,
    train_count: AtLeastOne,
    test_count: Count = 0,
    targets: ParityTargets = "one_hot",
    label_noise: Fraction = 0.0,
    seed: Count = 0,
) -> Dataset:
    """Draw different inputs x ∈ {−1, 1}^bits with the parity y = x₁ x₂ … of the first ``relevant`` signs.

    The relevant signs are the first ones, which makes no difference to a network without structure.

    Parameters
    ----------
    bits : int
        The length of an input. At least 1.
    relevant : int
        The number of signs in the product. From 1 to ``bits``.
    train_count : int
        The number of training samples. At least 1. There are at most 2^bits samples in total.
    test_count : int
        The number of test samples. At least 0, by default 0.
    targets : {"one_hot", "sign"}
        (1, 0) for y = 1 and (0, 1) for y = −1, for two classes (default); or y itself in one column, without
        accuracies.
    label_noise : float
        The share of training labels that are made wrong. In [0, 1], by default 0; see `with_label_noise`.
    seed : int
        The seed of the samples and of the label noise. At least 0, by default 0.

    Returns
    -------
    Dataset
        The samples, with dense rows.

    Raises
    ------
    ValueError, TypeError
        If a number is out of its range, the targets are unknown, or the samples do not fit in memory.
    """
    bits, relevant = _checks.integer("bits", bits, 1), _checks.integer("relevant", relevant, 1)
    train, test = _checks.integer("train_count", train_count, 1), _checks.integer("test_count", test_count, 0)
    _checks.choice("targets", targets, ("one_hot", "sign"))
    label_noise, seed = _checks.fraction("label_noise", label_noise), _checks.integer("seed", seed, 0)
    if relevant > bits:
        raise ArgumentValueError("relevant", f"expected at most bits = {bits}, got {relevant}")
    short = min(bits, _CODE_BITS)
    if train + test > 2**short:
        raise ArgumentValueError(
            ("train_count", "test_count"), f"expected at most 2^{short} together, got {train + test}"
        )
    check_memory(
        f"sparse parity of {bits} bits", (train + test) * (24 * bits + 400)
    )  # random.choice needs up to 50 integers a sample
    random = np.random.default_rng(seed)
    codes = random.choice(2**short, train + test, replace=False)  # without repetition: no sample is in both parts
    free = random.integers(0, 2, (train + test, bits - short))
    X = 1.0 - 2.0 * np.hstack([codes[:, None] >> np.arange(short) & 1, free])
    y = X[:, :relevant].prod(axis=1, keepdims=True)
    Y = y if targets == "sign" else np.hstack([y == 1, y == -1]).astype(np.float64)
    settings = {"task": "sparse_parity", "bits": bits, "relevant": relevant, "train_count": train, "test_count": test}
    settings |= {"targets": targets, "label_noise": label_noise, "seed": seed}
    Y_train = add_label_noise(Y[:train], label_noise, seed)
    return make_read_only(Dataset(X[:train], Y_train, X[train:], Y[train:].copy(), settings))
