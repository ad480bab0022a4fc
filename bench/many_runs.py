"""What runs side by side gain: ensembles on threads, and a sweep on processes or threads, beside one on one core.

    python bench/many_runs.py [rounds]

Elapsed time, medians of interleaved rounds, so that it means something on a machine that does nothing else. The bits of
every member are held against those of the run alone.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import zeroloss as zl
from zeroloss._resources import available_processors

Members = list[tuple[Any, zl.datasets.Dataset, zl.networks.Network]]
CASES = {  # name: modulus, width, precision, dynamics, steps
    "descent p 11, float32": (11, 128, "float32", zl.GradientDescent(1.0, 1e-4), 400_000),
    "descent p 11, float64": (11, 128, "float64", zl.GradientDescent(1.0, 1e-4), 200_000),
    "descent p 37, float32": (37, 512, "float32", zl.GradientDescent(1.0, 1e-4), 6_000),
    "predicted gradient p 37, float64": (37, 512, "float64", zl.PredictedGradient(1e-3), 300),
}
SWEEP = {
    "network": {"hidden": 128, "dtype": "float32"},
    "run": {"steps": 200_000},
    "sweep": {"network.seed": list(range(8))},
}


def seconds(work: Callable[[], object]) -> float:
    """Return the elapsed time of some work."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def members(name: str, count: int) -> Members:
    """Return so many members of a case, each with seeds of its own."""
    p, hidden, dtype, dynamics, _ = CASES[name]
    data = [zl.datasets.modular_addition(p, train_fraction=0.7, seed=seed) for seed in range(count)]
    made = [zl.networks.normal(one, hidden, p**-0.5, 1000 + seed, dtype=dtype) for seed, one in enumerate(data)]
    return [(dynamics, one, net) for one, net in zip(data, made, strict=True)]


def gain(rounds: int, alone: Callable[[], object], together: Callable[[], object]) -> float:
    """Return the median over rounds of the time of one at a time over that of several."""
    return statistics.median(seconds(alone) / seconds(together) for _ in range(rounds))


def main() -> None:
    """Print a line for each case."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    at_once = available_processors()
    print(f"{at_once} at once over one after the other on one core, {rounds} rounds")
    for name, (*_, steps) in CASES.items():
        given = members(name, at_once)
        options = {"steps": steps, "record_every": 1000, "progress": False}

        def alone(given: Members = given, options: dict[str, Any] = options) -> list[zl.results.Run]:
            return [zl.simulate(*member, threads=1, **options) for member in given]

        def together(given: Members = given, options: dict[str, Any] = options) -> zl.results.Ensemble:
            return zl.simulate_many(given, at_once=at_once, **options)

        for one, other in zip(alone(), together(), strict=True):
            assert np.array_equal(one.network.E, other.network.E)
        ratio = gain(rounds, alone, together)
        print(f"{name:36}{ratio:6.2f}")
    with tempfile.TemporaryDirectory() as directory:
        for processes in (False, True):

            def swept(workers: int, processes: bool = processes) -> None:
                out = Path(directory) / str(time.perf_counter_ns())
                zl.sweeps.sweep(SWEEP, out, workers=workers, processes=processes, progress=False)

            ratio = gain(rounds, lambda: swept(1), lambda: swept(at_once))
            print(f"{'sweep of 8 cells on ' + ('processes' if processes else 'threads'):36}{ratio:6.2f}")


if __name__ == "__main__":
    main()
