"""The dynamics of the first layer, with the second layer at its optimum (Sec. 6, Eqs. 15–20 of arXiv 2511.01938)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._checks import ArgumentTypeError, ArgumentValueError
from .._choices import NotNegative, Positive
from .._kernels import kernels
from ..datasets import Dataset
from ..networks import Network, check_fits, kernel_activation
from ..results import Ending, Outcome
from .flow import ExplicitStepper, checked_step, convert_step_settings
from .runge_kutta import Vector
from .stepper import Chunk, ChunkStepper, Cost, Evaluator, Record, copy_network


@dataclass(frozen=True)
class PredictedGradient:
    """The predicted gradient of the first layer: E ← E + step_size · ΔE with ΔE = Xᵀ((B Wᵀ) ⊙ σ'(Z)) − E.

    B = (K + λI)⁻¹ Y with K = H Hᵀ, and W = φ(E) = Hᵀ B is the optimal second layer. X and Y are all training samples
    (full batch). The W of the starting network is ignored; records and results have W = φ(E). If the outputs have
    biases, H has a further column of ones, and φ(E) a further row: the biases are optimal, too, and ridge counts them.

    Parameters
    ----------
    step_size : float, optional
        The size η of fixed steps, above 0. Give either ``step_size`` or ``rtol``.
    ridge : float
        The λ of Eq. 15, at least 0. With 0 (Eq. 20), K must be invertible: h ≥ n and independent rows of H. With biases
        of the outputs, h + 1 ≥ n suffices.
    rtol : float, optional
        The relative tolerance of adaptive steps, above 0. They need a float64 network.
    atol : float, optional
        The absolute tolerance of adaptive steps, above 0; rtol/10 by default.

    Notes
    -----
    ΔE is −½ the gradient of the cost R/λ = ‖E‖² + tr(YᵀB). The factor 2λ of the gradient in Eq. 20 is a choice of the
    time unit. Adaptive steps are Bogacki and Shampine's, for the differential equation dE/dt = ΔE in t = η · step. The
    paper's fixed η = 10⁻³ is not converged at the start.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(11, train_fraction=0.7, seed=0)
    >>> net = zl.networks.normal(data, hidden=128, std=0.3, seed=1)
    >>> run = zl.simulate(zl.PredictedGradient(step_size=1e-3), data, net, steps=1000)
    """

    step_size: Positive | None = None
    ridge: NotNegative = 0.0
    rtol: Positive | None = None
    atol: Positive | None = None

    def __post_init__(self) -> None:
        step = convert_step_settings(self.step_size, self.rtol, self.atol)
        _checks.set_fields(self, ridge=_checks.not_negative("ridge", self.ridge), **step)

    def start(
        self, data: Dataset, network: Network, threads: int = 1
    ) -> PredictedGradientStepper | PredictedFlowStepper:
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
            The stepper at the network's E.
        """
        check_fits(network, data)
        check_ridge(self.ridge, data, network)
        if self.step_size is None:
            return PredictedFlowStepper(self, data, network, threads)
        return PredictedGradientStepper(self, self.step_size, data, network, threads)

    def fixed_step(self) -> float | None:
        """Return the time that one step covers.

        Returns
        -------
        float or None
            ``step_size``; None if steps are adaptive.
        """
        return self.step_size

    def cost(self, data: Dataset, network: Network) -> Cost:
        """Return the cost of a step: a Gram matrix and its factor, H, and a few copies of Y and θ.

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
        n, h, d_in, d_out = len(data.Y_train), network.hidden, data.d_in, data.d_out
        size = min(n, h)
        flops = size * n * h + size**3 / 3 + 2 * size**2 * d_out + 4.0 * n * h * d_out
        floats = size**2 + 2 * n * h + len(data.Y_test) * h + 8 * h * (d_in + d_out) + 4 * n * d_out
        return Cost(flops, floats * network.dtype.itemsize)


def check_ridge(ridge: float, data: Dataset, network: Network) -> None:
    """Raise ValueError if λ is out of the range of the precision, or if λ = 0 with more samples than hidden units."""
    n, h, constant = len(data.Y_train), network.hidden, network.bias_output is not None
    with np.errstate(over="ignore"):
        rounded = float(network.dtype.type(ridge))
    if not np.isfinite(rounded) or (ridge > 0 and rounded == 0):
        raise ArgumentValueError(
            "ridge", f"expected a number that {network.dtype} can represent, got {ridge:g}, which becomes {rounded:g}"
        )
    greatest = float(np.abs(data.Y_train).max(initial=0.0))
    if ridge > 0 and greatest / float(np.finfo(network.dtype).max) > rounded:
        raise ArgumentValueError(
            "ridge", f"too small for targets of {greatest:g}: Y / ridge overflows in {network.dtype}"
        )
    if ridge == 0 and n > h + constant:
        units = f"h = {h} hidden units" + ", with biases of the outputs" * constant
        raise ArgumentValueError(
            "ridge",
            f"must be above 0 for n = {n} training samples and {units}, got 0: "
            f"K = H Hᵀ (n × n) has rank at most h{' + 1' * constant} and cannot be inverted",
        )


class PredictedKernel:
    """The kernel for networks like a given one. E and W have biases as rows, see `Network.layers`."""

    def __init__(self, samples: Any, like: Network, ridge: float, threads: int) -> None:
        kind = kernels.PredictedGradient32 if like.dtype == np.float32 else kernels.PredictedGradient64
        self._constant_unit = like.bias_output is not None
        self.samples, self.ridge, self.activation = samples, ridge, kernel_activation(like)
        hidden = like.hidden + self._constant_unit
        self._kernel = kind(samples, self.activation, ridge, hidden, threads, self._constant_unit)
        self.cost, self.condition = self._kernel.cost, self._kernel.condition

    def evaluate(self, E: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Return ΔE and φ(E); None if E has no φ(E)."""
        if not self._constant_unit:
            return self._kernel.evaluate(E)
        result = self._kernel.evaluate(self._with_unit(E))
        return None if result is None else (np.ascontiguousarray(result[0][:, :-1]), result[1])

    def advance(self, E: NDArray[Any], step_size: float, steps: int) -> int:
        """Take steps of E in place, and return how many were taken."""
        if not self._constant_unit:
            return self._kernel.advance(E, step_size, steps)
        wider = self._with_unit(E)
        taken = self._kernel.advance(wider, step_size, steps)
        E[...] = wider[:, :-1]
        return taken

    def singular_message(self, E: NDArray[Any]) -> str:
        """Return the message that says why the Gram matrix could not be factored at E."""
        condition = condition_number(self.samples, E, self.activation, self.ridge, self._constant_unit)
        if np.isnan(condition):
            return f"the Gram matrix overflows in {E.dtype}"
        return (
            f"the Gram matrix could not be factored in {E.dtype} (ridge {self.ridge:g}, condition number "
            f"{condition:.1e}); raise ridge, use more hidden units, or remove duplicate samples"
        )

    @staticmethod
    def _with_unit(E: NDArray[Any]) -> NDArray[Any]:
        """Append the column of the constant unit."""
        return np.hstack([E, np.zeros((len(E), 1), E.dtype)])


def condition_number(
    samples: Any, E: NDArray[Any], activation: kernels.Activation, ridge: float, constant_unit: bool
) -> float:
    """Return the condition number of the Gram matrix, from its eigenvalues; NaN if it overflows in the precision of E.

    This is slow, and only used if the matrix could not be factored.
    """
    H = kernels.hidden(samples, E, activation)[0].astype(np.float64)
    if constant_unit:
        H = np.hstack([H, np.ones((len(H), 1))])
    with np.errstate(over="ignore", invalid="ignore"):
        gram = (H @ H.T if len(H) <= H.shape[1] else H.T @ H) + ridge * np.eye(min(H.shape))
    if not np.abs(gram).max() <= np.finfo(E.dtype).max:
        return float("nan")
    eigenvalues = np.linalg.eigvalsh(gram)
    return float(eigenvalues[-1] / eigenvalues[0]) if eigenvalues[0] > 0 else float("inf")


class PredictedEvaluator:
    """Evaluations at E with the second layer φ(E): records, networks and messages."""

    def __init__(self, settings: PredictedGradient, data: Dataset, network: Network, threads: int) -> None:
        self._like = network
        self._evaluator = Evaluator(data, network, kernels.Loss("mse", "mean"))
        self.kernel = PredictedKernel(self._evaluator.train, network, settings.ridge, threads)
        self._last: tuple[NDArray[Any], tuple[NDArray[Any], NDArray[Any]] | None] | None = None
        self._numbers: dict[str, float] | None = None

    def evaluate(self, E: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Return ΔE and φ(E); None if E has no φ(E). The last result is cached."""
        if self._last is None or not np.array_equal(self._last[0], E):
            self._last, self._numbers = (E.copy(), self.kernel.evaluate(E)), None
        return self._last[1]

    def advance(self, E: NDArray[Any], step_size: float, steps: int) -> int:
        """Take steps of E in place, and return how many were taken."""
        self._last = None
        return self.kernel.advance(E, step_size, steps)

    def record(self, E: NDArray[Any]) -> dict[str, float] | None:
        """Return the record of E with W = φ(E); None if E has no φ(E)."""
        result = self.evaluate(E)
        if result is None:
            return None
        if self._numbers is None:  # They belong to the kernel's last evaluation.
            self._numbers = {"cost": self.kernel.cost(), "condition": self.kernel.condition()}
        return {**self._evaluator(E, result[1]), **self._numbers}

    def network(self, E: NDArray[Any]) -> Network:
        """Return the network with W = φ(E), or with the W of the start if E has no φ(E)."""
        result = self.evaluate(E)
        W = self._like.layers[1] if result is None else result[1]
        return copy_network(self._like, {"E": E, "W": W})

    def singular_message(self, E: NDArray[Any]) -> str:
        """Return the message that says why the Gram matrix could not be factored at E."""
        return self.kernel.singular_message(E)

    def failure(self, E: NDArray[Any], where: str) -> Outcome:
        """Return the outcome of a step to an E that is not finite, or that has no φ(E) or no finite loss."""
        if not np.isfinite(E).all():
            return Outcome(Ending.DIVERGED, f"{where} E is not finite; lower the step size")
        if self.evaluate(E) is not None:
            return Outcome(Ending.DIVERGED, f"{where} the loss or W is not finite; lower the step size")
        sentence = self.singular_message(E)
        ending = Ending.DIVERGED if "overflows" in sentence else Ending.SINGULAR
        return Outcome(ending, f"{where} {sentence}")


class PredictedGradientStepper(ChunkStepper):
    """A stepper with fixed steps. Its state is E and the number of steps; W = φ(E) is computed when it is needed."""

    def __init__(
        self, settings: PredictedGradient, step_size: float, data: Dataset, network: Network, threads: int
    ) -> None:
        self._step_size = step_size
        self._evaluator = PredictedEvaluator(settings, data, network, threads)
        self.state = {"E": network.layers[0].copy(), "steps": np.zeros((), np.int64)}

    def advance(self, steps: int, losses: bool = False, record_at: Sequence[int] = ()) -> Chunk:
        """Take steps; see `ChunkStepper.advance`. A failed factorisation makes the chunk not finite."""
        E = self.state["E"]
        taken = self._evaluator.advance(E, self._step_size, steps)
        self.state["steps"] += steps
        return Chunk(finite=taken == steps and bool(np.isfinite(E).all()))

    def record(self) -> Record | None:
        """Return the record of E with W = φ(E); None if E has no φ(E). The time is step_size · steps."""
        record = self._evaluator.record(self.state["E"])
        return None if record is None else {**record, "time": self._step_size * int(self.state["steps"])}

    def network(self) -> Network:
        """Return the network with W = φ(E)."""
        return self._evaluator.network(self.state["E"])

    def failure(self, step: int, error: Exception | None) -> Outcome:
        """Return the outcome of a step that failed, or that left an E that is not finite."""
        return self._evaluator.failure(self.state["E"], f"at step {step}")


class PredictedFlowStepper(ExplicitStepper):
    """A stepper with adaptive steps along dE/dt = ΔE; y is E."""

    corrects = False

    def __init__(self, settings: PredictedGradient, data: Dataset, network: Network, threads: int) -> None:
        if network.dtype != np.float64:
            raise ArgumentTypeError(
                "network", f'rtol needs a float64 network, got {network.dtype}; use network.astype("float64")'
            )
        step = checked_step(settings.step_size, settings.rtol, settings.atol)
        super().__init__(network, step, "bogacki_shampine")
        del self.state["W"]
        self._evaluator = PredictedEvaluator(settings, data, network, threads)

    def position(self) -> Vector:
        """Return E as one vector."""
        return self.state["E"].ravel()

    def slope(self, y: Vector) -> Vector:
        """Return ΔE."""
        E = np.ascontiguousarray(y.reshape(self.state["E"].shape))
        result = self._evaluator.evaluate(E)
        if result is None:
            raise np.linalg.LinAlgError(self._evaluator.singular_message(E))
        return result[0].ravel()

    def move(self, y: Vector) -> None:
        """Set E to y."""
        self.state["E"] = np.ascontiguousarray(y.reshape(self.state["E"].shape))

    def record(self) -> Record | None:
        """Return the record of E with W = φ(E); None if E has no φ(E)."""
        record = self._evaluator.record(self.state["E"])
        return None if record is None else {**record, **self.step_record()}

    def network(self) -> Network:
        """Return the network with W = φ(E)."""
        return self._evaluator.network(self.state["E"])

    def failure(self, step: int, error: Exception | None) -> Outcome:
        """Return the outcome of a step that failed, or reached an E without a finite record."""
        if error is not None:
            return super().failure(step, error)
        return self._evaluator.failure(self.state["E"], f"at step {step}")
