"""What keeping a run costs: records every 100 steps, events, checkpoints every minute, beside the bare kernel's steps.

    python bench/long_runs.py [steps]

At the setting of figure 5 (p = 11, h = 128, 59 samples), in processor time, best of some interleaved rounds. What a run
takes once, to begin and to write its files at the end, is told apart from what it takes per step.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zeroloss as zl
from zeroloss import config, runs

ROUNDS = 5
NOTHING: dict[str, Any] = {"loss_extremes": False, "events": []}
#: What is kept; the default events are all looked for to the end where the last of them never comes.
KEPT: dict[str, dict[str, Any]] = {
    "records every 100 steps": NOTHING,
    "and events": {**NOTHING, "events": ["train_accuracy >= 1", "test_accuracy >= 0.95", "norm_E > 1e9"]},
    "and extremes of the loss": {"loss_extremes": True, "events": ["train_accuracy >= 1", "norm_E > 1e9"]},
}


def configuration(dtype: str, steps: int, **run: Any) -> config.Configuration:
    """Return the setting of figure 5; checkpoints every minute are the default."""
    run = {"steps": steps, "record_every": 100, "checkpoint_minutes": 1.0, "threads": 1, **run}
    return config.from_settings({"network": {"dtype": dtype}, "run": run})


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of some work."""
    began = time.process_time()
    work()
    return time.process_time() - began


def bare(dtype: str, steps: int) -> float:
    """Take steps of the kernel alone, in chunks of 10 000."""
    given = configuration(dtype, 0)
    stepper = given.dynamics.start(given.data, given.network)
    return seconds(lambda: [stepper.advance(10_000) for _ in range(steps // 10_000)])


def kept(dtype: str, steps: int, run: dict[str, Any]) -> float:
    """Carry out a run in a directory."""
    given = configuration(dtype, steps, **run)
    with tempfile.TemporaryDirectory() as directory:
        return seconds(lambda: runs.run(given, Path(directory) / "run", progress=False))


def main() -> None:
    """Print a line for each precision and each thing kept."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    print(f"{steps} steps, level {zl.build_info()['level']}, best of {ROUNDS}")
    for dtype in ("float32", "float64"):
        step: list[float] = []
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in KEPT}
        for _ in range(ROUNDS):
            step.append(bare(dtype, steps))
            for name, run in KEPT.items():
                found[name].append((kept(dtype, 1, run), kept(dtype, steps, run)))
        alone = min(step)
        print(f"{dtype}: {1e6 * alone / steps:.2f} µs for a bare step")
        for name, times in found.items():
            once = min(first for first, _ in times)
            more = min(whole for _, whole in times) - once - alone
            share, record = 100 * more / alone, 1e8 * more / steps
            print(f"  {name:<26} {share:5.1f} % more, {record:5.1f} µs a record, {1e3 * once:4.0f} ms once")


if __name__ == "__main__":
    main()
