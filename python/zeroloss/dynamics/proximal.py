"""Implicit steps of the norm flow, which slide along the corners of the zero-loss set (ReLU, leaky ReLU).

A step of size h from θ_n goes to the nearest point of 𝒵 to c,

    θ⁺ = argmin ½‖θ − c‖² subject to σ(X E) W = Y,   c = [(1 + r) θ_n − r²/(1 + r) θ_{n−1}] / q,
    q = (1 + 2r)/(1 + r) + h,   r = h/h_prev,

the second-order backward difference of dθ/ds = −θ + Jᵀλ. The first step is a step of the backward Euler method:
c = θ_n/q with q = 1 + h. Λ = λ h/q is the multiplier of the constraints. With it, the kernel solves the first-order
conditions of every hidden unit.

Filippov's rule for sliding: a pair (i, u) whose pre-activation z_iu the flow pushes against the kink from both sides is
*pinned* at z_iu = 0, with a slope between the slopes of the two sides. If the x_i of pinned pairs span the x_i of a
pair with the opposite sign, this pair is at z = 0 as well. The corner is then left if that lowers the function of the
unit, as gradient descent leaves it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .._kernels import kernels
from ..datasets import Dataset, kernel_samples
from ..geometry import memory_needed
from ..networks import Network, kernel_activation
from .flow import FlowStepper, ProximalError
from .runge_kutta import GREATEST, StepSizeTooSmallError, Tolerances
from .stepper import Cost, Record, State
from .zero_loss import ZeroLossConstraint

#: Operations of a step from which threads pay. At p = 11 (4e7 implicit, 9e7 explicit) there are at most two blocks.
FLOPS_FOR_THREADS = 2e8
#: The first adaptive step divided by √rtol. It is small, because many pairs are pinned at once.
_FIRST = 0.03
#: The safety factor of a new step size, and the smallest and greatest factor of its change.
_SAFETY, _LEAST, _MOST = 0.9, 0.2, 1.5
#: A factor of the error estimate. With it, rtol = 10⁻² is a distance of about 0.04 in the setting of figure 5.
_STRICTNESS = 3.5
#: A flow ends if it needs a step below this size.
_SMALLEST = 1e-9
#: The factor of the step size after a step whose equations were not solved.
_QUARTER = 0.25
_MAX_LINEAR_ITERATIONS = 500
#: Iterations of Newton's method for adaptive and for fixed steps. A fixed step cannot be shortened.
_NEWTON_ITERATIONS, _NEWTON_ITERATIONS_FIXED = 4, 20
#: The relative residual of the linear systems of Newton's method.
_FORCING = 0.05
#: If Newton's method ends with a smaller max|F − Y|, relative to the largest target, its result is retracted.
_CLOSE = 0.03
#: The tolerance of the conditions of the units, relative to the largest parameter.
_UNIT_TOLERANCE = 1e-8
_RETRACTION_FORCING, _RETRACTION_ITERATIONS = 1e-4, 20


class ProximalStepper(FlowStepper):
    """A stepper of the norm flow with implicit steps.

    In addition to the state of every flow, its state holds θ before the last step (``earlier_E``, ``earlier_W``), the
    ``multiplier`` λ of the flow (n, d_out), the ``sides`` τ of the kinks (n, h), and the number of ``pinned_pairs``. τ
    is 0 for an inactive, 1 for an active and between 0 and 1 for a pinned pair.
    """

    def __init__(
        self,
        step: float | Tolerances,
        tolerance: float,
        data: Dataset,
        network: Network,
        threads: int = 1,
    ) -> None:
        super().__init__(network, step)
        self._tolerance = tolerance
        self._newton = _NEWTON_ITERATIONS if isinstance(step, Tolerances) else _NEWTON_ITERATIONS_FIXED
        self._zero_loss = ZeroLossConstraint(data, network, "matrix_free", threads)
        self._zero_loss.check(self.state)
        samples, activation = kernel_samples(data, "train", np.dtype("float64")), kernel_activation(network)
        self._kernel = kernels.Proximal(samples, activation, _MAX_LINEAR_ITERATIONS, threads)
        self._scale = float(np.abs(data.Y_train).max()) or 1.0
        self.state |= {
            "earlier_E": network.E.copy(),
            "earlier_W": network.W.copy(),
            "multiplier": np.zeros(data.Y_train.shape),
            "sides": (data.rows_train @ network.E > 0).astype(np.float64),
            "pinned_pairs": np.zeros(()),
        }

    def record(self) -> Record:
        """Return the record of the state. The flow's time is slow time."""
        steps, pinned = self.step_record(), float(self.state["pinned_pairs"])
        return {**self._zero_loss.record(self.state), **steps, "slow_time": steps["time"], "pinned_pairs": pinned}

    def _first_size(self) -> float:
        assert isinstance(self._step, Tolerances)
        return _FIRST * float(np.sqrt(self._step.rtol))

    def _take_step(self, room: float) -> None:
        size = self._next_size()
        while True:
            taken = min(size, room)
            try:
                after = self._solve_step(taken)
            except ProximalError as error:
                if not isinstance(self._step, Tolerances) or taken * _QUARTER < _SMALLEST:
                    self._zero_loss.check_rank(self.state, error.ending)
                    raise
                size = taken * _QUARTER
            else:
                if not isinstance(self._step, Tolerances):
                    break
                ratio = self._error_ratio(after, taken, self._step)
                change = _MOST if ratio == 0 else min(_MOST, max(_LEAST, _SAFETY / np.sqrt(ratio)))
                if ratio <= 1:
                    self.state["next_size"] = np.array(size if taken < size else min(taken * change, GREATEST))
                    break
                size = taken * (change if np.isfinite(ratio) else _LEAST)
                if size < _SMALLEST:
                    raise StepSizeTooSmallError(
                        f"no implicit step above {_SMALLEST:g} meets rtol = {self._step.rtol:g}"
                    ) from None
            self.state["rejected_steps"] = self.state["rejected_steps"] + 1
        self.state["earlier_E"], self.state["earlier_W"] = self.state["E"], self.state["W"]
        self.state |= after
        self._count_step(taken)

    def _solve_step(self, size: float) -> State:
        """Return E, W, sides, multiplier and pinned_pairs after a step of a size. Raises ProximalError if it fails."""
        self.state["evaluations"] = self.state["evaluations"] + 1
        before = float(self.state["step_size"])
        r = size / before if before > 0 else 0.0
        q = (1 + 2 * r) / (1 + r) + size
        c_E, c_W = (
            ((1 + r) * self.state[layer] - r**2 / (1 + r) * self.state[f"earlier_{layer}"]) / q for layer in ("E", "W")
        )
        E, W, sides = (self.state[name].copy() for name in ("E", "W", "sides"))
        multiplier = self.state["multiplier"] * (size / q)
        tolerance = self._scale * min(1e-3, 0.03 * size / q)
        unit_tolerance = _UNIT_TOLERANCE * max(float(np.abs(E).max()), float(np.abs(W).max()))
        ending, residual, _, _, pinned = self._kernel.solve(
            c_E, c_W, E, W, sides, multiplier, tolerance, unit_tolerance, self._newton, _FORCING
        )
        close = residual <= _CLOSE * self._scale
        if ending != "converged" and not (close and ending in ("too many iterations", "stalled")):
            raise ProximalError(ending, size, residual, pinned)
        self._retract(E, W, sides, size, pinned)
        pairs = np.array(float(pinned))
        return {"E": E, "W": W, "sides": sides, "multiplier": multiplier * (q / size), "pinned_pairs": pairs}

    def _retract(
        self,
        E: NDArray[np.float64],
        W: NDArray[np.float64],
        sides: NDArray[np.float64],
        size: float,
        pinned: int,
    ) -> None:
        """Move E and W onto the set in place, with the pinned pairs fixed or, if that fails, without them."""
        ending, residual, *_ = self._kernel.retract(
            E, W, sides, self._tolerance, _RETRACTION_ITERATIONS, _RETRACTION_FORCING
        )
        if ending == "converged":
            return
        try:
            self._zero_loss.retract(E, W, self._tolerance)
        except np.linalg.LinAlgError:
            raise ProximalError(f"in its retraction: {ending}", size, residual, pinned) from None

    def _error_ratio(self, after: State, size: float, tolerances: Tolerances) -> float:
        """Return the distance of a step from linear extrapolation, in units of the tolerance; 1 for the first step."""
        before = float(self.state["step_size"])
        if before == 0:
            return 1.0
        here, earlier, there = (
            np.concatenate([state[prefix + layer].ravel() for layer in ("E", "W")])
            for state, prefix in ((self.state, ""), (self.state, "earlier_"), (after, ""))
        )
        return _STRICTNESS * tolerances.ratio(there - here - size / before * (here - earlier), here, there)


def proximal_cost(data: Dataset, network: Network) -> Cost:
    """Return the cost of a step: about sixty products with J and Jᵀ. No matrix is larger than n × n or n × h."""
    (n, d_out), h = data.Y_train.shape, network.hidden
    memory = memory_needed(network, data, "matrix_free") + 8 * (14 * n * h + 10 * n * d_out + 12 * h * data.d_in)
    memory += 8 * h * data.d_in * min(n, data.d_in)  # The bases of the pinned pairs.
    return Cost(60 * 8.0 * n * h * d_out, memory, FLOPS_FOR_THREADS)
