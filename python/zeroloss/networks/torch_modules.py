"""Networks from PyTorch modules, and PyTorch modules from networks."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._checks import ArgumentTypeError, ArgumentValueError, format_value
from .network import ActivationName, Network, _parse_activation, from_arrays

#: Inputs for which `from_torch` compares the outputs, and the errors that rounding may cause, relative to the outputs.
_PROBES = 8
_ROUNDING = {"float64": 1e-9, "float32": 1e-4}


def from_torch(module: Any, activation: ActivationName | None = None) -> Network:
    """Copy a PyTorch module of two ``Linear`` layers, with or without biases, into a network.

    Parameters
    ----------
    module : torch.nn.Module
        A ``Sequential(Linear, activation, Linear)``, or another module whose parameters belong to exactly two
        ``Linear`` layers, in the order of their use. Half precision is converted to float32.
    activation : str, optional
        The name of the activation, see `Network`. By default the one of the module, which must then contain an
        ``Identity``, ``ReLU``, ``LeakyReLU``, ``Tanh``, ``GELU`` or ``Softplus``. Name it if ``forward`` calls a
        function instead.

    Returns
    -------
    Network
        The network, with copies of the weights. Its outputs have been compared with the outputs of the module
        on random inputs.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    ValueError, TypeError
        If the module has other layers or parameters, the activation cannot be found, or the module computes another
        function, for example because of a dropout or a further activation.

    Examples
    --------
    ``net = zl.networks.from_torch(torch.nn.Sequential(torch.nn.Linear(11, 128), torch.nn.ReLU(), torch.nn.Linear(128,
    11)))``
    """
    torch = _import_torch("module")
    if not isinstance(module, torch.nn.Module):
        raise ArgumentTypeError("module", f"expected a torch.nn.Module, got {format_value(module)}")
    leaves = [part for part in module.modules() if not list(part.children())]
    linear = [part for part in leaves if type(part) is torch.nn.Linear]
    others = [part for part in leaves if type(part) is not torch.nn.Linear]
    tensors = [tensor for layer in linear for tensor in (layer.weight, layer.bias) if tensor is not None]
    own = [*module.parameters(), *module.buffers()]
    if len(linear) != 2 or {*map(id, own)} != {*map(id, tensors)}:
        got = ", ".join(type(part).__name__ for part in leaves) or "no layers"
        raise ArgumentValueError("module", f"expected exactly two Linear layers and an activation, got {got}")
    if len(others) > 1 or (others and activation is None):
        found = [_name_activation(torch, part) for part in others]
        if len(others) > 1 or found[0] is None:
            got = ", ".join(type(part).__name__ for part in others)
            raise ArgumentValueError("module", f"expected one activation between two Linear layers, got {got}")
        activation = found[0]
    if activation is None:
        raise ArgumentValueError(
            "activation", "expected a name, because forward of the module calls its activation as a function"
        )
    arrays = [None if t is None else _copy_tensor(torch, t) for layer in linear for t in (layer.weight, layer.bias)]
    first, b, second, c = arrays
    assert first is not None
    assert second is not None
    if first.shape[0] != second.shape[1]:
        raise ArgumentValueError(
            "module",
            f"expected a second layer of {first.shape[0]} inputs, as many as the first has outputs, "
            f"got {second.shape[1]}",
        )
    net = from_arrays(first.T, second.T, activation, b, c)
    _compare_outputs(torch, module, linear[0].weight, net)
    return dataclasses.replace(net, settings={"init": "torch", "hidden": net.hidden})


def to_torch(net: Network) -> Any:
    """Copy a network into a PyTorch module.

    Parameters
    ----------
    net : Network
        The network. Its activation must exist as a module of PyTorch, so it must not be ``square``.

    Returns
    -------
    torch.nn.Sequential
        ``Sequential(Linear(d_in, h), activation, Linear(h, d_out))`` in the precision of the network. A layer has
        biases if the network has them.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    ValueError, TypeError
        If ``net`` is not a network, or its activation is ``square``.
    """
    torch = _import_torch("net")
    _checks.check_instance("net", net, Network)
    kind, parameter = _parse_activation(net.activation)
    makers = {
        "identity": torch.nn.Identity,
        "relu": torch.nn.ReLU,
        "leaky_relu": lambda: torch.nn.LeakyReLU(parameter),
        "tanh": torch.nn.Tanh,
        "gelu": torch.nn.GELU,
        "softplus": lambda: torch.nn.Softplus(beta=parameter, threshold=40),  # above it, log(1 + e^z) = z to rounding
    }
    if kind not in makers:
        raise ArgumentValueError("net", f"expected an activation that is a module of torch.nn, got {net.activation}")
    layers = []
    for A, bias in ((net.E, net.bias_hidden), (net.W, net.bias_output)):
        layer = torch.nn.Linear(*A.shape, bias=bias is not None, dtype=getattr(torch, net.dtype.name))
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(A.T.copy()))
            if bias is not None:
                layer.bias.copy_(torch.from_numpy(bias.copy()))
        layers.append(layer)
    return torch.nn.Sequential(layers[0], makers[kind](), layers[1])


def _import_torch(argument: str) -> Any:
    """Import PyTorch, or raise an ImportError that names it."""
    try:
        import torch  # noqa: PLC0415 — large, and needed only here
    except ImportError:
        raise ImportError(f"{argument}: PyTorch is not installed; install the package torch") from None
    return torch


def _name_activation(torch: Any, part: Any) -> str | None:
    """Return the name of the activation that a module of PyTorch computes, or None."""
    if type(part) is torch.nn.LeakyReLU:
        return f"leaky_relu({_format(part.negative_slope)})"
    if type(part) is torch.nn.Softplus:
        return f"softplus({_format(part.beta)})"
    if type(part) is torch.nn.GELU and part.approximate != "none":
        return None
    kinds = {torch.nn.Identity: "identity", torch.nn.ReLU: "relu", torch.nn.Tanh: "tanh", torch.nn.GELU: "gelu"}
    return kinds.get(type(part))


def _format(number: float) -> str:
    """Return the shortest text of a number, such as 5 for 5.0."""
    return repr(float(number)).removesuffix(".0")


def _copy_tensor(torch: Any, tensor: Any) -> NDArray[Any]:
    """Return a tensor as an array of float32 or float64."""
    tensor = tensor.detach().cpu()
    if tensor.dtype not in (torch.float32, torch.float64):
        if not tensor.dtype.is_floating_point:
            raise ArgumentTypeError("module", f"expected floating-point parameters, got {tensor.dtype}")
        tensor = tensor.float()
    return np.array(tensor.numpy())


def _compare_outputs(torch: Any, module: Any, weight: Any, net: Network) -> None:
    """Raise ValueError unless a module and a network have the same outputs on random inputs."""
    X = np.random.default_rng(0).standard_normal((_PROBES, len(net.E)))
    try:
        with torch.no_grad():
            inputs = torch.from_numpy(X).to(dtype=weight.dtype, device=weight.device)
            outputs = module(inputs).detach().cpu().double().numpy()
    except Exception as error:  # the code of the caller may raise anything
        raise ArgumentValueError(
            "module", f"expected a function of inputs of shape (n, {len(net.E)}), got {type(error).__name__}: {error}"
        ) from None
    expected = net.outputs(inputs.cpu().double().numpy()).astype(np.float64)
    half = weight.dtype not in (torch.float32, torch.float64)
    rounding = 0.05 if half else _ROUNDING[net.dtype.name]
    scale = max(1e-30, float(np.abs(expected).max()))
    if outputs.shape != expected.shape or not np.abs(outputs - expected).max() <= rounding * scale:
        raise ArgumentValueError(
            "module",
            f"expected the outputs of two layers with {net.activation}, got others: forward computes another function, "
            "or the layers are used in another order",
        )
