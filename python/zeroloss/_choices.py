"""Types of arguments, and names of arguments that other packages have.

Editors offer the strings of a Literal type, and mypy rejects others. ``zeroloss run --print-defaults`` prints the range
of an annotated number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from ._checks import BELOW_ONE, FRACTION, NOT_NEGATIVE, POSITIVE, SHARE, Range


@dataclass(frozen=True)
class OneOf:
    """The allowed strings of an argument, if they are only known when the package is imported."""

    options: tuple[str, ...]


Count = Annotated[int, Range(ge=0)]
AtLeastOne = Annotated[int, Range(ge=1)]
AtLeastTwo = Annotated[int, Range(ge=2)]
Positive = Annotated[float, POSITIVE]
NotNegative = Annotated[float, NOT_NEGATIVE]
Fraction = Annotated[float, FRACTION]
Share = Annotated[float, SHARE]
BelowOne = Annotated[float, BELOW_ONE]

Every = AtLeastOne | Literal["log"]  # the steps between two records; "log": the integers nearest to 10^(k/20)
Dtype = Literal["float64", "float32"]
Rows = Literal["auto", "sparse", "dense"]
Pairs = Literal["unordered", "ordered"]
Inputs = Literal["sum", "concatenated"]
DigitTargets = Literal["one_hot", "value"]
ParityTargets = Literal["one_hot", "sign"]
Loss = Literal["mse", "cross_entropy"]
Reduction = Literal["mean", "sum"]
Layers = Literal["both", "E", "W"]
Biases = Literal["none", "hidden", "both"]
NormConstraint = Literal["fixed", "at_most", "once"]
FlowMethod = Literal["euler", "bogacki_shampine", "proximal"]
ExplicitMethod = Literal["euler", "bogacki_shampine"]
GradientFlowMethod = Literal["chebyshev", "proximal"]
Solver = Literal["auto", "dense", "matrix_free"]
ProjectionMethod = Literal["gauss_newton", "chord", "momentum"]
Values = Literal["all", "extremes"]
KernelOutputs = Literal["all", "mean"]
CurvaturePart = Literal["hessian", "gauss_newton"]
EigenvalueEnd = Literal["largest", "smallest"]
Direction = Literal["above", "below"]
Abscissa = Literal["step", "time", "slow_time"]
TimeScale = Literal["log", "linear"]
Distribution = Literal["log_normal", "weibull", "log_logistic"]

#: Arguments that this package does not have, with the argument or value to use instead.
ABSENT = {
    **dict.fromkeys(("batch_size", "minibatch", "batch"), "gradient_descent and adamw have batch_size"),
    **dict.fromkeys(("epochs", "epoch"), "one step over the full batch is one epoch: say steps"),
    **dict.fromkeys(("biases", "use_bias"), 'say bias, as "none", "hidden" or "both"'),
    **dict.fromkeys(
        ("layers", "depth", "num_layers", "n_layers", "hidden_layers"), "networks here have two layers: say hidden"
    ),
    **dict.fromkeys(("width", "hidden_size", "hidden_units", "d_hidden"), "say hidden"),
    **dict.fromkeys(("learning_rate", "eta"), "say lr"),
    **dict.fromkeys(("optimizer", "optimiser"), "say kind, as gradient_descent or adamw"),
    **dict.fromkeys(
        ("classes", "num_classes", "labels"), "integer labels: datasets.from_arrays(X, labels, classes=10)"
    ),
}
