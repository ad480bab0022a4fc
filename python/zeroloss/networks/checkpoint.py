"""Read networks from checkpoints of other programs, and write checkpoints that PyTorch can load."""

from __future__ import annotations

import dataclasses
import fnmatch
import hashlib
import itertools
import json
import os
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from .. import _checks
from .._checks import ArgumentTypeError, ArgumentValueError, format_path, format_value
from .._reading import Arrays
from .network import Network, from_arrays
from .tensor_files import read_tensors
from .torch_files import NameFilter

#: The tensor of a layer: its name, or its name and "transposed" or "as_is".
TensorName = str | tuple[str, str]

_LONGEST_HEADER = 2**20  # the bytes in which `_is_ours` searches for the mark of `to_checkpoint`
_LAYOUTS = ("transposed", "as_is")

#: The biases of layers called E and W.
_OWN_BIASES = {"E": "bias_hidden", "W": "bias_output"}

#: Names that are tried by default: E and W, and the names of ``Sequential(Linear, activation, Linear)``.
_CONVENTIONS: tuple[Mapping[str, TensorName], ...] = (
    {"E": "E", "W": "W"},
    {"E": "0.weight", "W": "2.weight"},
)


def from_checkpoint(
    path: str | os.PathLike[str],
    names: Mapping[str, TensorName] | None = None,
    activation: str | None = None,
    ignore: Iterable[str] = (),
) -> Network:
    """Read a network from a safetensors, npz or PyTorch file (a state dictionary saved by ``torch.save``).

    PyTorch is not needed, and nothing in the file is executed. From the pickle in a PyTorch file, the parts of tensors
    are read as data; everything else is rejected. Half precision is converted to float32, exactly.

    The network has two layers, so the file needs two matrices. The biases of these layers are read if the file has
    them. ``ignore`` describes other tensors.

    Parameters
    ----------
    path : path
        The file. Its format is recognised by its content. Dictionaries within dictionaries have names with dots, as in
        ``"model.0.weight"``.
    names : mapping, optional
        The tensors of the layers, ``{"E": name, "W": name}``. A tensor with the name ``weight``, or a name that ends in
        ``.weight``, is taken for a PyTorch ``Linear.weight``, (out, in), and transposed. Any other is used as it is,
        (in, out). A pair ``(name, "as_is")`` or ``(name, "transposed")`` overrides this, for example for the weight of
        an ``Embedding``. By default ``E`` and ``W``, or ``0.weight`` and ``2.weight``, whichever the file has. The
        bias of a layer ``NAME.weight`` is ``NAME.bias``; the biases of layers ``E`` and ``W`` are
        ``bias_hidden`` and ``bias_output``. Further keys with these two names give other names.
    activation : str, optional
        The name of the activation, see `Network`. By default the one that `to_checkpoint` wrote into the file, or
        ``relu``.
    ignore : sequence of str
        Names, or patterns with ``*``, of tensors that may be dropped. Other tensors than the layers and their biases
        raise an error unless all their entries are zero, because dropping them would change the function. Ignored
        tensors are not read, so ``ignore=["optimizer.*"]`` also saves time and memory. With ``ignore=["*.bias"]`` the
        network has no biases; if one that is dropped is not zero, a warning gives its size. Scalars and tensors without
        dimensions are dropped.

    Returns
    -------
    Network
        The network.

    Raises
    ------
    OSError
        If there is no file, or it cannot be read.
    ValueError, TypeError
        If the file is damaged, has another format, or has anything to execute; if it does not have the names; if shapes
        do not fit together, entries are not finite real numbers, or other tensors are not zero.

    Examples
    --------
    ``from_checkpoint("mlp.pth", names={"E": "fc1.weight", "W": "fc2.weight"}, activation="gelu")``
    """
    if not isinstance(ignore, Iterable):
        raise ArgumentTypeError("ignore", f"expected names, got {format_value(ignore)}")
    patterns = [ignore] if isinstance(ignore, str) else list(ignore)
    for pattern in patterns:
        _checks.check_instance("ignore", pattern, str)
    layer_names = None if names is None else _checked_names(names)
    bias_names = _find_bias_names(layer_names, names)
    tensors, metadata = read_tensors(path, _make_filter(layer_names, bias_names, patterns))
    file = format_path(path)
    biases = {name for name in tensors if _is_ignored(name, patterns)} - _layers(layer_names)
    ignored = {name: tensors.pop(name) for name in biases}
    try:
        net = _network_of(tensors, metadata, layer_names, bias_names, activation, Path(path).name)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None
    for name, bias in sorted(ignored.items()):
        if np.any(bias):
            size = f"entries up to {np.abs(bias).max():.3g}"
            message = (
                f"{file}: {format_value(name)} is dropped but not zero ({size}); the network computes another function"
            )
            warnings.warn(message, _checks.ZerolossWarning, stacklevel=2)
    return net


def _layers(layer_names: Mapping[str, tuple[str, str]] | None) -> set[str]:
    """Return the names that the two layers may have."""
    candidates = [layer_names] if layer_names else [_checked_names(names) for names in _CONVENTIONS]
    return {name for names in candidates for name, _ in names.values()}


def _is_ignored(name: str, patterns: Iterable[str]) -> bool:
    """Return whether a name matches one of the patterns."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _find_bias_names(
    layer_names: Mapping[str, tuple[str, str]] | None, names: Mapping[str, Any] | None
) -> dict[str, str]:
    """Return the names that the biases may have: of each layer by its name, and the ones in ``names``."""
    found = {}
    for name in _layers(layer_names):
        if name in _OWN_BIASES:
            found[name] = _OWN_BIASES[name]
        elif name.rsplit(".", 1)[-1] == "weight":
            found[name] = name.removesuffix("weight") + "bias"
    if layer_names is not None and names is not None:
        given = {"E": names.get("bias_hidden"), "W": names.get("bias_output")}
        found |= {layer_names[layer][0]: name for layer, name in given.items() if name is not None}
    return found


def _make_filter(
    layer_names: Mapping[str, tuple[str, str]] | None, bias_names: Mapping[str, str], patterns: list[str]
) -> NameFilter:
    """Return a function of a tensor's name that returns whether the tensor is read.

    The layers and their biases are read, and every tensor that is not ignored.
    """
    layers = _layers(layer_names)
    places = {layer.rpartition(".")[0] for layer in layers}

    def is_wanted(name: str) -> bool:
        if name.endswith("."):  # a dictionary
            below = _is_ignored(name, [pattern for pattern in patterns if pattern.endswith("*")])
            return not below or any(layer.startswith(name) for layer in layers)
        place, _, last = name.rpartition(".")
        is_bias = name in bias_names.values() or (place in places and "bias" in last)
        return name in layers or is_bias or not _is_ignored(name, patterns)

    return is_wanted


def _network_of(
    tensors: Arrays,
    metadata: Mapping[str, str],
    layer_names: Mapping[str, tuple[str, str]] | None,
    bias_names: Mapping[str, str],
    activation: str | None,
    file: str,
) -> Network:
    """Make the network from the tensors that are not ignored."""
    checksum = metadata.get("zeroloss.sha256")
    if checksum is not None and checksum != _checksum(tensors, metadata.get("activation", "")):
        raise ValueError("expected tensors with the checksum of the file, got others: the file is damaged")
    layer_names = layer_names or _conventional_names(tensors)
    E, W = (_layer(tensors, *layer_names[layer]) for layer in ("E", "W"))
    if E.shape[1] != W.shape[0]:
        shapes = " and ".join(
            f"{layer} {A.shape} ({_name(name)}, {layout})"
            for (layer, (name, layout)), A in zip(layer_names.items(), (E, W), strict=True)
        )
        raise ValueError(f"expected E (d_in, h) and W (h, d_out), got {shapes}")
    layers = {name for name, _ in layer_names.values()}
    biases = {layer: bias_names.get(name) for layer, (name, _) in layer_names.items()}
    b = _bias(tensors, biases["E"], E.shape[1])
    c = _bias(tensors, biases["W"], W.shape[1])
    for name, tensor in tensors.items():
        if name not in layers and name not in biases.values() and tensor.ndim > 0 and np.any(tensor):
            reason = "networks here have two layers" if tensor.ndim == 2 else "it is not a bias of these layers"
            raise ValueError(
                f"expected no other tensors than {' and '.join(map(_name, sorted(layers)))} unless zero or named in "
                f"ignore ({reason}), got {format_value(name)} {format_value(tensor.shape)}"
            )
    net = from_arrays(E, W, metadata.get("activation", "relu") if activation is None else activation, b, c)
    return dataclasses.replace(net, settings={"init": "checkpoint", "file": file, "hidden": net.hidden})


def to_checkpoint(net: Network, path: str | os.PathLike[str], names: Mapping[str, TensorName] | None = None) -> None:
    """Write a network into a safetensors file that PyTorch can load.

    The tensors are ``0.weight`` = Eᵀ (h, d_in) and ``2.weight`` = Wᵀ (d_out, h), the names and shapes of
    ``Sequential(Linear(d_in, h), activation, Linear(h, d_out))``, which loads them with
    ``model.load_state_dict(safetensors.torch.load_file(path))``. Biases are ``0.bias`` and ``2.bias``; without them
    the layers of the module need ``bias=False``. The metadata have the activation and a checksum.
    `from_checkpoint` reads the same bits. The file is written in a temporary directory and then renamed, therefore
    ``path`` always is the complete old file or the complete new one.

    Parameters
    ----------
    net : Network
        The network, which is written in its own precision.
    path : path
        The file. A file that this function wrote earlier is replaced. A missing directory is created.
    names : mapping, optional
        Other names and layouts, as for `from_checkpoint`.

    Raises
    ------
    ValueError, TypeError
        If ``net`` is not a network, the names are malformed, or ``path`` is a directory.
    FileExistsError
        If ``path`` is a file that this function did not write.
    """
    _checks.check_instance("net", net, Network)
    layer_names = _checked_names(_CONVENTIONS[1] if names is None else names)
    tensors = {
        name: np.ascontiguousarray(A.T if layout == "transposed" else A)
        for (name, layout), A in ((layer_names["E"], net.E), (layer_names["W"], net.W))
    }
    bias_names = _find_bias_names(layer_names, names)
    for layer, bias, label in (("E", net.bias_hidden, "bias_hidden"), ("W", net.bias_output, "bias_output")):
        if bias is not None:
            name = bias_names.get(layer_names[layer][0])
            if name is None:
                raise ArgumentValueError("names", f"expected a further name for {label}, got none")
            tensors[name] = bias
    metadata = {"format": "pt", "activation": net.activation, "zeroloss.sha256": _checksum(tensors, net.activation)}
    content = _sort_metadata(save(tensors, metadata))
    target = Path(path).resolve()
    if target.is_dir():
        raise ArgumentValueError("path", f"expected a file, got the directory {path}")
    if target.exists() and not _is_ours(target):
        raise FileExistsError(f"path: {path} is a file that to_checkpoint did not write; choose another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as folder:
        new = Path(folder) / target.name
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(target)


def _is_ours(path: Path) -> bool:
    """Return whether `to_checkpoint` wrote a file, by its metadata."""
    with path.open("rb") as file:
        header = file.read(min(8 + int.from_bytes(file.read(8), "little"), _LONGEST_HEADER))
    return b'"zeroloss.sha256"' in header


def _sort_metadata(content: bytes) -> bytes:
    """Sort the metadata of a safetensors file, because their order changes from call to call of the library."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[start:]


def _checked_names(names: object) -> dict[str, tuple[str, str]]:
    """Return name and layout of both layers. Further names of biases are checked only."""
    if not isinstance(names, Mapping) or not {"E", "W"} <= set(names) <= {"E", "W", *_OWN_BIASES.values()}:
        got = ", ".join(map(str, names)) if isinstance(names, Mapping) else repr(names)
        raise ArgumentValueError("names", f'expected {{"E": name, "W": name}}, got {got or "nothing"}')
    for label in set(names) & set(_OWN_BIASES.values()):
        _checks.check_instance(f"names[{label!r}]", names[label], str)
    layer_names = {layer: _name_and_layout(names[layer]) for layer in ("E", "W")}
    if layer_names["E"][0] == layer_names["W"][0]:
        raise ArgumentValueError(
            "names", f"expected two tensors, got {format_value(layer_names['E'][0])} for both layers"
        )
    return layer_names


def _name_and_layout(value: object) -> tuple[str, str]:
    """Return the name of a tensor and its layout."""
    if isinstance(value, str):
        return value, "transposed" if value.rsplit(".", 1)[-1] == "weight" else "as_is"
    match value:
        case [str(name), str(layout)] if layout in _LAYOUTS:
            return name, layout
    raise ArgumentValueError(
        "names", f'expected a name, or a name and "transposed" or "as_is", got {format_value(value)}'
    )


def _conventional_names(tensors: Arrays) -> dict[str, tuple[str, str]]:
    """Find the layers by the names that are tried by default."""
    conventions = [
        names for names in map(_checked_names, _CONVENTIONS) if all(name in tensors for name, _ in names.values())
    ]
    if len(conventions) == 1:
        return conventions[0]
    which = "both" if conventions else "neither"
    first, second = _likely_layers(tensors)
    raise ValueError(
        f"expected tensors E and W, or 0.weight and 2.weight, got {which} among {_list_tensors(tensors)}; "
        f'set names={{"E": {first}, "W": {second}}}'
    )


def _likely_layers(tensors: Arrays) -> tuple[str, str]:
    """Find the names, quoted, of two matrices that can follow one another as weights of PyTorch's ``Linear``."""
    matrices = [name for name, array in tensors.items() if array.ndim == 2 and name.rsplit(".", 1)[-1] == "weight"]
    for first, second in itertools.pairwise(matrices):
        if tensors[second].shape[1] == tensors[first].shape[0]:
            return format_value(first), format_value(second)
    return "…", "…"


def _layer(tensors: Arrays, name: str, layout: str) -> NDArray[Any]:
    """Return a layer, (in, out), of float32 or float64."""
    if name not in tensors:
        raise ValueError(f"expected a tensor {format_value(name)}, got {_list_tensors(tensors)}")
    tensor = tensors[name]
    if tensor.ndim != 2:
        raise ValueError(f"expected {format_value(name)} to be a matrix, got shape {format_value(tensor.shape)}")
    tensor = _floating(name, tensor)
    return tensor.T if layout == "transposed" else tensor


def _bias(tensors: Arrays, name: str | None, length: int) -> NDArray[Any] | None:
    """Return the bias of a layer of ``length`` units, or None if there is no such tensor."""
    if name is None or name not in tensors:
        return None
    bias = tensors[name]
    if bias.shape != (length,):
        raise ValueError(f"expected {format_value(name)} of shape ({length},), got {format_value(bias.shape)}")
    return _floating(name, bias)


def _floating(name: str, tensor: NDArray[Any]) -> NDArray[Any]:
    """Return a tensor in float32 or float64."""
    if tensor.dtype.kind != "f" or tensor.dtype.itemsize not in (2, 4, 8):
        got = tensor.dtype.name
        raise ValueError(f"expected {format_value(name)} of 16 to 64-bit floating-point numbers, got {got}")
    return tensor.astype(np.float32) if tensor.dtype.itemsize == 2 else tensor


def _list_tensors(tensors: Arrays) -> str:
    """Return names and shapes of the first tensors, for a message."""
    parts = [f"{_name(name)} {format_value(array.shape)}" for name, array in tensors.items()]
    return ", ".join(parts[:8]) + (f" and {len(parts) - 8} more" if len(parts) > 8 else "") or "no tensors"


def _name(name: str) -> str:
    """Return a name for a message, without quotes."""
    return format_value(name)[1:-1]


def _checksum(tensors: Mapping[str, NDArray[Any]], activation: str) -> str:
    """Compute the checksum of names, types, shapes and entries, and of the activation."""
    digest = hashlib.sha256(activation.encode())
    for name, array in sorted(tensors.items()):
        digest.update(f" {name!r} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
