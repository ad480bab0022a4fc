"""Networks from others' checkpoints, and into checkpoints that others read."""

from __future__ import annotations

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
from .torch_files import Wanted

#: The tensor of a layer: its name, or the name and "transposed" or "as_is".
TensorName = str | tuple[str, str]

_LONGEST_HEADER = 2**20  # bytes that are searched for the mark of `to_checkpoint`
_LAYOUTS = ("transposed", "as_is")

#: Names that are tried where none are given: our own, and those of ``Sequential(Linear, activation, Linear)``.
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

    PyTorch is not needed, and nothing in the file is executed: of the pickle in a PyTorch file the parts that tensors
    are made of are read as data, and everything else is refused. Half precision becomes float32, exactly.

    The network has two layers without biases, so the file needs two matrices; see ``ignore`` for what else it holds.

    Parameters
    ----------
    path : path
        The file; its format is told by its content. Dictionaries within dictionaries have names with dots, as in
        ``"model.0.weight"``.
    names : mapping, optional
        ``{"E": name, "W": name}``, the tensors of the layers. One called ``weight``, or whose name ends in
        ``.weight``, is taken for a PyTorch ``Linear.weight``, (out, in), and transposed; any other is taken as it
        stands, (in, out). A pair ``(name, "as_is")`` or ``(name, "transposed")`` says otherwise, as for the weight of
        an ``Embedding``. By default ``E`` and ``W``, or ``0.weight`` and ``2.weight``, whichever the file holds.
    activation : str, optional
        By name, see `Network`. By default what `to_checkpoint` wrote into the file, else ``relu``.
    ignore : sequence of str
        Names, or patterns with ``*``, of further tensors that may be dropped. Others are refused unless they are zero
        throughout: a network here has no biases, and dropping one would make another function of it. What is ignored
        is not read, so that ``ignore=["optimizer.*"]`` also saves time and memory. The layers' own biases are read all
        the same: if one that is dropped is not zero, a warning says how large it is. Scalars, tensors of no dimension
        among them, are dropped.

    Raises
    ------
    OSError
        If there is no file, or it cannot be read.
    ValueError, TypeError
        For a file that is damaged, of another format or with anything to execute; for names that it does not hold,
        shapes that do not fit together, entries that are not finite real numbers, further tensors that are not zero.

    Examples
    --------
    ``from_checkpoint("mlp.pth", names={"E": "fc1.weight", "W": "fc2.weight"}, activation="gelu")``
    """
    if not isinstance(ignore, Iterable):
        raise ArgumentTypeError("ignore", f"expected names, got {format_value(ignore)}")
    patterns = [ignore] if isinstance(ignore, str) else list(ignore)
    for pattern in patterns:
        _checks.check_instance("ignore", pattern, str)
    given = None if names is None else _checked_names(names)
    tensors, metadata = read_tensors(path, _wanted(given, patterns))
    where = format_path(path)
    biases = {name for name in tensors if _is_ignored(name, patterns)} - _layers(given)
    ignored = {name: tensors.pop(name) for name in biases}
    try:
        net = _network(tensors, metadata, given, activation, Path(path).name)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    for name, bias in sorted(ignored.items()):
        if np.any(bias):
            size = f"entries up to {np.abs(bias).max():.3g}"
            message = (
                f"{where}: {format_value(name)} is dropped but not zero ({size}), so the network is another function"
            )
            warnings.warn(message, _checks.ZerolossWarning, stacklevel=2)
    return net


def _layers(given: Mapping[str, tuple[str, str]] | None) -> set[str]:
    """Return the names that the two layers may have."""
    chosen = [given] if given else [_checked_names(names) for names in _CONVENTIONS]
    return {name for names in chosen for name, _ in names.values()}


def _is_ignored(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _wanted(given: Mapping[str, tuple[str, str]] | None, patterns: list[str]) -> Wanted:
    """Return whether a tensor is to be read, by its name: the layers and their biases, and what is not ignored."""
    layers = _layers(given)
    places = {layer.rpartition(".")[0] for layer in layers}

    def wanted(name: str) -> bool:
        if name.endswith("."):  # all that is in a dictionary
            below = _is_ignored(name, [pattern for pattern in patterns if pattern.endswith("*")])
            return not below or any(layer.startswith(name) for layer in layers)
        place, _, own = name.rpartition(".")
        return name in layers or (place in places and "bias" in own) or not _is_ignored(name, patterns)

    return wanted


def _network(
    tensors: Arrays,
    metadata: Mapping[str, str],
    given: Mapping[str, tuple[str, str]] | None,
    activation: str | None,
    file: str,
) -> Network:
    """Return the network of the tensors that are not ignored."""
    checksum = metadata.get("zeroloss.sha256")
    if checksum is not None and checksum != _checksum(tensors, metadata.get("activation", "")):
        raise ValueError("expected the tensors that its checksum is of, got others: the file is damaged")
    chosen = given or _conventional_names(tensors)
    E, W = (_layer(tensors, *chosen[layer]) for layer in ("E", "W"))
    if E.shape[1] != W.shape[0]:
        told = " and ".join(
            f"{layer} {A.shape} ({_name(name)}, {layout})"
            for (layer, (name, layout)), A in zip(chosen.items(), (E, W), strict=True)
        )
        raise ValueError(f"expected E (d_in, h) and W (h, d_out), got {told}")
    layers = {name for name, _ in chosen.values()}
    for name, tensor in tensors.items():
        if name not in layers and tensor.ndim > 0 and np.any(tensor):
            without = "networks here have two layers" if tensor.ndim == 2 else "there are no biases here"
            raise ValueError(
                f"expected no further tensors than {' and '.join(map(_name, sorted(layers)))} unless zero or named in "
                f"ignore ({without}), got {format_value(name)} {format_value(tensor.shape)}"
            )
    net = from_arrays(E, W, metadata.get("activation", "relu") if activation is None else activation)
    settings = {"init": "checkpoint", "file": file, "hidden": net.hidden}
    return Network(net.E, net.W, net.activation, settings)


def to_checkpoint(net: Network, path: str | os.PathLike[str], names: Mapping[str, TensorName] | None = None) -> None:
    """Write a network into a safetensors file that PyTorch loads.

    The tensors are ``0.weight`` = Eᵀ (h, d_in) and ``2.weight`` = Wᵀ (d_out, h), those of
    ``Sequential(Linear(d_in, h, bias=False), activation, Linear(h, d_out, bias=False))``:
    ``model.load_state_dict(safetensors.torch.load_file(path))``. The activation and a checksum are in the metadata.
    `from_checkpoint` reads the same bits back. The file is written beside and renamed: whatever happens, at ``path``
    is the old file or the whole new one.

    Parameters
    ----------
    net : Network
        What to write, in its own precision.
    path : path
        The file; one that this function wrote before is replaced, a missing directory is made.
    names : mapping, optional
        Other names and layouts, as for `from_checkpoint`.

    Raises
    ------
    ValueError, TypeError
        For something that is no network, or malformed names.
    FileExistsError
        If ``path`` is a file that this function did not write.
    """
    _checks.check_instance("net", net, Network)
    chosen = _checked_names(_CONVENTIONS[1] if names is None else names)
    tensors = {
        name: np.ascontiguousarray(A.T if layout == "transposed" else A)
        for (name, layout), A in ((chosen["E"], net.E), (chosen["W"], net.W))
    }
    metadata = {"format": "pt", "activation": net.activation, "zeroloss.sha256": _checksum(tensors, net.activation)}
    content = _in_one_order(save(tensors, metadata))
    target = Path(path).resolve()
    if target.is_dir():
        raise ArgumentValueError("path", f"expected a file, got the directory {path}")
    if target.exists() and not _is_ours(target):
        raise FileExistsError(f"path: {path} is a file that to_checkpoint did not write; choose another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as beside:
        new = Path(beside) / target.name
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(target)


def _is_ours(path: Path) -> bool:
    """Whether `to_checkpoint` wrote a file, which its metadata shows."""
    with path.open("rb") as file:
        header = file.read(min(8 + int.from_bytes(file.read(8), "little"), _LONGEST_HEADER))
    return b'"zeroloss.sha256"' in header


def _in_one_order(content: bytes) -> bytes:
    """Return a safetensors file with its metadata sorted: the library's order changes from call to call."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[start:]


def _checked_names(names: object) -> dict[str, tuple[str, str]]:
    """Return name and layout of both layers."""
    if not isinstance(names, Mapping) or set(names) != {"E", "W"}:
        got = ", ".join(map(str, names)) if isinstance(names, Mapping) else repr(names)
        raise ArgumentValueError("names", f'expected {{"E": name, "W": name}}, got {got or "nothing"}')
    chosen = {layer: _name_and_layout(names[layer]) for layer in ("E", "W")}
    if chosen["E"][0] == chosen["W"][0]:
        raise ArgumentValueError("names", f"expected two tensors, got {format_value(chosen['E'][0])} for both layers")
    return chosen


def _name_and_layout(value: object) -> tuple[str, str]:
    if isinstance(value, str):
        return value, "transposed" if value.rsplit(".", 1)[-1] == "weight" else "as_is"
    match value:
        case [str(name), str(layout)] if layout in _LAYOUTS:
            return name, layout
    raise ArgumentValueError(
        "names", f'expected a name, or a name and "transposed" or "as_is", got {format_value(value)}'
    )


def _conventional_names(tensors: Arrays) -> dict[str, tuple[str, str]]:
    held = [names for names in map(_checked_names, _CONVENTIONS) if all(name in tensors for name, _ in names.values())]
    if len(held) == 1:
        return held[0]
    which = "both" if held else "neither"
    first, second = _likely_layers(tensors)
    raise ValueError(
        f"expected tensors E and W, or 0.weight and 2.weight, got {which} among {_listed(tensors)}; "
        f'say names={{"E": {first}, "W": {second}}}'
    )


def _likely_layers(tensors: Arrays) -> tuple[str, str]:
    """Return the names, quoted, of two matrices that can follow one another as weights of PyTorch's ``Linear``."""
    matrices = [name for name, array in tensors.items() if array.ndim == 2 and name.rsplit(".", 1)[-1] == "weight"]
    for first, second in itertools.pairwise(matrices):
        if tensors[second].shape[1] == tensors[first].shape[0]:
            return format_value(first), format_value(second)
    return "…", "…"


def _layer(tensors: Arrays, name: str, layout: str) -> NDArray[Any]:
    if name not in tensors:
        raise ValueError(f"expected a tensor {format_value(name)}, got {_listed(tensors)}")
    tensor = tensors[name]
    if tensor.ndim != 2:
        raise ValueError(f"expected {format_value(name)} to be a matrix, got shape {format_value(tensor.shape)}")
    if tensor.dtype.kind != "f" or tensor.dtype.itemsize not in (2, 4, 8):
        got = tensor.dtype.name
        raise ValueError(f"expected {format_value(name)} of 16 to 64-bit floating-point numbers, got {got}")
    matrix = tensor.T if layout == "transposed" else tensor
    return matrix.astype(np.float32) if tensor.dtype.itemsize == 2 else matrix


def _listed(tensors: Arrays) -> str:
    parts = [f"{_name(name)} {format_value(array.shape)}" for name, array in tensors.items()]
    return ", ".join(parts[:8]) + (f" and {len(parts) - 8} more" if len(parts) > 8 else "") or "no tensors"


def _name(name: str) -> str:
    return format_value(name)[1:-1]


def _checksum(tensors: Mapping[str, NDArray[Any]], activation: str) -> str:
    """Of names, types, shapes and entries, and the activation."""
    digest = hashlib.sha256(activation.encode())
    for name, array in sorted(tensors.items()):
        digest.update(f" {name!r} {array.dtype.str} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
