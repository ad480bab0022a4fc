"""Directions in the tangent space of the zero-loss set along which the norm decreases.

At θ on 𝒵 the tangent vectors are the v with J v = 0, and P = I − J⁺J projects on them. Along v the norm changes as
d‖θ‖²/ds = 2 θ·v = −2 g·v with g = −Pθ, so g is the steepest direction among all v of a given length. Each direction in
this file is the steepest one under a further condition or in another norm, or lies at a given angle to g. Vectors are
flat, of shape (d,), in the order E, W. All functions compute in float64.
"""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from .. import _checks
from .._checks import ArgumentValueError
from ..datasets import Dataset
from ..networks import Network, fold_biases
from .solver import checked_zero_loss_set, dense_jacobian, singular_error

Vector = NDArray[np.float64]

_NOTHING = 1e-9  # the relative length below which a vector is rounding


class TangentSpace:
    """The tangent space of the zero-loss set at a network.

    Parameters
    ----------
    net : Network
        The network θ, in float64, on the set or off it.
    data : Dataset
        Its training samples define the set.

    Raises
    ------
    numpy.linalg.LinAlgError
        If J is singular. Methods raise it if the system that they solve is singular.
    ValueError, TypeError
        If the network does not fit the data or is not in float64, or the problem does not fit in memory. Methods raise
        them for an invalid mobility, name of a layer or angle.
    """

    def __init__(self, net: Network, data: Dataset) -> None:
        self._set = checked_zero_loss_set(net, data, "dense")
        self._net, self._data = net, data = fold_biases(net, data)
        self.theta: Vector = np.concatenate([net.E.ravel(), net.W.ravel()])

    def project(self, v: Vector, mobility: Vector | None = None) -> Vector:
        """Return v − D Jᵀ(J D Jᵀ)⁻¹J v, for one vector (d,) or several (m, d).

        The mobility D, (d,), is at least 0 and not all 0. With D = I, the default, the result is P v, the tangent part
        of v. The projection is applied twice, because the normal equations square the condition number of J: the second
        pass removes the rest of J v that the first leaves.
        """
        D = np.ones_like(self.theta) if mobility is None else self._checked_mobility(mobility)
        factor = self._factor if mobility is None else self._factor_gram(D)
        rows = np.atleast_2d(v)
        for _ in range(2):
            Z = scipy.linalg.cho_solve(factor, np.array([self._multiply(row) for row in rows]).T)
            rows = rows - D * np.array([self._multiply_transposed(z) for z in Z.T])
        return rows.reshape(np.shape(v))

    def steepest_direction(self, mobility: Vector | None = None) -> Vector:
        """Return the tangent direction in which ‖θ‖² falls most steeply for its length in the norm Σ v_j²/D_j.

        The direction is v = −Dθ + D Jᵀ(J D Jᵀ)⁻¹J Dθ. It satisfies J v = 0 and θ·v = −Σ v_j²/D_j.

        Parameters
        ----------
        mobility : ndarray, (d,), optional
            The mobility D, at least 0 and not all 0. A parameter with mobility 0 does not move. By default all entries
            are 1, and the direction is g of Eqs. 28, 29.
        """
        return self._g if mobility is None else self.project(-self._checked_mobility(mobility) * self.theta, mobility)

    @functools.cached_property
    def _g(self) -> Vector:
        return self.project(-self.theta)

    def layer_mobility(self, name: Literal["E", "W"]) -> Vector:
        """Return the mobility of one layer, "E" or "W": 1 for its parameters and 0 for the others."""
        _checks.choice("name", name, ("E", "W"))
        moves = np.zeros_like(self.theta)
        moves[: self._net.E.size] = name == "E"
        moves[self._net.E.size :] = name == "W"
        return moves

    def project_on_span(self, vectors: NDArray[np.float64]) -> Vector:
        """Project g on the span of the tangent parts of vectors (m, d).

        The projection is the steepest direction in this span.
        """
        return self._part_within(self.steepest_direction(), vectors)

    def conserve(self, gradients: NDArray[np.float64]) -> Vector:
        """Return the steepest tangent direction along which functions with gradients (m, d) are constant."""
        g = self.steepest_direction()
        return g - self._part_within(g, gradients)

    def tilt(self, degrees: float, vector: Vector) -> Vector:
        """Return g + ‖g‖ tan(degrees) w, which is at that angle to g, in [0, 90).

        ‖θ‖² falls along it as along g. `level_direction` describes w.
        """
        if not 0 <= _checks.real("degrees", degrees) < 90:
            raise ArgumentValueError("degrees", f"expected an angle in [0, 90), got {degrees}")
        g = self.steepest_direction()
        return np.asarray(g + np.tan(np.radians(degrees)) * self.level_direction(vector))

    def level_direction(self, vector: Vector, gradients: NDArray[np.float64] | None = None) -> Vector:
        """Return ‖g‖ w, a direction along which ‖θ‖² is constant.

        w is the unit vector of the part of P ``vector`` that is orthogonal to g. If ``gradients`` (m, d) are given, w
        is also orthogonal to their tangent parts, and the functions with these gradients are constant, too.
        """
        g, tangent = self.steepest_direction(), self.project(vector)
        fixed = g[None] if gradients is None else np.concatenate([g[None], gradients])
        across = tangent - self._part_within(tangent, fixed)
        if not np.linalg.norm(across) > _NOTHING * np.linalg.norm(vector):
            raise np.linalg.LinAlgError("the vector has no tangent part across the steepest direction")
        return np.asarray(np.linalg.norm(g) / np.linalg.norm(across) * across)

    def layer_balance(self) -> NDArray[np.float64]:
        """Return half the gradient of ‖E‖² − ‖W‖², (1, d). Hidden biases count in E, output biases do not."""
        second = -self._net.W
        second[self._net.hidden :] = 0
        return np.concatenate([self._net.E.ravel(), second.ravel()])[None]

    def unit_balances(self) -> NDArray[np.float64]:
        """Return half the gradients of ‖E_u‖² − ‖W_u‖² for every unit u, column of E and row of W, (h, d)."""
        E, W, h = self._net.E, self._net.W, self._net.hidden
        units = np.arange(h)
        first, second = np.zeros((h, *E.shape)), np.zeros((h, *W.shape))
        first[units, :, units] = E.T
        second[units, units] = -W[:h]
        return np.concatenate([first.reshape(h, -1), second.reshape(h, -1)], axis=1)

    def _checked_mobility(self, mobility: Vector) -> Vector:
        """Return a mobility in float64, or raise ValueError."""
        D = np.asarray(mobility, dtype=np.float64)
        if D.shape != self.theta.shape:
            raise ArgumentValueError("mobility", f"expected shape {self.theta.shape}, got {D.shape}")
        if not (np.isfinite(D) & (D >= 0)).all() or not D.any():
            raise ArgumentValueError(
                "mobility", f"expected finite numbers of at least 0, not all 0, got {D.min():g} to {D.max():g}"
            )
        return D

    def _part_within(self, v: Vector, vectors: NDArray[np.float64]) -> Vector:
        """Project a tangent vector on the span of the tangent parts of vectors (m, d)."""
        tangent = self.project(vectors)
        Q, R = np.linalg.qr(tangent.T)
        if np.abs(np.diag(R)).min() <= _NOTHING * np.linalg.norm(vectors, axis=1).max():
            raise np.linalg.LinAlgError(f"the tangent parts of the {len(vectors)} vectors are linearly dependent")
        return np.asarray(Q @ (Q.T @ v))

    @functools.cached_property
    def _factor(self) -> tuple[NDArray[np.float64], bool]:
        return self._factor_gram(np.ones_like(self.theta))

    def _factor_gram(self, D: Vector) -> tuple[NDArray[np.float64], bool]:
        """Compute the Cholesky factor of J D Jᵀ, from the closed form if the mobility is constant within each layer."""
        first, second = np.split(D, [self._net.E.size])
        E, W = self._net.E, self._net.W
        if np.ptp(first) == 0 and np.ptp(second) == 0:
            of_W = self._set.gram(E, np.zeros_like(W))
            K = first[0] * (self._set.gram(E, W) - of_W) + second[0] * of_W
        else:
            J = dense_jacobian(self._net, self._data)
            K = (J * D) @ J.T
        try:
            factor = np.linalg.cholesky(K)
        except np.linalg.LinAlgError:
            factor = np.zeros_like(K)
        pivots = np.diag(factor)
        if not pivots.min() ** 2 > len(K) * np.finfo(np.float64).eps * pivots.max() ** 2:
            if np.ptp(D) == 0:
                raise singular_error(self._net, self._data)
            raise np.linalg.LinAlgError(
                "J D Jᵀ is singular: the parameters with a mobility cannot hold the outputs fixed by themselves"
            )
        return factor, True

    def _multiply(self, v: Vector) -> NDArray[np.float64]:
        first, second = np.split(v, [self._net.E.size])
        net = self._net
        return self._set.multiply(net.E, net.W, first.reshape(net.E.shape), second.reshape(net.W.shape)).ravel()

    def _multiply_transposed(self, z: Vector) -> Vector:
        parts = self._set.multiply_transposed(self._net.E, self._net.W, z.reshape(self._data.Y_train.shape))
        return np.concatenate([part.ravel() for part in parts])
