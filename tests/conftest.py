"""One thread for PyTorch: the oracles share the machine with the kernels."""

import torch

torch.set_num_threads(1)
