"""Time our steps with pytest-benchmark, and compare answers and times with PyTorch in the same process."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import zeroloss as zl
from implementations import kernel, torch_autograd
from step_cases import DESCENT, PREDICTED, Case, Problem, bound, movement_error, training_count

STEPS = {"descent": {11: 2000, 23: 200, 37: 20}, "predicted": {37: 5}}  # our steps in a round, by dynamics and p
FEW = 5  # steps before answers are compared, and the fewest steps of PyTorch in a round
ROUNDS = 15
CASES = [
    Case(dynamics, p, {"descent": DESCENT, "predicted": PREDICTED}[dynamics][p], training_count(p), bits)
    for dynamics, sizes in STEPS.items()
    for p in sizes
    for bits in (32, 64)
]


@pytest.mark.benchmark(timer=time.process_time)  # processor time of one pinned thread, without other work on the core
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.dynamics}-p{case.p}-float{case.bits}")
def test_step(benchmark: Any, ratio: Callable[..., None], case: Case) -> None:
    problem = Problem(case)
    ours, theirs = kernel(problem), torch_autograd(problem)
    condition = problem.dynamics.start(problem.data, problem.net).record().get("condition")
    answers = [tuple(np.asarray(array, np.float64) for array in start(FEW)()) for start in (ours, theirs)]
    start = tuple(np.asarray(array, np.float64) for array in problem.arrays[2:])
    assert movement_error(case, answers[0], answers[1], start) <= bound(case, condition)

    steps = STEPS[case.dynamics][case.p]
    torch_steps = max(FEW, steps // 20)
    times: list[float] = []

    def torch_round() -> tuple[tuple[Callable[[], Any]], dict[str, Any]]:
        """Time a round of PyTorch before each of our rounds, so both have the same disturbances."""
        run = theirs(torch_steps)
        begin = time.process_time()
        run()
        times.append((time.process_time() - begin) / torch_steps)
        return (ours(steps),), {}

    benchmark.pedantic(lambda run: run(), setup=torch_round, rounds=ROUNDS, warmup_rounds=2)
    if benchmark.enabled:
        torch_step = float(np.median(times[2:]))
        benchmark.extra_info |= {"steps": steps, "flops_per_step": case.flops, "torch_seconds_per_step": torch_step}
        ratio(f"{case.name}, float{case.bits}", benchmark.stats.stats.median / steps, torch_step)


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("scale", [1.0, "tiny"], ids=["normal", "denormal"])
@pytest.mark.parametrize("bits", [32, 64])
def test_step_on_denormal_weights(benchmark: Any, bits: int, scale: float | str) -> None:
    """Steps with weights below the normal range, to which long decay leads, take the same time as others."""
    problem = Problem(Case("descent", 11, DESCENT[11], training_count(11), bits))
    tiny = float(np.finfo(f"float{bits}").tiny)
    E, W = (A * (tiny if scale == "tiny" else 1.0) for A in (problem.net.E, problem.net.W))
    net = zl.networks.from_arrays(E.astype(f"float{bits}"), W.astype(f"float{bits}"))
    descent = zl.GradientDescent(lr=1e-12, weight_decay=1e-4).start(problem.data, net)
    benchmark.pedantic(lambda: descent.advance(2000), rounds=ROUNDS, warmup_rounds=2)
    if scale == "tiny":
        assert not descent.state["E"].any()
