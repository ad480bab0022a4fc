"""The equations of an implicit step along kinks, as the kernel solves them: see csrc/core/proximal/proximal.hpp."""

from __future__ import annotations

import numpy as np

from .._kernels import kernels
from ..datasets import Dataset, kernel_samples
from ..networks import Network, fold_biases, kernel_activation
from .flow import ProximalError
from .implicit import ImplicitEquation
from .runge_kutta import Vector
from .stepper import State

_MAX_LINEAR_ITERATIONS = 500
#: Iterations of Newton's method for adaptive and for fixed steps. A fixed step cannot be shortened.
_NEWTON_ITERATIONS, _NEWTON_ITERATIONS_FIXED = 4, 20
#: The relative residual of the linear systems of Newton's method.
_FORCING = 0.05
#: If Newton's method ends with a smaller residual, relative to the largest target, its result is accepted.
_CLOSE = 0.03
#: The tolerance of the conditions of the units, relative to the largest parameter.
_UNIT_TOLERANCE = 1e-8


class ProximalSolver:
    """A solver of the equations of implicit steps.

    Its part of a state is the ``multiplier`` of the flow (n, d_out), the ``sides`` τ of the kinks (n, h), and the
    number of ``pinned_pairs``. τ is 0 for an inactive, 1 for an active and between 0 and 1 for a pinned pair.

    Parameters
    ----------
    data : Dataset
        The samples.
    network : Network
        A network of the shapes and the activation.
    adaptive : bool
        Whether a step can be repeated with a smaller size.
    threads : int
        Threads for one step.
    """

    def __init__(self, data: Dataset, network: Network, adaptive: bool, threads: int) -> None:
        network, data = fold_biases(network, data)
        self._newton = _NEWTON_ITERATIONS if adaptive else _NEWTON_ITERATIONS_FIXED
        samples, activation = kernel_samples(data, "train", np.dtype("float64")), kernel_activation(network)
        self.kernel = kernels.Proximal(samples, activation, _MAX_LINEAR_ITERATIONS, threads)
        self._data, self._scale = data, float(np.abs(data.Y_train).max()) or 1.0

    def start(self, network: Network, multiplier: Vector) -> State:
        """Return the solver's part of the state at the start."""
        sides = (self._data.rows_train @ network.layers[0] > 0).astype(np.float64)
        return {"multiplier": multiplier, "sides": sides, "pinned_pairs": np.zeros(())}

    def solve(self, equation: ImplicitEquation, state: State, slow_size: float, softening: float = 0.0) -> State:
        """Solve the equation of a step.

        Parameters
        ----------
        equation : ImplicitEquation
            The equation.
        state : State
            The state before the step.
        slow_size : float
            The size of the step in slow time. The tolerance of the equations is proportional to it.
        softening : float
            The δ of the penalty ‖F − Y‖²/(2δ), at least 0; with 0, F = Y is a constraint.

        Returns
        -------
        State
            E, W and the solver's part of the state after the step.

        Raises
        ------
        ProximalError
            If the equations are not solved.
        """
        size, q = equation.size, equation.q
        E, W, sides = (state[name].copy() for name in ("E", "W", "sides"))
        multiplier = state["multiplier"] * (size / q)
        tolerance = self._scale * min(1e-3, 0.03 * slow_size / q)
        unit_tolerance = _UNIT_TOLERANCE * max(float(np.abs(E).max()), float(np.abs(W).max()))
        ending, residual, _, _, pinned = self.kernel.solve(
            equation.c_E,
            equation.c_W,
            E,
            W,
            sides,
            multiplier,
            tolerance,
            unit_tolerance,
            self._newton,
            _FORCING,
            softening,
        )
        close = residual <= _CLOSE * self._scale
        if ending != "converged" and not (close and ending in ("too many iterations", "stalled")):
            raise ProximalError(ending, size, residual, pinned)
        pairs = np.array(float(pinned))
        return {"E": E, "W": W, "sides": sides, "multiplier": multiplier * (q / size), "pinned_pairs": pairs}
