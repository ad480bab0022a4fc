"""Teacher and student: normal inputs with the outputs of a random teacher, a regression."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._checks import ArgumentValueError, shown
from .._choices import AtLeastOne, Count, NotNegative
from .._resources import check_memory
from .dataset import Dataset, read_only

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
    """Y = X A + noise with X ~ N(0, 1) and a teacher A (d_in, d_out) ~ N(0, 1/d_in), entries independent.

    Parameters
    ----------
    d_in, d_out : int
        Lengths of an input and of a target, at least 1.
    train_count, test_count : int
        Numbers of samples. Teacher, training samples and test samples come from streams of their own: more samples of
        one part leave the others as they are.
    noise : float
        Standard deviation of normal noise on the training targets; test targets are the teacher's outputs.
    seed : int
        Of teacher, inputs and noise.

    Raises
    ------
    ValueError, TypeError
        For numbers out of their range.

    See Also
    --------
    teacher_layers : the teacher itself.
    """
    settings = {"task": "linear_teacher", "d_in": _checks.integer("d_in", d_in, 1)}
    return _taught(settings, d_out, train_count, test_count, noise, seed)


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
    """Y = max(X E, 0) W + noise, a teacher with E (d_in, hidden) ~ N(0, 1/d_in) and W (hidden, d_out) ~ N(0, 1/hidden).

    Parameters
    ----------
    hidden : int
        Number of the teacher's hidden units, at least 1.
    d_in, d_out, train_count, test_count, noise, seed
        As for `linear_teacher`; X ~ N(0, 1).

    Raises
    ------
    ValueError, TypeError
        For numbers out of their range.

    See Also
    --------
    teacher_layers : the teacher itself.
    """
    settings = {"task": "relu_teacher", "d_in": _checks.integer("d_in", d_in, 1)}
    settings |= {"hidden": _checks.integer("hidden", hidden, 1)}
    return _taught(settings, d_out, train_count, test_count, noise, seed)


def teacher_layers(data: Dataset) -> Layers:
    """Return the teacher of a dataset: (A,) of `linear_teacher`, (E, W) of `relu_teacher`.

    Raises
    ------
    ValueError, TypeError
        For a dataset that has no teacher.
    """
    _checks.instance("data", data, Dataset)
    if data.settings.get("task") not in ("linear_teacher", "relu_teacher"):
        task = shown(data.settings.get("task"))
        raise ArgumentValueError("data", f"expected a linear_teacher or relu_teacher, got task {task}")
    return _layers(data.settings, np.random.default_rng(data.settings["seed"]).spawn(1)[0])


def _taught(
    settings: dict[str, Any], d_out: int, train_count: int, test_count: int, noise: float, seed: int
) -> Dataset:
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
    return read_only(Dataset(X, Y, X_test, _outputs(X_test, layers), settings))


def _layers(settings: Any, random: np.random.Generator) -> Layers:
    widths = [settings[name] for name in ("d_in", "hidden", "d_out") if name in settings]
    return tuple(random.standard_normal(shape) * shape[0] ** -0.5 for shape in itertools.pairwise(widths))


def _outputs(X: NDArray[np.float64], layers: Layers) -> NDArray[np.float64]:
    *first, last = layers
    for layer in first:
        X = np.maximum(X @ layer, 0.0)
    return np.asarray(X @ last)
