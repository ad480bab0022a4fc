"""Modular addition as most studies use it: the common settings, its networks, and networks on the zero-loss set."""

from __future__ import annotations

from dataclasses import dataclass

from .. import datasets, geometry, networks
from ..datasets import Dataset
from ..dynamics import GradientDescent
from ..networks import Network
from ..simulation import simulate
from ..simulation.context import check_interruption
from ._study import derive_seeds

__all__ = ["AdditionSettings", "estimate_flops", "make_addition", "memorise"]


@dataclass(frozen=True)
class AdditionSettings:
    """Settings of studies of addition modulo p with ``hidden`` hidden units."""

    p: int = 11
    hidden: int = 128
    seeds: int = 5
    quick: bool = False


def make_addition(p: int, hidden: int, activation: str, index: int, *, test_count: int = 7) -> tuple[Dataset, Network]:
    """Return modular addition for a seed index, and a network with PyTorch's default initialisation."""
    seeds = derive_seeds(index)
    data = datasets.modular_addition(p, test_count=test_count, seed=seeds["data"])
    return data, networks.uniform_fan_in(data, hidden, seeds["network"], activation)


def memorise(
    p: int,
    hidden: int,
    activation: str,
    index: int,
    *,
    steps: int = 2000,
    weight_decay: float = 1e-4,
    test_count: int = 7,
) -> tuple[Dataset, Network]:
    """Return modular addition for a seed index, and a network on the zero-loss set.

    The network is trained by ``steps`` steps of gradient descent with lr 1, and projected on the set.
    """
    data, net = make_addition(p, hidden, activation, index, test_count=test_count)
    descent = GradientDescent(lr=1.0, weight_decay=weight_decay)
    run = simulate(descent, data, net, steps=steps, record_every=max(steps, 1), progress=False)
    check_interruption()
    return data, geometry.project(run.network, data).network


def estimate_flops(p: int, hidden: int, activation: str) -> float:
    """Return the floating-point operations of a step of gradient descent on modular addition."""
    return GradientDescent(lr=1.0).cost(*make_addition(p, hidden, activation, 0)).flops
