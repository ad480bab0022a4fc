"""One thread for PyTorch, for the oracles share the machine with the kernels; Ctrl-C as on a terminal."""

import signal

import torch

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, and so would what it starts
