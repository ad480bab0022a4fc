"""The sections of a configuration: the functions that they can choose, and every key with its default and range."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import _plain, _toml, datasets, networks
from ._choices import Dtype
from ._hints import describe_hint, get_defaults, get_hints, list_choices, parse_parameter_docs
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
        The dataset. The layers have to fit its numbers of inputs and outputs.
    file : str
        A safetensors, npz or PyTorch file, see `zeroloss.networks.from_checkpoint`.
    names : mapping
        The names of the tensors with the layers, such as { E = "fc1.weight", W = "fc2.weight" }.
    ignore : sequence of str
        Names of further tensors to ignore, or patterns with *, such as ["optimizer.*"].
    activation : str
        The activation; by default the one named in the file, or relu.
    dtype : str
        The precision; by default the one of the file.
    """
    layouts = None if names is None else {k: tuple(v) if isinstance(v, list) else v for k, v in names.items()}
    # from_checkpoint checks the types of the layouts.
    net = networks.from_checkpoint(file, layouts, activation, ignore or ())  # type: ignore[arg-type]
    networks.check_fits(net, data)
    return net if dtype is None else net.astype(dtype)


@dataclass(frozen=True)
class Section:
    """A section that chooses a function or class.

    Attributes
    ----------
    selector : str
        The key that chooses.
    choices : mapping of str to function
        The functions by name. The first one is the default.
    defaults : mapping of str to mapping
        Defaults for arguments that have none in Python, for each function.
    alternatives : tuple of str
        Keys that exclude each other: if one is given, the others have no default.
    synonyms : mapping of str to str
        Further names of choices. Settings store the name in ``choices``.
    """

    selector: str
    choices: Mapping[str, Callable[..., Any]]
    defaults: Mapping[str, Mapping[str, Any]]
    alternatives: tuple[str, ...] = ()
    synonyms: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """All valid values of the selector."""
        pairs = [(name, [other for other, choice in self.synonyms.items() if choice == name]) for name in self.choices]
        return [name for choice, others in pairs for name in (choice, *others)]


#: The sections that choose a function or class, by name.
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
        synonyms={"pytorch_linear": "uniform_fan_in"},
    ),
    "dynamics": Section(
        "kind",
        DYNAMICS,
        {
            "gradient_descent": {"lr": 1.0, "weight_decay": 1e-4},
            "predicted_gradient": {"step_size": 1e-3},
            "norm_flow": {"step_size": 0.01},
            "noise_flow": {"step_size": 0.01},
            "gradient_flow": {"weight_decay": 1e-4},
        },
        ("step_size", "rtol"),
    ),
}


def defaults_text() -> str:
    """Return a complete configuration file with comments.

    Returns
    -------
    str
        A TOML file. It has every key with its default; a comment gives the allowed values and the meaning. Keys without
        a default, and the sections for other choices, are comments.

    Examples
    --------
    >>> import zeroloss as zl
    >>> print(zl.config.defaults_text().splitlines()[2])
    [data]
    """
    lines = ["# A run of zeroloss. Every key is shown with its default value.", ""]
    for name, section in BUILT.items():
        for place, choice in enumerate(section.choices):
            first, mark = place == 0, "" if place == 0 else "# "
            lines.append(f"[{name}]" if first else f"# or, instead of this [{name}]:")
            options = f"  # one of {', '.join(section.names)}" if first else ""
            lines.append(f'{mark}{section.selector} = "{choice}"{options}')
            lines += [*_lines(section, choice, mark), ""]
    lines.append("[run]")
    docs = parse_parameter_docs(RunSettings)
    for key, entry in RunSettings.model_fields.items():
        allowed = describe_hint(entry.annotation, entry.metadata)
        lines.append(_line(key, 100_000 if key == "steps" else entry.default, allowed, docs.get(key)))
    return "\n".join(lines) + "\n"


def _lines(section: Section, choice: str, mark: str) -> Iterator[str]:
    """Yield a line for every key of a choice.

    A parameter that the docstring of a function of this package leaves out is documented by another choice.
    """
    function = section.choices[choice]
    docs = parse_parameter_docs(function)
    if function.__module__.startswith(f"{__package__}."):
        for other in section.choices.values():
            docs = {**parse_parameter_docs(other), **docs}
    hints = get_hints(function)
    for key, value in {**get_defaults(function), **section.defaults.get(choice, {})}.items():
        yield _line(key, value, describe_hint(hints[key]), docs.get(key), mark)


def _line(key: str, value: Any, allowed: str, meaning: str | None, mark: str = "") -> str:
    is_unset = value is None or value is inspect.Parameter.empty
    text = f"# {key} = …" if is_unset else f"{mark}{key} = {_toml.dump_value(_plain.to_plain(value))}"
    return f"{text}  # {allowed}; {meaning}" if meaning else f"{text}  # {allowed}"


def allowed_values() -> dict[str, list[str]]:
    """Return the allowed strings of each key that chooses between strings, by section.key."""
    values: dict[str, list[str]] = {}
    for name, section in BUILT.items():
        values[f"{name}.{section.selector}"] = section.names
        for function in section.choices.values():
            for key, hint in get_hints(function).items():
                if options := list_choices(hint):
                    values[f"{name}.{key}"] = list(dict.fromkeys([*values.get(f"{name}.{key}", []), *options]))
    return values
