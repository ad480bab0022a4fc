"""Two-layer networks F(X) = σ(X E + b) W + c: their parameters, activation and initialisation."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from .. import _checks, _display
from .._checks import ArgumentTypeError, ArgumentValueError, format_value
from .._choices import Dtype, OneOf
from .._kernels import kernels
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
    """A network of two layers, F(X) = σ(X E + b) W + c, with the parameters θ = (E, W, b, c).

    The hidden units have biases b, or not, and so have the outputs with c. The functions of this module make networks.
    The arrays are read-only.

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
    bias_hidden : ndarray, (h,), or None
        The biases b of the hidden units, if they have any.
    bias_output : ndarray, (d_out,), or None
        The biases c of the outputs, if they have any.

    Notes
    -----
    PyTorch's ``Linear.weight`` is the transpose: ``E = layer1.weight.T``, ``W = layer2.weight.T``.

    A bias is the weight of a constant 1. Functions that return or take an array for each layer, such as gradients, have
    the biases as rows of these arrays, see `layers`.
    """

    E: NDArray[Any]
    W: NDArray[Any]
    activation: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    bias_hidden: NDArray[Any] | None = None
    bias_output: NDArray[Any] | None = None

    @property
    def bias(self) -> str:
        """Which units have biases: ``none``, ``hidden``, ``output`` or ``both``."""
        return {(False, False): "none", (True, False): "hidden", (False, True): "output", (True, True): "both"}[
            self.bias_hidden is not None, self.bias_output is not None
        ]

    @property
    def parameters(self) -> dict[str, NDArray[Any]]:
        """The arrays of parameters by name: E, W, and the biases if there are any."""
        named = {"E": self.E, "W": self.W, "bias_hidden": self.bias_hidden, "bias_output": self.bias_output}
        return {name: array for name, array in named.items() if array is not None}

    @property
    def nbytes(self) -> int:
        """The bytes of all parameters."""
        return sum(array.nbytes for array in self.parameters.values())

    @property
    def layers(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Both layers with their biases as last rows: E (d_in, h) or (d_in + 1, h), W (h, d_out) or (h + 1, d_out).

        Without biases they are E and W.
        """
        return _append_row(self.E, self.bias_hidden), _append_row(self.W, self.bias_output)

    def with_layers(self, E: NDArray[Any], W: NDArray[Any]) -> Network:
        """Return a network with other parameters, and the activation and the settings of this one.

        Parameters
        ----------
        E : ndarray
            The first layer, in the shape that it has in `layers`.
        W : ndarray
            The second layer, in the shape that it has in `layers`.

        Returns
        -------
        Network
            The network. The arrays are copied.

        Raises
        ------
        ValueError
            If a shape is another one.
        """
        d_in, h = len(self.E), len(self.W)
        for name, array, like in zip(("E", "W"), (E, W), self.layers, strict=True):
            if array.shape != like.shape:
                raise ArgumentValueError(name, f"expected shape {like.shape}, got {array.shape}")
        parameters = {"E": E[:d_in], "W": W[:h]}
        if self.bias_hidden is not None:
            parameters["bias_hidden"] = E[d_in]
        if self.bias_output is not None:
            parameters["bias_output"] = W[h]
        arrays = {name: np.array(array) for name, array in parameters.items()}
        for array in arrays.values():
            array.flags.writeable = False
        return Network(**arrays, activation=self.activation, settings=self.settings)

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
        return make_network(self.parameters, name, self.activation, self.settings)

    def outputs(self, X: ArrayLike | csr_array) -> NDArray[Any]:
        """Compute the outputs F(X) = σ(X E + b) W + c. ``net(X)`` is the same.

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
        inputs = kernel_inputs("X", X, len(self.E), self.dtype, self.bias_hidden is not None)
        return kernels.outputs(inputs, *self.layers, kernel_activation(self))

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
        return dataclasses.replace(self, settings=settings)

    def __repr__(self) -> str:
        made = _display.format_keywords(self.settings)
        bias = "" if self.bias == "none" else f", bias={self.bias!r}"
        return f"Network({self.shape}, activation={self.activation!r}, dtype={self.dtype.name!r}{bias}; {made})"

    def _repr_html_(self) -> str:
        rows = {
            "activation": self.activation,
            "biases": self.bias,
            "dtype": self.dtype.name,
            "made from": _display.format_keywords(self.settings),
        }
        return _display.format_html(f"Network {self.shape}", rows)

    @property
    def shape(self) -> str:
        """The numbers of inputs, hidden units and outputs as text: ``11 → 128 → 11``."""
        return f"{self.E.shape[0]} → {self.hidden} → {self.W.shape[1]}"


def from_arrays(
    E: ArrayLike,
    W: ArrayLike,
    activation: ActivationName = "relu",
    bias_hidden: ArrayLike | None = None,
    bias_output: ArrayLike | None = None,
) -> Network:
    """Make a network from arrays, which are copied.

    Its precision is float32 if all arrays have it, and float64 otherwise.

    Parameters
    ----------
    E : array_like, (d_in, h)
        The first layer, the transpose of a PyTorch ``Linear.weight``.
    W : array_like, (h, d_out)
        The second layer, the transpose of a PyTorch ``Linear.weight``.
    activation : str
        The name of the activation, see `Network`. By default ``relu``.
    bias_hidden : array_like, (h,), optional
        The biases of the hidden units; by default they have none.
    bias_output : array_like, (d_out,), optional
        The biases of the outputs; by default they have none.

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
    parameters = {"E": first, "W": second}
    for label, value, length, of in (
        ("bias_hidden", bias_hidden, first.shape[1], "column of E"),
        ("bias_output", bias_output, second.shape[1], "column of W"),
    ):
        if value is not None:
            if np.shape(value) != (length,):
                raise ArgumentValueError(
                    label, f"expected shape ({length},), one number for each {of}, got {np.shape(value)}"
                )
            parameters[label] = _checks.matrix(label, np.asarray(value)[None])[0]
    settings = {"init": "arrays", "hidden": first.shape[1]}
    return make_network(parameters, np.result_type(*parameters.values()), activation, settings)


def checked_activation(name: str) -> str:
    """Return the name of an activation, or raise ValueError if it is unknown."""
    _parse_activation(name)
    return name


def check_fits(network: Network, data: Dataset) -> None:
    """Raise an error unless the network has the numbers of inputs and outputs of the data."""
    if hasattr(network, "state_dict"):
        raise ArgumentTypeError(
            "network",
            f"expected a Network, got {type(network).__name__}; convert a PyTorch module of two Linear layers with "
            "zeroloss.networks.from_torch(module)",
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


def _append_row(layer: NDArray[Any], bias: NDArray[Any] | None) -> NDArray[Any]:
    """Return a layer with its biases as a further row."""
    return layer if bias is None else np.concatenate([layer, bias[None]])


def make_network(
    parameters: Mapping[str, NDArray[Any]], dtype: object, activation: str, settings: Mapping[str, Any]
) -> Network:
    """Make a network of a precision from copies of its arrays, which are read-only."""
    name, arrays = _dtype_name(dtype), {}
    for label, array in parameters.items():
        arrays[label] = _checks.matrix(label, array if array.ndim == 2 else array[None], name).reshape(array.shape)
        arrays[label].flags.writeable = False
    return Network(**arrays, activation=checked_activation(activation), settings=settings)
