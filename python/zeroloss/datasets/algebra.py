"""Algebraic tasks: modular arithmetic and the composition of permutations. Each tuple of operands is a sample."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from .. import _checks
from .._checks import ArgumentValueError, format_value
from .._choices import AtLeastOne, AtLeastTwo, Count, Fraction, Inputs, Pairs, Share
from .._resources import check_memory
from .dataset import Dataset
from .operands import PAIRS, Operands, all_tuples, make_pairs, make_samples, to_array
from .split import Split


def modular_addition(
    p: AtLeastTwo,
    *,
    summands: AtLeastTwo = 2,
    train_fraction: Share | None = None,
    train_count: AtLeastOne | None = None,
    test_count: Count | None = None,
    pairs: Pairs = "unordered",
    inputs: Inputs = "sum",
    label_noise: Fraction = 0.0,
    seed: Count = 0,
) -> Dataset:
    """Make the task of addition modulo p, c = a + b + … mod p, with a sample for each pair (or tuple) of numbers.

    Parameters
    ----------
    p : int
        The modulus, which is the number of classes. At least 2.
    summands : int
        The number of summands, s. At least 2, by default 2.
    train_fraction : float, optional
        The share of the samples for training. In (0, 1], rounded down to whole samples. Exactly one of
        ``train_fraction``, ``train_count`` and ``test_count`` is needed.
    train_count : int, optional
        The number of training samples. At least 1; the other samples are for testing.
    test_count : int, optional
        The number of test samples. At least 0; the other samples are for training.
    pairs : {"unordered", "ordered"}
        The p (p + 1) / 2 pairs a ≤ b of the paper, or all p² pairs. With s summands, the C(p + s − 1, s)
        ascending tuples, or all pˢ tuples.
    inputs : {"sum", "concatenated"}
        X_i = e_a + e_b, of length p, or (e_a, e_b), of length s·p.
    label_noise : float
        The share of training labels that are made wrong. In [0, 1], by default 0; see `with_label_noise`.
    seed : int
        The seed of the random split and of the label noise. At least 0, by default 0.

    Returns
    -------
    Dataset
        The samples, with one-hot targets.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, there is no training sample, or the samples do not fit in memory.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(11, test_count=7, seed=0)
    >>> data.train_count, data.test_count, data.classes
    (59, 7, 11)
    """
    p, s = _checks.integer("p", p, 2), _checks.integer("summands", summands, 2)
    _checks.choice("pairs", pairs, PAIRS)
    samples = math.comb(p + s - 1, s) if pairs == "unordered" else p**s
    check_memory(f"modular addition of p = {p}", 32 * samples * (p + s))  # Y, its split parts, and room for both
    tuples = itertools.combinations_with_replacement(range(p), s) if pairs == "unordered" else all_tuples(p, s)
    operands = to_array(tuples, samples, s)
    about = {"task": "modular_addition", "p": p, "summands": s, "pairs": pairs, "inputs": inputs}
    split = Split(train_fraction, train_count, test_count, label_noise, seed)
    return make_samples(operands, p, operands.sum(axis=1) % p, split, about)


def modular_subtraction(
    p: AtLeastTwo,
    *,
    train_fraction: Share | None = None,
    train_count: AtLeastOne | None = None,
    test_count: Count | None = None,
    label_noise: Fraction = 0.0,
    seed: Count = 0,
) -> Dataset:
    """Make the task of subtraction modulo p, c = a − b mod p, with a sample for each of the p² ordered pairs.

    The inputs are (e_a, e_b), of length 2p. They are concatenated because a sum would not show the order of the
    operands.

    Parameters
    ----------
    p : int
        The modulus, which is the number of classes. At least 2.
    train_fraction : float, optional
        The share of the samples for training. In (0, 1], rounded down to whole samples. Exactly one of
        ``train_fraction``, ``train_count`` and ``test_count`` is needed.
    train_count : int, optional
        The number of training samples. At least 1; the other samples are for testing.
    test_count : int, optional
        The number of test samples. At least 0; the other samples are for training.
    label_noise : float
        The share of training labels that are made wrong. In [0, 1], by default 0; see `with_label_noise`.
    seed : int
        The seed of the random split and of the label noise. At least 0, by default 0.

    Returns
    -------
    Dataset
        The samples, with one-hot targets.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, there is no training sample, or the samples do not fit in memory.
    """
    p = _checks.integer("p", p, 2)
    operands = make_pairs(p, "ordered", f"modular subtraction of p = {p}")
    about = {"task": "modular_subtraction", "p": p}
    split = Split(train_fraction, train_count, test_count, label_noise, seed)
    return make_samples(operands, p, (operands[:, 0] - operands[:, 1]) % p, split, about)


def modular_multiplication(
    p: AtLeastTwo,
    *,
    train_fraction: Share | None = None,
    train_count: AtLeastOne | None = None,
    test_count: Count | None = None,
    pairs: Pairs = "unordered",
    inputs: Inputs = "sum",
    label_noise: Fraction = 0.0,
    seed: Count = 0,
) -> Dataset:
    """Make the task of multiplication modulo p, c = a b mod p, for all pairs including zeros.

    Parameters
    ----------
    p : int
        The modulus, which is the number of classes. At least 2.
    train_fraction : float, optional
        The share of the samples for training. In (0, 1], rounded down to whole samples. Exactly one of
        ``train_fraction``, ``train_count`` and ``test_count`` is needed.
    train_count : int, optional
        The number of training samples. At least 1; the other samples are for testing.
    test_count : int, optional
        The number of test samples. At least 0; the other samples are for training.
    pairs : {"unordered", "ordered"}
        The p (p + 1) / 2 pairs a ≤ b of the paper, or all p² pairs.
    inputs : {"sum", "concatenated"}
        X_i = e_a + e_b, of length p, or (e_a, e_b), of length 2p.
    label_noise : float
        The share of training labels that are made wrong. In [0, 1], by default 0; see `with_label_noise`.
    seed : int
        The seed of the random split and of the label noise. At least 0, by default 0.

    Returns
    -------
    Dataset
        The samples, with one-hot targets.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, there is no training sample, or the samples do not fit in memory.
    """
    p = _checks.integer("p", p, 2)
    operands = make_pairs(p, pairs, f"modular multiplication of p = {p}")
    about = {"task": "modular_multiplication", "p": p, "pairs": pairs, "inputs": inputs}
    split = Split(train_fraction, train_count, test_count, label_noise, seed)
    return make_samples(operands, p, operands.prod(axis=1) % p, split, about)


def modular_division(
    p: AtLeastTwo,
    *,
    train_fraction: Share | None = None,
    train_count: AtLeastOne | None = None,
    test_count: Count | None = None,
    label_noise: Fraction = 0.0,
    seed: Count = 0,
) -> Dataset:
    """Make the task of division modulo a prime p, c = a / b, that is b c = a mod p.

    The samples are the p (p − 1) ordered pairs with b ≠ 0. The inputs are (e_a, e_b), of length 2p, as for
    `modular_subtraction`; the column of b = 0 is empty.

    Parameters
    ----------
    p : int
        The modulus, which is the number of classes. A prime.
    train_fraction : float, optional
        The share of the samples for training. In (0, 1], rounded down to whole samples. Exactly one of
        ``train_fraction``, ``train_count`` and ``test_count`` is needed.
    train_count : int, optional
        The number of training samples. At least 1; the other samples are for testing.
    test_count : int, optional
        The number of test samples. At least 0; the other samples are for training.
    label_noise : float
        The share of training labels that are made wrong. In [0, 1], by default 0; see `with_label_noise`.
    seed : int
        The seed of the random split and of the label noise. At least 0, by default 0.

    Returns
    -------
    Dataset
        The samples, with one-hot targets.

    Raises
    ------
    ValueError, TypeError
        If p is not a prime, an argument is out of its range, there is no training sample, or the samples do not fit in
        memory.
    """
    p = _checks.integer("p", p, 2)
    pairs = make_pairs(p, "ordered", f"modular division of p = {p}")
    if any(p % factor == 0 for factor in range(2, math.isqrt(p) + 1)):
        raise ArgumentValueError("p", f"expected a prime, got {p}")
    operands = pairs[pairs[:, 1] != 0]
    inverse = np.array([0, *(pow(b, -1, p) for b in range(1, p))])
    split = Split(train_fraction, train_count, test_count, label_noise, seed)
    about = {"task": "modular_division", "p": p}
    return make_samples(operands, p, operands[:, 0] * inverse[operands[:, 1]] % p, split, about)


def modular_polynomial(
    p: AtLeastTwo,
    *,
    terms: Sequence[Sequence[int]] = ((1, 2, 0), (1, 1, 1), (1, 0, 2)),
    train_fraction: Share | None = None,
    train_count: AtLeastOne | None = None,
    test_count: Count | None = None,
    pairs: Pairs = "unordered",
    inputs: Inputs = "sum",
    label_noise: Fraction = 0.0,
    seed: Count = 0,
) -> Dataset:
    """Make the task of a polynomial of two numbers modulo p, by default c = a² + a b + b² mod p.

    Parameters
    ----------
    p : int
        The modulus, which is the number of classes. At least 2.
    terms : sequence of (int, int, int)
        The terms of the polynomial: coefficient, power of a, power of b. A power is at least 0.
    train_fraction : float, optional
        The share of the samples for training. In (0, 1], rounded down to whole samples. Exactly one of
        ``train_fraction``, ``train_count`` and ``test_count`` is needed.
    train_count : int, optional
        The number of training samples. At least 1; the other samples are for testing.
    test_count : int, optional
        The number of test samples. At least 0; the other samples are for training.
    pairs : {"unordered", "ordered"}
        The p (p + 1) / 2 pairs a ≤ b, or all p² pairs. It has to be "ordered" if the value of the
        polynomial depends on the order of a and b.
    inputs : {"sum", "concatenated"}
        X_i = e_a + e_b, of length p, or (e_a, e_b), of length 2p. It has to be "concatenated" if the value
        depends on the order of a and b.
    label_noise : float
        The share of training labels that are made wrong. In [0, 1], by default 0; see `with_label_noise`.
    seed : int
        The seed of the random split and of the label noise. At least 0, by default 0.

    Returns
    -------
    Dataset
        The samples, with one-hot targets.

    Raises
    ------
    ValueError, TypeError
        If the terms are malformed, the pairs or inputs do not suit the polynomial, the modulus is below 2, the split
        leaves no training sample, an argument is out of its range, or the samples do not fit in memory.
    """
    p = _checks.integer("p", p, 2)
    checked = _checked_terms(terms)
    operands = make_pairs(p, pairs, f"a modular polynomial of p = {p}")

    def value(a: Operands, b: Operands) -> Operands:
        c = np.zeros_like(a)
        for coefficient, i, j in checked:
            powers_a, powers_b = (np.array([pow(x, power, p) for x in range(p)]) for power in (i, j))
            c = (c + coefficient % p * (powers_a[a] * powers_b[b] % p)) % p
        return c

    a, b = operands.T
    c = value(a, b)
    if (c != value(b, a)).any() and (pairs, inputs) != ("ordered", "concatenated"):
        raise ArgumentValueError(
            ("pairs", "inputs"),
            'expected "ordered" and "concatenated", because the polynomial depends on the order, '
            f"got {format_value(pairs)} and {format_value(inputs)}",
        )
    about = {"task": "modular_polynomial", "p": p, "terms": checked, "pairs": pairs, "inputs": inputs}
    split = Split(train_fraction, train_count, test_count, label_noise, seed)
    return make_samples(operands, p, c, split, about)


def permutation_composition(
    symbols: AtLeastTwo = 5,
    *,
    train_fraction: Share | None = None,
    train_count: AtLeastOne | None = None,
    test_count: Count | None = None,
    label_noise: Fraction = 0.0,
    seed: Count = 0,
) -> Dataset:
    """Make the task of composition in a symmetric group, c = a ∘ b, that is c(i) = a(b(i)).

    Each ordered pair of permutations is a sample: 120² = 14 400 samples for 5 symbols, with inputs (e_a, e_b) of length
    2·120. The permutations are numbered in lexicographic order; the identity is the first.

    Parameters
    ----------
    symbols : int
        The number of symbols, k. At least 2, by default 5. There are k! permutations, which are the classes.
    train_fraction : float, optional
        The share of the samples for training. In (0, 1], rounded down to whole samples. Exactly one of
        ``train_fraction``, ``train_count`` and ``test_count`` is needed.
    train_count : int, optional
        The number of training samples. At least 1; the other samples are for testing.
    test_count : int, optional
        The number of test samples. At least 0; the other samples are for training.
    label_noise : float
        The share of training labels that are made wrong. In [0, 1], by default 0; see `with_label_noise`.
    seed : int
        The seed of the random split and of the label noise. At least 0, by default 0.

    Returns
    -------
    Dataset
        The samples, with one-hot targets.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range, there is no training sample, or the samples do not fit in memory.
    """
    k = _checks.integer("symbols", symbols, 2)
    order = math.factorial(min(k, 25))  # 25! samples or more exceed any memory
    operands = make_pairs(order, "ordered", f"composition of permutations of {k} symbols")
    permutations = to_array(itertools.permutations(range(k)), order, k)
    composed = np.take_along_axis(permutations[operands[:, 0]], permutations[operands[:, 1]], axis=1)
    weights = k ** np.arange(k)[::-1]  # read as digits, permutations in lexicographic order are ascending numbers
    c = np.searchsorted(permutations @ weights, composed @ weights)
    split = Split(train_fraction, train_count, test_count, label_noise, seed)
    return make_samples(operands, order, c, split, {"task": "permutation_composition", "symbols": k})


def _checked_terms(terms: object) -> list[list[int]]:
    """Return the terms of a polynomial as lists of integers."""
    try:
        rows = [list(term) for term in terms]  # type: ignore[attr-defined]
    except TypeError:
        rows = []
    if not rows or any(len(row) != 3 for row in rows):
        raise ArgumentValueError(
            "terms", f"expected (coefficient, power of a, power of b), one or more, got {format_value(terms)}"
        )
    least = (-(2**63), 0, 0)
    return [[_checks.integer(f"terms[{i}][{j}]", row[j], least[j]) for j in range(3)] for i, row in enumerate(rows)]
