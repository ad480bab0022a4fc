"""Run the step benchmarks with one thread on one core, and print the ratios to PyTorch at the end of the session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

_RATIOS = pytest.StashKey[list[tuple[str, float, float]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RATIOS] = []


@pytest.fixture(scope="session", autouse=True)
def one_core() -> Iterator[None]:
    """Pin this process to one core, and let PyTorch use one thread."""
    import torch  # noqa: PLC0415

    before, threads = os.sched_getaffinity(0), torch.get_num_threads()
    os.sched_setaffinity(0, {max(before)})
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    os.sched_setaffinity(0, before)


@pytest.fixture
def ratio(request: pytest.FixtureRequest) -> Any:
    """Return a function that adds a step to the summary: its name, our seconds and PyTorch's seconds."""

    def add(name: str, ours: float, theirs: float) -> None:
        request.config.stash[_RATIOS].append((name, ours, theirs))

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the ratios of the medians over interleaved rounds."""
    if not config.stash[_RATIOS]:
        return
    terminalreporter.section("zeroloss and PyTorch, one thread each (medians of interleaved rounds)")
    for name, ours, theirs in config.stash[_RATIOS]:
        terminalreporter.write_line(f"{name:<44} {ours * 1e6:10.1f} µs {theirs * 1e6:10.1f} µs   × {theirs / ours:.2f}")
