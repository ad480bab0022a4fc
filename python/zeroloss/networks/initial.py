"""Initialisations of networks with random numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import _checks
from .._choices import AtLeastOne, Biases, Count, Dtype, Positive
from .._resources import check_memory
from ..datasets import Dataset
from .network import ActivationName, Network, make_network

BIASES = ("none", "hidden", "both")


def normal(
    data: Dataset,
    hidden: AtLeastOne,
    std: Positive,
    seed: Count,
    activation: ActivationName = "relu",
    dtype: Dtype = "float64",
    std_W: Positive | None = None,
    bias: Biases = "none",
) -> Network:
    """Make a network with independent normal entries. Biases start at zero.

    The entries are drawn in float64 from ``seed``, first E, then W, and rounded to ``dtype``.

    Parameters
    ----------
    data : Dataset
        The dataset, whose numbers of inputs and outputs the network gets.
    hidden : int
        The number of hidden units. At least 1.
    std : float
        The standard deviation of E. Above 0.
    seed : int
        The seed of the draws. At least 0.
    activation : str
        The name of the activation, see `Network`. By default ``relu``. A parameter may follow, as in ``softplus(5)``.
    dtype : {"float64", "float32"}
        The precision.
    std_W : float, optional
        The standard deviation of W. Above 0, by default 1/√hidden.
    bias : {"none", "hidden", "both"}
        Which units have biases: none, the hidden units, or the hidden units and the outputs.

    Returns
    -------
    Network
        The network.

    Raises
    ------
    ValueError, TypeError
        If a number is out of its range, the activation or the precision is unknown, or the network does not fit in
        memory.
    """
    _checks.check_instance("data", data, Dataset)
    hidden, seed = _checks.integer("hidden", hidden, 1), _checks.integer("seed", seed, 0)
    std = _checks.positive("std", std)
    _checks.choice("bias", bias, BIASES)
    check_memory(f"a network of {hidden} hidden units", 16 * hidden * (data.d_in + data.d_out))
    spread_W = hidden**-0.5 if std_W is None else _checks.positive("std_W", std_W)
    random = np.random.default_rng(seed)
    with np.errstate(over="ignore"):  # an overflow is reported as an entry that is not finite
        E = std * random.standard_normal((data.d_in, hidden))
        W = spread_W * random.standard_normal((hidden, data.d_out))
    settings = {"init": "normal", "hidden": hidden, "std": std, "std_W": spread_W, "seed": seed}
    biases = {name: np.zeros(size) for name, size in _bias_sizes(bias, hidden, data).items()}
    return make_network({"E": E, "W": W, **biases}, dtype, activation, _with_bias(settings, bias))


def uniform_fan_in(
    data: Dataset,
    hidden: AtLeastOne,
    seed: Count,
    activation: ActivationName = "relu",
    dtype: Dtype = "float64",
    bias: Biases = "none",
) -> Network:
    """Make a network with the default initialisation of PyTorch's ``Linear``, entries uniform in ±1/√fan_in.

    fan_in is d_in for E and the hidden biases, and hidden for W and the biases of the outputs. The entries are drawn in
    float64 from ``seed``, first E, then W, then the biases, and rounded to ``dtype``. So E and W do not depend on
    ``bias``.

    Parameters
    ----------
    data : Dataset
        The dataset, whose numbers of inputs and outputs the network gets.
    hidden : int
        The number of hidden units. At least 1.
    seed : int
        The seed of the draws. At least 0.
    activation : str
        The name of the activation, see `Network`. By default ``relu``. A parameter may follow, as in ``softplus(5)``.
    dtype : {"float64", "float32"}
        The precision.
    bias : {"none", "hidden", "both"}
        Which units have biases: none, the hidden units, or the hidden units and the outputs.

    Returns
    -------
    Network
        The network.

    Raises
    ------
    ValueError, TypeError
        If a number is out of its range, the activation or the precision is unknown, or the network does not fit in
        memory.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(11, test_count=7, seed=0)
    >>> zl.networks.uniform_fan_in(data, hidden=128, seed=1).shape
    '11 → 128 → 11'
    """
    _checks.check_instance("data", data, Dataset)
    hidden, seed = _checks.integer("hidden", hidden, 1), _checks.integer("seed", seed, 0)
    _checks.choice("bias", bias, BIASES)
    check_memory(f"a network of {hidden} hidden units", 16 * hidden * (data.d_in + data.d_out))
    random = np.random.default_rng(seed)
    parameters = {
        "E": random.uniform(-1, 1, (data.d_in, hidden)) * data.d_in**-0.5,
        "W": random.uniform(-1, 1, (hidden, data.d_out)) * hidden**-0.5,
    }
    fan_in = {"bias_hidden": data.d_in, "bias_output": hidden}
    for name, size in _bias_sizes(bias, hidden, data).items():
        parameters[name] = random.uniform(-1, 1, size) * fan_in[name] ** -0.5
    settings = {"init": "uniform_fan_in", "hidden": hidden, "seed": seed}
    return make_network(parameters, dtype, activation, _with_bias(settings, bias))


def _bias_sizes(bias: str, hidden: int, data: Dataset) -> dict[str, int]:
    """Return the numbers of biases by the names of their arrays."""
    sizes = {"bias_hidden": hidden, "bias_output": data.d_out}
    return {name: sizes[name] for name in {"none": (), "hidden": ("bias_hidden",), "both": tuple(sizes)}[bias]}


def _with_bias(settings: Mapping[str, Any], bias: str) -> Mapping[str, Any]:
    """Return settings with the choice of biases, unless there are none."""
    return settings if bias == "none" else {**settings, "bias": bias}
