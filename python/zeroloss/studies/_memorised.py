"""Networks on the zero-loss set of modular addition, from which theorems and studies start."""

from __future__ import annotations

from .. import datasets, geometry, networks
from ..datasets import Dataset
from ..dynamics import GradientDescent
from ..networks import Network
from ..simulation import simulate
from ..simulation.context import check_interruption
from ._study import derived_seeds

__all__ = ["addition", "flops_of_descent", "memorised"]


def addition(p: int, hidden: int, activation: str, index: int, *, test_count: int = 7) -> tuple[Dataset, Network]:
    """Return modular addition of a seed index, and a network with the frameworks' initialisation."""
    seeds = derived_seeds(index)
    data = datasets.modular_addition(p, test_count=test_count, seed=seeds["data"])
    return data, networks.uniform_fan_in(data, hidden, seeds["network"], activation)


def memorised(
    p: int,
    hidden: int,
    activation: str,
    index: int,
    *,
    steps: int = 2000,
    weight_decay: float = 1e-4,
    test_count: int = 7,
) -> tuple[Dataset, Network]:
    """Return modular addition of a seed index, and a network on the zero-loss set.

    The network comes from descent with lr 1 for so many steps from the frameworks' initialisation, and is projected.
    """
    data, net = addition(p, hidden, activation, index, test_count=test_count)
    descent = GradientDescent(lr=1.0, weight_decay=weight_decay)
    run = simulate(descent, data, net, steps=steps, record_every=max(steps, 1), progress=False)
    check_interruption()
    return data, geometry.project(run.network, data).network


def flops_of_descent(p: int, hidden: int, activation: str) -> float:
    """Return the floating-point operations of a step of descent on modular addition."""
    return GradientDescent(lr=1.0).cost(*addition(p, hidden, activation, 0)).flops
