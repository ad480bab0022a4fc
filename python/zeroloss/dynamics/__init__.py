"""The dynamics: their settings, and the steppers that take the steps."""

from . import learning_rate
from .adamw import AdamW
from .evaluation import loss_and_gradient, predicted_gradient
from .gradient_descent import GradientDescent
from .gradient_flow import GradientFlow
from .noise_flow import NoiseFlow
from .norm_flow import NormFlow
from .predicted_gradient import PredictedGradient
from .registry import DYNAMICS, register_dynamics
from .stepper import Cost, Dynamics, Stepper

__all__ = [
    "DYNAMICS",
    "AdamW",
    "Cost",
    "Dynamics",
    "GradientDescent",
    "GradientFlow",
    "NoiseFlow",
    "NormFlow",
    "PredictedGradient",
    "Stepper",
    "learning_rate",
    "loss_and_gradient",
    "predicted_gradient",
    "register_dynamics",
]
