"""The split of the samples of a finite task into a training and a test part."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from .. import _checks
from .._checks import ArgumentValueError
from .._choices import AtLeastOne, Count, Fraction, Share
from .dataset import Dataset, make_read_only
from .label_noise import add_label_noise


@dataclass(frozen=True)
class Split:
    """The sizes of the two parts, the label noise and the seed. Exactly one of the three sizes is given."""

    train_fraction: Share | None
    train_count: AtLeastOne | None
    test_count: Count | None
    label_noise: Fraction
    seed: Count

    def __post_init__(self) -> None:
        _checks.set_fields(
            self,
            label_noise=_checks.fraction("label_noise", self.label_noise),
            seed=_checks.integer("seed", self.seed, 0),
        )
        if len(sizes := self._given_sizes()) != 1:
            ways = ("train_fraction", "train_count", "test_count")
            raise ArgumentValueError(ways, f"expected exactly one of them, got {' and '.join(sizes) or 'none'}")

    def split(
        self, rows: csr_array | NDArray[np.float64], Y: NDArray[np.float64], settings: Mapping[str, Any]
    ) -> Dataset:
        """Split the samples (rows, Y) at random, and add the label noise to the training part."""
        samples = len(Y)
        n = self._training_count(samples)
        order = np.random.default_rng(self.seed).permutation(samples)
        train, test = np.sort(order[:n]), np.sort(order[n:])
        Y_train = add_label_noise(Y[train], self.label_noise, self.seed)
        sizes = {k: float(v) if k == "train_fraction" else int(v) for k, v in self._given_sizes().items()}
        settings = {**settings, **sizes, "label_noise": self.label_noise, "seed": self.seed}
        return make_read_only(Dataset(rows[train], Y_train, rows[test], Y[test], settings))

    def _given_sizes(self) -> dict[str, float]:
        """Return the size that is given, by name."""
        ways = {
            "train_fraction": self.train_fraction,
            "train_count": self.train_count,
            "test_count": self.test_count,
        }
        return {name: value for name, value in ways.items() if value is not None}

    def _training_count(self, samples: int) -> int:
        """Return the number of training samples."""
        (name, value), *_ = self._given_sizes().items()
        if name == "train_fraction":
            share = _checks.real(name, value)
            n = math.floor(share * samples * (1 + 1e-12)) if 0 < share <= 1 else 0  # 0.29 of 100 samples are 29
            if n < 1:
                raise ArgumentValueError(
                    name, f"expected in (0, 1] with at least one of {samples} samples, got {share}"
                )
            return n
        count = _checks.integer(name, value, 0)
        n = count if name == "train_count" else samples - count
        if not 1 <= n <= samples:
            raise ArgumentValueError(
                name, f"expected to leave 1 to {samples} samples for training, got {count}, which leaves {n}"
            )
        return n
