"""Measure the cost of records every 100 steps, events and checkpoints every minute, compared with steps of the kernel.

    python bench/long_runs.py [steps]

The setting is that of figure 5 (p = 11, h = 128, 59 samples). Times are processor times, the best of a few interleaved
rounds. The time that a run needs once, to begin and to write its files at the end, is reported separately.
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
NO_OUTPUTS: dict[str, Any] = {"loss_extremes": False, "events": []}
#: Settings of the runs by name. The last event never happens, so all events are checked until the end.
OUTPUTS: dict[str, dict[str, Any]] = {
    "records every 100 steps": NO_OUTPUTS,
    "and events": {**NO_OUTPUTS, "events": ["train_accuracy >= 1", "test_accuracy >= 0.95", "norm_E > 1e9"]},
    "and extremes of the loss": {"loss_extremes": True, "events": ["train_accuracy >= 1", "norm_E > 1e9"]},
}


def configuration(dtype: str, steps: int, **run: Any) -> config.Configuration:
    """Return the configuration of figure 5, with checkpoints every minute."""
    run = {"steps": steps, "record_every": 100, "checkpoint_minutes": 1.0, "threads": 1, **run}
    return config.from_settings({"network": {"dtype": dtype}, "run": run})


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of a call of `work`."""
    start = time.process_time()
    work()
    return time.process_time() - start


def time_bare_steps(dtype: str, steps: int) -> float:
    """Return the time of steps of the kernel alone, in chunks of 10 000."""
    configured = configuration(dtype, 0)
    stepper = configured.dynamics.start(configured.data, configured.network)
    return seconds(lambda: [stepper.advance(10_000) for _ in range(steps // 10_000)])


def time_run(dtype: str, steps: int, run: dict[str, Any]) -> float:
    """Return the time of a run in a directory."""
    configured = configuration(dtype, steps, **run)
    with tempfile.TemporaryDirectory() as directory:
        return seconds(lambda: runs.run(configured, Path(directory) / "run", progress=False))


def main() -> None:
    """Print one line for each precision and each of the OUTPUTS."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000
    print(f"{steps} steps, level {zl.build_info()['level']}, best of {ROUNDS}")
    for dtype in ("float32", "float64"):
        bare_times: list[float] = []
        times_by_name: dict[str, list[tuple[float, float]]] = {name: [] for name in OUTPUTS}
        for _ in range(ROUNDS):
            bare_times.append(time_bare_steps(dtype, steps))
            for name, run in OUTPUTS.items():
                times_by_name[name].append((time_run(dtype, 1, run), time_run(dtype, steps, run)))
        bare_seconds = min(bare_times)
        print(f"{dtype}: {1e6 * bare_seconds / steps:.2f} µs for a step of the kernel")
        for name, times in times_by_name.items():
            once_seconds = min(first for first, _ in times)
            extra = min(whole for _, whole in times) - once_seconds - bare_seconds
            share, record = 100 * extra / bare_seconds, 1e8 * extra / steps
            print(f"  {name:<26} {share:5.1f} % more, {record:5.1f} µs a record, {1e3 * once_seconds:4.0f} ms once")


if __name__ == "__main__":
    main()
