"""Arguments that are one of a few strings, as types: editors offer the choices, and mypy refuses others."""

from __future__ import annotations

from typing import Literal

Dtype = Literal["float64", "float32"]
Rows = Literal["auto", "sparse", "dense"]
Pairs = Literal["unordered", "ordered"]
Inputs = Literal["sum", "concatenated"]
DigitTargets = Literal["one_hot", "value"]
ParityTargets = Literal["one_hot", "sign"]
Loss = Literal["mse", "cross_entropy"]
Reduction = Literal["mean", "sum"]
Layers = Literal["both", "E", "W"]
NormControl = Literal["hold", "cap", "rescale"]
FlowMethod = Literal["euler", "bogacki_shampine", "proximal"]
Solver = Literal["auto", "dense", "matrix_free"]
ProjectionMethod = Literal["gauss_newton", "chord", "momentum"]
Values = Literal["all", "extremes"]
Direction = Literal["above", "below"]
Distribution = Literal["log_normal", "weibull", "log_logistic"]
