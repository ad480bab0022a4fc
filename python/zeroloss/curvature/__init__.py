"""The curvature of the training loss: products with its Hessian, sharpness, smallest curvature, traces, spectrum.

Parameters θ = (E, W) are one vector of d entries: E row by row, then W row by row. The Hessian ∇²L has two parts. The
first is the Gauss–Newton matrix Jᵀ A J, with J = ∂F/∂θ and the second derivatives A of the loss with respect to the
outputs F. The second contains ∂L/∂F and vanishes on the zero-loss set. With ``weight_decay``, functions add
weight_decay I, the second derivatives of (weight_decay/2) ‖θ‖². Second derivatives of ReLU and leaky ReLU are 0, also
at the kink. All functions compute in float64, on the training samples. Networks in float32 are converted without
rounding.
"""

from .eigenvalues import Eigenpairs, eigenpairs, sharpness, spectrum
from .generalised import SmallestCurvature, smallest
from .measure import SharpnessMeasure
from .products import gauss_newton_product, hessian_product, operator
from .traces import TraceEstimate, estimate_trace, trace, trace_gradient

__all__ = [
    "Eigenpairs",
    "SharpnessMeasure",
    "SmallestCurvature",
    "TraceEstimate",
    "eigenpairs",
    "estimate_trace",
    "gauss_newton_product",
    "hessian_product",
    "operator",
    "sharpness",
    "smallest",
    "spectrum",
    "trace",
    "trace_gradient",
]
