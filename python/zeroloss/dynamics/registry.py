"""The dynamics by the names that they have in configurations and saved runs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .. import _deprecated, _plain
from .._checks import ArgumentTypeError, ArgumentValueError, format_value
from .adamw import AdamW
from .gradient_descent import GradientDescent
from .gradient_flow import GradientFlow
from .noise_flow import NoiseFlow
from .norm_flow import NormFlow
from .predicted_gradient import PredictedGradient
from .stepper import Dynamics

_registered: dict[str, type[Any]] = {
    "gradient_descent": GradientDescent,
    "adamw": AdamW,
    "predicted_gradient": PredictedGradient,
    "norm_flow": NormFlow,
    "gradient_flow": GradientFlow,
    "noise_flow": NoiseFlow,
}
_BUILT_IN = frozenset(_registered)

#: All dynamics by name, with the dynamics of users.
DYNAMICS: Mapping[str, type[Any]] = MappingProxyType(_registered)


def register_dynamics(name: str, kind: type[Any]) -> None:
    """Register a dynamics of yours for configurations, sweeps and saved runs.

    `zeroloss.simulate` accepts a dynamics that is not registered, too. Registration is needed, in every process, to
    name the dynamics in a configuration and to extend a saved run.

    Parameters
    ----------
    name : str
        An identifier, used as ``[dynamics] kind = "name"``. A class replaces an earlier one with the same name
        if both have the same module and class name, for example if a cell of a notebook runs twice.
    kind : type
        A frozen dataclass with a method ``start``: see `zeroloss.Dynamics`.

    Raises
    ------
    ValueError
        If the name is not an identifier, or belongs to another class.
    TypeError
        If the class is not such a dataclass.

    Examples
    --------
    >>> import zeroloss as zl
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class NoisyDescent:
    ...     lr: float
    ...
    ...     def start(self, data, network): ...
    >>> zl.register_dynamics("noisy", NoisyDescent)
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ArgumentValueError("name", f"expected an identifier, got {format_value(name)}")
    if not isinstance(kind, type):
        raise ArgumentTypeError("kind", f"expected a frozen dataclass, got {format_value(kind)}")
    _check_kind("kind", kind)
    known = _registered.get(name)
    if known is not None and (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__):
        raise ArgumentValueError("name", f"{name!r} is already the name of {known.__qualname__}; choose another one")
    _registered[name] = kind


def user_dynamics(name: str) -> dict[str, type[Any]]:
    """Return a name with its class if a user registered it. Worker processes then have to register it too."""
    return {} if name in _BUILT_IN or name not in DYNAMICS else {name: DYNAMICS[name]}


def check_dynamics(dynamics: object) -> None:
    """Raise TypeError unless an object satisfies `Dynamics` and its fields can be saved."""
    if is_built_in(dynamics):
        return
    if isinstance(dynamics, type) or not hasattr(dynamics, "start"):
        names = ", ".join(kind.__name__ for kind in DYNAMICS.values())
        what = f"the class {dynamics.__name__}" if isinstance(dynamics, type) else f"{type(dynamics).__name__}"
        raise ArgumentTypeError("dynamics", f"expected one of {names}, or a dataclass with a method start, got {what}")
    _check_kind("dynamics", type(dynamics))
    for name, value in dataclasses.asdict(dynamics).items():  # type: ignore[call-overload]
        try:
            json.dumps(_plain.to_plain(value))
        except (TypeError, ValueError):
            raise ArgumentTypeError(
                "dynamics", f"fields must be numbers, strings, lists or mappings, got {name} = {format_value(value)}"
            ) from None


def is_built_in(dynamics: object) -> bool:
    """Whether a dynamics belongs to this package."""
    return type(dynamics) in {_registered[name] for name in _BUILT_IN}


def settings_of(dynamics: Dynamics) -> dict[str, Any]:
    """Return the settings of a dynamics as a run stores them: its name as "kind", and its fields."""
    names = [name for name, kind in DYNAMICS.items() if type(dynamics) is kind]
    return {"kind": names[0] if names else type(dynamics).__qualname__, **dataclasses.asdict(dynamics)}  # type: ignore[call-overload]


def dynamics_from_settings(settings: Mapping[str, Any]) -> Dynamics:
    """Return the dynamics that the stored settings of a run describe.

    Raises
    ------
    ValueError
        If the dynamics is not registered.
    """
    numbers = _deprecated.rename_keys("dynamics", settings, warn=False)
    name = numbers.pop("kind")
    kinds = [DYNAMICS[name]] if name in DYNAMICS else [k for k in DYNAMICS.values() if k.__qualname__ == name]
    if not kinds:  # A run of a dynamics that was not registered stores the name of the class.
        raise ArgumentValueError(
            "dynamics",
            f"the run is of {name!r}, which is none of {', '.join(DYNAMICS)}; register it first with "
            f"zeroloss.register_dynamics({name!r}, …), or with --import of the command",
        )
    dynamics: Dynamics = kinds[0](**numbers)
    return dynamics


def _check_kind(argument: str, kind: type[Any]) -> None:
    parameters = getattr(kind, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        raise ArgumentTypeError(argument, f"expected a frozen dataclass, got {kind.__qualname__}")
    if not callable(getattr(kind, "start", None)):
        raise ArgumentTypeError(argument, f"{kind.__qualname__} has no method start(data, network)")
