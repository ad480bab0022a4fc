"""The sections of a configuration that choose what to build, and every key with its default and what it allows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import _plain, _toml, datasets, networks
from ._choices import Dtype
from ._hints import choices, hints_of, parameter_docs, signature_defaults, words
from ._run_settings import RunSettings
from .datasets import Dataset
from .dynamics import DYNAMICS
from .networks import Network
from .networks.network import ActivationName


def network_from_file(
    data: Dataset,
    file: str,
    names: dict[str, str | list[str]] | None = None,
    ignore: tuple[str, ...] | None = None,
    activation: ActivationName | None = None,
    dtype: Dtype | None = None,
) -> Network:
    """Read a network from a file.

    Parameters
    ----------
    data : Dataset
        That it has to fit.
    file : str
        A safetensors, npz or PyTorch file, see `zeroloss.networks.from_checkpoint`.
    names : mapping
        The tensors of the layers, as { E = "fc1.weight", W = "fc2.weight" }.
    ignore : sequence of str
        Names, or patterns with *, of further tensors that may be dropped, as ["optimizer.*"].
    activation : str
        By name; what the file says or relu by default.
    dtype : str
        In place of the file's.
    """
    layouts = None if names is None else {k: tuple(v) if isinstance(v, list) else v for k, v in names.items()}
    net = networks.from_checkpoint(file, layouts, activation, ignore or ())  # type: ignore[arg-type]  # which checks them
    networks.check_fits(net, data)
    return net if dtype is None else net.astype(dtype)


@dataclass(frozen=True)
class Section:
    """A section that chooses what to build: by which key, among what, and with what in place of missing keys."""

    selector: str
    choices: Mapping[str, Callable[..., Any]]
    defaults: Mapping[str, Mapping[str, Any]]
    alternatives: tuple[str, ...] = ()  # keys of which one given takes the place of the others' defaults


#: The sections that choose what to build, by name.
BUILT: Mapping[str, Section] = {
    "data": Section(
        "task",
        {**datasets.TASKS, "arrays": datasets.from_file},
        {"modular_addition": {"p": 11, "test_count": 7}},
        ("train_fraction", "train_count", "test_count"),
    ),
    "network": Section(
        "init",
        {"uniform_fan_in": networks.uniform_fan_in, "normal": networks.normal, "file": network_from_file},
        {"uniform_fan_in": {"hidden": 128, "seed": 1}, "normal": {"hidden": 512, "std": 37**-0.5, "seed": 1}},
    ),
    "dynamics": Section(
        "kind",
        DYNAMICS,
        {
            "gradient_descent": {"lr": 1.0, "weight_decay": 1e-4},
            "predicted_gradient": {"step_size": 1e-3},
            "norm_flow": {"step_size": 0.01},
        },
        ("step_size", "rtol"),
    ),
}


def defaults_text() -> str:
    """Return a complete, commented configuration file: every key at its default, with the values that it allows."""
    lines = ["# A run of zeroloss; every key has the value that it has if it is left out.", ""]
    for name, section in BUILT.items():
        for place, choice in enumerate(section.choices):
            first, mark = place == 0, "" if place == 0 else "# "
            lines.append(f"[{name}]" if first else f"# or, instead of this [{name}]:")
            options = f"  # one of {', '.join(section.choices)}" if first else ""
            lines.append(f'{mark}{section.selector} = "{choice}"{options}')
            lines += [*_lines(section, choice, mark), ""]
    lines.append("[run]")
    for key, about in RunSettings.model_fields.items():
        allowed = words(about.annotation, about.metadata)
        lines.append(_line(key, 100_000 if key == "steps" else about.default, allowed, about.description))
    return "\n".join(lines) + "\n"


def _lines(section: Section, choice: str, mark: str) -> Iterator[str]:
    """Yield a line for every key of a choice."""
    function = section.choices[choice]
    about, hints = parameter_docs(function), hints_of(function)
    for key, value in {**signature_defaults(function), **section.defaults.get(choice, {})}.items():
        yield _line(key, value, words(hints[key]), about.get(key), mark)


def _line(key: str, value: Any, allowed: str, about: str | None, mark: str = "") -> str:
    unset = value is None or value is inspect.Parameter.empty
    text = f"# {key} = …" if unset else f"{mark}{key} = {_toml.value(_plain.to_plain(value))}"
    return f"{text}  # {allowed}; {about}" if about else f"{text}  # {allowed}"


def allowed_values() -> dict[str, list[str]]:
    """Return the keys of a configuration that take one of a few strings, as section.key, with these."""
    found: dict[str, list[str]] = {}
    for name, section in BUILT.items():
        found[f"{name}.{section.selector}"] = list(section.choices)
        for function in section.choices.values():
            for key, hint in hints_of(function).items():
                if options := choices(hint):
                    found[f"{name}.{key}"] = list(dict.fromkeys([*found.get(f"{name}.{key}", []), *options]))
    return found
