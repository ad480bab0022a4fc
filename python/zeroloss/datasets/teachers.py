"""Teacher and student: a regression on normal inputs with the outputs of a random teacher."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._checks import ArgumentValueError, format_value
from .._choices import AtLeastOne, Count, NotNegative
from .._resources import check_memory
from .dataset import Dataset, make_read_only

Layers = tuple[NDArray[np.float64], ...]


def linear_teacher(
    d_in: AtLeastOne,
    d_out: AtLeastOne = 1,
    *,
    train_count: AtLeastOne,
    test_count: Count = 0,
    noise: NotNegative = 0.0,
    seed: Count = 0,
) -> Dataset:
    """Draw samples of a random linear teacher, Y = X A + noise.

    The entries of X (n, d_in) are independent and N(0, 1), the entries of A (d_in, d_out) N(0, 1/d_in).

    Parameters
    ----------
    d_in : int
        The length of an input. At least 1.
    d_out : int
        The length of a target. At least 1, by default 1.
    train_count : int
        The number of training samples. At least 1. The teacher, the training samples and the test samples have separate
        random streams: the number of samples of one part does not change the others.
    test_count : int
        The number of test samples. At least 0, by default 0.
    noise : float
        The standard deviation of normal noise on the training targets. At least 0, by default 0. Test targets are the
        outputs of the teacher.
    seed : int
        The seed of teacher, inputs and noise. At least 0, by default 0.

    Returns
    -------
    Dataset
        The samples, with dense rows.

    Raises
    ------
    ValueError, TypeError
        If a number is out of its range, or the samples do not fit in memory.

    See Also
    --------
    teacher_layers : Compute the teacher again.
    """
    settings = {"task": "linear_teacher", "d_in": _checks.integer("d_in", d_in, 1)}
    return _draw_samples(settings, d_out, train_count, test_count, noise, seed)


def relu_teacher(
    d_in: AtLeastOne,
    hidden: AtLeastOne,
    d_out: AtLeastOne = 1,
    *,
    train_count: AtLeastOne,
    test_count: Count = 0,
    noise: NotNegative = 0.0,
    seed: Count = 0,
) -> Dataset:
    """Draw samples of a random ReLU teacher, Y = max(X E, 0) W + noise.

    All entries are independent: X (n, d_in) ~ N(0, 1), E (d_in, hidden) ~ N(0, 1/d_in), W (hidden, d_out) ~ N(0,
    1/hidden).

    Parameters
    ----------
    d_in : int
        The length of an input. At least 1.
    hidden : int
        The number of hidden units of the teacher. At least 1.
    d_out : int
        The length of a target. At least 1, by default 1.
    train_count : int
        The number of training samples. At least 1. The random streams are separate, as for `linear_teacher`.
    test_count : int
        The number of test samples. At least 0, by default 0.
    noise : float
        The standard deviation of normal noise on the training targets. At least 0, by default 0. Test targets are the
        outputs of the teacher.
    seed : int
        The seed of teacher, inputs and noise. At least 0, by default 0.

    Returns
    -------
    Dataset
        The samples, with dense rows.

    Raises
    ------
    ValueError, TypeError
        If a number is out of its range, or the samples do not fit in memory.

    See Also
    --------
    teacher_layers : Compute the teacher again.
    """
    settings = {"task": "relu_teacher", "d_in": _checks.integer("d_in", d_in, 1)}
    settings |= {"hidden": _checks.integer("hidden", hidden, 1)}
    return _draw_samples(settings, d_out, train_count, test_count, noise, seed)


def teacher_layers(data: Dataset) -> Layers:
    """Compute the layers of the teacher of a dataset.

    Parameters
    ----------
    data : Dataset
        A dataset of `linear_teacher` or `relu_teacher`.

    Returns
    -------
    tuple of ndarray
        (A,) with A (d_in, d_out) for `linear_teacher`, and (E, W) for `relu_teacher`.

    Raises
    ------
    ValueError, TypeError
        If the dataset is not one of these.
    """
    _checks.check_instance("data", data, Dataset)
    if data.settings.get("task") not in ("linear_teacher", "relu_teacher"):
        task = format_value(data.settings.get("task"))
        raise ArgumentValueError("data", f"expected a linear_teacher or relu_teacher, got task {task}")
    return _layers(data.settings, np.random.default_rng(data.settings["seed"]).spawn(1)[0])


def _draw_samples(
    settings: dict[str, Any], d_out: int, train_count: int, test_count: int, noise: float, seed: int
) -> Dataset:
    """Check the numbers, and draw the teacher and its samples."""
    settings |= {
        "d_out": _checks.integer("d_out", d_out, 1),
        "train_count": _checks.integer("train_count", train_count, 1),
        "test_count": _checks.integer("test_count", test_count, 0),
        "noise": _checks.not_negative("noise", noise),
        "seed": _checks.integer("seed", seed, 0),
    }
    hidden, samples = settings.get("hidden", 0), settings["train_count"] + settings["test_count"]
    floats = samples * (settings["d_in"] + hidden + 2 * settings["d_out"])
    floats += (settings["d_in"] + settings["d_out"]) * max(hidden, 1) * 2
    check_memory("teacher and student", 8 * floats)
    for_teacher, for_train, for_test = np.random.default_rng(settings["seed"]).spawn(3)
    layers = _layers(settings, for_teacher)
    X, X_test = (
        random.standard_normal((settings[count], settings["d_in"]))
        for random, count in ((for_train, "train_count"), (for_test, "test_count"))
    )
    Y = _outputs(X, layers)
    Y += settings["noise"] * for_train.standard_normal(Y.shape)
    return make_read_only(Dataset(X, Y, X_test, _outputs(X_test, layers), settings))


def _layers(settings: Any, random: np.random.Generator) -> Layers:
    """Draw the layers of a teacher."""
    widths = [settings[name] for name in ("d_in", "hidden", "d_out") if name in settings]
    return tuple(random.standard_normal(shape) * shape[0] ** -0.5 for shape in itertools.pairwise(widths))


def _outputs(X: NDArray[np.float64], layers: Layers) -> NDArray[np.float64]:
    """Compute the outputs of a teacher."""
    *first, last = layers
    for layer in first:
        X = np.maximum(X @ layer, 0.0)
    return np.asarray(X @ last)
