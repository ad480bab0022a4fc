"""The slope of the gradient flow, its largest curvature and its records, as its steppers need them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .._choices import Layers, Loss, Reduction
from .._kernels import kernels
from ..datasets import Dataset
from ..networks import Network
from .stepper import Evaluator, State

Layer = NDArray[np.float64]

#: The residual, relative to the sharpness, at which its iteration ends, and the most iterations.
_SHARPNESS_ACCURACY, _MOST_ITERATIONS = 0.02, 60


class GradientAtPoint:
    """The slope −(∇loss + weight_decay · θ) and the sharpness of loss + (weight_decay/2) ‖θ‖², at any θ.

    Parameters
    ----------
    data : Dataset
        The samples.
    network : Network
        A float64 network of the shapes and the activation.
    weight_decay : float
        The weight decay, at least 0.
    loss : {"mse", "cross_entropy"}
        The loss.
    reduction : {"mean", "sum"}
        The reduction of the loss.
    threads : int
        Threads for one evaluation.
    temperature : float
        The temperature of the cross-entropy.
    train_layers : {"both", "E", "W"}
        The layers that move. The slope of another layer is 0.
    """

    def __init__(
        self,
        data: Dataset,
        network: Network,
        weight_decay: float,
        loss: Loss,
        reduction: Reduction,
        threads: int,
        temperature: float = 1.0,
        train_layers: Layers = "both",
    ) -> None:
        self.weight_decay, self.threads = weight_decay, threads
        self.trained = train_layers != "W", train_layers != "E"
        self.loss = kernels.Loss(loss, reduction, temperature)
        self._evaluator = Evaluator(data, network, self.loss)
        self.samples, self.activation = self._evaluator.train, self._evaluator.activation
        self._curvature: kernels.Curvature | None = None

    def slope(self, E: Layer, W: Layer) -> tuple[Layer, Layer]:
        """Return −(∇loss + weight_decay · θ) for E and for W, and 0 for a layer that does not move."""
        _, gE, gW = kernels.loss_and_gradient(self.samples, E, W, self.activation, self.loss)
        moves_E, moves_W = self.trained
        slope_E = -(gE + self.weight_decay * E) if moves_E else np.zeros_like(E)
        return slope_E, -(gW + self.weight_decay * W) if moves_W else np.zeros_like(W)

    def sharpness(self, E: Layer, W: Layer) -> float:
        """Return the sharpness to a few per cent. Raises FloatingPointError if it is not finite."""
        if self._curvature is None:
            self._curvature = kernels.Curvature(self.samples, self.activation, self.loss, E, W, self.threads)
        else:
            self._curvature.move(E, W)
        value, _ = self._curvature.largest_eigenvalue(
            "hessian", self.weight_decay, _SHARPNESS_ACCURACY, _MOST_ITERATIONS
        )
        if not math.isfinite(value):
            raise FloatingPointError("the Hessian of the loss is not finite")
        return value

    def record(self, state: State) -> dict[str, float]:
        """Return the losses, accuracies, norms and the slow time of a state."""
        common = self._evaluator(state["E"], state["W"])
        return {**common, "slow_time": self.weight_decay * float(state["time"])}
