"""Networks whose kinks are at given sides, and the quadratic model of Φ around them.

For σ(z) = a z + b max(z, 0) and a loss c ‖F − Y‖², φ = Φ/weight_decay = ½‖θ‖² + ‖F − Y‖²/(2δ) with
δ = weight_decay/(2c). With the multiplier Λ = −(F − Y)/δ and the slopes S, 0 for pinned pairs, a direction (V, U) has

    dF = (S ⊙ X V) W + (S ⊙ Z) U,   dΛ = −dF/δ,
    ∇²φ (V, U) = (P [V − Xᵀ(S ⊙ (dΛ Wᵀ + Λ Uᵀ))],  U − (S ⊙ X V)ᵀ Λ − (S ⊙ Z)ᵀ dΛ).

If the outputs have biases, they are the last row of W, and the last column of H = S ⊙ Z is 1.

P projects every column of E on the directions that keep its pinned pairs pinned. The metric M = I + P Jᵀ J P/δ has the
inverse I − P Jᵀ(δ + J P Jᵀ)⁻¹ J P, which for δ = 0 is the projector on the tangent space of the zero-loss set.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from .._resources import check_memory
from ..datasets import Dataset
from ..geometry.corners import Corner, null_spaces, solve_sides
from ..geometry.kkt import gram_of_slopes
from .objective import Trace

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
Vector = NDArray[np.float64]

_AT_KINK = 1e-13  # abs(z) relative to the largest that is rounding
_DEAD = 1e-10  # ‖(E_u, W_u)‖ relative to ‖θ‖ below which a unit is removed


@dataclass(frozen=True, eq=False)
class Problem:
    """The samples, the activation a z + b max(z, 0), δ, and the history of the search."""

    data: Dataset
    a: float
    b: float
    delta: float
    trace: Trace

    def activate(self, E: Matrix) -> Matrix:
        """Return σ(X E)."""
        Z = self.data.X_train @ E
        return np.asarray((self.a + self.b * (Z > 0)) * Z)

    def state(self, E: Matrix, W: Matrix, pinned: Mask, on: Mask | None = None) -> State:
        """Return the state with pairs at these sides. By default a pair is on if its pre-activation is above 0."""
        X, Y = self.data.X_train, self.data.Y_train
        Z = X @ E
        on = (Z > 0 if on is None else on) & ~pinned
        S = np.where(pinned, 0.0, self.a + self.b * on)
        H = S * Z
        if len(W) > H.shape[1]:
            H = np.hstack([H, np.ones((len(H), 1))])
        R = H @ W - Y
        square = float(np.sum(E**2) + np.sum(W**2))
        if self.delta > 0:
            multiplier, value = -R / self.delta, square / 2 + float(np.sum(R**2)) / (2 * self.delta)
        else:
            multiplier, value = np.zeros_like(R), square / 2
        corner = Corner(X, self.a, self.b, on, pinned)
        return State(E, W, corner, S, H, R, multiplier, value if math.isfinite(value) else math.inf)

    def pin(self, E: Matrix, W: Matrix, pinned: Mask) -> State:
        """Return the state with these pairs moved to their kinks, and without units that have died.

        Pairs that are then at their kinks to rounding are pinned as well: the others may leave them no other place.
        """
        sizes = np.hypot(np.linalg.norm(E, axis=0), np.linalg.norm(W[: E.shape[1]], axis=1))
        dead = sizes <= _DEAD * np.linalg.norm(sizes)
        (E, W), pinned = remove_units(E, W, dead), pinned | dead
        bases = null_spaces(self.data.X_train, pinned)
        for u in np.flatnonzero(pinned.any(axis=0)):
            E[:, u] = bases[u] @ (bases[u].T @ E[:, u])
        sizes = np.abs(self.data.X_train @ E)
        return self.state(E, W, pinned | (sizes <= _AT_KINK * sizes.max()))


@dataclass(frozen=True, eq=False)
class State:
    """Parameters, the sides of their pairs, and what follows: slopes S, H = S ⊙ Z, R = F − Y, Λ, and φ.

    If the outputs have biases, they are the last row of W, and the last column of H is 1.
    """

    E: Matrix
    W: Matrix
    corner: Corner
    S: Matrix
    H: Matrix
    R: Matrix
    multiplier: Matrix
    value: float

    @property
    def length(self) -> float:
        """The length ‖θ‖."""
        return math.hypot(np.linalg.norm(self.E), np.linalg.norm(self.W))

    @property
    def W_of_units(self) -> Matrix:
        """W without biases of the outputs, (h, d_out)."""
        return self.W[: self.E.shape[1]]

    @property
    def length_of_units(self) -> float:
        """The length ‖θ‖ without biases of the outputs."""
        return math.hypot(np.linalg.norm(self.E), np.linalg.norm(self.W_of_units))

    def with_multiplier(self, multiplier: Matrix) -> State:
        """Return the state with another multiplier."""
        return replace(self, multiplier=multiplier)

    def rest(self, multiplier: Matrix) -> tuple[Matrix, Matrix, Matrix]:
        """Return the shortest θ − J_sᵀΛ over the sides of pinned pairs, by layers, and the sides τ (n, h)."""
        g = multiplier @ self.W_of_units.T
        sides = solve_sides(self.corner, self.E, g)
        return self.E - self.corner.X.T @ (self.corner.slopes(sides) * g), self.W - self.H.T @ multiplier, sides

    def residual(self) -> float:
        """Return the KKT residual ‖∇Φ‖/(weight_decay ‖θ‖)."""
        rE, rW, _ = self.rest(self.multiplier)
        return math.hypot(np.linalg.norm(rE), np.linalg.norm(rW)) / self.length if self.length > 0 else 0.0


def remove_units(E: Matrix, W: Matrix, units: Mask) -> tuple[Matrix, Matrix]:
    """Return E and W with the columns and rows of units, a mask (h,), set to 0."""
    E, W = E.copy(), W.copy()
    E[:, units], W[: len(units)][units] = 0.0, 0.0
    return E, W


class CornerModel:
    """The Hessian of φ at a state, and the metric, on flat vectors (d,). LinAlgError if the metric is singular."""

    def __init__(self, problem: Problem, state: State) -> None:
        self.state, self._delta, self._trace = state, problem.delta, problem.trace
        bases = null_spaces(state.corner.X, state.corner.pinned)
        ranks, d_in = np.array([N.shape[1] for N in bases]), len(state.E)
        self._still, self._units = ranks == 0, np.flatnonzero((ranks > 0) & (ranks < d_in))  # the others move freely
        if self._units.size:
            check_memory(f"the projectors of {self._units.size} units", 2 * 8 * self._units.size * d_in**2)
        self._projectors = np.array([bases[u] @ bases[u].T for u in self._units])
        self.gram = gram_of_slopes(problem.data, state.W_of_units, state.H, state.S, bases)
        K = self.gram.copy()
        K[np.diag_indices(len(K))] += problem.delta
        self._factor = scipy.linalg.cho_factor(K, lower=True, overwrite_a=True, check_finite=False)
        tangent = self.flatten(self.project(state.E), state.W)
        #: The multiplier that the full step of Gauss–Newton leads to, (n, d_out). It does not contain fast errors of F.
        self.balanced = self._solve_rows(self._multiply_jacobian(*self.split(tangent)) - state.R)

    @property
    def size(self) -> int:
        """The number of parameters, d."""
        return int(self.state.E.size + self.state.W.size)

    def flatten(self, E: Matrix, W: Matrix) -> Vector:
        """Join the parts of a vector."""
        return np.concatenate([E.ravel(), W.ravel()])

    def split(self, v: Vector) -> tuple[Matrix, Matrix]:
        """Return the parts of a vector."""
        E, W = np.split(v, [self.state.E.size])
        return E.reshape(self.state.E.shape), W.reshape(self.state.W.shape)

    def project(self, V: Matrix) -> Matrix:
        """Project a first layer on the directions that keep pinned pairs pinned."""
        projected = np.where(self._still, 0.0, V)
        if self._units.size:
            projected[:, self._units] = np.matmul(self._projectors, V.T[self._units, :, None])[:, :, 0].T
        return projected

    def gradient(self, multiplier: Matrix) -> Vector:
        """Return P (θ − JᵀΛ), for the multiplier of the state the projected gradient of φ."""
        V, U = self._multiply_transposed(multiplier)
        return self.flatten(self.project(self.state.E) - V, self.state.W - U)

    def image(self, v: Vector) -> Matrix:
        """Compute J P v, (n, d_out)."""
        return self._multiply_jacobian(*self.split(v))

    def multiply(self, v: Vector, multiplier: Matrix | None = None) -> Vector:
        """Compute ∇²φ v, or, for a multiplier, the product without dΛ: with the Hessian of the Lagrangian.

        On the range of P both are those on the directions that keep pinned pairs pinned, and off it they are v.
        """
        self._trace.products += 1
        state, (V, U) = self.state, self.split(v)
        dH = state.S * (state.corner.X @ self.project(V))
        if multiplier is None:
            force, dL = state.multiplier, -(dH @ state.W_of_units + state.H @ U) / self._delta
            inner, second = dL @ state.W_of_units.T, state.H.T @ dL
        else:
            force, inner, second = multiplier, np.zeros_like(dH), np.zeros_like(U)
        h = len(V.T)
        inner += force @ U[:h].T
        second[:h] += dH.T @ force
        return self.flatten(V - self.project(state.corner.X.T @ (state.S * inner)), U - second)

    def multiply_metric(self, v: Vector) -> Vector:
        """Compute M v, for δ above 0."""
        V, U = self._multiply_transposed(self.image(v) / self._delta)
        return np.asarray(v + self.flatten(V, U))

    def solve(self, v: Vector) -> Vector:
        """Compute M⁻¹ v."""
        return np.asarray(v - self.pull_back(self.image(v)))

    def pull_back(self, rows: Matrix) -> Vector:
        """Compute P Jᵀ(δ + J P Jᵀ)⁻¹ r: the shortest step that changes F by r, if δ = 0."""
        return self.flatten(*self._multiply_transposed(self._solve_rows(rows)))

    def _solve_rows(self, rows: Matrix) -> Matrix:
        return np.asarray(scipy.linalg.cho_solve(self._factor, rows.ravel(), check_finite=False)).reshape(rows.shape)

    def _multiply_jacobian(self, V: Matrix, U: Matrix) -> Matrix:
        state = self.state
        return np.asarray((state.S * (state.corner.X @ self.project(V))) @ state.W_of_units + state.H @ U)

    def _multiply_transposed(self, rows: Matrix) -> tuple[Matrix, Matrix]:
        state = self.state
        return self.project(state.corner.X.T @ (state.S * (rows @ state.W_of_units.T))), state.H.T @ rows
