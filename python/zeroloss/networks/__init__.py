"""Two-layer networks F(X) = σ(X E + b) W + c: initialisation, checkpoints, and PyTorch modules."""

from .checkpoint import from_checkpoint, to_checkpoint
from .folding import fold_biases as fold_biases
from .folding import hidden_activations as hidden_activations
from .initial import normal, uniform_fan_in
from .network import ACTIVATIONS, Network, from_arrays
from .network import _parse_activation as _parse_activation
from .network import check_fits as check_fits
from .network import checked_activation as checked_activation
from .network import has_kink as has_kink
from .network import kernel_activation as kernel_activation
from .torch_modules import from_torch, to_torch

__all__ = [
    "ACTIVATIONS",
    "Network",
    "from_arrays",
    "from_checkpoint",
    "from_torch",
    "normal",
    "to_checkpoint",
    "to_torch",
    "uniform_fan_in",
]
