"""The norm flow in implicit steps, which slide along the corners of the zero-loss set (ReLU, leaky ReLU).

A step of size h from θ_n goes to the nearest point of 𝒵 to c,

    θ⁺ = argmin ½‖θ − c‖² subject to σ(X E) W = Y,   c = [(1 + r) θ_n − r²/(1 + r) θ_{n−1}] / q,
    q = (1 + 2r)/(1 + r) + h,   r = h/h_prev,

the second-order backward difference of dθ/ds = −θ + Jᵀλ (the first step is backward Euler's: c = θ_n/q, q = 1 + h).
With the multiplier Λ = λ h/q of the constraints, the first-order conditions are those of the kernel's units, and a pair
(i, u) whose pre-activation z_iu the flow pushes against the kink from both sides is *pinned* at z_iu = 0, with a slope
between those of the two sides: Filippov's rule for sliding. Where the x_i of pinned pairs span that of a pair with the
opposite sign, which then sits at z = 0 as well, the corner is left if that lowers the unit's function: descent does.
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

#: Of a step: at p = 11 (4e7 proximal, 9e7 explicit) all is in one block or two, and threads do not pay.
FLOPS_FOR_THREADS = 2e8
_FIRST = 0.03  # first adaptive step, times √rtol: many pairs are pinned at once
_SAFETY, _LEAST, _MOST = 0.9, 0.2, 1.5  # of the change of a step size
_STRICTNESS = 3.5  # of the error estimate: rtol = 10⁻² is then a distance of about 0.04 at figure 5's setting
_SMALLEST = 1e-9  # step size at which a flow is given up
_QUARTER = 0.25  # of a step that could not be solved
_MOST_LINEAR = 500  # iterations of conjugate gradients
_NEWTON, _NEWTON_FIXED = 4, 20  # iterations of Newton's method; a fixed step has no shorter one to turn to
_FORCING = 0.05  # the relative residual of its linear systems
_CLOSE = 0.03  # max|F − Y|, relative to the largest target, at which the end of Newton's method is retracted
_UNIT_TOLERANCE = 1e-8  # of the units' own conditions, relative to the largest parameter
_RETRACTION_FORCING, _RETRACTION_ITERATIONS = 1e-4, 20


class ProximalStepper(FlowStepper):
    """The norm flow under way in implicit steps.

    In addition to the state of every flow, its state holds θ before the last step (``earlier_E``, ``earlier_W``), the
    flow's ``multiplier`` λ (n, d_out), the ``sides`` τ (n, h) of the kinks, 0 off, 1 on and between them pinned, and
    the number of ``pinned_pairs``.
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
        self._newton = _NEWTON if isinstance(step, Tolerances) else _NEWTON_FIXED
        self._zero_loss = ZeroLossConstraint(data, network, "matrix_free", threads)
        self._zero_loss.check(self.state)
        samples, activation = kernel_samples(data, "train", np.dtype("float64")), kernel_activation(network)
        self._kernel = kernels.Proximal(samples, activation, _MOST_LINEAR, threads)
        self._scale = float(np.abs(data.Y_train).max()) or 1.0
        self.state |= {
            "earlier_E": network.E.copy(),
            "earlier_W": network.W.copy(),
            "multiplier": np.zeros(data.Y_train.shape),
            "sides": (data.rows_train @ network.E > 0).astype(np.float64),
            "pinned_pairs": np.zeros(()),
        }

    def record(self) -> Record:
        """Describe the state. The flow's time is slow time."""
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
        """Return the state after a step, without its numbers."""
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
        """Move E and W onto the set, with the pinned pairs held or, if that fails, without them."""
        ending, residual, *_ = self._kernel.retract(
            E, W, sides, self._tolerance, _RETRACTION_ITERATIONS, _RETRACTION_FORCING
        )
        if ending == "converged":
            return
        try:
            self._zero_loss.retract(E, W, self._tolerance)
        except np.linalg.LinAlgError:
            raise ProximalError(f"its retraction: {ending}", size, residual, pinned) from None

    def _error_ratio(self, after: State, size: float, tolerances: Tolerances) -> float:
        """Return how far a step is from linear extrapolation, in units of the tolerance; 1 for the first step."""
        before = float(self.state["step_size"])
        if before == 0:
            return 1.0
        here, earlier, there = (
            np.concatenate([state[prefix + layer].ravel() for layer in ("E", "W")])
            for state, prefix in ((self.state, ""), (self.state, "earlier_"), (after, ""))
        )
        return _STRICTNESS * tolerances.ratio(there - here - size / before * (here - earlier), here, there)


def proximal_cost(data: Dataset, network: Network) -> Cost:
    """Return the cost of a step: about sixty products with J and Jᵀ, and no matrix larger than n × n or n × h."""
    (n, d_out), h = data.Y_train.shape, network.hidden
    memory = memory_needed(network, data, "matrix_free") + 8 * (14 * n * h + 10 * n * d_out + 12 * h * data.d_in)
    memory += 8 * h * data.d_in * min(n, data.d_in)  # bases of the pinned pairs
    return Cost(60 * 8.0 * n * h * d_out, memory, FLOPS_FOR_THREADS)
