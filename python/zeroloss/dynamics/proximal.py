"""Implicit steps of the norm flow, which slide along the corners of the zero-loss set (ReLU, leaky ReLU).

A step of size h from θ_n goes to the nearest point of 𝒵 to the c of its equation (`zeroloss.dynamics.implicit`),

    θ⁺ = argmin ½‖θ − c‖² subject to σ(X E) W = Y,

the second-order backward difference of dθ/ds = −θ + Jᵀλ. Λ = λ h/q is the multiplier of the constraints. With it, the
kernel solves the first-order conditions of every hidden unit.

Filippov's rule for sliding: a pair (i, u) whose pre-activation z_iu the flow pushes against the kink from both sides is
*pinned* at z_iu = 0, with a slope between the slopes of the two sides. If the x_i of pinned pairs span the x_i of a
pair with the opposite sign, this pair is at z = 0 as well. The corner is then left if that lowers the function of the
unit, as gradient descent leaves it.
"""

from __future__ import annotations

import numpy as np

from ..datasets import Dataset
from ..geometry import memory_needed
from ..geometry.solver import LostRankError
from ..networks import Network
from .beyond_rank import BeyondRankStepper
from .flow import ProximalError
from .implicit import ImplicitEquation, ImplicitStepper
from .proximal_solver import ProximalSolver
from .runge_kutta import Tolerances
from .stepper import Cost, Record, State
from .zero_loss import ZeroLossConstraint

#: Operations of a step from which threads pay. At p = 11 (4e7 implicit, 9e7 explicit) there are at most two blocks.
FLOPS_FOR_THREADS = 2e8
#: The first adaptive step divided by √rtol. It is small, because many pairs are pinned at once.
_FIRST = 0.03
_RETRACTION_FORCING, _RETRACTION_ITERATIONS = 1e-4, 20


class ProximalStepper(BeyondRankStepper, ImplicitStepper):
    """A stepper of the norm flow with implicit steps.

    Its state also holds the state of the `ProximalSolver`. If the activation is smooth and the solver finds that J is
    singular, to its precision, softened steps follow.
    """

    def __init__(
        self,
        step: float | Tolerances,
        tolerance: float,
        data: Dataset,
        network: Network,
        threads: int = 1,
    ) -> None:
        super().__init__(network, step, decay=1.0)
        self._tolerance = tolerance
        self._zero_loss = ZeroLossConstraint(data, network, "matrix_free", threads)
        self._zero_loss.check(self.state)
        self._solver = ProximalSolver(data, network, isinstance(step, Tolerances), threads)
        self.state |= self._solver.start(network, np.zeros(data.Y_train.shape))
        self._softened = self._zero_loss.softened_steps(step, tolerance)
        if self._softened is not None:
            self.state = self._softened.complete(self.state)

    def record(self) -> Record:
        """Return the record of the state. The flow's time is slow time."""
        steps, pinned = self.step_record(), float(self.state["pinned_pairs"])
        return {**self._zero_loss.record(self.state), **steps, "slow_time": steps["time"], "pinned_pairs": pinned}

    def _first_size(self) -> float:
        assert isinstance(self._step, Tolerances)
        return _FIRST * float(np.sqrt(self._step.rtol))

    def _step_on_set(self, room: float) -> None:
        ImplicitStepper._take_step(self, room)

    def _explain(self, error: ProximalError) -> None:
        self._zero_loss.check_rank(self.state, error.ending)

    def _solve(self, equation: ImplicitEquation) -> State:
        try:
            after = self._solver.solve(equation, self.state, equation.size)
            self._retract(after, equation.size)
        except ProximalError as error:
            if self._softened is not None and error.ending.endswith("singular"):
                raise LostRankError from error
            raise
        return after

    def _retract(self, state: State, size: float) -> None:
        """Move E and W onto the set in place, with the pinned pairs fixed or, if that fails, without them."""
        E, W = state["E"], state["W"]
        ending, residual, *_ = self._solver.kernel.retract(
            E, W, state["sides"], self._tolerance, _RETRACTION_ITERATIONS, _RETRACTION_FORCING
        )
        if ending == "converged":
            return
        try:
            self._zero_loss.retract(E, W, self._tolerance)
        except np.linalg.LinAlgError:
            pinned = int(state["pinned_pairs"])
            raise ProximalError(f"in its retraction: {ending}", size, residual, pinned) from None


def proximal_cost(data: Dataset, network: Network) -> Cost:
    """Return the cost of a step: about sixty products with J and Jᵀ. No matrix is larger than n × n or n × h."""
    (n, d_out), h = data.Y_train.shape, network.hidden
    memory = memory_needed(network, data, "matrix_free") + 8 * (14 * n * h + 10 * n * d_out + 12 * h * data.d_in)
    memory += 8 * h * data.d_in * min(n, data.d_in)  # The bases of the pinned pairs.
    return Cost(60 * 8.0 * n * h * d_out, memory, FLOPS_FOR_THREADS)
