"""The zero-loss set 𝒵 = {θ : F(θ) = Y} of the training samples: tangent space, norm-minimising direction, projection.

With J = ∂F/∂θ, of shape (n·d_out, d) and rows in sample-major order i·d_out + k, the tangent space is the null space of
J, and the direction that gradient descent with a little weight decay follows along 𝒵 is −(I − J⁺J) θ (Eqs. 28, 29 of
arXiv 2511.01938). Everything here computes in float64, on the training samples.
"""

from .alignment import Alignment, AlignmentMeasure, alignment
from .jacobian import gram, jacobian_product, jacobian_transposed_product
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
    "memory_needed",
    "norm_direction",
    "project",
    "sign_changes",
    "singular_values",
]
