"""Write the start for norm_flow.toml next to this file: a network that has memorised, on the zero-loss set."""

from pathlib import Path

import numpy as np

import zeroloss as zl

here = Path(__file__).parent
data = zl.datasets.modular_addition(11, test_count=7, seed=4)
net = zl.networks.uniform_fan_in(data, hidden=128, seed=104, activation="softplus(5)")
memorised = zl.simulate(zl.GradientDescent(lr=1.0, weight_decay=1e-4), data, net, steps=2000).network
start = zl.geometry.project(memorised, data).network
np.savez(here / "norm_flow_start.npz", E=start.E, W=start.W)
