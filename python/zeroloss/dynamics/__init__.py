"""The dynamics, and the one loop that runs them."""

from . import learning_rate
from .evaluation import loss_and_gradient, predicted_gradient
from .gradient_descent import GradientDescent
from .loop import load, simulate
from .norm_flow import NormFlow
from .predicted_gradient import PredictedGradient

__all__ = [
    "GradientDescent",
    "NormFlow",
    "PredictedGradient",
    "learning_rate",
    "load",
    "loss_and_gradient",
    "predicted_gradient",
    "simulate",
]
