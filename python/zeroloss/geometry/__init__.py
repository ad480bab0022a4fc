"""The zero-loss set 𝒵 = {θ : F(θ) = Y} of the training samples: tangent space, norm-minimising direction, projection.

J = ∂F/∂θ has shape (n·d_out, d); its rows are in sample-major order, i·d_out + k for output k of sample i. The tangent
space of 𝒵 is the null space of J. Gradient descent with a small weight decay moves along 𝒵 in the direction
g = −(I − J⁺J) θ (Eqs. 28, 29 of arXiv 2511.01938). All functions compute in float64, on the training samples.
"""

from .alignment import Alignment, AlignmentMeasure, alignment
from .jacobian import gram, jacobian_product, jacobian_transposed_product
from .kkt import kkt_residual
from .ntk import kernel_target_alignment, ntk
from .projection import Projection, ProjectionError, project
from .solver import memory_needed
from .spectrum import condition_number, singular_values
from .tangent import NormDirection, norm_direction, sign_changes

__all__ = [
    "Alignment",
    "AlignmentMeasure",
    "NormDirection",
    "Projection",
    "ProjectionError",
    "alignment",
    "condition_number",
    "gram",
    "jacobian_product",
    "jacobian_transposed_product",
    "kernel_target_alignment",
    "kkt_residual",
    "memory_needed",
    "norm_direction",
    "ntk",
    "project",
    "sign_changes",
    "singular_values",
]
