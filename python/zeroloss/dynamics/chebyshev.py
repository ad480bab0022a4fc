"""Stabilised explicit steps of the gradient flow: the Runge–Kutta–Chebyshev method.

Its equations are in csrc/core/descent/runge_kutta_chebyshev.hpp. A step of size h with m stages is stable if h λ ≤
0.65 (m² − 1), with the sharpness λ of the loss. The number of stages follows from λ, and h from the estimated error.
The Lanczos iteration computes λ at the start, after every 15 steps, and whenever a step is rejected.
"""

from __future__ import annotations

import math

import numpy as np

from .._kernels import kernels
from ..datasets import Dataset
from ..networks import Network
from .flow import FlowStepper
from .gradient import GradientAtPoint
from .runge_kutta import GREATEST, StepSizeTooSmallError, Tolerances
from .stepper import Record

#: The safety factor of a new step size, and the smallest and greatest factor of its change.
_SAFETY, _LEAST, _MOST = 0.8, 0.1, 1.5
#: A flow ends if it needs a step below this size.
_SMALLEST = 1e-14
#: The first step is this short in units of 1/λ.
_FIRST = 0.25
#: Steps until λ is computed again, and the factor that covers its change and its error.
_STEPS_PER_RADIUS, _RADIUS_MARGIN = 15, 1.1
#: The most stages of a step, and the operations of a step from which there are fewer. A step cannot be interrupted.
_MOST_STAGES, _MOST_FLOPS, _LEAST_LIMIT = 10_000, 1e10, 50


class ChebyshevStepper(FlowStepper):
    """A stepper of the gradient flow with stabilised explicit steps.

    In addition to the state of every flow, its state holds the slope −(∇loss + weight_decay · θ) at θ (``slope_E``,
    ``slope_W``), the sharpness λ (``spectral_radius``), the number of steps since it was computed (``radius_age``), the
    error of the last step in units of the tolerance (``last_error``), and its number of ``stages``.
    """

    adaptive_only = True
    remark = " by the method chebyshev"

    def __init__(self, gradient: GradientAtPoint, tolerances: Tolerances, data: Dataset, network: Network) -> None:
        super().__init__(network, tolerances)
        self._gradient, self._tolerances = gradient, tolerances
        g = gradient
        self._kernel = kernels.RungeKuttaChebyshev(
            g.samples,
            g.activation,
            g.loss,
            g.weight_decay,
            network.hidden,
            g.threads,
            *g.trained,
            output_biases=network.bias_output is not None,
        )
        flops = 6.0 * data.Y_train.size * network.hidden
        self._most_stages = int(min(max(_MOST_FLOPS / flops, _LEAST_LIMIT), _MOST_STAGES))
        slope_E, slope_W = gradient.slope(self.state["E"], self.state["W"])
        self.state |= {"slope_E": slope_E, "slope_W": slope_W}
        self.state |= {name: np.zeros(()) for name in ("spectral_radius", "radius_age", "last_error", "stages")}
        self.state["evaluations"] = np.ones(())

    def record(self) -> Record:
        """Return the record of the state."""
        names = ("stages", "spectral_radius")
        return {**self._gradient.record(self.state), **self.step_record(), **{n: float(self.state[n]) for n in names}}

    def gradient_norm(self) -> float:
        """Return ‖∇loss + weight_decay · θ‖."""
        return math.hypot(*(float(np.linalg.norm(self.state[name])) for name in ("slope_E", "slope_W")))

    def _first_size(self) -> float:
        self._update_radius()
        return min(_FIRST / max(float(self.state["spectral_radius"]), 1 / GREATEST), GREATEST)

    def _take_step(self, room: float) -> None:
        size = self._next_size()
        if self.state["radius_age"] >= _STEPS_PER_RADIUS:
            self._update_radius()
        while True:
            taken = min(size, room, self._greatest_size())
            stages = self._stages(taken)
            after = {name: self.state[name].copy() for name in ("E", "W", "slope_E", "slope_W")}
            ratio = self._kernel.step(
                *after.values(), size=taken, stages=stages, rtol=self._tolerances.rtol, atol=self._tolerances.atol
            )
            self.state["evaluations"] = self.state["evaluations"] + stages
            if ratio <= 1:
                break
            change = _SAFETY * ratio ** (-1 / 3) if math.isfinite(ratio) else _LEAST
            size = taken * max(_LEAST, change)
            self.state["rejected_steps"] = self.state["rejected_steps"] + 1
            if size < _SMALLEST:
                raise StepSizeTooSmallError(f"no step above {_SMALLEST:g} meets rtol = {self._tolerances.rtol:g}")
            self._update_radius()
        self.state["next_size"] = np.array(size if room < size else min(taken * self._growth(ratio, taken), GREATEST))
        self.state |= after
        self.state |= {"last_error": np.array(max(ratio, 1e-10)), "stages": np.array(float(stages))}
        self.state["radius_age"] = self.state["radius_age"] + 1
        self._count_step(taken)

    def _growth(self, ratio: float, size: float) -> float:
        """Return the factor of the next step size: the predictive controller of Sommeijer, Shampine and Verwer."""
        ratio, before = max(ratio, 1e-10), float(self.state["last_error"])
        growth = _SAFETY * ratio ** (-1 / 3)
        if before > 0:
            growth *= size / float(self.state["step_size"]) * (before / ratio) ** (1 / 3)
        return float(min(_MOST, max(_LEAST, growth)))

    def _update_radius(self) -> None:
        self.state["spectral_radius"] = np.array(self._gradient.sharpness(self.state["E"], self.state["W"]))
        self.state["radius_age"] = np.zeros(())

    def _stages(self, size: float) -> int:
        """Return the number of stages with which a step is stable."""
        radius = _RADIUS_MARGIN * max(float(self.state["spectral_radius"]), 0.0)
        return max(2, math.ceil(math.sqrt(1 + 1.54 * size * radius)))

    def _greatest_size(self) -> float:
        """Return the size of a step with the most stages."""
        radius = _RADIUS_MARGIN * max(float(self.state["spectral_radius"]), 0.0)
        return (self._most_stages**2 - 1) / (1.54 * radius) if radius > 0 else GREATEST
