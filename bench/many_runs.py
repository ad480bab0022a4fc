"""Measure the speed-up by running several simulations at once: ensembles on threads, sweeps on processes or threads.

    python bench/many_runs.py [rounds]

Times are elapsed times, medians of interleaved rounds. They are only meaningful on a machine without other work. The
embedding of every member is compared, bit by bit, with that of a run on its own.
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
    """Return the elapsed time of a call of `work`."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def make_members(name: str, count: int) -> Members:
    """Return `count` members of a case, each with its own seeds."""
    p, hidden, dtype, dynamics, _ = CASES[name]
    data = [zl.datasets.modular_addition(p, train_fraction=0.7, seed=seed) for seed in range(count)]
    networks = [zl.networks.normal(one, hidden, p**-0.5, 1000 + seed, dtype=dtype) for seed, one in enumerate(data)]
    return [(dynamics, one, net) for one, net in zip(data, networks, strict=True)]


def measure_gain(rounds: int, run_one_by_one: Callable[[], object], run_at_once: Callable[[], object]) -> float:
    """Return the median over rounds of the time one by one divided by the time at once."""
    return statistics.median(seconds(run_one_by_one) / seconds(run_at_once) for _ in range(rounds))


def main() -> None:
    """Print one line for each case."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    at_once = available_processors()
    print(f"Speed-up of {at_once} at once over one by one on one core, {rounds} rounds")
    for name, (*_, steps) in CASES.items():
        members = make_members(name, at_once)
        options = {"steps": steps, "record_every": 1000, "progress": False}

        def run_one_by_one(members: Members = members, options: dict[str, Any] = options) -> list[zl.results.Run]:
            return [zl.simulate(*member, threads=1, **options) for member in members]

        def run_at_once(members: Members = members, options: dict[str, Any] = options) -> zl.results.Ensemble:
            return zl.simulate_many(members, at_once=at_once, **options)

        for one, other in zip(run_one_by_one(), run_at_once(), strict=True):
            assert np.array_equal(one.network.E, other.network.E)
        ratio = measure_gain(rounds, run_one_by_one, run_at_once)
        print(f"{name:36}{ratio:6.2f}")
    with tempfile.TemporaryDirectory() as directory:
        for processes in (False, True):

            def run_sweep(workers: int, processes: bool = processes) -> None:
                out = Path(directory) / str(time.perf_counter_ns())
                zl.sweeps.sweep(SWEEP, out, workers=workers, processes=processes, progress=False)

            ratio = measure_gain(rounds, lambda: run_sweep(1), lambda: run_sweep(at_once))
            print(f"{'sweep of 8 cells on ' + ('processes' if processes else 'threads'):36}{ratio:6.2f}")


if __name__ == "__main__":
    main()
