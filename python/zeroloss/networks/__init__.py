"""Two-layer networks F(X) = σ(X E) W without biases: initialisation, and checkpoints."""

from .checkpoint import from_checkpoint, to_checkpoint
from .network import ACTIVATIONS, Network, from_arrays, normal, uniform_fan_in
from .network import _parse_activation as _parse_activation
from .network import check_fits as check_fits
from .network import checked_activation as checked_activation
from .network import has_kink as has_kink
from .network import kernel_activation as kernel_activation

__all__ = [
    "ACTIVATIONS",
    "Network",
    "from_arrays",
    "from_checkpoint",
    "normal",
    "to_checkpoint",
    "uniform_fan_in",
]
