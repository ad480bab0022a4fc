"""Compare the alignment measurement of figure 5 (projection, g, smallest singular value) with dense PyTorch code."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

import zeroloss as zl
from torch_geometry import alignment, jacobian

MEASUREMENTS = 20  # our measurements in a round
ROUNDS = 7
LEAST_RATIO = 100


@pytest.fixture(scope="module")
def figure5() -> tuple[Any, ...]:
    """Return the data and θ at steps 4 990 and 5 000. J is 649 × 2816 (p = 11, h = 128, 59 training samples)."""
    data = zl.datasets.modular_addition(11, test_count=7, seed=0)
    net = zl.networks.uniform_fan_in(data, hidden=128, seed=1)
    run = zl.simulate(zl.GradientDescent(lr=1.0, weight_decay=1e-4), data, net, steps=4990, record_every=4990)
    earlier = run.network
    return data, earlier, run.extend(steps=10).network


@pytest.mark.benchmark(timer=time.process_time)  # processor time of one pinned thread, without other work on the core
@pytest.mark.parametrize("projection", ["momentum", "chord"])
def test_alignment(benchmark: Any, ratio: Callable[..., None], figure5: tuple[Any, ...], projection: str) -> None:
    data, earlier, net = figure5
    measure = zl.geometry.AlignmentMeasure(data, projection)
    parts = (data.X_train, data.Y_train, net.E, net.W, earlier.E, earlier.W)
    arrays = [torch.tensor(array) for array in parts]
    cosine = alignment(*arrays)
    result = measure(net, earlier)
    point = zl.geometry.project(net, data, method=projection).network
    if projection == "momentum":  # the same point; Gauss–Newton steps lead to a point a few hundredths away
        assert result["cosine"] == pytest.approx(cosine, rel=1e-7)
        J = jacobian(data.X_train, *(torch.tensor(A) for A in (point.E, point.W)))
        assert result["smallest_singular_value"] == pytest.approx(float(torch.linalg.svdvals(J)[-1]), rel=1e-2)
    assert result["cosine"] == pytest.approx(cosine, abs=0.1)
    times: list[float] = []

    def torch_round() -> None:
        """Make one measurement with PyTorch before each of our rounds, so both have the same disturbances."""
        begin = time.process_time()
        alignment(*arrays)
        times.append(time.process_time() - begin)

    def ours() -> None:
        for _ in range(MEASUREMENTS):
            measure(net, earlier)

    benchmark.pedantic(ours, setup=torch_round, rounds=ROUNDS, warmup_rounds=1)
    if benchmark.enabled:
        torch_seconds = sorted(times[1:])[ROUNDS // 2]
        seconds = benchmark.stats.stats.median / MEASUREMENTS
        benchmark.extra_info |= {"measurements": MEASUREMENTS, "torch_seconds_per_measurement": torch_seconds}
        ratio(f"alignment p 11, h 128, {projection}", seconds, torch_seconds)
        assert torch_seconds >= LEAST_RATIO * seconds
