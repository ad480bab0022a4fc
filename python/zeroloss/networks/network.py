"""Two-layer networks F(X) = σ(X E) W without biases: their parameters, activation and initialisation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from .. import _checks, _display
from .._checks import ArgumentTypeError, ArgumentValueError, format_value
from .._choices import AtLeastOne, Count, Dtype, OneOf, Positive
from .._kernels import kernels
from .._resources import check_memory
from ..datasets import Dataset, kernel_inputs

#: The activations by name, with the default of the parameter that a name may have, as in ``softplus(5)``.
ACTIVATIONS: Mapping[str, float | None] = {
    "identity": None,
    "relu": None,
    "leaky_relu": 0.01,
    "square": None,
    "tanh": None,
    "gelu": None,
    "softplus": 1.0,
}

#: The name of an activation, as an argument.
ActivationName = Annotated[str, OneOf(tuple(ACTIVATIONS))]

_GREATEST_PARAMETER = 1e30  # below the largest float32, with room for products


@dataclass(frozen=True, eq=False)
class Network:
    """A network of two layers without biases, F(X) = σ(X E) W, with the parameters θ = (E, W).

    The functions of this module make networks. The arrays are read-only.

    Attributes
    ----------
    E : ndarray, (d_in, h)
        The first layer, called the embedding.
    W : ndarray, (h, d_out)
        The second layer.
    activation : str
        The name of σ: ``identity``, ``relu``, ``leaky_relu(0.1)`` (default 0.01), ``square``, ``tanh``, ``gelu`` (the
        exact form with erf) or ``softplus(5)`` = log(1 + e^{5z})/5 (default 1).
    settings : mapping
        The origin of the parameters: the initialisation, its numbers and its seed. The entry ``then`` lists later
        operations, such as ``"gradient_descent, 5000 steps"``.

    Notes
    -----
    PyTorch's ``Linear.weight`` is the transpose: ``E = layer1.weight.T``, ``W = layer2.weight.T``.
    """

    E: NDArray[Any]
    W: NDArray[Any]
    activation: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The precision, float64 or float32."""
        return self.E.dtype

    @property
    def hidden(self) -> int:
        """The number of hidden units, h."""
        return int(self.E.shape[1])

    def astype(self, dtype: Dtype) -> Network:
        """Convert the network to another precision.

        Parameters
        ----------
        dtype : {"float64", "float32"}
            The precision.

        Returns
        -------
        Network
            The network with rounded parameters.

        Raises
        ------
        ValueError
            If the precision is another one, or a parameter is not finite in it.
        """
        name = _dtype_name(dtype)
        E, W = _checks.matrix("E", self.E, name), _checks.matrix("W", self.W, name)
        return _make_network(E, W, self.activation, self.settings)

    def outputs(self, X: ArrayLike | csr_array) -> NDArray[Any]:
        """Compute the outputs F(X) = σ(X E) W. ``net(X)`` is the same.

        Parameters
        ----------
        X : array_like or sparse array, (n, d_in)
            The inputs, one a row, such as ``data.X_test`` or ``data.rows_test``. They are rounded to the precision of
            the network. n may be 0.

        Returns
        -------
        ndarray, (n, d_out)
            The outputs in the precision of the network. Outputs beyond its range are infinite or NaN.

        Raises
        ------
        ValueError, TypeError
            If the shape is another one (a single input has shape (1, d_in)), or entries are complex or not finite in
            the precision of the network.
        """
        inputs = kernel_inputs("X", X, len(self.E), self.dtype)
        return kernels.outputs(inputs, self.E, self.W, kernel_activation(self))

    __call__ = outputs

    def after(self, start: Mapping[str, Any], what: str) -> Network:
        """Return this network with the settings of an earlier one and a further operation.

        Parameters
        ----------
        start : mapping
            The settings of the network from which this one was made.
        what : str
            The operation, which is added to the entry ``then``.

        Returns
        -------
        Network
            The same parameters with these settings.
        """
        settings = {**start, "then": [*start.get("then", ()), what]}
        return Network(self.E, self.W, self.activation, settings)

    def __repr__(self) -> str:
        made = _display.format_keywords(self.settings)
        return f"Network({self.shape}, activation={self.activation!r}, dtype={self.dtype.name!r}; {made})"

    def _repr_html_(self) -> str:
        rows = {
            "activation": self.activation,
            "dtype": self.dtype.name,
            "made from": _display.format_keywords(self.settings),
        }
        return _display.format_html(f"Network {self.shape}, without biases", rows)

    @property
    def shape(self) -> str:
        """The numbers of inputs, hidden units and outputs as text: ``11 → 128 → 11``."""
        return f"{self.E.shape[0]} → {self.hidden} → {self.W.shape[1]}"


def normal(
    data: Dataset,
    hidden: AtLeastOne,
    std: Positive,
    seed: Count,
    activation: ActivationName = "relu",
    dtype: Dtype = "float64",
    std_W: Positive | None = None,
) -> Network:
    """Make a network with independent normal entries.

    The network has two layers without biases. The entries are drawn in float64 from ``seed``, first E, then W, and
    rounded to ``dtype``.

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
    check_memory(f"a network of {hidden} hidden units", 16 * hidden * (data.d_in + data.d_out))
    spread_W = hidden**-0.5 if std_W is None else _checks.positive("std_W", std_W)
    random = np.random.default_rng(seed)
    with np.errstate(over="ignore"):  # an overflow is reported as an entry that is not finite
        E = std * random.standard_normal((data.d_in, hidden))
        W = spread_W * random.standard_normal((hidden, data.d_out))
    settings = {"init": "normal", "hidden": hidden, "std": std, "std_W": spread_W, "seed": seed}
    return _initialise(E, W, activation, dtype, settings)


def uniform_fan_in(
    data: Dataset, hidden: AtLeastOne, seed: Count, activation: ActivationName = "relu", dtype: Dtype = "float64"
) -> Network:
    """Make a network with the default initialisation of PyTorch's ``Linear``, entries uniform in ±1/√fan_in.

    The network has two layers without biases. fan_in is d_in for E and hidden for W. The entries are drawn in float64
    from ``seed``, first E, then W, and rounded to ``dtype``.

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
    check_memory(f"a network of {hidden} hidden units", 16 * hidden * (data.d_in + data.d_out))
    random = np.random.default_rng(seed)
    E = random.uniform(-1, 1, (data.d_in, hidden)) * data.d_in**-0.5
    W = random.uniform(-1, 1, (hidden, data.d_out)) * hidden**-0.5
    return _initialise(E, W, activation, dtype, {"init": "uniform_fan_in", "hidden": hidden, "seed": seed})


def from_arrays(E: ArrayLike, W: ArrayLike, activation: ActivationName = "relu") -> Network:
    """Make a network from arrays, which are copied.

    The network has two layers without biases. Its precision is float32 if both arrays have it, and float64 otherwise.

    Parameters
    ----------
    E : array_like, (d_in, h)
        The first layer, the transpose of a PyTorch ``Linear.weight``.
    W : array_like, (h, d_out)
        The second layer, the transpose of a PyTorch ``Linear.weight``.
    activation : str
        The name of the activation, see `Network`. By default ``relu``.

    Returns
    -------
    Network
        The network.

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit together, an entry is complex, an object, NaN or infinite, or the activation is
        unknown.
    """
    first, second = _checks.matrix("E", E), _checks.matrix("W", W)
    if 0 in first.shape or 0 in second.shape:
        raise ArgumentValueError(
            ("E", "W"), f"expected at least one row and column each, got shapes {first.shape} and {second.shape}"
        )
    if first.shape[1] != second.shape[0]:
        raise ArgumentValueError(
            "W", f"expected {first.shape[1]} rows, one for each column of E, got shape {second.shape}"
        )
    name = np.result_type(first, second).name
    settings = {"init": "arrays", "hidden": first.shape[1]}
    return _make_network(first.astype(name), second.astype(name), checked_activation(activation), settings)


def checked_activation(name: str) -> str:
    """Return the name of an activation, or raise ValueError if it is unknown."""
    _parse_activation(name)
    return name


def check_fits(network: Network, data: Dataset) -> None:
    """Raise an error unless the network has the numbers of inputs and outputs of the data."""
    if hasattr(network, "state_dict"):
        raise ArgumentTypeError(
            "network",
            f"expected a Network, got {type(network).__name__}; convert a PyTorch module of two Linear layers without "
            "biases with zeroloss.networks.from_arrays(E, W), E = layer1.weight.T and W = layer2.weight.T",
        )
    _checks.check_instance("network", network, Network)
    _checks.check_instance("data", data, Dataset)
    got, expected = (len(network.E), network.W.shape[1]), (data.d_in, data.d_out)
    if got != expected:
        raise ArgumentValueError("network", f"expected (inputs, outputs) = {expected}, as in the data, got {got}")


def has_kink(network: Network) -> bool:
    """Return whether the activation of a network has a kink, where its derivative jumps."""
    return _parse_activation(network.activation)[0] in ("relu", "leaky_relu")


def kernel_activation(network: Network) -> kernels.Activation:
    """Convert the activation of a network to the form of the kernels."""
    kind, parameter = _parse_activation(network.activation)
    return kernels.Activation(kind, 0.0 if parameter is None else parameter)


def _parse_activation(name: object) -> tuple[str, float | None]:
    """Return the kind of an activation and its parameter."""
    match = re.fullmatch(r"(\w+)(?:\((.*)\))?", name) if isinstance(name, str) else None
    if match is None or match[1] not in ACTIVATIONS:
        raise ArgumentValueError("activation", f"expected one of {', '.join(ACTIVATIONS)}, got {format_value(name)}")
    kind, text = match[1], match[2]
    default = ACTIVATIONS[kind]
    if text is None:
        return kind, default
    if default is None:
        raise ArgumentValueError("activation", f"expected {kind} without a parameter, got {format_value(name)}")
    try:
        parameter = float(text)
    except ValueError:
        raise ArgumentValueError("activation", f"expected a number in {kind}(…), got {format_value(name)}") from None
    lowest = 1e-30 if kind == "softplus" else -_GREATEST_PARAMETER
    if not lowest <= parameter <= _GREATEST_PARAMETER:
        raise ArgumentValueError(
            "activation", f"expected {kind}(…) in [{lowest:g}, {_GREATEST_PARAMETER:g}], got {format_value(name)}"
        )
    return kind, parameter


def _dtype_name(dtype: object) -> str:
    """Return the name of a precision, float64 or float32."""
    try:
        name = np.dtype(dtype).name  # type: ignore[call-overload]
    except TypeError:
        name = dtype
    return str(_checks.choice("dtype", name, _checks.DTYPES))


def _initialise(E: NDArray[Any], W: NDArray[Any], activation: str, dtype: str, settings: Mapping[str, Any]) -> Network:
    """Make a network of a precision from drawn entries."""
    name = _dtype_name(dtype)
    return _make_network(
        _checks.matrix("E", E, name), _checks.matrix("W", W, name), checked_activation(activation), settings
    )


def _make_network(E: NDArray[Any], W: NDArray[Any], activation: str, settings: Mapping[str, Any]) -> Network:
    """Make a network, with read-only arrays."""
    E.flags.writeable = W.flags.writeable = False
    return Network(E, W, activation, settings)
