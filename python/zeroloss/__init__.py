"""Learning dynamics of two-layer networks after memorisation, in C++ kernels with a Python surface.

Implements "The Geometry of Grokking: Norm Minimization on the Zero-Loss Manifold" (arXiv 2511.01938).
"""

from importlib.metadata import version

from . import config, datasets, fourier, geometry, metrics, networks, results, runs, survival, sweeps
from .build import build_info
from .dynamics import (
    AdamW,
    GradientDescent,
    NormFlow,
    PredictedGradient,
    learning_rate,
    load,
    loss_and_gradient,
    predicted_gradient,
    simulate,
    simulate_many,
)

__version__ = version("zeroloss")

__all__ = [
    "AdamW",
    "GradientDescent",
    "NormFlow",
    "PredictedGradient",
    "build_info",
    "config",
    "datasets",
    "fourier",
    "geometry",
    "learning_rate",
    "load",
    "loss_and_gradient",
    "metrics",
    "networks",
    "predicted_gradient",
    "results",
    "runs",
    "simulate",
    "simulate_many",
    "survival",
    "sweeps",
]
