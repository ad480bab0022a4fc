"""Learning dynamics of two-layer networks after memorisation, computed by C++ kernels.

The networks have two layers, F(X) = σ(X E + b) W + c, with or without biases. They are trained on
the full batch or on minibatches.
The package implements "The Geometry of Grokking: Norm Minimization on the Zero-Loss Manifold" (arXiv 2511.01938).

Importing the package loads only the kernels. Its other parts are imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from . import _kernels as _kernels

if TYPE_CHECKING:
    from . import (
        config,
        curvature,
        datasets,
        end_states,
        fourier,
        geometry,
        metrics,
        networks,
        plots,
        results,
        runs,
        studies,
        survival,
        sweeps,
    )
    from .dynamics import (
        AdamW,
        Cost,
        Dynamics,
        GradientDescent,
        GradientFlow,
        NoiseFlow,
        NormFlow,
        PredictedGradient,
        Stepper,
        learning_rate,
        register_dynamics,
    )
    from .dynamics.evaluation import loss_and_gradient, predicted_gradient
    from .end_states import stationary_point
    from .provenance import build_info
    from .runs import load
    from .simulation import simulate
    from .sweeps import simulate_many

    __version__: str

__all__ = [
    "AdamW",
    "Cost",
    "Dynamics",
    "GradientDescent",
    "GradientFlow",
    "NoiseFlow",
    "NormFlow",
    "PredictedGradient",
    "Stepper",
    "build_info",
    "config",
    "curvature",
    "datasets",
    "end_states",
    "fourier",
    "geometry",
    "learning_rate",
    "load",
    "loss_and_gradient",
    "metrics",
    "networks",
    "plots",
    "predicted_gradient",
    "register_dynamics",
    "results",
    "runs",
    "simulate",
    "simulate_many",
    "stationary_point",
    "studies",
    "survival",
    "sweeps",
]

_PARTS = (
    "config",
    "curvature",
    "datasets",
    "end_states",
    "fourier",
    "geometry",
    "metrics",
    "networks",
    "plots",
    "results",
    "runs",
    "studies",
    "survival",
    "sweeps",
)

_HOMES = {
    "build_info": ".provenance",
    "load": ".runs",
    "simulate": ".simulation",
    "simulate_many": ".sweeps",
    "stationary_point": ".end_states",
}


def __getattr__(name: str) -> object:
    """Import a part of the package, or the part that defines a name, when it is first used (PEP 562)."""
    if name == "__version__":
        return import_module("importlib.metadata").version("zeroloss")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _PARTS:
        return import_module(f".{name}", __name__)
    return getattr(import_module(_HOMES.get(name, ".dynamics"), __name__), name)


def __dir__() -> list[str]:
    """Return the names of the package, including parts that are not imported yet."""
    return sorted({*globals(), *__all__, "__version__"})
