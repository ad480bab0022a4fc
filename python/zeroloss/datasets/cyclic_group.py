"""The cyclic group of a task, and the rows of the first layer that belong to its elements."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._checks import ArgumentValueError
from .dataset import Dataset

_SUMS = ("modular_addition", "modular_subtraction")
_PRODUCTS = ("modular_multiplication", "modular_division")


def group_rows(data: Dataset) -> tuple[NDArray[np.intp], ...]:
    """Find the rows of E that belong to the elements of a task's cyclic group.

    Parameters
    ----------
    data : Dataset
        A dataset of `modular_addition` or `modular_subtraction`, or, modulo a prime above 2, of
        `modular_multiplication` or `modular_division`.

    Returns
    -------
    tuple of ndarray
        The rows in the order of the group. One array if the inputs are sums of one-hot vectors, otherwise one for each
        operand. For sums and differences the order is 0 … p − 1. For products and quotients it is gᵏ mod p,
        k = 0 … p − 2, with the least primitive root g.

    Raises
    ------
    ValueError, TypeError
        If the data are of another task.
    """
    _checks.check_instance("data", data, Dataset)
    task, p = data.settings.get("task"), data.settings.get("p", 0)
    if task in _SUMS:
        order = np.arange(p)
    elif task in _PRODUCTS and p > 2 and all(p % factor for factor in range(2, math.isqrt(p) + 1)):
        order = _powers_of_a_primitive_root(p)
    else:
        what = f"{task} modulo {p}" if p else str(task)
        raise ArgumentValueError(
            "data",
            "expected a task with a cyclic group (sums or differences modulo p, products or quotients modulo a "
            f"prime above 2), got {what}",
        )
    return tuple(order + first for first in range(0, data.d_in, p))


def _powers_of_a_primitive_root(p: int) -> NDArray[np.intp]:
    """Return gᵏ mod p, k = 0 … p − 2, for a prime p and its least primitive root g."""
    for g in range(2, p):
        powers = [1]
        while (following := powers[-1] * g % p) != 1:
            powers.append(following)
        if len(powers) == p - 1:
            return np.array(powers)
    raise AssertionError("every prime has a primitive root")
