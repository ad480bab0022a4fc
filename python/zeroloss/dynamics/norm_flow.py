"""The norm-minimising flow on the zero-loss set (Sec. 4, Eqs. 28 and 29 of arXiv 2511.01938)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import _checks, _choices
from .._checks import ArgumentValueError
from .._choices import FlowMethod, Positive
from ..datasets import Dataset
from ..geometry.solver import LostRankError
from ..networks import Network, check_fits
from .beyond_rank import BeyondRankStepper
from .descent import LAYERS
from .flow import checked_step, convert_step_settings
from .on_set import Layers, OnSetStepper, explicit_cost
from .proximal import ProximalStepper, proximal_cost
from .stepper import Cost, Record

METHODS = ("euler", "bogacki_shampine", "proximal")


@dataclass(frozen=True)
class NormFlow:
    """The norm-minimising flow dθ/ds = g(θ) = −(I − J⁺J) θ on the zero-loss set 𝒵 = {θ : F(θ) = Y}.

    X and Y are all training samples (full batch). J = ∂F/∂θ. After every step, Gauss–Newton retracts θ onto 𝒵.

    Gradient descent with vanishing weight decay follows this flow after memorisation, in slow time
    s = weight_decay · lr · steps / (1 − momentum).

    Parameters
    ----------
    step_size : float, optional
        The size of fixed steps in slow time, above 0. Give either ``step_size`` or ``rtol``.
    rtol : float, optional
        The relative tolerance of adaptive steps, above 0. Every accepted step is a step of the simulation.
    atol : float, optional
        The absolute tolerance of adaptive steps, above 0; rtol/10 by default.
    method : {"euler", "bogacki_shampine", "proximal"}, optional
        The integrator; by default "euler" for fixed and "bogacki_shampine" for adaptive steps. See the notes.
    retraction_tolerance : float
        The largest max|F − Y| after a step, above 0, by default 1e-10.
    train_layers : {"both", "E", "W"}
        The layers that move, by default both. With one layer, the flow is that of its norm on its own zero-loss set,
        {E : σ(X E) W = Y} or {W : σ(X E) W = Y}, and J has the columns of this layer. It excludes "proximal".

    Notes
    -----
    The network must be float64 and on the set, max|F − Y| ≤ 10⁻⁶: see `zeroloss.geometry.project`.

    "euler" takes fixed steps only. "proximal" takes implicit steps, fixed or adaptive: second-order backward
    differences, whose equations and tolerances are in `zeroloss.dynamics.proximal`. For ReLU and leaky ReLU the set has
    corners. Explicit steps chatter along a corner, so adaptive ones become small. Implicit steps slide along it, and
    many times fewer of them are needed.

    With smooth activations the flow reaches points at which J loses rank. Every method then continues with softened
    implicit steps, whose equations are in `zeroloss.dynamics.softened`: max|F − Y| stays within
    ``retraction_tolerance``, and ‖θ‖ does not increase. The record ``softening`` is their δ, and 0 before. They need
    J Jᵀ as a matrix, so a problem with more than 16 384 outputs n·d_out ends as singular. So does a flow along kinks.

    Beyond about s = 1.5 the flow of ReLU branches. From there on only norms, losses and accuracies can be compared.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(11, test_count=7)
    >>> net = zl.geometry.project(zl.networks.uniform_fan_in(data, hidden=128, seed=1), data)
    >>> run = zl.simulate(zl.NormFlow(step_size=0.01), data, net, duration=0.1)
    """

    step_size: Positive | None = None
    rtol: Positive | None = None
    atol: Positive | None = None
    method: FlowMethod | None = None
    retraction_tolerance: Positive = 1e-10
    train_layers: _choices.Layers = "both"

    def __post_init__(self) -> None:
        _checks.set_fields(
            self,
            retraction_tolerance=_checks.positive("retraction_tolerance", self.retraction_tolerance),
            **convert_step_settings(self.step_size, self.rtol, self.atol),
        )
        if self.method is not None:
            _checks.choice("method", self.method, METHODS)
        _checks.choice("train_layers", self.train_layers, LAYERS)
        if self.method == "proximal" and self.train_layers != "both":
            raise ArgumentValueError(
                "method", f"'proximal' needs train_layers 'both', got {self.train_layers!r}; use bogacki_shampine"
            )
        if self.rtol is not None and self.method == "euler":
            raise ArgumentValueError(
                "method", "'euler' has no error estimate for rtol; use bogacki_shampine or proximal"
            )

    def start(self, data: Dataset, network: Network, threads: int = 1) -> NormFlowStepper | ProximalStepper:
        """Return a stepper that starts at a network.

        `zeroloss.simulate` calls this method.

        Parameters
        ----------
        data : Dataset
            The samples.
        network : Network
            The start.
        threads : int
            Threads for one step.

        Returns
        -------
        Stepper
            The stepper.
        """
        check_fits(network, data)
        if self.method == "proximal":
            step = checked_step(self.step_size, self.rtol, self.atol)
            return ProximalStepper(step, self.retraction_tolerance, data, network, threads)
        return NormFlowStepper(self, data, network, threads)

    def fixed_step(self) -> float | None:
        """Return the slow time that one step covers.

        Returns
        -------
        float or None
            ``step_size``; None if steps are adaptive.
        """
        return self.step_size

    def cost(self, data: Dataset, network: Network) -> Cost:
        """Return the cost of a step: a factorisation of J Jᵀ, or products with it.

        Parameters
        ----------
        data : Dataset
            The samples.
        network : Network
            The start.

        Returns
        -------
        Cost
            Operations and bytes.
        """
        if self.method == "proximal":
            return proximal_cost(data, network)
        return explicit_cost(data, network)


class NormFlowStepper(BeyondRankStepper, OnSetStepper):
    """A stepper of the norm flow with explicit steps."""

    def __init__(self, settings: NormFlow, data: Dataset, network: Network, threads: int = 1) -> None:
        s = settings
        OnSetStepper.__init__(
            self, s.step_size, s.rtol, s.atol, s.method, s.retraction_tolerance, data, network, threads, s.train_layers
        )
        self._softened = self._zero_loss.softened_steps(self._step, self._tolerance)
        if self._softened is not None:
            self.state = self._softened.complete(self.state)

    def tangent_direction(self, E: NDArray[np.float64], W: NDArray[np.float64]) -> Layers:
        """Return g(θ)."""
        direction = self._zero_loss.set.direction(E, W)
        if direction is None:
            if self._softened is not None:
                raise LostRankError
            raise self._zero_loss.singular_error(E, W)
        return direction

    def record(self) -> Record:
        """Return the record of the state. The flow's time is slow time."""
        return {**OnSetStepper.record(self), "slow_time": float(self.state["time"])}

    def _first_size(self) -> float:
        try:
            return OnSetStepper._first_size(self)
        except LostRankError:
            assert self._softened is not None
            return self._softened.first_size

    def _step_on_set(self, room: float) -> None:
        OnSetStepper._take_step(self, room)

    def _retract(self, E: NDArray[np.float64], W: NDArray[np.float64]) -> None:
        self._zero_loss.retract(E, W, self._tolerance, explain=self._softened is None)
