"""What the checks of theorems and the studies share: networks on the zero-loss set, fitted slopes, and their cost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .. import datasets, geometry, networks
from .._checks import ArgumentValueError
from ..datasets import Dataset
from ..dynamics import GradientDescent
from ..networks import Network
from ..results import Ending
from ..simulation import simulate
from .ensemble import MOST_HOURS, derived_seeds, hours_of

__all__ = ["check_cost", "log_slope", "memorised", "rows_of_text"]


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
    seeds = derived_seeds(index)
    data = datasets.modular_addition(p, test_count=test_count, seed=seeds["data"])
    net = networks.uniform_fan_in(data, hidden, seeds["network"], activation)
    descent = GradientDescent(lr=1.0, weight_decay=weight_decay)
    run = simulate(descent, data, net, steps=steps, record_every=max(steps, 1), progress=False)
    if run.outcome.ending is Ending.STOPPED_BY_THE_USER:
        raise KeyboardInterrupt
    return data, geometry.project(run.network, data).network


def log_slope(x: ArrayLike, y: ArrayLike) -> float:
    """Return the slope of log y against log x by least squares."""
    return float(np.polyfit(np.log(np.asarray(x)), np.log(np.asarray(y)), 1)[0])


def check_cost(name: str, weight_decays: Sequence[float], duration: float, flops: float, runs: int) -> None:
    """Raise ValueError where descents of so much slow time (lr 1) would take more than a day."""
    if not weight_decays or not all(np.isfinite(decay) and decay > 0 for decay in weight_decays):
        raise ArgumentValueError(name, f"expected numbers above 0, got {list(weight_decays)}")
    steps = runs * sum(duration / decay for decay in weight_decays)
    hours = hours_of(steps, flops)
    if hours > MOST_HOURS:
        raise ArgumentValueError(
            name,
            f"expected work of at most {MOST_HOURS:g} hours, got {min(weight_decays):g} and {runs} runs: "
            f"{steps:.1e} steps, about {hours:.0f} hours",
        )


def rows_of_text(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a small table, its columns aligned to the right."""
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    return "\n".join(
        "  ".join(word.rjust(width) for word, width in zip(row, widths, strict=True)) for row in [head, *rows]
    )
