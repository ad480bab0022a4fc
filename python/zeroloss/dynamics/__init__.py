"""The dynamics, and the one loop that runs them."""

from . import learning_rate
from .adamw import AdamW
from .evaluation import loss_and_gradient, predicted_gradient
from .gradient_descent import GradientDescent
from .many import simulate_many
from .monitor import Event
from .norm_flow import NormFlow
from .predicted_gradient import PredictedGradient
from .simulation import DYNAMICS, load, simulate
from .stepper import Dynamics

__all__ = [
    "DYNAMICS",
    "AdamW",
    "Dynamics",
    "Event",
    "GradientDescent",
    "NormFlow",
    "PredictedGradient",
    "learning_rate",
    "load",
    "loss_and_gradient",
    "predicted_gradient",
    "simulate",
    "simulate_many",
]
