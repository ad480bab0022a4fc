"""The sharpness along a simulation."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, ClassVar

from .. import _checks
from .._choices import CurvaturePart, Loss, Positive, Reduction
from ..datasets import Dataset
from ..networks import Network, check_fits
from .eigenvalues import check_iteration_fits, largest_eigenvalue
from .kernel import check_settings, make_curvature, parameter_count


class SharpnessMeasure:
    """A measure of the sharpness along a simulation: ``simulate(measures={"sharpness": SharpnessMeasure(data)})``.

    At each record it measures the largest eigenvalue of the Hessian of the training loss, as `sharpness` does. The
    history gets one variable, with the name of the entry. If the Lanczos iteration does not reach its accuracy, or the
    Hessian is not finite, the simulation ends with the outcome "singular".

    Parameters
    ----------
    data : Dataset
        The dataset that the simulation trains on.
    loss : {"mse", "cross_entropy"}
        The loss of the Hessian, which should be the loss of the dynamics.
    reduction : {"mean", "sum"}
        The reduction of the loss.
    weight_decay : float
        The multiple of the identity that is added, at least 0, by default 0.
    temperature : float
        The number T > 0 that divides the outputs in the cross-entropy, F/T. By default 1.
    part : {"hessian", "gauss_newton"}
        The matrix: the Hessian, by default, or its Gauss–Newton part.
    accuracy : float
        The residual relative to the norm of the matrix at which the Lanczos iteration ends, above 0, by default 1e-4.
        It bounds the error of the value, which is usually far smaller.

    Raises
    ------
    ValueError, TypeError
        If an argument is out of its range.

    Examples
    --------
    >>> import zeroloss as zl
    >>> data = zl.datasets.modular_addition(5, test_count=2, seed=0)
    >>> net = zl.networks.uniform_fan_in(data, hidden=24, seed=1)
    >>> measures = {"sharpness": zl.curvature.SharpnessMeasure(data)}
    >>> run = zl.simulate(zl.GradientDescent(lr=1.0), data, net, steps=20, record_every=10, measures=measures)
    >>> run.history.sharpness.shape
    (3,)
    """

    #: Unit and meaning of the value, for the history.
    descriptions: ClassVar[Mapping[str, tuple[str, str]]] = {
        "": ("1", "sharpness: largest eigenvalue of the Hessian of the training loss, or of its Gauss–Newton part")
    }

    def __init__(
        self,
        data: Dataset,
        loss: Loss = "mse",
        reduction: Reduction = "mean",
        weight_decay: float = 0.0,
        *,
        temperature: Positive = 1.0,
        part: CurvaturePart = "hessian",
        accuracy: float = 1e-4,
    ) -> None:
        _checks.check_instance("data", data, Dataset)
        check_settings(loss, reduction, part)
        self._data, self._loss, self._reduction, self._part = data, loss, reduction, part
        self._weight_decay = _checks.not_negative("weight_decay", weight_decay)
        self._temperature = _checks.temperature(temperature, loss)
        self._accuracy = _checks.positive("accuracy", accuracy)
        self._local = threading.local()  # a kernel object for each thread

    def __repr__(self) -> str:
        return (
            f"SharpnessMeasure({self._data!r}, {self._loss!r}, {self._reduction!r}, {self._weight_decay}, "
            f"temperature={self._temperature}, part={self._part!r}, accuracy={self._accuracy})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        settings = self._loss, self._reduction, self._weight_decay, self._part, self._accuracy, self._temperature
        return _measure, (self._data, *settings)

    def __call__(self, network: Network) -> float:
        """Compute the sharpness of a network."""
        check_fits(network, self._data)
        key = (network.activation, network.hidden, network.bias)
        if getattr(self._local, "key", None) != key:
            check_iteration_fits(parameter_count(network))
            self._local.curvature = make_curvature(
                network, self._data, self._loss, self._reduction, 1, self._temperature
            )
            self._local.key = key
        else:
            exact = network.astype("float64")
            self._local.curvature.move(*exact.layers)
        return largest_eigenvalue(self._local.curvature, self._part, self._weight_decay, self._accuracy)


def _measure(
    data: Dataset,
    loss: Loss,
    reduction: Reduction,
    weight_decay: float,
    part: CurvaturePart,
    accuracy: float,
    temperature: float = 1.0,
) -> SharpnessMeasure:
    """Make a measure from the arguments of its pickle."""
    return SharpnessMeasure(data, loss, reduction, weight_decay, temperature=temperature, part=part, accuracy=accuracy)
