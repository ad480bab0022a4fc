"""Measure the norm flow of ReLU in proximal steps against explicit steps of equal error: processor time and distance.

    python bench/norm_flow.py [seeds]

Modular addition with p = 11 and h = 128, from a network after 1000 steps without weight decay and a projection, to
s = 0.8, before the flow branches. The error is the greatest distance at 40 times from proximal steps at rtol 2·10⁻⁴.
Each explicit run is compared with the loosest proximal run that is at least as exact. Times are processor times of one
thread.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

import zeroloss as zl
from gradient_flow import TIMES, path, simulate_and_time, start

END, REFERENCE, LEAST_RATIO = 0.8, 2e-4, 2.0
EXPLICIT = (0.01, 0.005, 0.0025)
PROXIMAL = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3)


def positions(run: zl.results.Run) -> Any:
    """Return the parameters at equal times, interpolated linearly between the snapshots of a run."""
    knots, values = path(run)
    times = np.linspace(0, END, TIMES + 1)
    after = np.clip(np.searchsorted(knots, times), 1, len(knots) - 1)
    share = ((times - knots[after - 1]) / (knots[after] - knots[after - 1]))[:, None]
    return (1 - share) * values[after - 1] + share * values[after]


def main() -> None:
    """Print one line for each explicit run, and assert that proximal steps take less time for an equal error."""
    print("seed  explicit step  steps  error  rtol   solves  error  times less processor time than explicit")
    for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else 3):
        data, network = start("relu", seed)
        common: dict[str, Any] = {"data": data, "network": zl.geometry.project(network, data).network, "duration": END}

        def measure(dynamics: zl.NormFlow, common: dict[str, Any] = common) -> tuple[Any, float, int]:
            run, seconds = simulate_and_time(dynamics=dynamics, **common, record_every=10**6, snapshot_every=1)
            return positions(run), seconds, int(run.history.evaluations[-1])

        exact, *_ = measure(zl.NormFlow(rtol=REFERENCE, method="proximal"))

        def error(theta: Any, exact: Any = exact) -> float:
            return float(np.linalg.norm(theta - exact, axis=1).max())

        proximal = [(rtol, *measure(zl.NormFlow(rtol=rtol, method="proximal"))) for rtol in PROXIMAL]
        for size in EXPLICIT:
            theta, slow, steps = measure(zl.NormFlow(step_size=size))
            rtol, best, fast, solves = next(row for row in proximal if error(row[1]) <= error(theta))
            line = f"{seed:4}  {size:13g}  {steps:5}  {error(theta):5.2g}  {rtol:5g}  {solves:6}  {error(best):5.2g}"
            print(f"{line}  {slow / fast:.1f}", flush=True)
            assert slow / fast >= LEAST_RATIO


if __name__ == "__main__":
    main()
