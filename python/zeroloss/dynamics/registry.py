"""The dynamics by the names under which configurations and saved runs know them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .. import _deprecated, _plain
from .._checks import ArgumentTypeError, ArgumentValueError, shown
from .adamw import AdamW
from .gradient_descent import GradientDescent
from .norm_flow import NormFlow
from .predicted_gradient import PredictedGradient
from .stepper import Dynamics

_registered: dict[str, type[Any]] = {
    "gradient_descent": GradientDescent,
    "adamw": AdamW,
    "predicted_gradient": PredictedGradient,
    "norm_flow": NormFlow,
}
_BUILT_IN = frozenset(_registered)

#: The known dynamics by name, including registered ones of users.
DYNAMICS: Mapping[str, type[Any]] = MappingProxyType(_registered)


def register_dynamics(name: str, kind: type[Any]) -> None:
    """Make a dynamics known to configurations, sweeps and saved runs.

    `zeroloss.simulate` takes a dynamics that is not registered, too. But a run that was saved can be extended, and a
    configuration can name the dynamics, only in a process in which it is registered.

    Parameters
    ----------
    name : str
        An identifier, as in ``[dynamics] kind = "name"``. Registering a class of the same module and name again
        replaces the earlier one, as when a cell of a notebook runs twice.
    kind : type
        A frozen dataclass with a method ``start``: see `zeroloss.Dynamics`.

    Raises
    ------
    ValueError
        If the name is taken, or no identifier.
    TypeError
        If the class is not such a dataclass.
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ArgumentValueError("name", f"expected an identifier, got {shown(name)}")
    if not isinstance(kind, type):
        raise ArgumentTypeError("kind", f"expected a frozen dataclass, got {shown(kind)}")
    _check_kind("kind", kind)
    known = _registered.get(name)
    if known is not None and (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__):
        raise ArgumentValueError("name", f"expected one that is free, got {name!r}, which is {known.__qualname__}")
    _registered[name] = kind


def user_dynamics(name: str) -> dict[str, type[Any]]:
    """Return a name with its class if it is a user's dynamics, which other processes have to register; else nothing."""
    return {} if name in _BUILT_IN or name not in DYNAMICS else {name: DYNAMICS[name]}


def check_dynamics(dynamics: object) -> None:
    """Raise TypeError unless an object satisfies `Dynamics`, with fields that can be saved."""
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
                "dynamics", f"expected numbers, strings, lists and mappings as fields, got {name} = {shown(value)}"
            ) from None


def is_built_in(dynamics: object) -> bool:
    """Whether a dynamics is one of this package's."""
    return type(dynamics) in {_registered[name] for name in _BUILT_IN}


def settings_of(dynamics: Dynamics) -> dict[str, Any]:
    """Return the settings of a dynamics for a run: the name as "kind", and the fields."""
    names = [name for name, kind in DYNAMICS.items() if type(dynamics) is kind]
    return {"kind": names[0] if names else type(dynamics).__qualname__, **dataclasses.asdict(dynamics)}  # type: ignore[call-overload]


def dynamics_from_settings(settings: Mapping[str, Any]) -> Dynamics:
    """Return the dynamics that a run's settings describe.

    Raises
    ------
    ValueError
        If it is not registered.
    """
    numbers = _deprecated.rename_keys("dynamics", settings, warn=False)
    name = numbers.pop("kind")
    kinds = [DYNAMICS[name]] if name in DYNAMICS else [k for k in DYNAMICS.values() if k.__qualname__ == name]
    if not kinds:  # a run from before the registration has the name of the class
        raise ArgumentValueError(
            "dynamics",
            f"expected a known one ({', '.join(DYNAMICS)}), got a run of {name!r}; "
            f"make it known first: zeroloss.register_dynamics({name!r}, …), or --import of a command",
        )
    found: Dynamics = kinds[0](**numbers)
    return found


def _check_kind(argument: str, kind: type[Any]) -> None:
    parameters = getattr(kind, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        raise ArgumentTypeError(argument, f"expected a frozen dataclass, got {kind.__qualname__}")
    if not callable(getattr(kind, "start", None)):
        raise ArgumentTypeError(argument, f"expected a method start(data, network), got {kind.__qualname__} without it")
